//! The Postgres wire: statements both ways, messages in any order and broken, and what no client begins with.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::bed::{Bed, Client, Told};
use super::mutate::mutate;
use super::words;
use crate::random::Random;

/// A client with a connection that it keeps as long as the door does.
pub(super) struct Postgres {
    address: String,
    kept: Option<TcpStream>,
}

impl Postgres {
    pub(super) fn new(bed: &Bed) -> Self {
        Self { address: bed.query.door("postgres").to_owned(), kept: None }
    }

    /// Sends messages that end with one that is answered by `ReadyForQuery`.
    pub(super) async fn exchange(&mut self, messages: &[u8]) -> Told {
        let mut stream = match self.kept.take() {
            Some(stream) => stream,
            None => {
                let mut stream = self.connect().await;
                stream.write_all(&startup()).await.unwrap();
                let welcome = read(&mut stream, true).await;
                assert_eq!(welcome.last().map(|message| message.0), Some(b'Z'), "{welcome:?}");
                stream
            }
        };
        // The door may close before it has read all.
        let _ = stream.write_all(messages).await;
        let answer = read(&mut stream, true).await;
        if answer.last().is_some_and(|message| message.0 == b'Z') {
            self.kept = Some(stream);
        }
        told(&answer)
    }

    /// Sends bytes over a connection of their own, and nothing more.
    async fn once(&self, bytes: &[u8]) -> Told {
        let mut stream = self.connect().await;
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        told(&read(&mut stream, false).await)
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).await.unwrap()
    }
}

impl Client for Postgres {
    async fn ask(&mut self, mut random: Random) -> (String, Told) {
        let sql = words::sql(&mut random);
        let random = &mut random;
        let bytes = match random.below(8) {
            0 | 1 => {
                let simple = message(b'Q', &[sql.as_bytes(), b"\0"]);
                return (sql, self.exchange(&simple).await);
            }
            2 => {
                let mut messages = extended(random, &sql);
                messages.push(message(b'S', &[]));
                let messages = messages.concat();
                return (messages.escape_ascii().to_string(), self.exchange(&messages).await);
            }
            // The same in any order, some of it missing or twice.
            3 | 4 => {
                let mut messages = extended(random, &sql);
                messages.extend(others(random));
                for _ in 0..random.below(6) {
                    let (from, to) = (random.below(messages.len()), random.below(messages.len()));
                    messages.swap(from, to);
                }
                messages.truncate(1 + random.below(messages.len()));
                [startup(), messages.concat()].concat()
            }
            5 | 6 => {
                let messages = [extended(random, &sql), others(random)].concat().concat();
                let mut bytes = [startup(), messages].concat();
                mutate(random, &mut bytes);
                bytes
            }
            _ => {
                let mut bytes = beginning(random);
                if random.below(2) == 0 {
                    mutate(random, &mut bytes);
                }
                bytes
            }
        };
        (bytes.escape_ascii().to_string(), self.once(&bytes).await)
    }
}

/// A startup message.
fn startup() -> Vec<u8> {
    let body = b"\0\x03\0\0user\0me\0database\0any\0\0";
    [&length(body.len()), &body[..]].concat()
}

pub(super) fn message(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&[kind][..], &length(body.len()), &body].concat()
}

fn length(body: usize) -> [u8; 4] {
    u32::try_from(body + 4).unwrap().to_be_bytes()
}

/// A statement prepared, bound, described and run.
pub(super) fn extended(random: &mut Random, sql: &str) -> Vec<Vec<u8>> {
    let type_of_it = [0_u32, 20, 25, 1184, 1007, 3802, 99_999][random.below(7)].to_be_bytes();
    let types = [&[0, 1][..], &type_of_it].concat();
    let value: &[u8] =
        [&b"\0\0\0\x011"[..], b"\xff\xff\xff\xff", b"\0\0\0\x08\0\0\0\0\0\0\0\x05", b"\0\0\0\0"]
            [random.below(4)];
    let format = [0, random.below(3) as u8];
    let values = [&[0, 1][..], &format, &[0, 1], value, &[0, 1], &format].concat();
    let rows = [0_u32, 0, 1, 3, u32::MAX][random.below(5)].to_be_bytes();
    let mut messages = vec![
        message(
            b'P',
            &[b"\0", sql.as_bytes(), b"\0", if random.below(2) == 0 { &types } else { b"\0\0" }],
        ),
        message(b'B', &[b"\0\0", if random.below(2) == 0 { &values } else { b"\0\0\0\0\0\0" }]),
        message(b'D', &[random.pick(&[&b"P\0"[..], b"S\0", b"Pa\0"])]),
        message(b'E', &[b"\0", &rows]),
    ];
    if random.below(3) == 0 {
        messages.insert(1, message(b'D', &[b"S\0"]));
    }
    messages
}

/// Messages of every other kind.
fn others(random: &mut Random) -> Vec<Vec<u8>> {
    let begin = random.pick(&[
        "begin",
        "commit",
        "declare c cursor for select 1",
        "fetch all from c",
        "show all",
        "",
    ]);
    vec![
        message(b'S', &[]),
        message(b'H', &[]),
        message(b'C', &[b"S\0"]),
        message(b'p', &[b"secret\0"]),
        message(b'd', &[b"1\t2\n"]),
        message(b'c', &[]),
        message(b'f', &[b"no\0"]),
        message(b'F', &[b"\0\0\0\x01\0\0\0\0\0\0"]),
        message(b'Q', &[begin.as_bytes(), b"\0"]),
        message(b'S', &[]),
    ]
}

/// What a connection may begin with.
fn beginning(random: &mut Random) -> Vec<u8> {
    let key = random.bytes(8);
    match random.below(7) {
        0 => [&b"\0\0\0\x10\x04\xd2\x16\x2e"[..], &key].concat(),
        1 => [&b"\0\0\0\x08\x04\xd2\x16\x2f"[..], &startup()].concat(),
        2 => [&b"\0\0\0\x08\x04\xd2\x16\x30"[..], &startup(), &message(b'X', &[])].concat(),
        3 => b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
        4 => [&b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"[..], &random.bytes(60)].concat(),
        5 => startup(),
        _ => {
            let count = random.below(80);
            random.bytes(count)
        }
    }
}

/// Reads messages up to `ReadyForQuery` if one `waits` for that, else to the end.
async fn read(stream: &mut TcpStream, waits: bool) -> Vec<(u8, Vec<u8>)> {
    let (mut bytes, mut messages, mut begun) = (Vec::new(), Vec::new(), 0);
    loop {
        let rest = &bytes[begun..];
        let head = rest.split_first_chunk::<5>().map(|(head, _)| *head);
        let size =
            head.map(|head| u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize);
        match (head, size) {
            // An answer to a request for encryption.
            (Some([b'N', b'N' | b'R' | b'E', ..]), _) => begun += 1,
            (Some([kind, ..]), Some(size)) if rest.len() > size => {
                messages.push((kind, rest[5..=size].to_vec()));
                begun += size + 1;
                if waits && kind == b'Z' && begun == bytes.len() {
                    return messages;
                }
            }
            _ => match stream.read_buf(&mut bytes).await {
                Ok(0) | Err(_) => return messages,
                Ok(_) => {}
            },
        }
    }
}

/// What messages tell; the last error counts.
fn told(messages: &[(u8, Vec<u8>)]) -> Told {
    let mut errors = messages.iter().filter(|(kind, _)| *kind == b'E').map(|(_, body)| {
        let field = |wanted: u8| {
            let mut fields = body.split(|byte| *byte == 0);
            let text = fields.find_map(|field| field.strip_prefix(&[wanted]));
            String::from_utf8_lossy(text.unwrap_or_default()).into_owned()
        };
        let (code, message) = (field(b'C'), field(b'M'));
        if code.len() == 5 && code != "XX000" {
            message
        } else {
            format!("internal error: {code} {message}")
        }
    });
    match (errors.next_back(), messages.is_empty()) {
        (Some(message), _) => Told::Refused(message),
        (None, true) => Told::Closed,
        (None, false) => Told::Answered,
    }
}

#[test]
fn random_messages_get_an_answer() {
    let bed = Bed::start();
    let counts = bed.send(|| Postgres::new(&bed));
    assert!(counts.answered > 500 && counts.refused > 4_000, "{counts:?}");
}
