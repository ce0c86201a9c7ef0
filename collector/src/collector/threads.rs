//! What each thread of the collector does.
//!
//! | thread | in | out | when the way out is blocked |
//! |---|---|---|---|
//! | reader | the rings | [`Work`] | it waits: the rings fill, and the programs leave what has no room to the tables, which the scanner reports |
//! | scanner | the tables, every interval | [`Work`] | it waits, the tables go on counting |
//! | join | [`Work`] | the outbox | never: the outbox gives up what has no room, and counts it |
//! | enforcer | cluster states, changes of the network | the maps | |

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use weir_abi::event::VerdictEvent;

use super::CollectorError;
use super::report::Report;
use crate::enforcer::Enforcer;
use crate::health::Health;
use crate::join::Joiner;
use crate::kernel::{RingReader, Scan, TableScanner};
use crate::netlink::{Change, Changes};
use crate::source::ClusterState;
use crate::uplink::OutboxHandle;

/// Most rows of a batch.
const BATCH_ROWS: usize = 4_096;
/// Longest time a row waits for others.
const BATCH_AGE: Duration = Duration::from_millis(100);
/// How soon a thread notices that it is to stop.
const ATTENTION: Duration = Duration::from_millis(50);
/// Time between looks at the node's network without a notice.
const REFRESH: Duration = Duration::from_secs(10);
/// Time until an update that failed is tried again, and pods without an interface are looked for.
const RETRY: Duration = Duration::from_secs(1);
/// Silence that is waited for after a change of the network.
const SETTLE: Duration = Duration::from_millis(10);
/// Least time between looks because of neighbours: they come and go all the time.
const NEIGHBOURS: Duration = Duration::from_secs(1);

/// What the join gets.
pub(super) enum Work {
    /// Verdicts.
    Events(Vec<VerdictEvent>),
    /// What the tables counted.
    Scan(Box<Scan>),
}

/// The enforcer, used by the thread that updates it and the one that reads its figures.
pub(super) type SharedEnforcer = Arc<Mutex<Enforcer>>;

fn lock(enforcer: &SharedEnforcer) -> MutexGuard<'_, Enforcer> {
    // A panic in the enforcer ends the collector; nothing else is left to protect.
    enforcer.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Drains the rings until told to stop, then once more.
pub(super) fn read(
    mut reader: RingReader,
    work: &SyncSender<Work>,
    health: &Health,
    stop: &CancellationToken,
) -> Result<(), CollectorError> {
    loop {
        let stopping = stop.is_cancelled();
        let timeout = if stopping { Duration::ZERO } else { ATTENTION };
        let mut events = Vec::new();
        let count = reader.read(timeout, &mut events)?;
        health.set_lost("reader", "events", reader.malformed());
        if count > 0 {
            health.events.inc_by(count as u64);
            if work.send(Work::Events(events)).is_err() {
                return Ok(());
            }
            reader.release();
        } else if stopping {
            return Ok(());
        }
    }
}

/// Scans the tables every `interval` until told to stop, then once more.
pub(super) fn scan(
    mut scanner: TableScanner,
    enforcer: &SharedEnforcer,
    interval: Duration,
    work: &SyncSender<Work>,
    health: &Health,
    stop: &CancellationToken,
) -> Result<(), CollectorError> {
    loop {
        let next = Instant::now() + interval;
        while !stop.is_cancelled() && Instant::now() < next {
            std::thread::sleep(ATTENTION.min(next.saturating_duration_since(Instant::now())));
        }
        let stopping = stop.is_cancelled();
        let (stats, sizes) = {
            let mut enforcer = lock(enforcer);
            (enforcer.kernel().stats()?, enforcer.kernel().map_sizes())
        };
        match sizes {
            Ok(sizes) => {
                for size in sizes {
                    health.set_map_size(&size.map, size.capacity, size.memory_bytes);
                }
                health.set_problems("maps", Vec::new());
            }
            Err(error) => {
                let problem = format!("the size of the kernel's maps cannot be read: {error}");
                health.set_problems("maps", vec![problem]);
            }
        }
        let mut scan = Box::<Scan>::default();
        scanner.scan(&stats, &mut scan)?;
        health.scans.inc();
        for (class, count) in stats.iter() {
            health.set_packets(class, count);
        }
        health.set_lost("conntrack", "connections", stats.evicted);
        health.set_lost("denies", "kinds", stats.denies_evicted);
        health.set_lost("verdicts", "connections", stats.allow_lost);
        health.set_lost("deny_verdicts", "packets", stats.deny_table_failed);
        health.set_map_entries("conntrack", as_size(scan.connections_present));
        health.set_map_entries("denies", as_size(scan.denies_present));
        if work.send(Work::Scan(scan)).is_err() || stopping {
            return Ok(());
        }
        scanner.remove_over()?;
    }
}

fn as_size(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// Turns work into batches until nobody sends any more.
pub(super) fn join(
    work: &Receiver<Work>,
    joiner: Joiner,
    outbox: &OutboxHandle,
    health: &Health,
) -> Result<(), CollectorError> {
    let mut batches = Batches { joiner, outbox, health, oldest: None, unsent: 0 };
    loop {
        let patience = batches.oldest.map_or(REFRESH, |oldest| {
            (oldest + BATCH_AGE).saturating_duration_since(Instant::now())
        });
        match work.recv_timeout(patience) {
            Ok(Work::Events(events)) => batches.add(&events, Joiner::add_events),
            Ok(Work::Scan(scan)) => {
                batches.add(&scan.denies, Joiner::add_denies);
                batches.add(&scan.connections, Joiner::add_connections);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                batches.finish();
                return Ok(());
            }
        }
        if batches.oldest.is_some_and(|oldest| oldest.elapsed() >= BATCH_AGE) {
            batches.finish();
        }
    }
}

/// Rows on their way into batches.
struct Batches<'a> {
    joiner: Joiner,
    outbox: &'a OutboxHandle,
    health: &'a Health,
    /// When the first row of the batch came.
    oldest: Option<Instant>,
    /// Rows that could not be put into a batch.
    unsent: u64,
}

impl Batches<'_> {
    fn add<T>(&mut self, mut items: &[T], add: fn(&mut Joiner, &[T])) {
        while !items.is_empty() {
            let room = BATCH_ROWS.saturating_sub(self.joiner.len()).max(1);
            let (now, later) = items.split_at(room.min(items.len()));
            add(&mut self.joiner, now);
            self.oldest.get_or_insert_with(Instant::now);
            items = later;
            if self.joiner.len() >= BATCH_ROWS {
                self.finish();
            }
        }
    }

    fn finish(&mut self) {
        self.oldest = None;
        let rows = self.joiner.len() as u64;
        if rows > 0 {
            let sent = self.joiner.finish().and_then(|joined| self.outbox.push(&joined));
            match sent {
                Ok(()) => drop(self.health.rows.inc_by(rows)),
                Err(error) => {
                    tracing::error!(rows, %error, "rows cannot be encoded");
                    self.unsent += rows;
                }
            }
        }
        self.health.set_lost("join", "rows", self.joiner.malformed() + self.unsent);
    }
}

/// Why the enforcer's thread wakes.
enum Wake {
    Stop,
    State,
    Look,
    Changed(Change),
}

/// Follows cluster states and the node's network until told to stop. Then it detaches, so that
/// nothing is counted any more after the last scan.
pub(super) fn enforce(
    enforcer: &SharedEnforcer,
    mut states: watch::Receiver<Option<ClusterState>>,
    changes: Changes,
    runtime: &Handle,
    health: &Health,
    mut report: Report,
    stop: &CancellationToken,
) -> Result<(), CollectorError> {
    let changes = {
        let _entered = runtime.enter();
        // SAFETY: the value owns its descriptor and never exchanges it.
        unsafe { AsyncFd::register(changes) }
    };
    let changes = changes.map_err(|error| CollectorError::System {
        what: "watching routes",
        source: error.into(),
    })?;
    let mut failed = false;
    let mut last_look = Instant::now();
    let mut next_look = last_look + REFRESH;
    loop {
        let wake = runtime.block_on(async {
            tokio::select! {
                biased;
                () = stop.cancelled() => Wake::Stop,
                changed = states.changed() => changed.map_or(Wake::Stop, |()| Wake::State),
                ready = changes.readable() => {
                    // Interfaces and routes come in several steps.
                    tokio::time::sleep(SETTLE).await;
                    let change = changes.get_ref().drain();
                    if let Ok(mut ready) = ready {
                        ready.clear_ready();
                    }
                    Wake::Changed(change)
                }
                () = tokio::time::sleep_until(next_look.into()) => Wake::Look,
            }
        });
        match wake {
            Wake::Stop => break,
            Wake::State | Wake::Look | Wake::Changed(Change::Network) => {}
            Wake::Changed(Change::Neighbours) if last_look.elapsed() >= NEIGHBOURS => {}
            Wake::Changed(Change::Neighbours) => {
                next_look = next_look.min(last_look + NEIGHBOURS);
                continue;
            }
            Wake::Changed(Change::Nothing) => continue,
        }
        // One may have come in the meantime.
        let new_state = matches!(wake, Wake::State) || states.has_changed().unwrap_or(false);
        let state = states.borrow_and_update().clone();
        let Some(state) = state else { continue };
        report.state(health, &state);
        if new_state {
            health.set_behind(true);
        }
        let mut enforcer = lock(enforcer);
        let applied = if new_state || failed {
            enforcer.apply(&state.cluster).map(Some)
        } else {
            enforcer.refresh()
        };
        for (map, entries) in enforcer.map_entries() {
            health.set_map_entries(map, entries);
        }
        drop(enforcer);
        failed = applied.is_err();
        report.applied(health, applied);
        last_look = Instant::now();
        let soon = failed || report.misses_pods();
        next_look = last_look + if soon { RETRY } else { REFRESH };
    }
    lock(enforcer).release();
    Ok(())
}
