//! What is kept, in memory, up to a number of bytes; what nobody asked for longest goes first.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::record_batch::RecordBatch;
use object_store::path::Path;
use prometheus_client::metrics::counter::Counter;

use super::question::Question;

/// One entry may take this part of everything.
const MOST_OF_ALL: usize = 8;
/// What an entry takes besides its batches, about: its places in the maps, and a share of its
/// question.
const ENTRY_BYTES: usize = 1024;

/// What files answered.
#[derive(Debug)]
pub(crate) struct Kept {
    limit_bytes: usize,
    entries: Mutex<Entries>,
    counters: KeptCounters,
}

/// How often something was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeptCounters {
    /// It was there.
    pub(crate) found: Counter,
    /// The file was read.
    pub(crate) read: Counter,
}

#[derive(Debug, Default)]
struct Entries {
    of: HashMap<Arc<Question>, HashMap<Path, Entry>>,
    /// By when they were last asked for.
    by_use: BTreeMap<u64, (Arc<Question>, Path)>,
    uses: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    batches: Vec<RecordBatch>,
    bytes: usize,
    used: u64,
}

impl Kept {
    /// Keeps up to so many bytes.
    pub(crate) fn new(limit_bytes: usize, counters: KeptCounters) -> Arc<Self> {
        Arc::new(Self { limit_bytes, entries: Mutex::default(), counters })
    }

    /// The question as it is known here: comparing that with itself costs nothing.
    pub(super) fn known(&self, question: Question) -> Arc<Question> {
        let question = Arc::new(question);
        let entries = self.entries();
        entries.of.get_key_value(&question).map_or(question.clone(), |(known, _)| known.clone())
    }

    /// What was kept of a file.
    pub(super) fn get(&self, file: &Path, question: &Arc<Question>) -> Option<Vec<RecordBatch>> {
        let batches = self.entries().get(file, question);
        let counter = if batches.is_some() { &self.counters.found } else { &self.counters.read };
        counter.inc();
        batches
    }

    /// Keeps what a file answers.
    pub(super) fn keep(&self, file: &Path, question: &Arc<Question>, batches: Vec<RecordBatch>) {
        let bytes = batches.iter().map(RecordBatch::get_array_memory_size).sum::<usize>();
        let bytes = bytes + ENTRY_BYTES + file.as_ref().len();
        if bytes <= self.most_bytes() {
            let mut entries = self.entries();
            entries.insert(file.clone(), question.clone(), batches, bytes);
            entries.shrink(self.limit_bytes);
        }
    }

    /// The most that one entry may take.
    pub(super) fn most_bytes(&self) -> usize {
        self.limit_bytes / MOST_OF_ALL
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn get(&mut self, file: &Path, question: &Arc<Question>) -> Option<Vec<RecordBatch>> {
        let entry = self.of.get_mut(question)?.get_mut(file)?;
        let place = self.by_use.remove(&entry.used)?;
        self.uses += 1;
        entry.used = self.uses;
        self.by_use.insert(self.uses, place);
        Some(entry.batches.clone())
    }

    fn insert(
        &mut self,
        file: Path,
        question: Arc<Question>,
        batches: Vec<RecordBatch>,
        bytes: usize,
    ) {
        self.uses += 1;
        let entry = Entry { batches, bytes, used: self.uses };
        let files = self.of.entry(question.clone()).or_default();
        if let Some(before) = files.insert(file.clone(), entry) {
            self.by_use.remove(&before.used);
            self.bytes -= before.bytes;
        }
        self.by_use.insert(self.uses, (question, file));
        self.bytes += bytes;
    }

    fn shrink(&mut self, limit_bytes: usize) {
        while self.bytes > limit_bytes
            && let Some((_, (question, file))) = self.by_use.pop_first()
        {
            let Some(files) = self.of.get_mut(&question) else { continue };
            self.bytes -= files.remove(&file).map_or(0, |entry| entry.bytes);
            if files.is_empty() {
                self.of.remove(&question);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, UInt64Array};

    use super::*;

    fn batch(rows: u64) -> RecordBatch {
        let column: ArrayRef = Arc::new(UInt64Array::from_iter_values(0..rows));
        RecordBatch::try_from_iter([("n", column)]).unwrap()
    }

    #[test]
    fn what_was_asked_for_last_stays() {
        let kept = Kept::new(256 << 10, KeptCounters::default());
        let question = Arc::new(Question::default());
        let path = |n: usize| Path::from(format!("file-{n}"));
        for n in 0..100 {
            kept.keep(&path(n), &question, vec![batch(2048)]);
            assert!(kept.get(&path(0), &question).is_some(), "{n}");
        }
        assert!(kept.get(&path(1), &question).is_none());
        assert!(kept.get(&path(99), &question).is_some());
        let entries = kept.entries();
        assert!(entries.bytes <= 256 << 10, "{}", entries.bytes);
        let files = &entries.of[&question];
        assert_eq!(files.len(), entries.by_use.len());
        assert_eq!(files.values().map(|entry| entry.bytes).sum::<usize>(), entries.bytes);
    }

    #[test]
    fn large_ones_are_not_kept_and_the_same_twice_counts_once() {
        let kept = Kept::new(256 << 10, KeptCounters::default());
        let question = Arc::new(Question::default());
        let path = Path::from("file");
        kept.keep(&path, &question, vec![batch(8192)]);
        assert!(kept.get(&path, &question).is_none());
        kept.keep(&path, &question, vec![batch(8)]);
        let bytes = kept.entries().bytes;
        kept.keep(&path, &question, vec![batch(8)]);
        assert_eq!(kept.entries().bytes, bytes);
        assert_eq!((kept.counters.found.get(), kept.counters.read.get()), (0, 1));
    }
}
