//! A server that answers `PING` as Redis does, and its client.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::client::connect_and_send;
use super::server::{Server, serve_tcp};
use crate::{LabError, Place};

const LINE_LEN_MAX: u64 = 1024;

/// Answers `PING` (inline or as an array) with `+PONG`, other commands with an error.
pub fn redis_like(place: &Place, address: SocketAddr) -> Result<Server, LabError> {
    serve_tcp(place, address, serve)
}

/// `PING`; true if the answer is `PONG`.
pub fn ping(address: SocketAddr, patience: Duration) -> io::Result<bool> {
    let complete = |answer: &[u8]| answer.ends_with(b"\r\n");
    let answer = connect_and_send(address, b"PING\r\n", complete, patience)?;
    Ok(answer == b"+PONG\r\n")
}

fn serve(stream: TcpStream) -> io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.by_ref().take(LINE_LEN_MAX).read_line(&mut line)? == 0 {
            return Ok(());
        }
        match line.trim_end() {
            // The lengths of an array and of its strings: the words themselves follow.
            "" => {}
            header if header.starts_with(['*', '$']) => {}
            command if command.eq_ignore_ascii_case("ping") => writer.write_all(b"+PONG\r\n")?,
            _ => writer.write_all(b"-ERR unknown command\r\n")?,
        }
    }
}
