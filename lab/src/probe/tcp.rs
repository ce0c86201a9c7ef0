//! TCP probe: connect, then read who answered.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpSocket;
use tokio::time::{Instant, timeout_at};

use super::{Observed, judge_answer};

/// An answer is one line.
const ANSWER_LEN_MAX: usize = 512;

pub(super) async fn connect(
    fd: OwnedFd,
    destination: SocketAddr,
    expected: &str,
    deadline: Instant,
) -> io::Result<Observed> {
    let socket = TcpSocket::from_std_stream(TcpStream::from(fd));
    let Ok(connected) = timeout_at(deadline, socket.connect(destination)).await else {
        return Ok(Observed::Silent);
    };
    let mut stream = connected?;
    let mut answer = Vec::new();
    while answer.len() < ANSWER_LEN_MAX {
        match timeout_at(deadline, stream.read_buf(&mut answer)).await {
            Ok(Ok(1..)) => {}
            // Closed, reset or silent: it was a connection all the same.
            _ => break,
        }
        if let Some(observed) = judge_answer(&answer, expected) {
            return Ok(observed);
        }
    }
    Ok(Observed::NoAnswer)
}
