//! A collector that is killed between any two of its effects on the world, or in the middle of a
//! write, and started again: what the relay gets is what the kernel programs counted.

mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;

use super::*;
use crate::collector::left::{Left, UNRECORDED};
use crate::directory::SharedDirectory;
use crate::journal::LEAST_BYTES;
use crate::journal::Sizes;
use crate::kernel::{Hold, RingReader, Scan, TableScanner};
use crate::uplink::{Content, Limits};
use world::{Killed, World};

/// Room that no test fills.
const ROOMY: Limits = Limits { stored_bytes: 64 << 20, memory_bytes: 64 << 20 };
/// Room for some batches.
const TIGHT: Limits = Limits { stored_bytes: 6 * LEAST_BYTES, memory_bytes: 40_000 };
/// So small that snapshots are frequent, and that a segment is a few batches.
const SIZES: Sizes = Sizes { slack: 20_000, segment: 50_000 };

#[derive(Clone, Copy, Debug)]
enum Act {
    Connect(u8),
    Packet(u8, bool),
    Deny(u8),
    /// So many seconds pass.
    Pass(u8),
    Read,
    /// Entries of endpoint 7 may be held back for so many seconds.
    Scan(u8),
    /// Allowed connections make no event any more, or do again.
    Quiet(bool),
    Remove,
    Finish,
    /// A connection to the relay begins.
    Dial,
    Send,
    Acknowledge,
    /// Entries of a port give way to others.
    Evict(u8),
    DiskFull(bool),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..8u8).prop_map(Act::Connect),
        6 => (0..8u8, any::<bool>()).prop_map(|(port, reply)| Act::Packet(port, reply)),
        4 => (0..4u8).prop_map(Act::Deny),
        1 => prop::sample::select(vec![1u8, 25, 40, 125]).prop_map(Act::Pass),
        4 => Just(Act::Read),
        3 => prop::sample::select(vec![0u8, 0, 30, 60]).prop_map(Act::Scan),
        1 => any::<bool>().prop_map(Act::Quiet),
        2 => Just(Act::Remove),
        3 => Just(Act::Finish),
        1 => Just(Act::Dial),
        3 => Just(Act::Send),
        2 => Just(Act::Acknowledge),
    ]
}

/// What loses rows, too.
fn rough_act() -> impl Strategy<Value = Act> {
    prop_oneof![12 => act(), 1 => (0..8u8).prop_map(Act::Evict)]
}

/// What happens in a life, and after how many effects it is killed.
fn life(act: impl Strategy<Value = Act>) -> impl Strategy<Value = (Vec<Act>, u64)> {
    (prop::collection::vec(act, 0..60), 0..90u64)
}

struct Collector {
    world: World,
    reader: RingReader,
    scanner: TableScanner,
    rows: Rows,
    scans: u64,
    connected: bool,
}

impl Collector {
    fn start(world: &World) -> Self {
        Self::with(world, ROOMY, SpoolFsync::Never)
    }

    fn with(world: &World, limits: Limits, fsync: SpoolFsync) -> Self {
        let (journal, restored) = Journal::open(world.files(), world.maps(), SIZES);
        let (reader, scanner) = (world.reader(), world.scanner());
        let stats = world.stats();
        let left = Left::go_on(limits, journal, restored, reader, scanner, &stats).unwrap();
        let Left { reader, scanner, outbox, journal, resumed } = left;
        let joiner = Joiner::new("lab", "n1", SharedDirectory::default());
        let journal = Arc::new(Mutex::new(journal));
        let releaser = reader.releaser();
        let rows = Rows::new(joiner, outbox, journal, fsync, releaser, Arc::default(), resumed);
        Self { world: world.clone(), reader, scanner, rows, scans: 0, connected: false }
    }

    fn act(&mut self, act: Act) {
        let world = &self.world;
        match act {
            Act::Connect(port) => world.connect(port.into()),
            Act::Packet(port, reply) => world.packet(port.into(), reply),
            Act::Deny(port) => world.deny(100 + u16::from(port)),
            Act::Pass(seconds) => world.pass(seconds.into()),
            Act::Evict(port) => world.evict(port.into()),
            Act::Read => {
                let mut events = Vec::new();
                self.reader.read(Duration::ZERO, &mut events).unwrap();
                let (positions, malformed) = (self.reader.positions(), self.reader.malformed());
                self.rows.add_events(&events, positions, malformed);
            }
            Act::Quiet(quiet) => world.set_quiet(quiet),
            Act::Scan(seconds) => {
                let mut hold = Hold::default();
                hold.set(7, u64::from(seconds) * 1_000_000_000);
                let mut scan = Box::<Scan>::default();
                let (now_ns, stats) = (world.now_ns(), world.stats());
                self.scanner.scan_holding_at(now_ns, &hold, &stats, &mut scan).unwrap();
                self.scans += 1;
                let wanted = self.rows.progress.totals_wanted();
                let totals = wanted.then(|| self.scanner.totals());
                self.rows.add_scan(ScanReport { scan, number: self.scans, totals, stats });
            }
            Act::Remove if self.rows.progress.is_safe(self.scans) => {
                self.scanner.remove_over().unwrap();
            }
            Act::Remove => {}
            Act::Finish => self.rows.finish(),
            Act::Dial => {
                self.connected = true;
                let epochs = self.rows.outbox.lock().epochs();
                let known: Vec<_> = epochs.iter().map(|asked| world.relay_has(*asked)).collect();
                self.rows.outbox.lock().connected(&known);
            }
            Act::Send if !self.connected => self.act(Act::Dial),
            Act::Send => self.send(),
            Act::Acknowledge => {
                let epochs = self.rows.outbox.lock().epochs();
                for asked in epochs {
                    self.rows.outbox.lock().acknowledged(world.relay_has(asked));
                }
            }
            Act::DiskFull(full) => world.set_disk_full(full),
        }
    }

    fn send(&mut self) {
        let next = self.rows.outbox.lock().next();
        let Some(next) = next else { return };
        let messages = match next.content {
            Content::Nothing => Vec::new(),
            Content::Messages(messages) => messages,
            Content::Stored(class, place) => {
                let reader = lock(&self.rows.journal).reader().unwrap();
                match reader.read(class, place, next.number).unwrap() {
                    Some(messages) => messages,
                    None => return self.rows.outbox.lock().damaged(next.number),
                }
            }
        };
        self.world.relay_takes(next.number, &messages, &next.losses);
    }

    /// Brings everything to the relay.
    fn end(&mut self) {
        self.act(Act::Dial);
        for _ in 0..4 {
            for _ in 0..40 {
                self.act(Act::Read);
            }
            self.act(Act::Scan(0));
            self.act(Act::Finish);
            self.act(Act::Remove);
            while !self.rows.outbox.lock().is_empty() {
                self.act(Act::Send);
                self.act(Act::Acknowledge);
            }
        }
        assert!(self.rows.ledger.is_empty());
    }
}

/// True: killed on the way.
fn until_killed(run: impl FnOnce()) -> bool {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(()) => false,
        Err(cause) if cause.is::<Killed>() => true,
        Err(cause) => std::panic::resume_unwind(cause),
    }
}

fn check(world: &World) -> Result<(), TestCaseError> {
    world.live_on();
    let mut collector = Collector::start(world);
    collector.end();
    prop_assert_eq!(world.reported(), world.counted());
    prop_assert_eq!(world.losses(), []);
    // Neither entry that was removed counts as having given way.
    prop_assert_eq!(world.evicted(), (0, 0));
    Ok(())
}

/// The balance: what was judged is in a row or in the ledger.
fn check_balance(world: &World, limits: Limits) -> Result<(), TestCaseError> {
    world.live_on();
    let mut collector = Collector::with(world, limits, SpoolFsync::Never);
    collector.end();
    let stats = world.stats();
    prop_assert_eq!(world.reported_count() + world.lost(), stats.allowed + stats.denied);
    let from_sane = |entry: &weir_flow::wire::LossEntry| entry.from_ns <= entry.to_ns;
    prop_assert!(world.losses().iter().all(from_sane));
    Ok(())
}

/// A segment of which everything is acknowledged may have a batch that is not in the outbox yet.
#[test]
fn no_segment_goes_with_a_batch_that_was_just_made() {
    let world = World::new(1);
    let mut collector = Collector::start(&world);
    for port in 0..12 {
        let first = [Act::Dial, Act::Connect(port), Act::Read, Act::Finish, Act::Send];
        let second = [Act::Acknowledge, Act::Connect(port + 100), Act::Read, Act::Finish];
        first.into_iter().chain(second).for_each(|act| collector.act(act));
        // Killed, and what it had in memory with it.
        collector = Collector::start(&world);
    }
    collector.end();
    assert_eq!((world.reported_count(), world.losses()), (24, Vec::new()));
}

/// What was in memory alone nobody can count any more; that there was something is told.
#[test]
fn rows_that_were_never_written_down_leave_a_note() {
    let world = World::new(1);
    let mut collector = Collector::start(&world);
    let sent = [Act::Connect(1), Act::Read, Act::Finish, Act::Dial, Act::Send, Act::Acknowledge];
    sent.into_iter().for_each(|act| collector.act(act));
    collector.act(Act::DiskFull(true));
    [Act::Connect(2), Act::Read, Act::Finish].into_iter().for_each(|act| collector.act(act));
    assert!(collector.rows.unrecorded > 0);
    // Killed, and there is room again.
    drop(collector);
    world.set_disk_full(false);
    let mut collector = Collector::start(&world);
    collector.end();
    let losses = world.losses();
    let found: Vec<_> =
        losses.iter().map(|l| (l.reason.as_str(), l.unit.as_str(), l.count)).collect();
    assert_eq!(found, [(UNRECORDED, "batches", 1)]);
    assert!(losses[0].from_ns <= losses[0].to_ns);
    assert_eq!(world.reported_count(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, ..ProptestConfig::default() })]

    #[test]
    fn what_a_killed_collector_had_is_reported_once(
        lives in prop::collection::vec(life(act()), 1..6),
        seed in any::<u64>(),
    ) {
        let world = World::new(seed);
        for (acts, kill_after) in lives {
            world.kill_after(kill_after);
            // Those that are not killed on the way are killed at the end of it.
            until_killed(|| {
                let mut collector = Collector::start(&world);
                acts.iter().for_each(|act| collector.act(*act));
            });
        }
        check(&world)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    /// Entries give way to others, the spool is too small, and collectors are killed all the time.
    #[test]
    fn rows_and_ledger_are_what_was_judged(
        lives in prop::collection::vec(life(rough_act()), 1..6),
        seed in any::<u64>(),
    ) {
        let world = World::new(seed);
        for (acts, kill_after) in lives {
            world.kill_after(kill_after);
            until_killed(|| {
                let mut collector = Collector::with(&world, TIGHT, SpoolFsync::Never);
                for act in &acts {
                    collector.act(*act);
                    let stored = collector.rows.outbox.lock().bytes();
                    assert!(stored <= TIGHT.stored_bytes + TIGHT.memory_bytes as u64);
                }
            });
        }
        check_balance(&world, TIGHT)?;
    }

    /// The disk has no room for what the spool may have: kills or not, the balance holds.
    #[test]
    fn a_small_disk_costs_rows_and_each_is_in_the_ledger(
        lives in prop::collection::vec(life(rough_act()), 1..6),
        capacity in 40_000..120_000usize,
        seed in any::<u64>(),
    ) {
        let world = World::new(seed);
        for (acts, kill_after) in lives {
            // The first snapshot must have room: who cannot write it keeps nothing.
            until_killed(|| {
                let mut collector = Collector::start(&world);
                world.set_capacity(Some(capacity));
                world.kill_after(kill_after);
                for act in &acts {
                    collector.act(*act);
                    // A journal that cannot be written even then is another test's.
                    if lock(&collector.rows.journal).problem().is_some() {
                        world.live_on();
                    }
                }
                world.set_capacity(None);
                while collector.rows.problem.is_some() {
                    collector.act(Act::Scan(0));
                    collector.act(Act::Finish);
                }
            });
            world.set_capacity(None);
            world.live_on();
        }
        check_balance(&world, ROOMY)?;
    }

    /// A disk that cannot be written now and then costs no row that the ledger does not tell of, as
    /// long as nobody is killed meanwhile.
    #[test]
    fn the_journal_goes_on_when_there_is_room_again(
        lives in prop::collection::vec(prop::collection::vec(rough_act(), 0..40), 1..8),
        seed in any::<u64>(),
    ) {
        let world = World::new(seed);
        for acts in lives.chunks(2) {
            world.set_disk_full(acts.len() == 1);
            let mut collector = Collector::start(&world);
            for (turn, acts) in acts.iter().enumerate() {
                collector.act(Act::DiskFull(turn == 0));
                acts.iter().for_each(|act| collector.act(*act));
                let broken = lock(&collector.rows.journal).problem().is_some();
                prop_assert_eq!(broken, collector.rows.problem.is_some());
            }
            collector.act(Act::DiskFull(false));
            collector.act(Act::Finish);
            collector.act(Act::Scan(0));
            prop_assert!(collector.rows.problem.is_none());
            prop_assert_eq!(collector.rows.unrecorded, 0);
        }
        check_balance(&world, ROOMY)?;
    }

    /// The machine fails, and with it the kernel's maps. What left the rings was synced before, so it
    /// is with the relay or in its ledger; what damage there is beyond costs no more than itself.
    #[test]
    fn what_was_synced_survives_the_machine(
        lives in prop::collection::vec((1..30u64, 0..60u64, any::<[bool; 2]>()), 1..6),
        seed in any::<u64>(),
    ) {
        let mut world = World::new(seed);
        let (mut port, mut safe) = (1_000, 0);
        for (connections, kill_after, [send, damage]) in lives {
            world.kill_after(kill_after);
            until_killed(|| {
                let mut collector = Collector::with(&world, ROOMY, SpoolFsync::Batch);
                for number in 0..connections {
                    port += 1;
                    world.connect(port);
                    if number % 3 == 2 {
                        collector.act(Act::Read);
                        collector.act(Act::Finish);
                        if send {
                            collector.act(Act::Send);
                            collector.act(Act::Acknowledge);
                        }
                    }
                }
            });
            safe += world.released();
            world.live_on();
            world.lose_power();
            if damage {
                world.damage("allows-");
            }
        }
        let mut collector = Collector::start(&world);
        collector.end();
        let reported = world.reported();
        prop_assert!(reported.values().all(|sum| sum.count == 1), "{reported:?}");
        let found = reported.len() as u64 + world.lost();
        prop_assert!(safe <= found, "{safe} were safe, {found} are found");
        prop_assert!(found <= u64::from(port) - 1_000);
    }
}
