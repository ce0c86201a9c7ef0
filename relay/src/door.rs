//! The doors: a TCP port and, if asked for, a Unix socket, with the same Flight service behind.

mod follow;
mod get;
mod put;
mod service;

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use weir_flow::wire::MAX_MESSAGE_BYTES;

use self::service::Service;
use crate::error::RelayError;
use crate::relay::Shared;

/// Header, metadata and framing of the largest message, on top of its body.
const MESSAGE_OVERHEAD: usize = 4 << 20;
/// A peer that does not answer pings for that long is gone.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// Bound sockets.
#[derive(Debug)]
pub(crate) struct Door {
    tcp: TcpListener,
    address: SocketAddr,
    unix: Option<UnixDoor>,
}

/// A Unix socket; its file goes with it.
#[derive(Debug)]
struct UnixDoor {
    listener: UnixListener,
    file: SocketFile,
}

#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Door {
    pub(crate) async fn bind(
        address: SocketAddr,
        socket: Option<&Path>,
    ) -> Result<Self, RelayError> {
        let listen = |source| RelayError::Listen { address, source };
        let tcp = TcpListener::bind(address).await.map_err(listen)?;
        let address = tcp.local_addr().map_err(listen)?;
        let unix =
            match socket {
                Some(path) => Some(bind_unix(path).await.map_err(|source| {
                    RelayError::ListenSocket { path: path.to_owned(), source }
                })?),
                None => None,
            };
        Ok(Self { tcp, address, unix })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until told to stop and every call has ended.
    pub(crate) async fn serve(
        self,
        shared: Arc<Shared>,
        stop: CancellationToken,
    ) -> Result<(), RelayError> {
        let service = FlightServiceServer::new(Service { shared, stop: stop.clone() })
            .max_decoding_message_size(MAX_MESSAGE_BYTES + MESSAGE_OVERHEAD)
            .max_encoding_message_size(MAX_MESSAGE_BYTES + MESSAGE_OVERHEAD);
        let tcp = server().add_service(service.clone()).serve_with_incoming_shutdown(
            TcpIncoming::from(self.tcp).with_nodelay(Some(true)),
            stop.clone().cancelled_owned(),
        );
        let unix = async {
            let Some(UnixDoor { listener, file }) = self.unix else { return Ok(()) };
            let served = server()
                .add_service(service)
                .serve_with_incoming_shutdown(
                    UnixListenerStream::new(listener),
                    stop.cancelled_owned(),
                )
                .await;
            drop(file);
            served
        };
        tokio::try_join!(tcp, unix)?;
        Ok(())
    }
}

fn server() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
}

/// Binds the socket; removes one that a dead process left, but not one that somebody serves.
async fn bind_unix(path: &Path) -> io::Result<UnixDoor> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "there is something else than a socket",
            ));
        }
        Ok(_) => {
            if UnixStream::connect(path).await.is_ok() {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            std::fs::remove_file(path)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    let file = SocketFile(path.to_owned());
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(UnixDoor { listener, file })
}
