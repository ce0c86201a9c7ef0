//! Servers that say who they are. Their sockets belong to the places they were made in; one
//! thread serves them all.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{self, AddressFamily, SocketFlags, SocketType};
use tokio::net::{TcpListener, UdpSocket};
use tokio::runtime::Runtime;
use tokio::task::AbortHandle;

use super::socket::raw_sctp;
use super::{Protocol, identity, sctp};
use crate::{LabError, Place};

/// Connections that may wait to be accepted: a step's probes come all at once.
const BACKLOG: i32 = 4096;
/// A server that cannot accept (no more open files) tries again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
const DATAGRAM_LEN_MAX: usize = 2048;

/// What to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Service {
    /// One of the place's addresses.
    pub address: IpAddr,
    /// Port; ICMP needs no service.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
}

/// The thread that serves.
#[derive(Debug)]
pub struct Responders {
    /// `None` only while being dropped.
    runtime: Option<Runtime>,
}

impl Responders {
    /// Starts it.
    pub fn start() -> Result<Self, LabError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("lab-responders")
            .enable_all()
            .build()
            .map_err(LabError::io("cannot start the responders"))?;
        Ok(Self { runtime: Some(runtime) })
    }

    /// Answers at these services of this place until the returned handle is dropped. All SCTP
    /// services of an address belong into one call: its other SCTP ports are refused.
    pub fn serve(&self, place: &Place, services: &[Service]) -> Result<Serving, LabError> {
        let Some(runtime) = &self.runtime else { return Ok(Serving::default()) };
        let name = identity(place);
        // One raw socket serves all SCTP ports of an address.
        let mut sctp_ports: BTreeMap<IpAddr, HashSet<u16>> = BTreeMap::new();
        let mut streams = Vec::new();
        for service in services {
            match service.protocol {
                Protocol::Sctp => {
                    sctp_ports.entry(service.address).or_default().insert(service.port);
                }
                Protocol::Icmp => {}
                Protocol::Tcp | Protocol::Udp => streams.push(*service),
            }
        }
        let (streams, raw) = place.enter(|| {
            let streams = streams
                .iter()
                .map(|service| listen(*service).map(|fd| (service.protocol, fd)))
                .collect::<Result<Vec<_>, LabError>>()?;
            let raw = sctp_ports
                .into_iter()
                .map(|(address, ports)| {
                    let what = format!("cannot answer SCTP at {address}");
                    Ok((raw_sctp(address).map_err(LabError::io(what))?, ports))
                })
                .collect::<Result<Vec<_>, LabError>>()?;
            Ok::<_, LabError>((streams, raw))
        })??;
        let _inside = runtime.enter();
        let mut serving = Serving::default();
        for (protocol, fd) in streams {
            let task = if protocol == Protocol::Tcp {
                let listener =
                    TcpListener::from_std(fd.into()).map_err(LabError::io("cannot serve TCP"))?;
                runtime.spawn(accept(listener, name.clone()))
            } else {
                let socket =
                    UdpSocket::from_std(fd.into()).map_err(LabError::io("cannot serve UDP"))?;
                runtime.spawn(answer(socket, name.clone()))
            };
            serving.tasks.push(task.abort_handle());
        }
        for (fd, ports) in raw {
            let name = name.clone();
            let task = runtime.spawn(async move {
                if let Err(error) = sctp::respond(fd, ports, name).await {
                    tracing::warn!(%error, "SCTP responder ended");
                }
            });
            serving.tasks.push(task.abort_handle());
        }
        Ok(serving)
    }
}

impl Drop for Responders {
    fn drop(&mut self) {
        // Waiting for the thread is not allowed where this is dropped inside another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Services that are answered.
#[derive(Debug, Default)]
pub struct Serving {
    tasks: Vec<AbortHandle>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn listen(service: Service) -> Result<OwnedFd, LabError> {
    let bind = || -> io::Result<OwnedFd> {
        let family =
            if service.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let tcp = service.protocol == Protocol::Tcp;
        let kind = if tcp { SocketType::STREAM } else { SocketType::DGRAM };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = net::socket_with(family, kind, flags, None)?;
        if tcp {
            net::sockopt::set_socket_reuseaddr(&fd, true)?;
        }
        net::bind(&fd, &SocketAddr::new(service.address, service.port))?;
        if tcp {
            net::listen(&fd, BACKLOG)?;
        }
        Ok(fd)
    };
    let Service { address, port, protocol } = service;
    bind().map_err(LabError::io(format!("cannot listen at {address} port {port} {protocol}")))
}

async fn accept(listener: TcpListener, identity: String) {
    loop {
        match listener.accept().await {
            // A line always fits into a new connection's buffer, and the kernel delivers it
            // after the close. A client that is gone already wants no answer.
            Ok((stream, _)) => drop(stream.try_write(identity.as_bytes())),
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn answer(socket: UdpSocket, identity: String) {
    let mut buffer = [0; DATAGRAM_LEN_MAX];
    loop {
        // Errors here are ICMP messages about earlier answers.
        if let Ok((_, from)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(identity.as_bytes(), from).await;
        }
    }
}
