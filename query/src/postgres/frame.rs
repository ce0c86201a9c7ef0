//! Messages of clients, read from a connection. `pgwire` writes what we answer; what comes in is read
//! here, since its decoder trusts the counts and lengths within a message.
//!
//! Source: PostgreSQL 15, chapter 55.7, message formats.

use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::error::Failure;

/// Largest message before the client is let in, which may hold a long token.
pub(super) const MAX_STARTUP_BYTES: usize = 16 * 1024;
/// Codes in the place of a version.
const CANCEL: u32 = 80_877_102;
const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;
/// Version 3 of the protocol, whatever its minor number.
const MAJOR: u32 = 3;
/// Most settings of a startup message.
const MAX_SETTINGS: usize = 64;

/// What a connection begins with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum First {
    Ssl,
    Gss,
    Cancel { process: i32, secret: i32 },
    Startup { minor: u16, unknown: Vec<String> },
}

/// What a client says once it is let in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    Query(String),
    Parse { name: String, sql: String, types: Vec<u32> },
    Bind(Bind),
    Describe { portal: bool, name: String },
    Execute { portal: String, max_rows: usize },
    Close { portal: bool, name: String },
    Flush,
    Sync,
    Terminate,
    Password(String),
    Copy,
}

/// Values for a statement, which make a portal of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Bind {
    pub(super) portal: String,
    pub(super) statement: String,
    pub(super) formats: Vec<i16>,
    pub(super) values: Vec<Option<Vec<u8>>>,
    pub(super) result_formats: Vec<i16>,
}

/// Reads the first message, or the one after it; `None` if the client has gone.
pub(super) async fn first(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<First>, Failure> {
    let mut head = [0; 8];
    if !fill(stream, &mut head).await? {
        return Ok(None);
    }
    let (length, code) = head.split_at(4);
    let (length, code) = (number(length), number(code));
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if !(8..=MAX_STARTUP_BYTES).contains(&length) {
        return Err(Failure::protocol(format!(
            "the first message says that it has {length} bytes: this is no client of Postgres"
        )));
    }
    let mut body = vec![0; length - 8];
    stream.read_exact(&mut body).await?;
    let mut body = Body(&body);
    Ok(Some(match code {
        SSL => First::Ssl,
        GSS => First::Gss,
        CANCEL => First::Cancel { process: body.i32()?, secret: body.i32()? },
        _ if code >> 16 == MAJOR => {
            let mut unknown = Vec::new();
            for _ in 0..MAX_SETTINGS {
                let name = body.text()?;
                if name.is_empty() {
                    return Ok(Some(First::Startup { minor: (code & 0xffff) as u16, unknown }));
                }
                body.text()?;
                // Options of the protocol itself, of which we know none.
                if name.starts_with("_pq_.") {
                    unknown.push(name);
                }
            }
            return Err(Failure::protocol(format!("more than {MAX_SETTINGS} settings at startup")));
        }
        _ => {
            return Err(Failure::new(
                "0A000",
                format!(
                    "version {}.{} of the protocol is not known: use 3.0",
                    code >> 16,
                    code & 0xffff
                ),
            ));
        }
    }))
}

/// Reads the next message of at most so many bytes; `None` if the client has gone.
pub(super) async fn next(
    stream: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> Result<Option<Message>, Failure> {
    let mut head = [0; 5];
    if !fill(stream, &mut head).await? {
        return Ok(None);
    }
    let (kind, length) = (head[0], usize::try_from(number(&head[1..])).unwrap_or(usize::MAX));
    if !(4..=limit.saturating_add(4)).contains(&length) {
        return Err(Failure::protocol(format!(
            "a message says that it has {length} bytes, {limit} are allowed"
        )));
    }
    let mut body = vec![0; length - 4];
    stream.read_exact(&mut body).await?;
    parse(kind, Body(&body)).map(Some)
}

/// Fills a buffer; false if nothing comes any more.
async fn fill(stream: &mut (impl AsyncRead + Unpin), into: &mut [u8]) -> Result<bool, Failure> {
    let mut filled = 0;
    while filled < into.len() {
        match stream.read(&mut into[filled..]).await? {
            0 if filled == 0 => return Ok(false),
            0 => return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
            read => filled += read,
        }
    }
    Ok(true)
}

fn parse(kind: u8, mut body: Body<'_>) -> Result<Message, Failure> {
    let message = match kind {
        b'Q' => Message::Query(body.text()?),
        b'P' => {
            let (name, sql) = (body.text()?, body.text()?);
            let count = body.count(4)?;
            let types = (0..count).map(|_| body.u32()).collect::<Result<_, _>>()?;
            Message::Parse { name, sql, types }
        }
        b'B' => {
            let (portal, statement) = (body.text()?, body.text()?);
            let count = body.count(2)?;
            let formats = (0..count).map(|_| body.i16()).collect::<Result<_, _>>()?;
            let count = body.count(4)?;
            let values = (0..count).map(|_| body.value()).collect::<Result<_, _>>()?;
            let count = body.count(2)?;
            let result_formats = (0..count).map(|_| body.i16()).collect::<Result<_, _>>()?;
            Message::Bind(Bind { portal, statement, formats, values, result_formats })
        }
        b'D' | b'C' => {
            let portal = match body.take(1)? {
                b"P" => true,
                b"S" => false,
                _ => return Err(Failure::protocol("neither a statement nor a portal")),
            };
            let name = body.text()?;
            if kind == b'D' {
                Message::Describe { portal, name }
            } else {
                Message::Close { portal, name }
            }
        }
        b'E' => {
            let (portal, rows) = (body.text()?, body.i32()?);
            let max_rows = usize::try_from(rows).ok().filter(|rows| *rows > 0);
            Message::Execute { portal, max_rows: max_rows.unwrap_or(usize::MAX) }
        }
        b'H' => Message::Flush,
        b'S' => Message::Sync,
        b'X' => Message::Terminate,
        b'p' => Message::Password(body.text()?),
        b'd' | b'c' | b'f' => Message::Copy,
        _ => return Err(Failure::protocol(format!("a message of unknown kind {kind}"))),
    };
    Ok(message)
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

/// What is left of a message.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Failure> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or_else(|| Failure::protocol("a message ends in the middle"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, Failure> {
        self.take(4).map(number)
    }

    fn i32(&mut self) -> Result<i32, Failure> {
        self.u32().map(u32::cast_signed)
    }

    fn i16(&mut self) -> Result<i16, Failure> {
        self.take(2).map(|bytes| i16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// How many follow, each of at least so many bytes.
    fn count(&mut self, size: usize) -> Result<usize, Failure> {
        let count = usize::from(self.i16()?.cast_unsigned());
        if count * size > self.0.len() {
            return Err(Failure::protocol("a message counts more than it has"));
        }
        Ok(count)
    }

    fn text(&mut self) -> Result<String, Failure> {
        let end = self.0.iter().position(|byte| *byte == 0);
        let end = end.ok_or_else(|| Failure::protocol("a text without an end"))?;
        let text = std::str::from_utf8(&self.0[..end])
            .map_err(|_| Failure::new("22021", "a text is not UTF-8: set client_encoding to UTF8"))?
            .to_owned();
        self.0 = &self.0[end + 1..];
        Ok(text)
    }

    fn value(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        match usize::try_from(self.i32()?) {
            Ok(length) => self.take(length).map(|bytes| Some(bytes.to_vec())),
            Err(_) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind][..], &length.to_be_bytes(), body].concat()
    }

    #[tokio::test]
    async fn what_is_whole_is_read() {
        let bytes = frame(b'P', b"name\0select $1\0\0\x01\0\0\0\x17");
        let read = next(&mut &bytes[..], 100).await.unwrap().unwrap();
        assert_eq!(
            read,
            Message::Parse { name: "name".into(), sql: "select $1".into(), types: vec![23] }
        );
        let bytes = frame(b'B', b"\0name\0\0\x01\0\x01\0\x02\0\0\0\x02ab\xff\xff\xff\xff\0\0");
        let Message::Bind(bind) = next(&mut &bytes[..], 100).await.unwrap().unwrap() else {
            panic!()
        };
        assert_eq!(bind.values, [Some(b"ab".to_vec()), None]);
        assert_eq!(bind.formats, [1]);
        assert!(next(&mut &b""[..], 100).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_is_not_is_refused() {
        for (kind, body) in [
            (b'P', &b"name\0select"[..]),
            (b'P', b"\0\0\xff\xff"),
            (b'B', b"\0\0\0\0\xff\xff\0\0\0\0"),
            (b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xffab\0\0"),
            (b'D', b"Xname\0"),
            (b'E', b"\0\0"),
            (b'Q', b"\xff\xfe\0"),
            (b'z', b""),
        ] {
            assert!(next(&mut &frame(kind, body)[..], 100).await.is_err(), "{kind} {body:?}");
        }
        assert!(next(&mut &b"Q\x7f\xff\xff\xff"[..], 100).await.is_err());
        assert!(next(&mut &b"Q\0\0\0\x01"[..], 100).await.is_err());
        assert!(first(&mut &b"GET / HTTP/1.1\r\n\r\n"[..]).await.is_err());
        assert!(first(&mut &b"\0\0\0\x09\0\x03\0\0a"[..]).await.is_err());
    }
}
