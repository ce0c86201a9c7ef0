//! Accepts connections for the HTTP and the gRPC door.
//!
//! Capacity: [`CONNECTIONS`] of each door; while all are taken nobody else is accepted, and the kernel's
//! backlog holds them. One on which nothing moves for [`IDLE`] is closed, whether its client is gone, slow
//! on purpose, or at rest: the last comes again by itself.
//!
//! TLS handshakes run beside, so that a slow client holds up nobody. Capacity: [`HANDSHAKES`] at a
//! time, none longer than [`HANDSHAKE_TIMEOUT`].

use std::future::Future as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;

use super::tls::Secured;
use crate::access::certificate_name;

const CONNECTIONS: usize = 1_000;
/// Longer than what followers of quiet streams wait for a sign of life.
const IDLE: Duration = Duration::from_secs(300);
const HANDSHAKES: usize = 64;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// After an error of accept, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// A door's socket.
pub(crate) struct Listener {
    socket: Socket,
    places: Arc<Semaphore>,
    idle: Duration,
}

enum Socket {
    Plain(TcpListener),
    Tls { address: SocketAddr, ready: mpsc::Receiver<(Connection, Peer)> },
}

/// One client's connection.
pub(crate) enum Connection {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// One of those that a door has.
pub(crate) struct Served {
    connection: Connection,
    idle: Duration,
    /// Until when something has to move.
    end: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

/// Who is on the other side.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// The name in its certificate, if it showed one.
    pub(crate) certificate: Option<Arc<str>>,
}

impl Listener {
    /// # Errors
    /// The socket has no address.
    pub(crate) fn new(listener: TcpListener, tls: Option<Secured>) -> std::io::Result<Self> {
        let socket = match tls {
            None => Socket::Plain(listener),
            Some(tls) => {
                let address = listener.local_addr()?;
                let (sender, ready) = mpsc::channel(HANDSHAKES);
                tokio::spawn(shake_hands(listener, tls, sender));
                Socket::Tls { address, ready }
            }
        };
        Ok(Self { socket, places: Arc::new(Semaphore::new(CONNECTIONS)), idle: IDLE })
    }

    async fn place(&self) -> OwnedSemaphorePermit {
        if self.places.available_permits() == 0 {
            tracing::warn!(CONNECTIONS, "all connections of a door are taken, further ones wait");
        }
        match self.places.clone().acquire_owned().await {
            Ok(place) => place,
            // Nobody closes it.
            Err(_) => std::future::pending().await,
        }
    }
}

async fn shake_hands(listener: TcpListener, tls: Secured, ready: mpsc::Sender<(Connection, Peer)>) {
    let places = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let (stream, address) = tokio::select! {
            accepted = accept(&listener) => accepted,
            () = ready.closed() => return,
        };
        let (acceptor, ready) = (tls.acceptor(), ready.clone());
        tokio::spawn(async move {
            let _place = place;
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let certificates = stream.get_ref().1.peer_certificates();
                    let certificate = certificates
                        .and_then(|certificates| certificate_name(certificates.first()?))
                        .map(Arc::from);
                    let peer = Peer { address, certificate };
                    // Fails only when the door closes.
                    let _ = ready.send((Connection::Tls(Box::new(stream)), peer)).await;
                }
                Ok(Err(error)) => tracing::debug!(%address, %error, "a TLS handshake failed"),
                Err(_) => tracing::debug!(%address, "a TLS handshake took too long"),
            }
        });
    }
}

/// The next connection.
pub(crate) async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                // A row that follows closely upon another message must not wait for its acknowledgement.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "small messages may be late");
                }
                return (stream, address);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

impl axum::serve::Listener for Listener {
    type Io = Served;
    type Addr = Peer;

    async fn accept(&mut self) -> (Served, Peer) {
        let place = self.place().await;
        let (connection, peer) = match &mut self.socket {
            Socket::Plain(listener) => {
                let (stream, address) = accept(listener).await;
                (Connection::Plain(stream), Peer { address, certificate: None })
            }
            Socket::Tls { ready, .. } => match ready.recv().await {
                Some(accepted) => accepted,
                // The task that accepts ends after this.
                None => std::future::pending().await,
            },
        };
        let end = Box::pin(tokio::time::sleep(self.idle));
        (Served { connection, idle: self.idle, end, _place: place }, peer)
    }

    fn local_addr(&self) -> std::io::Result<Peer> {
        let address = match &self.socket {
            Socket::Plain(listener) => listener.local_addr()?,
            Socket::Tls { address, .. } => *address,
        };
        Ok(Peer { address, certificate: None })
    }
}

impl Connected<IncomingStream<'_, Listener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> Self {
        stream.remote_addr().clone()
    }
}

impl AsyncRead for Served {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        let read = Pin::new(&mut this.connection).poll_read(context, buffer);
        if read.is_pending() && this.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(std::io::ErrorKind::TimedOut.into()));
        }
        this.alive(read)
    }
}

impl AsyncWrite for Served {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.connection).poll_write(context, bytes);
        this.alive(written)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().connection).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().connection).poll_shutdown(context)
    }
}

impl Served {
    /// Notes that something moved.
    fn alive<T>(&mut self, moved: Poll<T>) -> Poll<T> {
        if moved.is_ready() {
            self.end.as_mut().reset(Instant::now() + self.idle);
        }
        moved
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::serve::Listener as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_connection_on_which_nothing_moves_is_closed() {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
        let mut listener = Listener::new(socket, None).unwrap();
        listener.idle = Duration::from_millis(100);
        let (mut connection, _) = listener.accept().await;
        let begun = Instant::now();
        client.write_all(b"a").await.unwrap();
        assert_eq!(connection.read(&mut [0; 8]).await.unwrap(), 1);
        let error = connection.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= listener.idle);
        drop(connection);
        assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn so_many_are_served_and_the_next_one_when_one_has_gone() {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let mut listener = Listener::new(socket, None).unwrap();
        listener.places = Arc::new(Semaphore::new(2));
        let mut clients = Vec::new();
        let mut served = Vec::new();
        for _ in 0..2 {
            clients.push(TcpStream::connect(address).await.unwrap());
            served.push(listener.accept().await);
        }
        clients.push(TcpStream::connect(address).await.unwrap());
        let wait = Duration::from_millis(50);
        assert!(tokio::time::timeout(wait, listener.accept()).await.is_err());
        served.pop();
        listener.accept().await;
    }
}
