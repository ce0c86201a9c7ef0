//! A proxy in front of a server, which can be told to fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What it does with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mode {
    Pass,
    /// Connections are closed.
    Refuse,
    /// Nothing is passed on and nobody is told.
    Stall,
}

pub(crate) struct Proxy {
    pub(crate) port: u16,
    mode: Arc<AtomicU8>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn start(to: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mode = Arc::new(AtomicU8::new(Mode::Pass as u8));
        let task = tokio::spawn({
            let mode = mode.clone();
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(pass(client, to, mode.clone()));
                }
            }
        });
        Self { port, mode, task }
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(mut client: TcpStream, to: u16, mode: Arc<AtomicU8>) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", to)).await else { return };
    let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        while mode.load(Ordering::SeqCst) == Mode::Stall as u8 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if mode.load(Ordering::SeqCst) == Mode::Refuse as u8 {
            return;
        }
        let passed = tokio::select! {
            read = client.read(&mut up) => match read {
                Ok(length @ 1..) => server.write_all(&up[..length]).await,
                _ => return,
            },
            read = server.read(&mut down) => match read {
                Ok(length @ 1..) => client.write_all(&down[..length]).await,
                _ => return,
            },
            // Looks again whether it is to fail.
            () = tokio::time::sleep(Duration::from_millis(20)) => Ok(()),
        };
        if passed.is_err() {
            return;
        }
    }
}
