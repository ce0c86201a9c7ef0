//! A server that answers every HTTP request with a body of one size, and its client.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::client::connect_and_send;
use super::server::{Server, serve_tcp};
use crate::{LabError, Place};

const HEAD_LEN_MAX: u64 = 16 * 1024;

/// Answers any request with 200 and `body_len` bytes, after calling `before` (an upstream call,
/// say). One request a connection.
pub fn http_like(
    place: &Place,
    address: SocketAddr,
    body_len: usize,
    before: impl Fn() + Send + Sync + 'static,
) -> Result<Server, LabError> {
    serve_tcp(place, address, move |stream| {
        read_head(&stream)?;
        before();
        answer(stream, body_len)
    })
}

/// `GET path`; the status code.
pub fn get(address: SocketAddr, path: &str, patience: Duration) -> io::Result<u16> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let answer = connect_and_send(address, request.as_bytes(), |_| false, patience)?;
    std::str::from_utf8(answer.split(|byte| *byte == b'\r').next().unwrap_or_default())
        .ok()
        .and_then(|line| line.split(' ').nth(1)?.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no HTTP answer"))
}

fn read_head(stream: &TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream).take(HEAD_LEN_MAX);
    loop {
        let mut line = Vec::new();
        reader.read_until(b'\n', &mut line)?;
        match line.as_slice() {
            b"\r\n" | b"\n" => return Ok(()),
            b"" => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
    }
}

fn answer(mut stream: TcpStream, body_len: usize) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {body_len}\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&vec![b'.'; body_len])
}
