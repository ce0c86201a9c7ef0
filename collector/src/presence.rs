//! One collector of a node at a time, also where it keeps neither pins nor state: two would both
//! attach to the node's pods, and count each packet twice.
//!
//! The claim is a name in the network namespace (unix(7), abstract sockets): it leaves no file, and the
//! kernel takes it back when the process ends, however it does.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

const PREFIX: &str = "weir-collector/";
/// Longest name of an abstract socket, without the zero byte before it.
const NAME_BYTES: usize = 107;

/// Held by the collector of a node in this thread's network namespace.
#[derive(Debug)]
pub(crate) struct Presence {
    _name: UnixDatagram,
}

impl Presence {
    /// None: another collector has it.
    ///
    /// # Errors
    /// The system has no socket to give.
    pub(crate) fn claim(node: &str) -> io::Result<Option<Self>> {
        let mut name = format!("{PREFIX}{node}").into_bytes();
        name.truncate(NAME_BYTES);
        match UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?) {
            Ok(name) => Ok(Some(Self { _name: name })),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_collector_of_a_node() {
        let node = format!("node-{}-{}", std::process::id(), "x".repeat(300));
        let first = Presence::claim(&node).unwrap().expect("nobody else has it");
        assert!(Presence::claim(&node).unwrap().is_none());
        assert!(Presence::claim(&format!("other-{}", std::process::id())).unwrap().is_some());
        drop(first);
        assert!(Presence::claim(&node).unwrap().is_some());
    }
}
