use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::decode::RawMessage;
use crate::wal::disk::Disk;
use crate::wal::record::{Arrived, Notes};

const SALT: u32 = 5;
const SEGMENT_BYTES: u64 = 700;

/// A record that is told apart by `number`.
fn record(position: u64, number: u64) -> Record {
    let arrived = Arrived { at_ns: number, missing: 0, heard_ns: 1 };
    let text = vec![number as u8; (number % 60) as usize];
    let message = RawMessage { header: Buffer::from_vec(text), body: Buffer::default() };
    Record::flows(position, arrived, &Buffer::from(b"{}".as_slice()), &[message])
}

fn number(entry: &Entry) -> Option<u64> {
    match entry {
        Entry::Stream { arrived, messages } => {
            assert_eq!(&messages[0].app_metadata[..], b"{}");
            assert_eq!(messages[0].data_header.len() as u64, arrived.at_ns % 60);
            Some(arrived.at_ns)
        }
        Entry::Notes(_) => None,
    }
}

type Opened = (Log<Disk>, Vec<(u64, Replayed)>);

fn open(disk: &Disk, fsync: Fsync, flushed: u64) -> Opened {
    let mut replayed = Vec::new();
    let each = |position, what| replayed.push((position, what));
    let log = Log::open(disk.clone(), SALT, fsync, SEGMENT_BYTES, flushed, each).unwrap();
    (log, replayed)
}

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Release,
    Sync,
    Kill,
    KillInAppend(usize),
    FailPower,
    /// Within an append; and the process that is started may be killed before it writes anything.
    FailPowerInAppend(usize, bool),
    Full(usize),
    Room,
    FailSync,
    /// One attempt finds so much room, and cannot cut what it wrote in vain.
    FailAppend(usize, bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1usize..6).prop_map(Step::Append),
        2 => Just(Step::Release),
        1 => Just(Step::Sync),
        2 => Just(Step::Kill),
        2 => (1usize..6).prop_map(Step::KillInAppend),
        1 => Just(Step::FailPower),
        3 => (2usize..6, any::<bool>()).prop_map(|(count, kill)| Step::FailPowerInAppend(count, kill)),
        1 => (0usize..900).prop_map(Step::Full),
        2 => Just(Step::Room),
        1 => Just(Step::FailSync),
        3 => (0usize..300, any::<bool>()).prop_map(|(room, cut)| Step::FailAppend(room, cut)),
    ]
}

/// What a relay does with its log, and what has to be in it.
struct Model {
    disk: Disk,
    fsync: Fsync,
    log: Log<Disk>,
    next_number: u64,
    /// A group that failed is tried again.
    group: Vec<Record>,
    acknowledged: BTreeMap<u64, Option<u64>>,
    /// Not acknowledged, but maybe there.
    tried: BTreeMap<u64, Vec<Option<u64>>>,
    flushed: u64,
}

impl Model {
    fn append(&mut self, count: usize) {
        if self.group.is_empty() {
            for _ in 0..count {
                let position = self.log.last() + 1 + self.group.len() as u64;
                self.group.push(record(position, self.next_number));
                self.tried.entry(position).or_default().push(Some(self.next_number));
                self.next_number += 1;
            }
        }
        self.try_group();
    }

    fn try_group(&mut self) {
        if self.log.append(&self.group).is_err() {
            return;
        }
        for record in self.group.drain(..) {
            let is = self.tried.remove(&record.position).unwrap().pop().unwrap();
            self.acknowledged.insert(record.position, is);
        }
        assert_eq!(self.log.last(), *self.acknowledged.last_key_value().unwrap().0);
    }

    /// What it wrote stays, and is not synced.
    fn die_in_append(&mut self, count: usize) {
        {
            let mut state = self.disk.0.lock().unwrap();
            (state.die_at_sync, state.fail_cut) = (true, true);
        }
        self.append(count);
    }

    /// The next process.
    fn open(&mut self) {
        let absent = self.read();
        if !absent.is_empty() {
            let position = self.log.last() + 1;
            let notes = Notes { losses: vec![], positions: absent };
            self.group = vec![Record::notes(position, &notes)];
            self.tried.entry(position).or_default().push(None);
            self.try_group();
        }
    }

    /// Returns the positions that nothing is at.
    fn read(&mut self) -> Vec<(u64, u64)> {
        {
            let mut state = self.disk.0.lock().unwrap();
            (state.fail_sync, state.fail_cut, state.die_at_sync) = (false, false, false);
        }
        self.group.clear();
        let (log, replayed) = open(&self.disk, self.fsync, self.flushed);
        self.log = log;
        let expected: Vec<u64> = (self.flushed + 1..=self.log.last()).collect();
        let positions: Vec<u64> = replayed.iter().map(|(position, _)| *position).collect();
        assert_eq!(positions, expected, "each position once and in order");
        let mut absent = Vec::new();
        for (position, replayed) in replayed {
            let known = self.acknowledged.remove(&position);
            match replayed {
                Replayed::Entry(entry) => {
                    let is = number(&entry);
                    match known {
                        Some(known) => assert_eq!(is, known, "position {position}"),
                        None => assert!(self.tried[&position].contains(&is), "{position} {is:?}"),
                    }
                    // It is read, so it counts.
                    self.acknowledged.insert(position, is);
                }
                Replayed::Absent => {
                    assert!(known.is_none(), "{position} was acknowledged");
                    absent.push((position, position));
                }
                Replayed::Known => assert!(known.is_none(), "{position} was acknowledged"),
                Replayed::Lost(cause) => panic!("{position} is lost: {cause}"),
            }
        }
        self.acknowledged.retain(|position, _| *position <= self.log.last());
        self.tried.clear();
        absent
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Append(count) => self.append(*count),
            Step::Release => {
                self.flushed = self.acknowledged.last_key_value().map_or(0, |(last, _)| *last);
                self.log.release(self.flushed);
            }
            Step::Sync => drop(self.log.sync()),
            Step::Kill => self.open(),
            Step::KillInAppend(count) => {
                self.die_in_append(*count);
                self.open();
            }
            Step::FailPower | Step::FailPowerInAppend(..) if self.fsync != Fsync::Batch => {}
            Step::FailPower => {
                self.disk.0.lock().unwrap().fail_power();
                self.open();
            }
            Step::FailPowerInAppend(count, kill) => {
                self.die_in_append(*count);
                self.disk.0.lock().unwrap().fail_power();
                if *kill {
                    self.read();
                }
                self.open();
            }
            Step::Full(room) => self.disk.0.lock().unwrap().room = Some(*room),
            Step::Room => self.disk.0.lock().unwrap().room = None,
            // What was acknowledged before a sync may go with it otherwise.
            Step::FailSync => {
                self.disk.0.lock().unwrap().fail_sync = self.fsync == Fsync::Batch;
            }
            Step::FailAppend(room, fail_cut) => {
                {
                    let mut state = self.disk.0.lock().unwrap();
                    (state.room, state.fail_cut) = (Some(*room), *fail_cut);
                }
                self.append(2);
                let mut state = self.disk.0.lock().unwrap();
                (state.room, state.fail_cut) = (None, false);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Whatever happens when: what was acknowledged and is not stored is read, once and in order.
    #[test]
    fn acknowledged_is_there_after_every_crash(
        steps in prop::collection::vec(step(), 1..40),
        dice in any::<u64>(),
        fsync in prop_oneof![3 => Just(Fsync::Batch), 1 => Just(Fsync::Interval), 1 => Just(Fsync::Never)],
    ) {
        let disk = Disk::default();
        disk.0.lock().unwrap().dice = dice;
        let (log, replayed) = open(&disk, fsync, 0);
        prop_assert!(replayed.is_empty());
        let mut model = Model {
            disk: disk.clone(),
            fsync,
            log,
            next_number: 1,
            group: Vec::new(),
            acknowledged: BTreeMap::new(),
            tried: BTreeMap::new(),
            flushed: 0,
        };
        for step in &steps {
            model.take(step);
        }
        model.open();
        // Where there is room again, it works again.
        disk.0.lock().unwrap().room = None;
        model.append(2);
        model.append(2);
        prop_assert!(model.group.is_empty());
        model.take(&Step::Release);
        model.take(&Step::Append(1));
        model.take(&Step::Release);
        let segments = disk.0.lock().unwrap().segments();
        prop_assert_eq!(segments.len(), 1, "stored segments go");
        prop_assert_eq!(model.log.bytes(), (HEADER_LEN + 8) as u64);
    }
}

fn appended(disk: &Disk, groups: &[&[u64]]) -> Log<Disk> {
    let (mut log, _) = open(disk, Fsync::Batch, 0);
    for group in groups {
        let group: Vec<Record> = group.iter().map(|n| record(*n, *n)).collect();
        log.append(&group).unwrap();
    }
    log
}

/// The position of each entry that could be read, and each that is lost.
fn told(replayed: &[(u64, Replayed)]) -> (Vec<u64>, Vec<u64>) {
    let of = |wanted: fn(&Replayed) -> bool| {
        replayed.iter().filter(|(_, what)| wanted(what)).map(|(position, _)| *position).collect()
    };
    (of(|what| matches!(what, Replayed::Entry(_))), of(|what| matches!(what, Replayed::Lost(_))))
}

#[test]
fn damage_in_the_middle_is_told_once() {
    let disk = Disk::default();
    drop(appended(&disk, &[&[1, 2], &[3], &[4]]));
    let damage = {
        let mut state = disk.0.lock().unwrap();
        let number = state.segments()[0];
        let bytes = state.bytes(number);
        let at = Frames::new(bytes, SALT).nth(2).unwrap().1.start;
        bytes[at] ^= 1;
        (number, at)
    };
    let (mut log, replayed) = open(&disk, Fsync::Batch, 0);
    assert_eq!(told(&replayed), (vec![1, 3, 4], vec![2]));
    assert_eq!(log.last(), 4);
    // Read again before anything was noted: told again.
    drop(log);
    (log, _) = open(&disk, Fsync::Batch, 0);
    let notes = Notes { losses: vec![], positions: vec![(2, 2)] };
    log.append(&[Record::notes(5, &notes)]).unwrap();
    drop(log);
    let (_, replayed) = open(&disk, Fsync::Batch, 0);
    assert_eq!(told(&replayed), (vec![1, 3, 4, 5], vec![]));
    assert!(matches!(replayed[1], (2, Replayed::Known)));
    // Nor if it is stored.
    let (_, replayed) = open(&disk, Fsync::Batch, 3);
    assert_eq!(told(&replayed), (vec![4, 5], vec![]));
    assert!(!disk.0.lock().unwrap().segments().is_empty(), "{damage:?}");
}

#[test]
fn a_segment_that_is_gone_is_told() {
    let disk = Disk::default();
    drop(appended(&disk, &[&[1, 2, 3, 4, 5], &[6, 7, 8, 9, 10], &[11, 12]]));
    let mut state = disk.0.lock().unwrap();
    let first = state.segments()[0];
    state.bytes(first).clear();
    drop(state);
    let (_, replayed) = open(&disk, Fsync::Batch, 0);
    let (read, lost) = told(&replayed);
    assert_eq!([lost, read].concat(), (1..=12).collect::<Vec<_>>());
    assert!(told(&replayed).1.len() >= 5);
}

#[test]
fn what_is_stored_is_remembered_without_a_manifest() {
    let disk = Disk::default();
    let mut log = appended(&disk, &[&[1, 2, 3]]);
    log.release(3);
    drop(log);
    let (log, replayed) = open(&disk, Fsync::Batch, 0);
    assert!(replayed.is_empty());
    assert_eq!(log.last(), 3);
}
