//! Runs the client side of many probes at once, on one thread.

use std::io;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::socket::Bound;
use super::{Observed, Outcome, Probe, Protocol, icmp, identity, outcome, sctp, tcp, udp};
use crate::LabError;

/// The outcomes, in the order of the probes.
pub(super) fn run(
    probes: &[&Probe],
    sockets: Vec<Bound>,
    patience: Duration,
) -> Result<Vec<Outcome>, LabError> {
    if probes.is_empty() {
        return Ok(Vec::new());
    }
    // A thread of its own: the caller may be inside a runtime already.
    std::thread::scope(|scope| {
        let handle = std::thread::Builder::new()
            .name("lab-probes".to_owned())
            .spawn_scoped(scope, || {
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .map(|runtime| runtime.block_on(all(probes, sockets, patience)))
            })
            .map_err(LabError::io("cannot start a thread"))?;
        handle
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            .map_err(LabError::io("cannot start the probes' runtime"))
    })
}

async fn all(probes: &[&Probe], sockets: Vec<Bound>, patience: Duration) -> Vec<Outcome> {
    let mut tasks = JoinSet::new();
    for (i, (probe, socket)) in probes.iter().zip(sockets).enumerate() {
        let probe = Probe::clone(probe);
        tasks.spawn(async move { (i, one(&probe, socket, patience).await) });
    }
    let never = Outcome {
        observed: Observed::Unreachable("the probe did not run".to_owned()),
        retried_after: None,
        elapsed: Duration::ZERO,
    };
    let mut outcomes = vec![never; probes.len()];
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok((i, outcome)) => outcomes[i] = outcome,
            Err(error) => {
                if let Ok(panic) = error.try_into_panic() {
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }
    outcomes
}

async fn one(probe: &Probe, socket: Bound, patience: Duration) -> Outcome {
    let begun = Instant::now();
    let deadline = tokio::time::Instant::from_std(begun + patience);
    let expected = identity(&probe.to);
    let destination = probe.destination;
    let observed = match probe.protocol {
        Protocol::Tcp => tcp::connect(socket.fd, destination, &expected, deadline).await,
        Protocol::Udp => or_silent(deadline, udp::ask(socket.fd, destination, &expected)).await,
        Protocol::Sctp => or_silent(deadline, sctp::init(socket, destination, &expected)).await,
        Protocol::Icmp => or_silent(deadline, icmp::echo(socket.fd, destination.ip())).await,
    };
    outcome(observed.unwrap_or_else(|error| Observed::of(&error)), begun)
}

async fn or_silent(
    deadline: tokio::time::Instant,
    probe: impl Future<Output = io::Result<Observed>>,
) -> io::Result<Observed> {
    tokio::time::timeout_at(deadline, probe).await.unwrap_or(Ok(Observed::Silent))
}
