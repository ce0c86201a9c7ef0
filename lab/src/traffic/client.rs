//! One request over one connection.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// An answer longer than this is cut.
const ANSWER_LEN_MAX: usize = 1 << 20;

/// Connects, sends, and reads until `complete` says so, the peer closes, or the time is over
/// (then it is an error of kind `TimedOut`).
pub fn connect_and_send(
    address: SocketAddr,
    request: &[u8],
    complete: impl Fn(&[u8]) -> bool,
    patience: Duration,
) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + patience;
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    stream.write_all(request).map_err(timed_out)?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !complete(&answer) && answer.len() < ANSWER_LEN_MAX {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut buffer).map_err(timed_out)? {
            0 => break,
            len => answer.extend(&buffer[..len]),
        }
    }
    Ok(answer)
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// A socket's timeout looks like "would block".
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}
