//! A collector that is killed between any two of its effects on the world, or in the middle of a
//! write, and started again: what the relay gets is what the kernel programs counted.

mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;

use super::*;
use crate::collector::left::Left;
use crate::directory::SharedDirectory;
use crate::journal::Maps;
use crate::kernel::{RingReader, Scan, TableScanner};
use world::{Killed, World};

/// Room that no test fills.
const OUTBOX_BYTES: usize = 64 << 20;
/// So small that snapshots are frequent.
const SLACK_BYTES: u64 = 20_000;

#[derive(Clone, Copy, Debug)]
enum Act {
    Connect(u8),
    Packet(u8, bool),
    Deny(u8),
    /// So many seconds pass.
    Pass(u8),
    Read,
    Scan,
    Remove,
    Finish,
    /// A connection to the relay begins.
    Dial,
    Send,
    Acknowledge,
    DiskFull(bool),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..8u8).prop_map(Act::Connect),
        6 => (0..8u8, any::<bool>()).prop_map(|(port, reply)| Act::Packet(port, reply)),
        4 => (0..4u8).prop_map(Act::Deny),
        1 => prop::sample::select(vec![1u8, 25, 40, 125]).prop_map(Act::Pass),
        4 => Just(Act::Read),
        3 => Just(Act::Scan),
        2 => Just(Act::Remove),
        3 => Just(Act::Finish),
        1 => Just(Act::Dial),
        3 => Just(Act::Send),
        2 => Just(Act::Acknowledge),
    ]
}

/// What happens in a life, and after how many effects it is killed.
fn life() -> impl Strategy<Value = (Vec<Act>, u64)> {
    (prop::collection::vec(act(), 0..60), 0..90u64)
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
        let (journal, restored) = Journal::open(world.store(), Maps::default(), SLACK_BYTES);
        let (reader, scanner) = (world.reader(), world.scanner());
        let left = Left::go_on(OUTBOX_BYTES, journal, restored, reader, scanner).unwrap();
        let Left { reader, scanner, outbox, journal, kernel } = left;
        let joiner = Joiner::new("lab", "n1", SharedDirectory::default());
        let journal = Arc::new(Mutex::new(journal));
        let releaser = reader.releaser();
        let rows = Rows::new(joiner, outbox, journal, releaser, Arc::default(), kernel);
        Self { world: world.clone(), reader, scanner, rows, scans: 0, connected: false }
    }

    fn act(&mut self, act: Act) {
        let world = &self.world;
        match act {
            Act::Connect(port) => world.connect(port.into()),
            Act::Packet(port, reply) => world.packet(port.into(), reply),
            Act::Deny(port) => world.deny(100 + u16::from(port)),
            Act::Pass(seconds) => world.pass(seconds.into()),
            Act::Read => {
                let mut events = Vec::new();
                self.reader.read(Duration::ZERO, &mut events).unwrap();
                self.rows.add_events(&events, self.reader.positions());
            }
            Act::Scan => {
                let mut scan = Box::<Scan>::default();
                let (now_ns, stats) = (world.now_ns(), world.stats());
                self.scanner.scan_at(now_ns, &stats, &mut scan).unwrap();
                self.scans += 1;
                let wanted = self.rows.progress.totals_wanted();
                let totals = wanted.then(|| self.scanner.totals());
                self.rows.add_scan(ScanReport { scan, number: self.scans, totals });
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
            Act::Send => {
                let next = self.rows.outbox.lock().next();
                if let Some((number, messages)) = next {
                    world.relay_takes(number, &messages);
                }
            }
            Act::Acknowledge => {
                let epochs = self.rows.outbox.lock().epochs();
                for asked in epochs {
                    self.rows.outbox.lock().acknowledged(world.relay_has(asked));
                }
            }
            Act::DiskFull(full) => world.set_disk_full(full),
        }
    }

    /// Brings everything to the relay.
    fn end(&mut self) {
        self.act(Act::Dial);
        for _ in 0..3 {
            for _ in 0..40 {
                self.act(Act::Read);
            }
            self.act(Act::Scan);
            self.act(Act::Finish);
            self.act(Act::Remove);
        }
        while !self.rows.outbox.lock().is_empty() {
            self.act(Act::Send);
            self.act(Act::Acknowledge);
        }
        assert_eq!(self.rows.outbox.lock().lost_rows(), 0);
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
    // Neither entry that was removed counts as having given way.
    prop_assert_eq!(world.evicted(), (0, 0));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, ..ProptestConfig::default() })]

    #[test]
    fn what_a_killed_collector_had_is_reported_once(
        lives in prop::collection::vec(life(), 1..6),
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

    /// A disk that is full now and then costs nothing as long as nobody is killed meanwhile.
    #[test]
    fn the_journal_goes_on_when_there_is_room_again(
        lives in prop::collection::vec(prop::collection::vec(act(), 0..40), 1..8),
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
            collector.act(Act::Scan);
            prop_assert!(collector.rows.problem.is_none());
            prop_assert_eq!(collector.rows.unrecorded, 0);
        }
        check(&world)?;
    }
}
