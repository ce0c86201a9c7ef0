//! A name server over UDP that knows a few names, and its client (RFC 1035).

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::{LabError, Place};

const HEADER_LEN: usize = 12;
const MESSAGE_LEN_MAX: usize = 512;
const LABEL_LEN_MAX: usize = 63;
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;
const NO_SUCH_NAME: u8 = 3;
const TIME_TO_LIVE_S: u32 = 30;
/// How soon a server notices that it is to end.
const STOP_POLL: Duration = Duration::from_millis(50);

/// A running name server. Dropping it ends it.
#[derive(Debug)]
pub struct DnsServer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Answers A and AAAA queries for these names (lower case, no final dot).
pub fn dns_like(
    place: &Place,
    address: SocketAddr,
    names: HashMap<String, IpAddr>,
) -> Result<DnsServer, LabError> {
    let what = format!("cannot listen at {address} in {}", place.label());
    let socket = place
        .enter(|| {
            let socket = UdpSocket::bind(address)?;
            socket.set_read_timeout(Some(STOP_POLL))?;
            Ok(socket)
        })?
        .map_err(LabError::io(what))?;
    let stop = Arc::new(AtomicBool::new(false));
    let thread = {
        let stop = Arc::clone(&stop);
        thread::Builder::new()
            .name("lab-dns".to_owned())
            .spawn(move || serve(&socket, &names, &stop))
            .map_err(LabError::io("cannot start a thread"))?
    };
    Ok(DnsServer { stop, thread: Some(thread) })
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It does not panic on input; if it did, that was reported.
            let _ = thread.join();
        }
    }
}

/// Asks for a name's IPv4 address; `None` if there is none.
pub fn query(server: SocketAddr, name: &str, patience: Duration) -> io::Result<Option<IpAddr>> {
    let any: SocketAddr = if server.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(patience))?;
    // The source port is random, and the peer is fixed.
    let id = socket.local_addr()?.port();
    socket.send(&question(id, name)?)?;
    let mut answer = [0; MESSAGE_LEN_MAX];
    let len = socket.recv(&mut answer)?;
    Ok(address_in(&answer[..len]))
}

fn serve(socket: &UdpSocket, names: &HashMap<String, IpAddr>, stop: &AtomicBool) {
    let mut buffer = [0; MESSAGE_LEN_MAX];
    while !stop.load(Ordering::Relaxed) {
        // Errors are the timeout, and ICMP messages about earlier answers.
        let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
        if let Some(answer) = answer(&buffer[..len], names) {
            let _ = socket.send_to(&answer, from);
        }
    }
}

fn question(id: u16, name: &str) -> io::Result<Vec<u8>> {
    let mut message = Vec::with_capacity(HEADER_LEN + name.len() + 6);
    message.extend(id.to_be_bytes());
    // Recursion desired; one question.
    message.extend([0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.trim_end_matches('.').split('.') {
        let len = u8::try_from(label.len())
            .ok()
            .filter(|len| (1..=LABEL_LEN_MAX).contains(&usize::from(*len)))
            .ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidInput, format!("`{name}` is no name"))
            })?;
        message.push(len);
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(TYPE_A.to_be_bytes());
    message.extend(CLASS_IN.to_be_bytes());
    Ok(message)
}

/// `None` for what is not a query of one question.
fn answer(query: &[u8], names: &HashMap<String, IpAddr>) -> Option<Vec<u8>> {
    let is_query = query.get(2)? & 0x80 == 0;
    if !is_query || query.get(4..6)? != [0, 1] {
        return None;
    }
    let (name, end) = read_name(query)?;
    let kind = u16::from_be_bytes(query.get(end..end + 2)?.try_into().ok()?);
    let address = names.get(&name);
    let record = match address {
        Some(IpAddr::V4(address)) if kind == TYPE_A => Some(address.octets().to_vec()),
        Some(IpAddr::V6(address)) if kind == TYPE_AAAA => Some(address.octets().to_vec()),
        _ => None,
    };
    let mut message = query.get(..2)?.to_vec();
    let code = if address.is_some() { 0 } else { NO_SUCH_NAME };
    message.extend([0x85, 0x80 | code, 0, 1, 0, u8::from(record.is_some()), 0, 0, 0, 0]);
    message.extend(query.get(HEADER_LEN..end + 4)?);
    if let Some(record) = record {
        // The name is the question's.
        message.extend([0xc0, u8::try_from(HEADER_LEN).ok()?]);
        message.extend(kind.to_be_bytes());
        message.extend(CLASS_IN.to_be_bytes());
        message.extend(TIME_TO_LIVE_S.to_be_bytes());
        message.extend(u16::try_from(record.len()).ok()?.to_be_bytes());
        message.extend(record);
    }
    Some(message)
}

/// The first question's name in lower case, and where it ends.
fn read_name(message: &[u8]) -> Option<(String, usize)> {
    let mut at = HEADER_LEN;
    let mut labels = Vec::new();
    loop {
        let len = usize::from(*message.get(at)?);
        at += 1;
        if len == 0 {
            return Some((labels.join("."), at));
        }
        if len > LABEL_LEN_MAX {
            return None;
        }
        let label = std::str::from_utf8(message.get(at..at + len)?).ok()?;
        labels.push(label.to_ascii_lowercase());
        at += len;
    }
}

/// The address in an answer of ours.
fn address_in(message: &[u8]) -> Option<IpAddr> {
    if message.get(6..8)? == [0, 0] {
        return None;
    }
    let (_, end) = read_name(message)?;
    let record = message.get(end + 4 + 12..)?;
    <[u8; 4]>::try_from(record)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(record).map(IpAddr::from))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_answered() {
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        let names = HashMap::from([("api.shop.svc".to_owned(), address)]);
        let reply = answer(&question(7, "API.shop.svc.").unwrap(), &names).unwrap();
        assert_eq!(reply[..2], [0, 7]);
        assert_eq!(address_in(&reply), Some(address));
        let reply = answer(&question(7, "other").unwrap(), &names).unwrap();
        assert_eq!(reply[3] & 0xf, NO_SUCH_NAME);
        assert_eq!(address_in(&reply), None);
    }

    #[test]
    fn foreign_messages_are_left_alone() {
        let query = question(7, "a.b").unwrap();
        for len in 0..query.len() {
            let _ = answer(&query[..len], &HashMap::new());
        }
        assert_eq!(answer(&query[..14], &HashMap::new()), None);
        assert!(question(7, "").is_err());
        assert!(question(7, &"x".repeat(64)).is_err());
    }
}
