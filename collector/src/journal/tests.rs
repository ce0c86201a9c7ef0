//! What is left of a journal of which something is damaged, missing or cannot be written.

use std::sync::Arc;

use arrow_flight::FlightData;
use proptest::prelude::*;

use super::fake::{FakeFiles, Fate};
use super::*;
use crate::kernel::Positions;

const MAPS: Maps = Maps { boot: [7; 16], ids: [1, 2, 3, 4, 5] };
const SIZES: Sizes = Sizes { slack: 1 << 20, segment: 4 * LEAST_BYTES };

fn number(sequence: u64) -> BatchNumber {
    BatchNumber { epoch: 5, sequence }
}

fn open(files: &Arc<FakeFiles>) -> (Journal, Restored) {
    Journal::open(files.clone(), MAPS, SIZES)
}

fn messages(sequence: u64) -> Vec<FlightData> {
    let part = |len: u64| vec![sequence as u8; len as usize];
    (0..3)
        .map(|n| FlightData::new().with_data_header(part(n)).with_data_body(part(9 + n)))
        .collect()
}

/// A journal of batches 1 to `count`, each of one verdict, every third a deny; positions are the last
/// number.
fn written(files: &Arc<FakeFiles>, count: u64) -> Journal {
    let (mut journal, restored) = open(files);
    let snapshot = Snapshot {
        last: BatchNumber { epoch: 5, sequence: 0 },
        batches: restored.batches,
        pending: Vec::new(),
        kernel: KernelPart::default(),
    };
    journal.begin(&snapshot).unwrap();
    for sequence in 1..=count {
        append(&mut journal, sequence).unwrap();
    }
    journal
}

fn append(journal: &mut Journal, sequence: u64) -> io::Result<()> {
    let class = if sequence.is_multiple_of(3) { Class::Denies } else { Class::Allows };
    let mut tally = Tally::default();
    tally.add(u8::from(class == Class::Denies), 1, 10, 20);
    let place = journal.store((class, tally), number(sequence), &messages(sequence))?;
    let rows = Some(Rows { class, tally, place });
    let batch = Batch { number: number(sequence), first: sequence, rows, losses: Vec::new() };
    let positions = Positions { denies: sequence, verdicts: sequence };
    journal.append(&Step { batches: vec![batch], positions: Some(positions), ..Step::default() })
}

/// How many batches can be read, and how many verdicts are told of as lost; no number is missing.
fn found(journal: &Journal, restored: &Restored) -> (u64, u64) {
    let (mut whole, mut lost) = (0, 0);
    for (index, batch) in restored.batches.iter().enumerate() {
        assert_eq!(batch.number, number(index as u64 + 1));
        lost += batch.losses.iter().map(|entry| entry.count).sum::<u64>();
        let Some(Rows { class, place: Some(place), .. }) = batch.rows else { continue };
        match journal.reader().unwrap().read(class, place, batch.number).unwrap() {
            Some(read) => {
                assert_eq!(read, messages(batch.number.sequence));
                whole += 1;
            }
            None => lost += 1,
        }
    }
    (whole, lost)
}

#[test]
fn batches_and_positions_are_there_again() {
    let files = Arc::new(FakeFiles::default());
    drop(written(&files, 20));
    let (journal, restored) = open(&files);
    assert_eq!(found(&journal, &restored), (20, 0));
    assert_eq!(restored.last, number(20));
    assert_eq!(restored.kernel.unwrap().positions.denies, 20);
    assert_eq!(journal.problem(), None);
}

#[test]
fn acknowledged_batches_leave_and_so_do_their_segments() {
    let files = Arc::new(FakeFiles::default());
    let mut journal = written(&files, 20);
    journal.append(&Step { acknowledged: vec![number(18)], ..Step::default() }).unwrap();
    let before = files.list().unwrap().len();
    let (_, restored) = open(&files);
    assert_eq!(restored.batches.len(), 2);
    assert!(files.list().unwrap().len() < before, "{:?}", files.list());
}

#[test]
fn a_directory_that_cannot_be_written_is_a_problem_until_the_next_snapshot() {
    let files = Arc::new(FakeFiles::default());
    let mut journal = written(&files, 3);
    files.set_fates(Some(Box::new(|_| Fate::Fails(ErrorKind::ReadOnlyFilesystem, 0))));
    let error = append(&mut journal, 4).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem);
    journal.give_up(&error);
    assert!(journal.problem().is_some() && journal.wants_snapshot() && !journal.keeps());
    let (mut reopened, restored) = open(&files);
    assert_eq!(restored.batches.len(), 3);
    assert!(reopened.problem().is_some(), "what is there cannot be cut");
    files.set_fates(None);
    let snapshot = Snapshot {
        last: restored.last,
        batches: restored.batches,
        pending: Vec::new(),
        kernel: KernelPart::default(),
    };
    reopened.begin(&snapshot).unwrap();
    append(&mut reopened, 4).unwrap();
    let (journal, restored) = open(&files);
    assert_eq!(found(&journal, &restored), (4, 0));
}

#[test]
fn a_segment_that_is_gone_is_in_the_ledger() {
    let files = Arc::new(FakeFiles::default());
    drop(written(&files, 12));
    let (name, _) = files.list().unwrap().into_iter().find(|(name, _)| name != FILE).unwrap();
    files.remove(&name).unwrap();
    let (journal, restored) = open(&files);
    let (whole, lost) = found(&journal, &restored);
    assert!(whole + lost == 12 && lost > 0, "{whole} whole, {lost} lost");
}

#[test]
fn other_maps_leave_the_batches() {
    let files = Arc::new(FakeFiles::default());
    drop(written(&files, 4));
    let (journal, restored) = Journal::open(files.clone(), Maps { boot: [8; 16], ..MAPS }, SIZES);
    assert!(restored.kernel.is_none() && journal.wants_snapshot());
    assert_eq!(found(&journal, &restored), (4, 0));
}

#[test]
fn what_is_unsynced_is_told_segments_first() {
    let files = Arc::new(FakeFiles::default());
    let mut journal = written(&files, 2);
    let unsynced = journal.take_unsynced();
    assert_eq!(unsynced.last().map(String::as_str), Some(FILE));
    assert_eq!(unsynced.len(), 2);
    assert!(journal.take_unsynced().is_empty());
}

proptest! {
    /// A byte that is not as it was written costs at most what it is in: the bytes of a batch, which
    /// its step counts; a step, whose batches their frames tell of; or the last step, which did not
    /// happen.
    #[test]
    fn damage_costs_itself_alone(count in 2..30u64, seed in any::<u64>(), steps in any::<bool>()) {
        let files = Arc::new(FakeFiles::default());
        drop(written(&files, count));
        let mut random = seed;
        let dice = |sides: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) as usize % sides
        };
        let prefix = if steps { FILE } else { "allows-" };
        prop_assume!(files.damage(prefix, dice));
        let (journal, restored) = open(&files);
        let (whole, lost) = found(&journal, &restored);
        if steps {
            prop_assert!(lost == 0 && (whole == count || whole == count - 1), "{} of {}", whole, count);
        } else {
            prop_assert_eq!((whole, lost), (count - 1, 1));
        }
    }
}
