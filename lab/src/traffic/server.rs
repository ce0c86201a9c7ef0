//! A TCP server of bounded size.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{LabError, Place};

/// Connections served at once; more are closed at once and counted.
const CONNECTIONS_MAX: usize = 128;
/// How soon a server notices that it is to end.
const STOP_POLL: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// A connection that says nothing this long is closed.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// A running server. Dropping it ends it and its connections.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    served: AtomicU64,
    turned_away: AtomicU64,
    live: Mutex<HashMap<u64, TcpStream>>,
}

/// Serves connections to `address` in this place, each on a thread of its own.
pub fn serve_tcp(
    place: &Place,
    address: SocketAddr,
    handler: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static,
) -> Result<Server, LabError> {
    let what = format!("cannot listen at {address} in {}", place.label());
    let listener = place
        .enter(|| {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        })?
        .map_err(LabError::io(what))?;
    let address =
        listener.local_addr().map_err(LabError::io("cannot read a listener's address"))?;
    let shared = Arc::new(Shared::default());
    let thread = {
        let shared = Arc::clone(&shared);
        thread::Builder::new()
            .name("lab-server".to_owned())
            .spawn(move || accept(&listener, &shared, &handler))
            .map_err(LabError::io("cannot start a thread"))?
    };
    Ok(Server { address, shared, thread: Some(thread) })
}

impl Server {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections served so far.
    pub fn served(&self) -> u64 {
        self.shared.served.load(Ordering::Relaxed)
    }

    /// Connections closed at once because too many were open.
    pub fn turned_away(&self) -> u64 {
        self.shared.turned_away.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A handler's panic was reported when it happened.
            let _ = thread.join();
        }
    }
}

fn accept(
    listener: &TcpListener,
    shared: &Shared,
    handler: &(impl Fn(TcpStream) -> io::Result<()> + Sync),
) {
    thread::scope(|scope| {
        let mut next = 0;
        while !shared.stop.load(Ordering::Relaxed) {
            let mut ready = [PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)];
            // Interrupted or timed out: both look at the stop flag again.
            if !matches!(poll(&mut ready, Some(&STOP_POLL)), Ok(1..)) {
                continue;
            }
            let Ok((stream, _)) = listener.accept() else { continue };
            if live(shared).len() >= CONNECTIONS_MAX {
                shared.turned_away.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let Ok(handle) = stream.try_clone() else { continue };
            let id = next;
            next += 1;
            live(shared).insert(id, handle);
            shared.served.fetch_add(1, Ordering::Relaxed);
            scope.spawn(move || {
                if let Err(error) = serve(stream, handler) {
                    tracing::trace!(%error, "lab connection ended");
                }
                live(shared).remove(&id);
            });
        }
        for stream in live(shared).values() {
            // Wakes its thread; a connection that is closed already is as well.
            let _ = stream.shutdown(Shutdown::Both);
        }
    });
}

fn serve(stream: TcpStream, handler: &impl Fn(TcpStream) -> io::Result<()>) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(IDLE_MAX))?;
    stream.set_write_timeout(Some(IDLE_MAX))?;
    handler(stream)
}

fn live(shared: &Shared) -> std::sync::MutexGuard<'_, HashMap<u64, TcpStream>> {
    shared.live.lock().unwrap_or_else(PoisonError::into_inner)
}
