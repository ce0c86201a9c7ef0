//! One stream a relay, handed on to every follower.
//!
//! In: batches as relays acknowledge them. Out: each follower's own queue. Capacity of a queue:
//! [`QUEUE_BATCHES`] and [`QUEUE_BYTES`]; the batches are shared. Overflow: the follower misses
//! the batch, and is told how many rows it had. A stream begins with the first follower, and ends
//! when a batch comes and nobody follows any more. Shutdown: ends with the threads it runs on.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use weir_flow::wire::HotTicket;

use super::position::Positions;
use crate::catalog::hot::{HotView, conform};
use crate::catalog::relay::{HotBatch, RelayError};
use crate::catalog::snapshot::Snapshots;
use weir_flow::schema::stored_schema;

/// Batches that wait for a follower.
const QUEUE_BATCHES: usize = 1_024;
/// Their bytes on the wire.
const QUEUE_BYTES: usize = 64 << 20;
/// Between two attempts to reach a relay.
const RETRY: Duration = Duration::from_millis(500);
/// How long a relay may take to hand over what somebody who comes again lacks.
const CATCH_UP: Duration = Duration::from_secs(2);

/// What comes to followers.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// Rows.
    Batch(Arc<LiveBatch>),
    /// Batches of a relay came and went before they could be read.
    Missed(Gap),
    /// A relay does not answer.
    Trouble(String),
}

/// Batches that nobody can read any more, by position, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) epoch: u64,
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Gap {
    /// How many batches they are.
    fn batches(self) -> u64 {
        (self.last + 1).saturating_sub(self.first)
    }

    /// How many of them somebody knows nothing of who has seen so far; from then on it has.
    pub(super) fn news_to(mut self, seen: &mut Positions) -> u64 {
        self.first = self.first.max(seen.of(self.epoch).map_or(0, |seen| seen + 1));
        if self.batches() > 0 {
            seen.read(self.epoch, self.last);
        }
        self.batches()
    }
}

/// A batch and where it stands.
#[derive(Debug)]
pub(super) struct LiveBatch {
    pub(super) epoch: u64,
    pub(super) position: u64,
    pub(super) wire_bytes: usize,
    pub(super) batch: RecordBatch,
}

/// What a follower did not get because its queue was full.
#[derive(Debug, Default)]
pub(super) struct Overflow {
    pub(super) batches: AtomicU64,
    pub(super) rows: AtomicU64,
    /// Bytes that wait.
    pub(super) waiting_bytes: AtomicUsize,
}

/// A follower's end of the hub.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) items: mpsc::Receiver<Item>,
    pub(super) overflow: Arc<Overflow>,
    /// How far relays were when it began; what comes later is new.
    pub(super) seen: Positions,
    /// What is new already.
    pub(super) backlog: Vec<LiveBatch>,
    /// Batches of before that are not in memory any more.
    pub(super) missed: u64,
}

/// The relays' streams and who follows them.
#[derive(Debug)]
pub(crate) struct Hub {
    snapshots: Arc<Snapshots>,
    threads: Handle,
    state: Mutex<State>,
    /// Held while somebody joins, so that streams begin where the first to join wants them to.
    joining: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    queues: Vec<Queue>,
    /// Of each relay, whether its stream is read.
    running: Vec<bool>,
}

#[derive(Debug)]
struct Queue {
    items: mpsc::Sender<Item>,
    overflow: Arc<Overflow>,
}

impl Queue {
    /// Whether the follower is still there.
    fn offer(&self, item: &Item) -> bool {
        let bytes = match item {
            Item::Batch(batch) => batch.wire_bytes,
            Item::Missed(_) | Item::Trouble(_) => 0,
        };
        let overflow = &self.overflow;
        let waiting = overflow.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        // One batch always fits, however large it is.
        let fits = waiting == 0 || waiting + bytes <= QUEUE_BYTES;
        let refused = if fits {
            match self.items.try_send(item.clone()) {
                Ok(()) => return true,
                Err(mpsc::error::TrySendError::Closed(_)) => return false,
                Err(mpsc::error::TrySendError::Full(refused)) => refused,
            }
        } else {
            item.clone()
        };
        overflow.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        match refused {
            Item::Batch(batch) => {
                overflow.batches.fetch_add(1, Ordering::Relaxed);
                overflow.rows.fetch_add(batch.batch.num_rows() as u64, Ordering::Relaxed);
            }
            Item::Missed(gap) => {
                overflow.batches.fetch_add(gap.batches(), Ordering::Relaxed);
            }
            // It is told again with the next attempt.
            Item::Trouble(_) => {}
        }
        !self.items.is_closed()
    }
}

impl Hub {
    /// Nobody follows yet. Streams are read on `threads`.
    pub(crate) fn new(snapshots: Arc<Snapshots>, threads: Handle) -> Arc<Self> {
        let state = State { queues: vec![], running: vec![false; snapshots.sources.len()] };
        let (state, joining) = (Mutex::new(state), tokio::sync::Mutex::default());
        Arc::new(Self { snapshots, threads, state, joining })
    }

    /// Begins to follow: from now on, or behind `after`.
    pub(super) async fn join(self: &Arc<Self>, after: Option<&Positions>) -> Subscription {
        let _alone = self.joining.lock().await;
        let (sender, items) = mpsc::channel(QUEUE_BATCHES);
        let overflow = Arc::new(Overflow::default());
        // First the queue, then the look: whatever comes in between is in the queue and known.
        self.state().queues.push(Queue { items: sender, overflow: overflow.clone() });
        let mut subscription = Subscription {
            items,
            overflow,
            seen: Positions::default(),
            backlog: vec![],
            missed: 0,
        };
        for (relay, source) in self.snapshots.sources.iter().enumerate() {
            let view = source.flows.refresh().await.ok();
            if let Some(view) = &view {
                let lacking = subscription.begin(view, after);
                if let Some((from, to)) = lacking {
                    let stored = self.stored(relay, view.epoch, (from, to)).await;
                    subscription.missed += to - from + 1 - stored.len() as u64;
                    subscription.backlog.extend(stored);
                }
                subscription.now(view, after);
            }
            let starts = !std::mem::replace(&mut self.state().running[relay], true);
            if starts {
                // If the relay cannot say now how far it is, all it has later is new.
                let begin = view.map_or((0, 0), |view| (view.epoch, view.last));
                self.threads.spawn(self.clone().read(relay, begin));
            }
        }
        subscription
    }

    /// Batches that are stored by now, first and last position, as far as the relay has them still.
    async fn stored(&self, relay: usize, epoch: u64, (from, to): (u64, u64)) -> Vec<LiveBatch> {
        let client = &self.snapshots.sources[relay].relay;
        let (mut found, mut bytes) = (Vec::new(), 0);
        let read = async {
            let ticket = HotTicket { relay_epoch: epoch, after: from - 1 };
            let (header, mut batches) = client.follow(ticket).await?;
            while header.relay_epoch == epoch
                && let Some(HotBatch { position, wire_bytes, batch }) = batches.next().await?
                && position <= to
            {
                bytes += wire_bytes;
                if bytes > QUEUE_BYTES {
                    break;
                }
                let batch =
                    conform(&batch, &stored_schema()).map_err(|cause| client.protocol(cause))?;
                found.push(LiveBatch { epoch, position, wire_bytes: 0, batch });
                if position == to {
                    break;
                }
            }
            Ok::<_, RelayError>(())
        };
        match tokio::time::timeout(CATCH_UP, read).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(error)) => {
                tracing::debug!(%error, "a follower that came again misses what is stored");
            }
        }
        found
    }

    /// Reads a relay's stream as long as anybody follows.
    async fn read(self: Arc<Self>, relay: usize, mut last: (u64, u64)) {
        let client = &self.snapshots.sources[relay].relay;
        loop {
            let ended = self.read_once(relay, &mut last).await;
            let error = match ended {
                Ok(()) => return,
                Err(error) => error,
            };
            tracing::debug!(%error, relay = client.address(), "the live stream broke off");
            if !self.publish(relay, &Item::Trouble(error.to_string())) {
                return;
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Reads until nobody follows or the stream breaks off.
    async fn read_once(&self, relay: usize, last: &mut (u64, u64)) -> Result<(), RelayError> {
        let client = &self.snapshots.sources[relay].relay;
        let ticket = HotTicket { relay_epoch: last.0, after: last.1 };
        let (header, mut batches) = client.follow(ticket).await?;
        if header.relay_epoch != last.0 {
            *last = (header.relay_epoch, header.first.saturating_sub(1));
        }
        while let Some(HotBatch { position, wire_bytes, batch }) = batches.next().await? {
            let gap = Gap { epoch: last.0, first: last.1 + 1, last: position.saturating_sub(1) };
            if gap.batches() > 0 && !self.publish(relay, &Item::Missed(gap)) {
                return Ok(());
            }
            last.1 = last.1.max(position);
            let batch =
                conform(&batch, &stored_schema()).map_err(|cause| client.protocol(cause))?;
            let batch = LiveBatch { epoch: last.0, position, wire_bytes, batch };
            if !self.publish(relay, &Item::Batch(Arc::new(batch))) {
                return Ok(());
            }
        }
        Err(client.protocol("the live stream ended"))
    }

    /// Hands an item to everybody; `false` if nobody is there, and then the stream is to end.
    fn publish(&self, relay: usize, item: &Item) -> bool {
        let mut state = self.state();
        state.queues.retain(|queue| queue.offer(item));
        let anybody = !state.queues.is_empty();
        state.running[relay] = anybody;
        anybody
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscription {
    /// How far a relay is; first and last position of what it has not in memory and `after` lacks.
    fn begin(&mut self, view: &HotView, after: Option<&Positions>) -> Option<(u64, u64)> {
        self.seen.read(view.epoch, view.last);
        let from = after?.of(view.epoch)?;
        (view.first > from + 1).then_some((from + 1, view.first - 1))
    }

    /// What a relay holds behind `after`.
    fn now(&mut self, view: &HotView, after: Option<&Positions>) {
        let Some(after) = after else { return };
        // Of another life of the relay nothing is known: all it holds is new.
        let from = after.of(view.epoch);
        let newer = view.batches.iter().filter(|(position, _)| *position > from.unwrap_or(0));
        self.backlog.extend(newer.map(|(position, batch)| LiveBatch {
            epoch: view.epoch,
            position: *position,
            wire_bytes: 0,
            batch: batch.clone(),
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{batch, flow};

    fn item(position: u64, rows: u64, wire_bytes: usize) -> Item {
        let batch = batch((0..rows).map(flow));
        Item::Batch(Arc::new(LiveBatch { epoch: 1, position, wire_bytes, batch }))
    }

    #[test]
    fn a_gap_is_told_once() {
        let mut seen: Positions = "1:5".parse().unwrap();
        let gap = |first, last| Gap { epoch: 1, first, last };
        assert_eq!(gap(3, 5).news_to(&mut seen), 0);
        assert_eq!(gap(4, 7).news_to(&mut seen), 2);
        assert_eq!(gap(4, 7).news_to(&mut seen), 0);
        assert_eq!(gap(8, 7).news_to(&mut seen), 0);
        assert_eq!(Gap { epoch: 2, first: 1, last: 3 }.news_to(&mut seen), 3);
    }

    #[test]
    fn a_full_queue_counts_what_it_refuses() {
        let (items, mut receiver) = mpsc::channel(2);
        let queue = Queue { items, overflow: Arc::default() };
        let count = || {
            let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            (load(&queue.overflow.batches), load(&queue.overflow.rows))
        };
        assert!(queue.offer(&item(1, 2, 10)));
        assert!(queue.offer(&item(2, 3, QUEUE_BYTES)), "there is room for a batch, not for bytes");
        assert_eq!(count(), (1, 3));
        assert!(queue.offer(&item(3, 1, 10)));
        assert!(queue.offer(&item(4, 5, 10)));
        assert!(queue.offer(&Item::Missed(Gap { epoch: 1, first: 3, last: 9 })));
        assert_eq!(count(), (9, 8));
        assert_eq!(queue.overflow.waiting_bytes.load(Ordering::Relaxed), 20);
        receiver.close();
        assert!(!queue.offer(&item(5, 1, 10)));
    }

    #[test]
    fn a_follower_goes_on_behind_its_position() {
        let view = HotView {
            epoch: 7,
            first: 5,
            last: 6,
            manifest_version: 0,
            batches: [5, 6].map(|position| (position, batch([flow(position)]))).into(),
        };
        let begin = |after: Option<&str>| {
            let (_, items) = mpsc::channel(1);
            let mut subscription = Subscription {
                items,
                overflow: Arc::default(),
                seen: Positions::default(),
                backlog: vec![],
                missed: 0,
            };
            let after = after.map(|after| after.parse().unwrap());
            let lacking = subscription.begin(&view, after.as_ref());
            subscription.now(&view, after.as_ref());
            assert_eq!(subscription.seen.to_string(), "7:6");
            let backlog: Vec<u64> = subscription.backlog.iter().map(|b| b.position).collect();
            (backlog, lacking)
        };
        assert_eq!(begin(None), (vec![], None));
        assert_eq!(begin(Some("7:6")), (vec![], None));
        assert_eq!(begin(Some("7:5")), (vec![6], None));
        assert_eq!(begin(Some("7:4")), (vec![5, 6], None));
        assert_eq!(begin(Some("7:2")), (vec![5, 6], Some((3, 4))));
        assert_eq!(begin(Some("3:100")), (vec![5, 6], None));
    }
}
