//! Small servers and clients that make a lab look alive: real sockets, bounded, with an end.
//!
//! Servers ([`server`], [`redis`], [`http`], [`dns`], [`bulk`], [`datagrams`]) run until their handle is dropped.
//! Clients act in the calling thread: call them inside [`crate::Place::enter`], or repeatedly with
//! [`background`].

pub mod background;
pub mod bulk;
pub mod client;
pub mod crafted;
pub mod datagrams;
pub mod dns;
pub mod http;
pub mod redis;
pub mod server;
