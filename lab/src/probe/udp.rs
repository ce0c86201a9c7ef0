//! UDP probe: a datagram, repeated until it is answered.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::{Observed, judge_answer};

/// Datagrams get lost without anybody's fault.
const REPEAT: Duration = Duration::from_millis(300);
const ANSWER_LEN_MAX: usize = 512;

/// Does not return while nothing is answered.
pub(super) async fn ask(
    fd: OwnedFd,
    destination: SocketAddr,
    expected: &str,
) -> io::Result<Observed> {
    let socket = UdpSocket::from_std(std::net::UdpSocket::from(fd))?;
    socket.connect(destination).await?;
    let mut answer = [0; ANSWER_LEN_MAX];
    loop {
        socket.send(b"weir?\n").await?;
        if let Ok(received) = timeout(REPEAT, socket.recv(&mut answer)).await
            && let Some(observed) = judge_answer(&answer[..received?], expected)
        {
            return Ok(observed);
        }
    }
}
