//! Entries of the ledger that no batch has taken yet.
//!
//! Bounded: what is alike and close in time is one entry; when there are too many, what is alike is
//! one whenever it was. Nothing is dropped, only the time becomes coarser.

use weir_flow::wire::{LossEntry, MAX_LOSSES};

/// Time that one entry may stand for, as long as there is room.
const LONGEST_NS: i64 = 60_000_000_000;
/// Most entries before they become coarser. There are some tens of kinds.
const MOST: usize = MAX_LOSSES / 2;

/// When something was lost, nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Begin.
    pub from_ns: i64,
    /// End.
    pub to_ns: i64,
}

/// The entries.
#[derive(Clone, Debug, Default)]
pub struct Pending {
    entries: Vec<LossEntry>,
    /// Something was added or taken since the last [`news`](Self::news).
    changed: bool,
}

impl Pending {
    /// What another process has left.
    pub(crate) fn resume(entries: Vec<LossEntry>) -> Self {
        Self { entries, changed: false }
    }

    /// Something was lost.
    pub(crate) fn add(
        &mut self,
        span: Span,
        (stage, verdict, unit, reason): (&str, &str, &str, &str),
        count: u64,
    ) {
        if count > 0 {
            self.merge(LossEntry {
                from_ns: span.from_ns.min(span.to_ns),
                to_ns: span.to_ns,
                stage: stage.to_owned(),
                verdict: verdict.to_owned(),
                unit: unit.to_owned(),
                count,
                reason: reason.to_owned(),
            });
        }
    }

    /// Likewise.
    pub(crate) fn extend(&mut self, entries: Vec<LossEntry>) {
        entries.into_iter().for_each(|entry| self.merge(entry));
    }

    /// Everything, for a batch.
    pub(crate) fn take(&mut self) -> Vec<LossEntry> {
        self.changed |= !self.entries.is_empty();
        std::mem::take(&mut self.entries)
    }

    /// Whether there is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What is there.
    pub fn entries(&self) -> &[LossEntry] {
        &self.entries
    }

    /// What is there, if that is another than at the last call.
    pub(crate) fn news(&mut self) -> Option<Vec<LossEntry>> {
        std::mem::take(&mut self.changed).then(|| self.entries.clone())
    }

    fn merge(&mut self, entry: LossEntry) {
        self.changed = true;
        join(&mut self.entries, entry, LONGEST_NS);
        if self.entries.len() > MOST {
            let mut coarse = Vec::new();
            for entry in self.entries.drain(..) {
                join(&mut coarse, entry, i64::MAX);
            }
            self.entries = coarse;
        }
    }
}

/// Adds to the newest entry of the same kind, unless the two together took longer.
pub(crate) fn join(entries: &mut Vec<LossEntry>, entry: LossEntry, longest_ns: i64) {
    let alike = entries.iter_mut().rev().find(|known| {
        (&known.stage, &known.verdict, &known.unit, &known.reason)
            == (&entry.stage, &entry.verdict, &entry.unit, &entry.reason)
    });
    if let Some(known) = alike {
        let (from_ns, to_ns) = (known.from_ns.min(entry.from_ns), known.to_ns.max(entry.to_ns));
        if to_ns.saturating_sub(from_ns) <= longest_ns {
            (known.from_ns, known.to_ns) = (from_ns, to_ns);
            known.count = known.count.saturating_add(entry.count);
            return;
        }
    }
    entries.push(entry);
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: (&str, &str, &str, &str) = ("denies", "deny", "verdicts", "evicted");

    #[test]
    fn alike_and_close_is_one_entry_and_no_count_goes_however_many_there_are() {
        let mut pending = Pending::default();
        let second = |n: i64| Span { from_ns: n * 1_000_000_000, to_ns: (n + 1) * 1_000_000_000 };
        pending.add(second(0), KIND, 2);
        pending.add(second(1), KIND, 3);
        pending.add(second(1), ("kernel", "deny", "verdicts", "no room"), 0);
        assert_eq!(pending.entries().len(), 1);
        assert_eq!((pending.entries()[0].count, pending.entries()[0].to_ns), (5, 2_000_000_000));
        assert!(pending.news().is_some() && pending.news().is_none());
        for minute in 1..2_000 {
            pending.add(second(minute * 120), KIND, 1);
            assert!(pending.entries().len() <= MOST);
        }
        assert_eq!(pending.take().iter().map(|entry| entry.count).sum::<u64>(), 5 + 1_999);
        assert!(pending.is_empty() && pending.news().is_some_and(|entries| entries.is_empty()));
    }

    #[test]
    fn an_interval_never_ends_before_it_begins() {
        let mut pending = Pending::default();
        pending.add(Span { from_ns: 9, to_ns: 4 }, KIND, 1);
        assert_eq!((pending.entries()[0].from_ns, pending.entries()[0].to_ns), (4, 4));
    }
}
