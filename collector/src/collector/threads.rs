//! What each thread of the collector does.
//!
//! | thread | in | out | when the way out is blocked |
//! |---|---|---|---|
//! | reader | the rings | [`Work`] | it waits: the rings fill, and the programs leave what has no room to the tables, which the scanner reports |
//! | scanner | the tables, as often as [`SharedIntervals`] say | [`Work`] | it waits, the tables go on counting |
//! | join | [`Work`] | journal and outbox | never: the outbox gives up what has no room, and counts it |
//! | spool | files with bytes that are not synced, every second | the disk | it waits |
//! | enforcer | cluster states, changes of the network | the maps | |

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use weir_abi::event::VerdictEvent;

use super::report::Report;
use super::rows::{self, Progress, Rows, ScanReport, SharedJournal};
use super::{CollectorError, SpoolFsync, unix_time_ns};
use crate::directory::SharedDirectory;
use crate::enforcer::Enforcer;
use crate::health::Health;
use crate::intervals::SharedIntervals;
use crate::kernel::{Hold, MapSize, Positions, RingReader, Scan, TableScanner};
use crate::ledger::Malformed;
use crate::netlink::{Change, Changes};
use crate::source::ClusterState;

/// How soon a thread notices that it is to stop.
const ATTENTION: Duration = Duration::from_millis(50);
/// Time between two syncs of the spool.
const SYNC: Duration = Duration::from_secs(1);
/// Time between looks at the node's network without a notice.
const REFRESH: Duration = Duration::from_secs(10);
/// Longest time that what was seen before the cluster's state is known waits for names.
const NAMES: Duration = Duration::from_secs(30);
/// Time until an update that failed is tried again, and pods without an interface are looked for.
const RETRY: Duration = Duration::from_secs(1);
/// Silence that is waited for after a change of the network.
const SETTLE: Duration = Duration::from_millis(10);
/// Least time between looks because of neighbours: they come and go all the time.
const NEIGHBOURS: Duration = Duration::from_secs(1);

/// What the join gets.
pub(super) enum Work {
    /// Verdicts, up to where the rings were read for them, and what could not be read on the way.
    Events(Vec<VerdictEvent>, Positions, Malformed),
    /// What the tables counted.
    Scan(ScanReport),
}

/// The enforcer, used by the thread that updates it and the one that reads its figures.
pub(super) type SharedEnforcer = Arc<Mutex<Enforcer>>;

fn lock(enforcer: &SharedEnforcer) -> MutexGuard<'_, Enforcer> {
    // A panic in the enforcer ends the collector; nothing else is left to protect.
    enforcer.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What tells a thread when to begin and when to end.
pub(super) struct Signals {
    /// The directory has names for what another process left in rings and tables.
    pub(super) named: CancellationToken,
    /// It is over.
    pub(super) stop: CancellationToken,
}

impl Signals {
    /// Waits for the names, but not for ever. False: told to stop before.
    fn wait_for_names(&self) -> bool {
        let begun = Instant::now();
        while !self.named.is_cancelled() && begun.elapsed() < NAMES {
            if self.stop.is_cancelled() {
                return false;
            }
            std::thread::sleep(ATTENTION);
        }
        true
    }
}

/// Drains the rings until told to stop, then once more.
pub(super) fn read(
    mut reader: RingReader,
    work: &SyncSender<Work>,
    signals: &Signals,
    health: &Health,
) -> Result<(), CollectorError> {
    let stop = &signals.stop;
    if !signals.wait_for_names() {
        return Ok(());
    }
    loop {
        let stopping = stop.is_cancelled();
        let timeout = if stopping { Duration::ZERO } else { ATTENTION };
        let mut events = Vec::new();
        let count = reader.read(timeout, &mut events)?;
        if count > 0 {
            health.events.inc_by(count as u64);
            let malformed = reader.malformed();
            if work.send(Work::Events(events, reader.positions(), malformed)).is_err() {
                return Ok(());
            }
        } else if stopping {
            return Ok(());
        }
    }
}

/// What the scanner follows.
pub(super) struct Pace {
    /// How often entries of each namespace are reported.
    pub(super) intervals: SharedIntervals,
    /// Which namespace an entry belongs to.
    pub(super) directory: SharedDirectory,
}

/// Scans the tables as often as the intervals say until told to stop, then once more, and holds
/// nothing back.
pub(super) fn scan(
    mut scanner: TableScanner,
    enforcer: &SharedEnforcer,
    pace: &Pace,
    work: &SyncSender<Work>,
    progress: &Progress,
    signals: &Signals,
    health: &Health,
) -> Result<(), CollectorError> {
    let stop = &signals.stop;
    if !signals.wait_for_names() {
        return Ok(());
    }
    let mut number = 0;
    let mut present = Present::default();
    loop {
        let begun = Instant::now();
        let mut removed = number == 0;
        loop {
            // They may have become shorter.
            let next = begun + pace.intervals.load().every();
            if stop.is_cancelled() || Instant::now() >= next {
                break;
            }
            if !removed && progress.is_safe(number) {
                scanner.remove_over()?;
                removed = true;
            }
            std::thread::sleep(ATTENTION.min(next.saturating_duration_since(Instant::now())));
        }
        let stopping = stop.is_cancelled();
        let (stats, sizes) = {
            let mut enforcer = lock(enforcer);
            (enforcer.kernel().stats()?, enforcer.kernel().map_sizes())
        };
        // Nor is anything held back that might have to give way before it is reported.
        let mut hold = Hold::default();
        match sizes {
            Ok(sizes) => {
                if !stopping && present.leaves_room(&sizes) {
                    hold = pace.intervals.load().hold(&pace.directory.load());
                }
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
        scanner.scan_holding(&hold, &stats, &mut scan)?;
        present = Present { connections: scan.connections_present, denies: scan.denies_present };
        health.scans.inc();
        for (class, count) in stats.iter() {
            health.set_packets(class, count);
        }
        health.set_lost("conntrack", "connections", scan.evicted);
        health.set_lost("denies", "kinds", stats.denies_evicted);
        health.set_lost("kernel", "verdicts", stats.allow_lost + stats.deny_table_failed);
        health.set_map_entries("conntrack", as_size(scan.connections_present));
        health.set_map_entries("denies", as_size(scan.denies_present));
        number += 1;
        let totals = progress.totals_wanted().then(|| scanner.totals());
        if work.send(Work::Scan(ScanReport { scan, number, totals, stats })).is_err() || stopping {
            return Ok(());
        }
    }
}

/// How many entries the last scan found.
#[derive(Clone, Copy, Debug, Default)]
struct Present {
    connections: u64,
    denies: u64,
}

impl Present {
    /// Whether neither table is more than half full.
    fn leaves_room(self, sizes: &[MapSize]) -> bool {
        sizes.iter().all(|size| match size.map.as_str() {
            "conntrack" => self.connections <= size.capacity / 2,
            "denies" => self.denies <= size.capacity / 2,
            _ => true,
        })
    }
}

fn as_size(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// Turns work into batches until nobody sends any more.
pub(super) fn join(work: &Receiver<Work>, mut rows: Rows) -> Result<(), CollectorError> {
    loop {
        match work.recv_timeout(rows.patience().unwrap_or(REFRESH)) {
            Ok(Work::Events(events, positions, malformed)) => {
                rows.add_events(&events, positions, malformed);
            }
            Ok(Work::Scan(report)) => rows.add_scan(report),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                rows.finish();
                return Ok(());
            }
        }
        rows.finish_old();
    }
}

/// Syncs what the journal wrote every second, if that is wanted, until told to stop; then once more.
pub(super) fn sync(
    journal: &SharedJournal,
    fsync: SpoolFsync,
    stop: &CancellationToken,
    health: &Health,
) -> Result<(), CollectorError> {
    let files = rows::lock(journal).files().filter(|_| fsync != SpoolFsync::Never);
    loop {
        let stopping = stop.is_cancelled();
        let begun = Instant::now();
        if let Some(files) = &files {
            // Not while the journal is locked: a slow disk must not hold up the rows.
            let unsynced = rows::lock(journal).take_unsynced();
            let failed = unsynced.iter().find_map(|name| Some((name, files.sync(name).err()?)));
            let problem = failed.map(|(name, error)| {
                format!("rows/{name} of the state directory cannot be synced: {error}")
            });
            health.set_problems("spool", problem.into_iter().collect());
        }
        while !stopping && !stop.is_cancelled() && begun.elapsed() < SYNC {
            std::thread::sleep(ATTENTION);
        }
        if stopping {
            return Ok(());
        }
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
    (mut states, changes): (watch::Receiver<Option<ClusterState>>, Changes),
    runtime: &Handle,
    health: &Health,
    mut report: Report,
    intervals: &SharedIntervals,
    signals: &Signals,
) -> Result<(), CollectorError> {
    let Signals { named, stop } = signals;
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
        let Some(state) = state else {
            next_look = Instant::now() + RETRY;
            continue;
        };
        report.state(health, &state);
        if new_state {
            health.set_behind(true);
        }
        let now_ns = unix_time_ns();
        let plan = report.intervals(health, &state, now_ns);
        let mut enforcer = lock(enforcer);
        enforcer.set_quiet(plan.quiet());
        let applied = if new_state || failed {
            enforcer.apply_shared(&state.cluster).map(Some)
        } else {
            enforcer.refresh()
        };
        for (map, entries) in enforcer.map_entries() {
            health.set_map_entries(map, entries);
        }
        drop(enforcer);
        failed = applied.is_err();
        named.cancel();
        report.applied(health, applied);
        last_look = Instant::now();
        let soon = failed || report.misses_pods();
        let wait = if soon { RETRY } else { REFRESH };
        next_look = last_look + plan.time_left(now_ns).map_or(wait, |left| left.min(wait));
        if *intervals.load() != plan {
            intervals.store(plan);
        }
    }
    lock(enforcer).release();
    Ok(())
}
