//! The relay is gone, or does not answer, for a while.

use std::time::Duration;

use rustix::process::Signal;

use super::bed::{Bed, alone};
use super::is_full;
use crate::cluster::Options;

/// Longer than a collector waits for an answer.
fn outage() -> Duration {
    Duration::from_secs(if is_full() { 60 } else { 15 })
}

#[test]
fn a_relay_that_is_gone_for_a_while_delays_and_loses_nothing() {
    alone(|directory| {
        let mut bed = Bed::start(directory, Options::default());
        bed.load(1_000, 500);
        bed.cluster.kill_relay();
        std::thread::sleep(outage());
        bed.cluster.start_relay();
        bed.settle_without_loss();
    });
}

#[test]
fn a_relay_that_is_silent_for_a_while_delays_and_loses_nothing() {
    alone(|directory| {
        let mut bed = Bed::start(directory, Options::default());
        bed.load(1_000, 500);
        bed.cluster.signal_relay(Signal::STOP);
        std::thread::sleep(outage());
        bed.cluster.signal_relay(Signal::CONT);
        bed.settle_without_loss();
    });
}
