//! Does a connection come about? Clients, and the responders they talk to.
//!
//! Judged by the connection alone: an answer means it did, silence until the deadline means it
//! did not. An answer names who gave it, so that a packet that went astray is noticed. Every
//! attempt has a source port of its own, so that no connection of before is mistaken for it.

mod client;
mod icmp;
mod responder;
mod sctp;
mod socket;
mod tcp;
mod udp;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use responder::{Responders, Service, Serving};

use crate::{LabError, Place};

/// What a probe speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// Connect, and read who answered.
    Tcp,
    /// A datagram, repeated until it is answered.
    Udp,
    /// INIT, answered by INIT-ACK, in raw packets: not every kernel has SCTP sockets.
    Sctp,
    /// Echo, answered by the kernel; the port means nothing.
    Icmp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
            Self::Icmp => "ICMP",
        })
    }
}

/// One attempt to connect.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Where it begins.
    pub from: Place,
    /// One of the addresses there.
    pub source: IpAddr,
    /// Where it is to arrive: its [`Place::label`] is what the answer must say.
    pub to: Place,
    /// Where it goes.
    pub destination: SocketAddr,
    /// How.
    pub protocol: Protocol,
    /// Whether it should come about.
    pub expect: bool,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// It came about, and the right one answered.
    Answered,
    /// Another one answered.
    WrongAnswer(String),
    /// The connection was established, and then nothing came.
    NoAnswer,
    /// RST, ABORT, or port unreachable: it arrived (or somebody rejects), and nobody listens.
    Refused,
    /// The network said that there is no way.
    Unreachable(String),
    /// Nothing came back.
    Silent,
}

impl Observed {
    /// Whether the connection came about, whoever answered.
    pub fn is_connected(&self) -> bool {
        matches!(self, Self::Answered | Self::WrongAnswer(_) | Self::NoAnswer)
    }

    fn of(error: &std::io::Error) -> Self {
        use std::io::ErrorKind::{
            ConnectionAborted, ConnectionRefused, ConnectionReset, TimedOut, WouldBlock,
        };
        match error.kind() {
            ConnectionRefused | ConnectionReset | ConnectionAborted => Self::Refused,
            TimedOut | WouldBlock => Self::Silent,
            _ => Self::Unreachable(error.to_string()),
        }
    }
}

impl fmt::Display for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered => f.write_str("connected"),
            Self::WrongAnswer(who) => write!(f, "connected, but `{who}` answered"),
            Self::NoAnswer => f.write_str("connected, but nothing was answered"),
            Self::Refused => f.write_str("refused: it arrived, and nobody listens there"),
            Self::Unreachable(why) => write!(f, "unreachable: {why}"),
            Self::Silent => f.write_str("no answer"),
        }
    }
}

/// What came of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The last attempt.
    pub observed: Observed,
    /// The first attempt, if there was a second.
    pub retried_after: Option<Observed>,
    /// How long the last attempt took.
    pub elapsed: Duration,
}

impl Outcome {
    /// Whether it is what was expected: an answer by the right one, or no connection at all.
    pub fn is_as_expected(&self, expect: bool) -> bool {
        if expect { self.observed == Observed::Answered } else { !self.observed.is_connected() }
    }
}

/// How patient probes are.
#[derive(Clone, Copy, Debug)]
pub struct ProbeOptions {
    /// A connection that has not come about by then does not.
    pub deadline: Duration,
    /// A probe that should have connected and did not is tried once more, this long, so that a
    /// busy machine does not look like a broken policy.
    pub retry_deadline: Duration,
    /// How many probes run side by side.
    pub in_flight_max: usize,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_millis(1500),
            retry_deadline: Duration::from_secs(6),
            in_flight_max: 1000,
        }
    }
}

/// Runs probes. One prober for the life of a lab, as it gives out the source ports.
#[derive(Debug)]
pub struct Prober {
    options: ProbeOptions,
    next_port: AtomicU32,
}

impl Prober {
    /// A prober. Raises the process's limit of open files as far as it may.
    pub fn new(options: ProbeOptions) -> Self {
        socket::raise_open_files();
        Self { options, next_port: AtomicU32::new(0) }
    }

    /// Runs all of them side by side; the outcomes are in the same order.
    pub fn run(&self, probes: &[Probe]) -> Result<Vec<Outcome>, LabError> {
        let all: Vec<&Probe> = probes.iter().collect();
        let mut outcomes = self.round(&all, self.options.deadline)?;
        let again: Vec<usize> = (0..probes.len())
            .filter(|i| probes[*i].expect && !outcomes[*i].is_as_expected(true))
            .collect();
        let probes_again: Vec<&Probe> = again.iter().map(|i| &probes[*i]).collect();
        let second = self.round(&probes_again, self.options.retry_deadline)?;
        for (i, outcome) in again.into_iter().zip(second) {
            let first = std::mem::replace(&mut outcomes[i], outcome);
            outcomes[i].retried_after = Some(first.observed);
        }
        Ok(outcomes)
    }

    fn round(&self, probes: &[&Probe], deadline: Duration) -> Result<Vec<Outcome>, LabError> {
        let mut outcomes = Vec::with_capacity(probes.len());
        for chunk in probes.chunks(self.options.in_flight_max.max(1)) {
            let sockets = socket::open(chunk, &|| self.source_port())?;
            outcomes.extend(client::run(chunk, sockets, deadline)?);
        }
        Ok(outcomes)
    }

    /// Below the kernel's own ephemeral ports, each used once before any is used again.
    fn source_port(&self) -> u16 {
        const FIRST: u32 = 10_000;
        const COUNT: u32 = 32_768 - FIRST;
        let offset = self.next_port.fetch_add(1, Ordering::Relaxed) % COUNT;
        u16::try_from(FIRST + offset).unwrap_or(u16::MAX)
    }
}

/// What a responder at this place says.
fn identity(place: &Place) -> String {
    format!("weir {}\n", place.label())
}

/// Reads an answer; `None` while it is incomplete.
fn judge_answer(answer: &[u8], expected: &str) -> Option<Observed> {
    let end = answer.iter().position(|byte| *byte == b'\n')?;
    let line = String::from_utf8_lossy(&answer[..=end]);
    Some(if line == expected {
        Observed::Answered
    } else {
        Observed::WrongAnswer(line.trim_end().to_owned())
    })
}

fn outcome(observed: Observed, begun: Instant) -> Outcome {
    Outcome { observed, retried_after: None, elapsed: begun.elapsed() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged_by_who_gave_them() {
        assert_eq!(judge_answer(b"weir pod a/b\n", "weir pod a/b\n"), Some(Observed::Answered));
        assert_eq!(
            judge_answer(b"weir pod a/c\nrest", "weir pod a/b\n"),
            Some(Observed::WrongAnswer("weir pod a/c".into()))
        );
        assert_eq!(judge_answer(b"weir pod", "weir pod a/b\n"), None);
    }

    #[test]
    fn refusal_is_no_connection() {
        let outcome = |observed| Outcome { observed, retried_after: None, elapsed: Duration::ZERO };
        assert!(outcome(Observed::Refused).is_as_expected(false));
        assert!(!outcome(Observed::Refused).is_as_expected(true));
        assert!(!outcome(Observed::NoAnswer).is_as_expected(true));
        assert!(!outcome(Observed::NoAnswer).is_as_expected(false));
        assert!(!outcome(Observed::WrongAnswer("x".into())).is_as_expected(false));
        assert!(outcome(Observed::Silent).is_as_expected(false));
    }

    #[test]
    fn source_ports_do_not_come_twice_soon() {
        let prober = Prober::new(ProbeOptions::default());
        let ports: std::collections::HashSet<u16> =
            (0..22_768).map(|_| prober.source_port()).collect();
        assert_eq!(ports.len(), 22_768);
        assert_eq!(ports.iter().min(), Some(&10_000));
        assert_eq!(ports.iter().max(), Some(&32_767));
    }
}
