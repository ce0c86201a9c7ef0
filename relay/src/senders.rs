//! Who sends: for each life of each collector the last sequence number, and from it whether a
//! batch is new, sent again, or leaves a gap behind it. No I/O, no clock.
//!
//! A batch is *taken* when it has a position in the log, and *held* once it is on disk there.
//! Only what is held is acknowledged or said to be stored.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use weir_flow::manifest::StoredUpTo;
use weir_flow::wire::{Acknowledgement, BatchId, CollectorSeen, CollectorStatus};

/// Collectors remembered; beyond that the one silent for longest is forgotten.
const MAX_COLLECTORS: usize = 20_000;
/// Lives remembered of one collector. Two may overlap for a while; more is a collector that keeps
/// crashing, whose oldest life has nothing left to send.
const MAX_LIVES: usize = 4;
/// After this long without a word, a collector is no longer written into manifests.
pub(crate) const FORGET_AFTER_NS: u64 = 7 * 24 * 3600 * 1_000_000_000;

/// What a sequence number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Not seen yet; so many batches before it never arrived.
    New { missing: u64 },
    /// Taken already; held once this position of the log is.
    Again { position: u64 },
}

/// Every collector heard of.
#[derive(Debug, Default)]
pub(crate) struct Senders {
    by_name: FxHashMap<String, Sender>,
    /// A sequence number advanced since the last [`Senders::stored`].
    advanced_since_ns: Option<u64>,
    /// Batches that the log lost, counted as such.
    lost: u64,
    /// So many of them a gap showed.
    explained: u64,
}

#[derive(Debug, Default)]
struct Sender {
    /// Oldest first.
    lives: VecDeque<Life>,
    last_seen_ns: u64,
    status: Option<CollectorStatus>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Life {
    epoch: u64,
    /// The last one taken, and the position of it.
    taken: u64,
    position: u64,
    /// The last one held.
    sequence: u64,
    /// The last sequence that a manifest knows.
    stored: u64,
    missing: u64,
    /// A batch came since the relay started.
    is_back: bool,
}

impl Senders {
    /// What a manifest remembers.
    pub(crate) fn restore(stored: &[StoredUpTo]) -> Self {
        let mut senders = Self::default();
        for entry in stored {
            let sender = senders.by_name.entry(entry.collector.clone()).or_default();
            sender.last_seen_ns = sender.last_seen_ns.max(entry.last_seen_ns);
            let life = sender.life(entry.epoch);
            life.taken = entry.sequence;
            (life.sequence, life.stored) = (entry.sequence, entry.sequence);
        }
        senders
    }

    /// What `id` would be, without remembering it.
    pub(crate) fn judge(&self, id: &BatchId) -> Arrival {
        let (taken, position) = self.life(id).map_or((0, 0), |life| (life.taken, life.position));
        if id.sequence <= taken {
            return Arrival::Again { position };
        }
        let gap = id.sequence - taken - 1;
        // What the log lost last of a collector shows as a gap before its next batch, and is counted.
        let is_back = self.life(id).is_some_and(|life| life.is_back);
        let unexplained = if is_back { 0 } else { self.lost.saturating_sub(self.explained) };
        Arrival::New { missing: gap - gap.min(unexplained) }
    }

    /// The log lost batches, and says so itself.
    pub(crate) fn lose(&mut self, batches: u64) {
        self.lost = self.lost.saturating_add(batches);
    }

    /// Remembers that `id` is taken, at that position. Returns when its collector was heard before.
    pub(crate) fn take(&mut self, id: &BatchId, missing: u64, position: u64, now_ns: u64) -> u64 {
        let heard_ns = self.by_name.get(&id.collector).map_or(now_ns, |sender| sender.last_seen_ns);
        let life = self.seen(id, now_ns).life(id.epoch);
        let gap = id.sequence.saturating_sub(life.taken + 1);
        life.is_back = true;
        life.missing = life.missing.saturating_add(missing);
        life.taken = life.taken.max(id.sequence);
        life.position = life.position.max(position);
        self.explained = self.explained.saturating_add(gap.saturating_sub(missing));
        heard_ns
    }

    /// Remembers what the log holds: `id` was taken at that position, and is held.
    pub(crate) fn replay(&mut self, id: &BatchId, missing: u64, position: u64, at_ns: u64) {
        self.take(id, missing, position, at_ns);
        self.seen(id, at_ns).life(id.epoch).is_back = false;
        self.hold(id, at_ns);
    }

    /// Remembers that `id` is held.
    pub(crate) fn hold(&mut self, id: &BatchId, now_ns: u64) {
        // Forgotten if thousands of other collectors came since it was taken.
        let Some(sender) = self.by_name.get_mut(&id.collector) else { return };
        let life = sender.life(id.epoch);
        if id.sequence > life.sequence {
            life.sequence = id.sequence;
            life.taken = life.taken.max(id.sequence);
            self.advanced_since_ns.get_or_insert(now_ns);
        }
    }

    /// Remembers that the sender of `id` lives, and how it is.
    pub(crate) fn hear(&mut self, id: &BatchId, now_ns: u64) {
        self.seen(id, now_ns);
    }

    /// What may be acknowledged to the sender of `id`.
    pub(crate) fn acknowledgement(&self, id: &BatchId) -> Acknowledgement {
        let sequence = self.life(id).map_or(0, |life| life.sequence);
        Acknowledgement { epoch: id.epoch, sequence }
    }

    /// Since when there is something that [`Senders::snapshot`] has and no manifest yet.
    pub(crate) fn advanced_since_ns(&self) -> Option<u64> {
        self.advanced_since_ns
    }

    /// How far everybody is, for a manifest.
    pub(crate) fn snapshot(&self, now_ns: u64) -> Vec<StoredUpTo> {
        let mut all: Vec<StoredUpTo> = self
            .by_name
            .iter()
            .filter(|(_, sender)| now_ns.saturating_sub(sender.last_seen_ns) < FORGET_AFTER_NS)
            .flat_map(|(name, sender)| {
                sender.lives.iter().map(|life| StoredUpTo {
                    collector: name.clone(),
                    epoch: life.epoch,
                    sequence: life.sequence,
                    last_seen_ns: sender.last_seen_ns,
                })
            })
            .collect();
        all.sort_by(|a, b| (&a.collector, a.epoch).cmp(&(&b.collector, b.epoch)));
        all
    }

    /// A manifest says so. What another relay stored counts as held here.
    pub(crate) fn stored(&mut self, now_ns: u64, snapshot: &[StoredUpTo]) {
        for entry in snapshot {
            if let Some(sender) = self.by_name.get_mut(&entry.collector) {
                let life = sender.life(entry.epoch);
                life.stored = entry.sequence;
                life.sequence = life.sequence.max(entry.sequence);
                life.taken = life.taken.max(entry.sequence);
            }
        }
        let behind = self
            .by_name
            .values()
            .flat_map(|sender| &sender.lives)
            .any(|life| life.sequence > life.stored);
        self.advanced_since_ns = behind.then_some(now_ns);
    }

    /// A manifest has batches of a collector that came by another relay.
    pub(crate) fn learn(&mut self, entry: &StoredUpTo) {
        let id = BatchId {
            collector: entry.collector.clone(),
            epoch: entry.epoch,
            sequence: entry.sequence,
            status: None,
            losses: Vec::new(),
        };
        let life = self.seen(&id, entry.last_seen_ns).life(entry.epoch);
        life.stored = life.stored.max(entry.sequence);
        life.sequence = life.sequence.max(entry.sequence);
        life.taken = life.taken.max(entry.sequence);
    }

    /// Everybody, for the status.
    pub(crate) fn report(&self) -> Vec<CollectorSeen> {
        let mut all: Vec<CollectorSeen> = self
            .by_name
            .iter()
            .filter_map(|(name, sender)| {
                let life = sender.lives.back()?;
                Some(CollectorSeen {
                    collector: name.clone(),
                    epoch: life.epoch,
                    sequence: life.sequence,
                    last_seen_ns: sender.last_seen_ns,
                    status: sender.status.clone(),
                })
            })
            .collect();
        all.sort_by(|a, b| a.collector.cmp(&b.collector));
        all
    }

    /// One sentence for each collector of which batches are missing.
    pub(crate) fn gaps(&self, at_most: usize) -> Vec<String> {
        let mut gaps: Vec<String> = self
            .by_name
            .iter()
            .filter_map(|(name, sender)| {
                let missing: u64 = sender.lives.iter().map(|life| life.missing).sum();
                (missing > 0)
                    .then(|| format!("{missing} batches of collector {name} never arrived"))
            })
            .collect();
        gaps.sort();
        gaps.truncate(at_most);
        gaps
    }

    fn life(&self, id: &BatchId) -> Option<&Life> {
        let sender = self.by_name.get(&id.collector)?;
        sender.lives.iter().find(|life| life.epoch == id.epoch)
    }

    fn seen(&mut self, id: &BatchId, now_ns: u64) -> &mut Sender {
        if !self.by_name.contains_key(&id.collector) && self.by_name.len() >= MAX_COLLECTORS {
            self.forget_one();
        }
        let sender = self.by_name.entry(id.collector.clone()).or_default();
        sender.last_seen_ns = sender.last_seen_ns.max(now_ns);
        sender.life(id.epoch);
        if id.status.is_some() {
            sender.status.clone_from(&id.status);
        }
        sender
    }

    fn forget_one(&mut self) {
        let oldest = self
            .by_name
            .iter()
            .min_by_key(|(_, sender)| sender.last_seen_ns)
            .map(|(name, _)| name.clone());
        if let Some(name) = oldest {
            self.by_name.remove(&name);
        }
    }
}

impl Sender {
    fn life(&mut self, epoch: u64) -> &mut Life {
        let at = self.lives.partition_point(|life| life.epoch < epoch);
        if self.lives.get(at).is_none_or(|life| life.epoch != epoch) {
            self.lives.insert(at, Life { epoch, ..Life::default() });
        }
        // The life asked for stays, even when it is the oldest.
        let mut at = at;
        while self.lives.len() > MAX_LIVES {
            if at == 0 {
                self.lives.remove(1);
            } else {
                self.lives.pop_front();
                at -= 1;
            }
        }
        &mut self.lives[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(epoch: u64, sequence: u64) -> BatchId {
        BatchId { collector: "lab/n1".into(), epoch, sequence, status: None, losses: vec![] }
    }

    fn take_and_hold(senders: &mut Senders, id: &BatchId, position: u64, now_ns: u64) {
        let Arrival::New { missing } = senders.judge(id) else { panic!("{id:?} is not new") };
        senders.take(id, missing, position, now_ns);
        senders.hold(id, now_ns);
    }

    #[test]
    fn sequences_are_new_once() {
        let mut senders = Senders::default();
        assert_eq!(senders.judge(&id(1, 1)), Arrival::New { missing: 0 });
        assert_eq!(senders.take(&id(1, 1), 0, 7, 10), 10);
        // Taken and not held: not acknowledged, and not taken again.
        assert_eq!(senders.judge(&id(1, 1)), Arrival::Again { position: 7 });
        assert_eq!(senders.acknowledgement(&id(1, 9)), Acknowledgement { epoch: 1, sequence: 0 });
        assert_eq!(senders.advanced_since_ns(), None);
        senders.hold(&id(1, 1), 11);
        assert_eq!(senders.acknowledgement(&id(1, 9)), Acknowledgement { epoch: 1, sequence: 1 });
        assert_eq!(senders.judge(&id(1, 4)), Arrival::New { missing: 2 });
        assert_eq!(senders.take(&id(1, 4), 2, 8, 20), 10);
        assert_eq!(senders.judge(&id(1, 2)), Arrival::Again { position: 8 });
        assert_eq!(senders.gaps(10), ["2 batches of collector lab/n1 never arrived"]);
        assert_eq!(senders.judge(&id(2, 1)), Arrival::New { missing: 0 });
        assert_eq!(senders.snapshot(20)[0].sequence, 1);
        senders.hold(&id(1, 4), 21);
        assert_eq!(senders.acknowledgement(&id(1, 9)), Acknowledgement { epoch: 1, sequence: 4 });
        assert_eq!(senders.acknowledgement(&id(2, 9)), Acknowledgement { epoch: 2, sequence: 0 });
    }

    #[test]
    fn a_snapshot_restores() {
        let mut senders = Senders::default();
        take_and_hold(&mut senders, &id(1, 5), 1, 10);
        assert_eq!(senders.advanced_since_ns(), Some(10));
        let snapshot = senders.snapshot(20);
        let restored = Senders::restore(&snapshot);
        assert_eq!(restored.judge(&id(1, 5)), Arrival::Again { position: 0 });
        assert_eq!(restored.judge(&id(1, 8)), Arrival::New { missing: 2 });
        senders.stored(30, &snapshot);
        assert_eq!(senders.advanced_since_ns(), None);
        take_and_hold(&mut senders, &id(1, 6), 2, 40);
        senders.stored(50, &snapshot);
        assert_eq!(senders.advanced_since_ns(), Some(50));
    }

    /// A gap that the log's damage left is in the ledger as damage.
    #[test]
    fn what_the_log_lost_is_no_gap_too() {
        let mut senders = Senders::default();
        senders.replay(&id(1, 1), 0, 1, 10);
        // Position 2 is damaged, and was this one's second batch: its third came without a gap.
        senders.lose(1);
        senders.replay(&id(1, 3), 0, 3, 10);
        assert_eq!(senders.judge(&id(1, 5)), Arrival::New { missing: 1 });
        // Position 4, too, and nobody can tell whose it was.
        senders.lose(1);
        assert_eq!(senders.judge(&id(1, 5)), Arrival::New { missing: 0 });
        assert_eq!(senders.judge(&id(1, 6)), Arrival::New { missing: 1 });
        take_and_hold(&mut senders, &id(1, 5), 5, 20);
        assert_eq!(senders.judge(&id(1, 7)), Arrival::New { missing: 1 });
        assert_eq!(senders.judge(&id(2, 2)), Arrival::New { missing: 1 });
        // Who has sent since then has gaps of its own.
        senders.lose(1);
        assert_eq!(senders.judge(&id(1, 7)), Arrival::New { missing: 1 });
    }

    #[test]
    fn what_another_relay_stored_is_not_missing() {
        let mut senders = Senders::default();
        take_and_hold(&mut senders, &id(1, 1), 1, 10);
        let elsewhere = [StoredUpTo { sequence: 9, ..senders.snapshot(10)[0].clone() }];
        senders.stored(20, &elsewhere);
        assert_eq!(senders.judge(&id(1, 9)), Arrival::Again { position: 1 });
        assert_eq!(senders.judge(&id(1, 10)), Arrival::New { missing: 0 });
    }

    #[test]
    fn lives_and_collectors_are_bounded() {
        let mut senders = Senders::default();
        for epoch in [9, 8, 7, 6, 5, 1, 2, 3] {
            take_and_hold(&mut senders, &id(epoch, 1), epoch, epoch);
            assert_eq!(senders.judge(&id(epoch, 1)), Arrival::Again { position: epoch });
        }
        assert_eq!(senders.by_name["lab/n1"].lives.len(), MAX_LIVES);
        for name in 0..=MAX_COLLECTORS as u64 {
            let id = BatchId { collector: name.to_string(), ..id(1, 1) };
            senders.hear(&id, 100 + name);
        }
        assert_eq!(senders.by_name.len(), MAX_COLLECTORS);
        assert!(!senders.by_name.contains_key("lab/n1"));
    }

    #[test]
    fn the_silent_are_not_written_for_ever() {
        let mut senders = Senders::default();
        take_and_hold(&mut senders, &id(1, 1), 1, 0);
        assert_eq!(senders.snapshot(FORGET_AFTER_NS - 1).len(), 1);
        assert_eq!(senders.snapshot(FORGET_AFTER_NS).len(), 0);
    }
}
