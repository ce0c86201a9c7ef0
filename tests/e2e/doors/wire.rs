//! What is no HTTP, or half of it, at the ports of HTTP and gRPC: broken requests, frames of HTTP/2 in any order and
//! of any length, another protocol's first bytes. There is nobody to tell words; it ends, and the doors go on.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::bed::{Bed, Client, Told};
use super::mutate::mutate;
use crate::random::Random;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Whoever has sent everything waits so long for the door to close.
const PATIENCE: Duration = Duration::from_secs(20);

struct Wire {
    doors: [String; 2],
}

impl Client for Wire {
    async fn ask(&mut self, mut random: Random) -> (String, Told) {
        let door = &self.doors[random.below(2)];
        let mut bytes = match random.below(8) {
            0 => {
                let count = random.below(300);
                random.bytes(count)
            }
            1 => [&b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"[..], &random.bytes(60)].concat(),
            2 | 3 => request(&mut random),
            _ => {
                let frames = (0..random.below(12)).flat_map(|_| frame(&mut random));
                PREFACE.iter().copied().chain(frames.collect::<Vec<_>>()).collect()
            }
        };
        if random.below(2) == 0 {
            mutate(&mut random, &mut bytes);
        }
        let mut stream = TcpStream::connect(door).await.unwrap();
        // The door may close before it has read all.
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "the door does not close: {}", bytes.escape_ascii());
        let head = String::from_utf8_lossy(&answer[..answer.len().min(40)]).into_owned();
        let told = match head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.split(' ').next()) {
            Some(code) if code.starts_with('5') => Told::Refused(format!("internal error: {head}")),
            Some(code) if code.starts_with('2') => Told::Answered,
            _ => Told::Closed,
        };
        (format!("{door} {}", bytes.escape_ascii()), told)
    }
}

/// A request of HTTP/1.1.
fn request(random: &mut Random) -> Vec<u8> {
    let method = random.pick(&["GET", "POST", "DELETE", "OPTIONS", "CONNECT", "TRACE", "BREW"]);
    let path = random.pick(&[
        "/api/v1/sql",
        "/api/v1/flows?filter=%",
        "/api/v1/flows?limit=1&limit=2",
        "/v2/entries:list",
        "//",
        "*",
        "/api/v1/queries/-1",
        "/api/v1/queries/99999999999999999999",
        "/../../etc/passwd",
        "/%00",
        "/api/v1/library",
        "/v2/projects/%2e%2e/metrics/%2f",
        "http://other/",
        "/api/v1/intervals/preview?namespace=%ff&since=-1h",
    ]);
    let length = random.pick(&["0", "2", "9", "-1", "99999999999", "two"]);
    let more = random.pick(&[
        "",
        "transfer-encoding: chunked\r\n",
        "host: b\r\n",
        "expect: 100-continue\r\n",
        "accept: */*;q=x\r\n",
        "authorization: Basic =\r\n",
        "cookie: weir_token\r\n",
        "content-encoding: gzip\r\n",
        "upgrade: h2c\r\n",
    ]);
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         {more}connection: close\r\n\r\n{{}}"
    )
    .into_bytes()
}

/// A frame of HTTP/2 (RFC 9113), its parts as they should be or not.
fn frame(random: &mut Random) -> Vec<u8> {
    let kind = random.below(11) as u8;
    let payload = match kind {
        // Headers: indexed fields of the static table, which make a request, or anything.
        1 if random.below(2) == 0 => b"\x83\x86\x84\x41\x01a".to_vec(),
        4 => [&[0, random.within(0..8) as u8][..], &random.bytes(4)].concat(),
        3 | 8 => random.bytes(4),
        6 => random.bytes(8),
        _ => {
            let count = random.below(40);
            random.bytes(count)
        }
    };
    let length = if random.below(8) == 0 { random.below(1 << 24) } else { payload.len() };
    let length = u32::try_from(length).unwrap().to_be_bytes();
    let flags = random.pick(&[&[0][..], &[1], &[4], &[5], &[8], &[0xff]])[0];
    let stream = [0, 1, 1, 3, 2, u32::MAX][random.below(6)].to_be_bytes();
    [&length[1..], &[kind, flags], &stream, &payload].concat()
}

#[test]
fn bytes_of_no_protocol_end_and_harm_nobody() {
    let bed = Bed::start();
    let doors = ["http", "grpc"].map(|door| bed.query.door(door).to_owned());
    let counts = bed.send(|| Wire { doors: doors.clone() });
    assert!(counts.closed > 5_000, "{counts:?}");
}
