use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::ledger::Tally;

const LIMITS: Limits = Limits { stored_bytes: 0, memory_bytes: 4_000 };
/// Seconds that make no two batches close in time, where each takes so long.
const FAR: i64 = 1_000;

fn messages() -> Vec<FlightData> {
    let body = vec![0u8; 1000 - size_of::<FlightData>()];
    vec![FlightData::new().with_data_body(body)]
}

/// A batch of so many rows, each of one verdict.
fn batch(outbox: &Outbox, class: Class, rows: u64, place: Option<Place>, at_s: i64) -> Batch {
    let mut tally = Tally::default();
    for _ in 0..rows {
        let verdict = u8::from(class == Class::Denies);
        tally.add(verdict, 1, at_s * 1_000_000_000, at_s * 1_000_000_000 + 1);
    }
    let last = outbox.last();
    let number = BatchNumber { sequence: last.sequence + 1, ..last };
    let rows = Some(Rows { class, tally, place });
    Batch { number, first: number.sequence, rows, losses: Vec::new() }
}

fn push(outbox: &mut Outbox, class: Class, rows: u64) {
    let mut batch = batch(outbox, class, rows, None, 1);
    let messages = messages();
    if !outbox.make_room_in_memory(class, size(&messages)) {
        outbox.count_given_up(&batch);
        batch.give_up(stage::SPOOL, FULL);
    }
    outbox.push(batch, Some(messages));
}

fn push_stored(outbox: &mut Outbox, class: Class, segment: u64, at_s: i64) {
    let place = Place { segment, at: 0, len: LEAST_BYTES };
    let batch = batch(outbox, class, 1, Some(place), at_s);
    outbox.push(batch, Some(messages()));
}

fn up_to(outbox: &Outbox, sequence: u64) -> BatchNumber {
    BatchNumber { epoch: outbox.last.epoch, sequence }
}

fn acknowledged(outbox: &mut Outbox, sequence: u64) {
    outbox.acknowledged(up_to(outbox, sequence));
}

fn connected(outbox: &mut Outbox, sequence: u64) {
    outbox.connected(&[up_to(outbox, sequence)]);
}

fn lost(losses: &[LossEntry]) -> u64 {
    losses.iter().map(|entry| entry.count).sum()
}

/// Sequence, whether rows are sent, and verdicts told of as lost.
fn sent(outbox: &mut Outbox) -> Vec<(u64, bool, u64)> {
    std::iter::from_fn(|| {
        let next = outbox.next()?;
        let rows = !matches!(next.content, Content::Nothing);
        Some((next.number.sequence, rows, lost(&next.losses)))
    })
    .collect()
}

#[test]
fn what_is_not_acknowledged_is_sent_again_in_order() {
    let mut outbox = Outbox::new(LIMITS);
    (0..4).for_each(|_| push(&mut outbox, Class::Allows, 1));
    let whole = |numbers: &[u64]| numbers.iter().map(|n| (*n, true, 0)).collect::<Vec<_>>();
    assert_eq!(sent(&mut outbox), whole(&[1, 2, 3, 4]));
    acknowledged(&mut outbox, 2);
    assert_eq!(sent(&mut outbox), []);
    connected(&mut outbox, 3);
    assert_eq!(sent(&mut outbox), whole(&[4]));
    acknowledged(&mut outbox, 4);
    assert!(outbox.is_empty());
    assert_eq!((outbox.rows(), outbox.bytes(), outbox.given_up()), (0, 0, 0));
}

#[test]
fn allows_go_first_and_their_numbers_tell_of_them() {
    let mut outbox = Outbox::new(LIMITS);
    push(&mut outbox, Class::Denies, 1);
    push(&mut outbox, Class::Allows, 10);
    push(&mut outbox, Class::Allows, 100);
    push(&mut outbox, Class::Denies, 1_000);
    push(&mut outbox, Class::Denies, 10_000);
    assert_eq!(outbox.given_up(), 10);
    push(&mut outbox, Class::Denies, 1);
    push(&mut outbox, Class::Denies, 1);
    assert_eq!(outbox.given_up(), 111);
    // Allows do not make denies go.
    push(&mut outbox, Class::Allows, 7);
    assert_eq!(outbox.given_up(), 118);
    let all = [
        (1, false, 1),
        (2, false, 0),
        (3, false, 110),
        (4, true, 0),
        (5, true, 0),
        (6, true, 0),
        (7, true, 0),
        (8, false, 7),
    ];
    connected(&mut outbox, 0);
    let sent = sent(&mut outbox);
    assert_eq!(sent.iter().map(|(_, _, lost)| lost).sum::<u64>(), 118);
    assert_eq!(sent[3..], all[3..]);
    assert!(sent[..3].iter().all(|(_, rows, _)| !rows));
}

#[test]
fn what_was_sent_before_it_was_given_up_is_lost_only_if_it_did_not_arrive() {
    for (arrived, lost) in [(0, 11), (1, 10), (2, 0)] {
        let mut outbox = Outbox::new(Limits { memory_bytes: 2_000, ..LIMITS });
        push(&mut outbox, Class::Allows, 1);
        push(&mut outbox, Class::Allows, 10);
        assert_eq!(sent(&mut outbox).len(), 2);
        push(&mut outbox, Class::Allows, 100);
        push(&mut outbox, Class::Allows, 1_000);
        connected(&mut outbox, arrived);
        let sent = sent(&mut outbox);
        assert_eq!(sent.iter().map(|(_, _, lost)| lost).sum::<u64>(), lost, "{arrived} arrived");
        assert!(sent.iter().map(|(sequence, _, _)| *sequence).eq(arrived + 1..=4));
    }
}

#[test]
fn a_segment_goes_as_a_whole_and_denies_last() {
    let limits = Limits { stored_bytes: 4 * LEAST_BYTES, memory_bytes: 0 };
    let mut outbox = Outbox::new(limits);
    for (class, segment) in
        [(Class::Denies, 0), (Class::Allows, 1), (Class::Allows, 1), (Class::Allows, 2)]
    {
        assert!(outbox.make_room(class, 1));
        push_stored(&mut outbox, class, segment, 1);
    }
    assert!(outbox.make_room(Class::Denies, 1));
    assert_eq!((outbox.dropped(), outbox.given_up()), (vec![(Class::Allows, 1)], 2));
    push_stored(&mut outbox, Class::Denies, 3, 1);
    assert!(outbox.make_room(Class::Denies, 2 * LEAST_BYTES));
    assert_eq!(outbox.dropped(), [(Class::Allows, 2)]);
    // Only denies are left.
    assert!(!outbox.make_room(Class::Allows, 3 * LEAST_BYTES));
    assert!(outbox.make_room(Class::Denies, 3 * LEAST_BYTES));
    assert_eq!(outbox.dropped(), [(Class::Denies, 0)]);
    assert!(!outbox.make_room(Class::Denies, 5 * LEAST_BYTES), "it would never fit");
    assert_eq!((outbox.given_up(), outbox.rows()), (4, 1));
}

#[test]
fn neighbours_that_were_given_up_are_one_unless_the_relay_may_have_some() {
    let limits = Limits { stored_bytes: 100 * LEAST_BYTES, memory_bytes: 0 };
    let mut outbox = Outbox::new(limits);
    (0..50).for_each(|n| push_stored(&mut outbox, Class::Allows, n / 10, n as i64));
    (0..5).for_each(|_| drop(outbox.next()));
    while outbox.give_up_oldest(FULL) {}
    // Five that the relay may have, and one for the rest.
    assert_eq!(outbox.contents().len(), 6);
    let news = outbox.news().batches;
    assert_eq!(news.iter().map(|batch| lost(&batch.losses)).sum::<u64>(), 50);
    connected(&mut outbox, 3);
    let sent = sent(&mut outbox);
    assert!(sent.iter().map(|(sequence, _, _)| *sequence).eq(4..=50));
    assert_eq!(sent.iter().map(|(_, _, lost)| lost).sum::<u64>(), 47);
    // The relay had a part of what has become one.
    connected(&mut outbox, 20);
    assert_eq!(outbox.next().map(|next| next.number.sequence), Some(21));
    acknowledged(&mut outbox, 49);
    connected(&mut outbox, 49);
    let next = outbox.next().unwrap();
    assert_eq!((next.number.sequence, lost(&next.losses)), (50, 45));
}

#[test]
fn what_is_far_apart_stays_apart() {
    let mut outbox = Outbox::new(Limits { stored_bytes: u64::MAX, memory_bytes: 0 });
    (0..4).for_each(|n| push_stored(&mut outbox, Class::Allows, 0, n * FAR));
    outbox.give_up_oldest(FULL);
    assert_eq!(outbox.contents().len(), 4);
}

#[test]
fn epochs_only_grow_whatever_the_clock_does() {
    let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let hour = Duration::from_secs(3_600);
    let first = new_epoch(0, now);
    let back = new_epoch(first, now - hour);
    let forth = new_epoch(back, now + hour);
    assert!(first < back && back < forth);
    assert_eq!(new_epoch(forth, UNIX_EPOCH - hour), forth + 1);
}

proptest! {
    /// A relay that receives in order, forgets nothing and is cut off at random moments: each
    /// row is held by it, waits, or is in its ledger, exactly once, and no number is missing.
    #[test]
    fn every_row_is_accounted_for(steps in prop::collection::vec(0u8..8, 1..200), stored in any::<bool>()) {
        let limits = Limits {
            stored_bytes: if stored { 5 * LEAST_BYTES } else { 0 },
            ..LIMITS
        };
        let mut outbox = Outbox::new(limits);
        let (mut pushed, mut relay_rows, mut relay_lost, mut relay_last) = (0u64, 0u64, 0u64, 0u64);
        let mut on_the_way: VecDeque<(u64, u64, u64)> = VecDeque::new();
        let mut receive = |on_the_way: &mut VecDeque<(u64, u64, u64)>, last: &mut u64| {
            if let Some((sequence, rows, lost)) = on_the_way.pop_front()
                && sequence > *last
            {
                assert_eq!(sequence, *last + 1);
                *last = sequence;
                relay_rows += rows;
                relay_lost += lost;
            }
        };
        for step in steps {
            match step {
                0..=2 => {
                    pushed += 1;
                    let class = if step == 0 { Class::Denies } else { Class::Allows };
                    if !stored {
                        push(&mut outbox, class, 1);
                    } else if outbox.make_room(class, 1) {
                        let segment = outbox.last().sequence / 3;
                        push_stored(&mut outbox, class, segment, pushed as i64 * 100);
                    } else {
                        let mut batch = batch(&outbox, class, 1, None, 1);
                        batch.give_up(stage::SPOOL, FULL);
                        outbox.push(batch, None);
                    }
                }
                3 => if let Some(next) = outbox.next() {
                    // One row each, so rows tell how many batches there are.
                    let rows = u64::from(!matches!(next.content, Content::Nothing));
                    on_the_way.push_back((next.number.sequence, rows, lost(&next.losses)));
                },
                4 => receive(&mut on_the_way, &mut relay_last),
                5 => acknowledged(&mut outbox, relay_last),
                6 if stored => {
                    outbox.give_up_oldest("disk full");
                }
                _ => {
                    on_the_way.clear();
                    connected(&mut outbox, relay_last);
                }
            }
            let unused = outbox.unused();
            outbox.forget(&unused);
            prop_assert!(outbox.bytes() <= limits.stored_bytes.max(4_000));
            prop_assert!(outbox.window_bytes <= WINDOW_BYTES);
        }
        on_the_way.clear();
        connected(&mut outbox, relay_last);
        while let Some(next) = outbox.next() {
            let rows = u64::from(!matches!(next.content, Content::Nothing));
            on_the_way.push_back((next.number.sequence, rows, lost(&next.losses)));
            receive(&mut on_the_way, &mut relay_last);
        }
        acknowledged(&mut outbox, relay_last);
        prop_assert!(outbox.is_empty());
        prop_assert_eq!((outbox.rows(), outbox.memory_bytes, outbox.window_bytes), (0, 0, 0));
        prop_assert_eq!(relay_rows + relay_lost, pushed);
    }
}
