//! `DoGet` without end: what is hot behind a position, then each further batch once it is on disk.
//!
//! In: the relay's state. Out: messages as in [`super::get`]. It has no queue: a follower is a position
//! among the hot batches, and the next one is encoded when the messages before were taken.
//! Overflow: batches that were stored and left memory before a slow follower came to them are skipped;
//! the positions tell the follower, and a counter counts them. Told to stop, it ends.

use std::sync::Arc;

use arrow_flight::FlightData;
use futures::Stream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use weir_flow::schema::sent_schema;
use weir_flow::wire::HotTicket;

use super::get::Encoder;
use crate::relay::Shared;

/// The messages for a follower.
pub(super) fn messages(
    shared: Arc<Shared>,
    ticket: &HotTicket,
    stop: CancellationToken,
) -> impl Stream<Item = Result<FlightData, Status>> + Send + use<> {
    let written = shared.written.subscribe();
    let header = shared.hot().header_of_flows();
    // Who comes from another log begins with the oldest batch, and missed nothing.
    let begins = header.relay_epoch != ticket.relay_epoch;
    let after = if begins { header.first.saturating_sub(1) } else { ticket.after };
    shared.metrics.followers.inc();
    let follower = Follower {
        encoder: Encoder::new(&sent_schema(), &header),
        ticket: HotTicket { relay_epoch: header.relay_epoch, after },
        shared,
        written,
        stop,
    };
    futures::stream::unfold(Some(follower), async |follower| {
        let mut follower = follower?;
        match follower.next().await {
            Ok(message) => Some((Ok(message), Some(follower))),
            Err(status) => Some((Err(status), None)),
        }
    })
}

struct Follower {
    shared: Arc<Shared>,
    /// What it has.
    ticket: HotTicket,
    encoder: Encoder,
    written: watch::Receiver<u64>,
    stop: CancellationToken,
}

impl Follower {
    async fn next(&mut self) -> Result<FlightData, Status> {
        loop {
            if let Some(ready) = self.encoder.ready.pop_front() {
                return Ok(ready);
            }
            // Before the look, so that what comes in between is not missed.
            self.written.mark_unchanged();
            let next = self.shared.hot().next(&self.ticket);
            if let Some((position, batch)) = next {
                let missed = position.saturating_sub(self.ticket.after.saturating_add(1));
                self.shared.metrics.follower_missed_batches.inc_by(missed);
                self.ticket.after = position;
                self.encoder.push(position, &batch)?;
                continue;
            }
            tokio::select! {
                () = self.stop.cancelled() => return Err(stopping()),
                changed = self.written.changed() => changed.map_err(|_| stopping())?,
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.shared.metrics.followers.dec();
    }
}

fn stopping() -> Status {
    Status::unavailable("the relay is stopping: follow again later, from the last position")
}
