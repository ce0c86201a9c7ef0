//! Transfers of known size.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::server::{Server, serve_tcp};
use crate::{LabError, Place};

const BLOCK_LEN: usize = 64 * 1024;

/// Reads all that comes and answers how many bytes they were (8 bytes, big endian).
pub fn sink(place: &Place, address: SocketAddr) -> Result<Server, LabError> {
    serve_tcp(place, address, |mut stream| {
        let mut block = vec![0; BLOCK_LEN];
        let mut received = 0_u64;
        loop {
            match stream.read(&mut block)? {
                0 => break,
                len => received += u64::try_from(len).unwrap_or(u64::MAX),
            }
        }
        stream.write_all(&received.to_be_bytes())
    })
}

/// Sends this many bytes to a [`sink`] and returns how many arrived.
pub fn send(address: SocketAddr, bytes: u64, patience: Duration) -> io::Result<u64> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_write_timeout(Some(patience))?;
    stream.set_read_timeout(Some(patience))?;
    io::copy(&mut io::repeat(b'w').take(bytes), &mut stream)?;
    stream.shutdown(Shutdown::Write)?;
    let mut arrived = [0; 8];
    stream.read_exact(&mut arrived)?;
    // Until the peer's FIN is here, so that counters are final when this returns.
    let _ = stream.read(&mut [0; 1])?;
    Ok(u64::from_be_bytes(arrived))
}

/// Sends to a [`sink`] for this long. Returns how many bytes arrived, and how long it took.
pub fn send_for(
    address: SocketAddr,
    period: Duration,
    patience: Duration,
) -> io::Result<(u64, Duration)> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_write_timeout(Some(patience))?;
    stream.set_read_timeout(Some(patience))?;
    let block = vec![b'w'; BLOCK_LEN];
    let begun = Instant::now();
    while begun.elapsed() < period {
        stream.write_all(&block)?;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut arrived = [0; 8];
    stream.read_exact(&mut arrived)?;
    Ok((u64::from_be_bytes(arrived), begun.elapsed()))
}
