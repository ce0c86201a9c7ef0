//! How the doors listen: TCP with or without TLS, and who is on the other side.

mod listener;
mod tls;

pub(crate) use listener::{Connection, Listener, Peer, accept};
pub(crate) use tls::{Secured, Tls};
