//! Which versions of the cluster's objects there are: what is new, and what is not stored yet. No
//! I/O, no clock; whoever calls says what time it is.
//!
//! In: versions as collectors saw them, what files hold. A version that says what the newest one
//! says, or that is older, is dropped whoever sends it, so collectors may repeat themselves and each
//! other. Capacity: [`MAX_HOT_BYTES`] and [`MAX_OBJECTS`]. Overflow: [`Refusal::Full`], and the
//! collector sends again later.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::RecordBatch;
use rustc_hash::{FxHashMap, FxHashSet};
use weir_flow::schema::TimestampNs;
use weir_flow::schema::objects::{ObjectVersion, ObjectVersionBuilder};
use weir_flow::wire::{HotHeader, HotTicket, ObjectsId};

use crate::hot::HotView;

/// Bytes of versions that are not stored yet.
const MAX_HOT_BYTES: usize = 256 << 20;
/// Objects known at a time.
pub(crate) const MAX_OBJECTS: usize = 2_000_000;
/// How far ahead of the relay's clock a version may be, nanoseconds. Beyond it the relay's counts: a
/// version from the future would keep all later ones out.
const MAX_AHEAD_NS: i64 = 60 * 1_000_000_000;
/// What a row weighs besides its texts.
const ROW_BYTES: usize = 64;

/// What tells objects apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    cluster: String,
    kind: String,
    namespace: String,
    name: String,
}

impl Key {
    pub(crate) fn of(version: &ObjectVersion) -> Self {
        Self {
            cluster: version.cluster.clone(),
            kind: version.kind.clone(),
            namespace: version.namespace.clone(),
            name: version.name.clone(),
        }
    }
}

/// Why versions are not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is no room at present.
    Full,
    /// The relay is stopping.
    Closed,
}

/// Every object's newest version, and the versions that are not stored yet.
#[derive(Debug)]
pub(crate) struct Objects {
    /// Positions begin anew with each process.
    epoch: u64,
    newest: FxHashMap<Key, Newest>,
    hot: VecDeque<HotVersions>,
    next_position: u64,
    bytes: usize,
    closed: bool,
}

#[derive(Debug)]
struct Newest {
    time: i64,
    /// `None`: it is gone.
    manifest: Option<Arc<str>>,
    /// Node of the collector that said so last.
    seen_by: Arc<str>,
}

#[derive(Debug)]
struct HotVersions {
    position: u64,
    arrived_ns: u64,
    bytes: usize,
    batch: RecordBatch,
}

/// What one flush takes.
#[derive(Debug)]
pub(crate) struct ObjectsJob {
    pub(crate) batches: Vec<RecordBatch>,
    /// Position of the last batch.
    pub(crate) up_to: u64,
}

impl Objects {
    /// What files hold is known. Positions count from now on.
    pub(crate) fn restore(started_ns: u64, mut stored: Vec<ObjectVersion>) -> Self {
        stored.sort_by_key(|version| version.time);
        let mut newest = FxHashMap::default();
        for version in stored {
            let key = Key::of(&version);
            match version.manifest {
                Some(manifest) => {
                    let (time, seen_by) = (version.time.0, version.node.as_str().into());
                    newest.insert(key, Newest { time, manifest: Some(manifest.into()), seen_by });
                }
                None => drop(newest.remove(&key)),
            }
        }
        Self {
            epoch: started_ns,
            newest,
            hot: VecDeque::new(),
            next_position: 1,
            bytes: 0,
            closed: false,
        }
    }

    /// Takes what is new of some versions, oldest first, all or none. Returns what was new.
    pub(crate) fn take(
        &mut self,
        versions: Vec<ObjectVersion>,
        now_ns: u64,
    ) -> Result<Option<RecordBatch>, Refusal> {
        if self.closed {
            return Err(Refusal::Closed);
        }
        let bytes: usize = versions.iter().map(weight).sum();
        let too_many = self.newest.len().saturating_add(versions.len()) > MAX_OBJECTS;
        if too_many {
            self.newest.retain(|_, newest| newest.manifest.is_some());
        }
        if self.bytes.saturating_add(bytes) > MAX_HOT_BYTES
            || self.newest.len().saturating_add(versions.len()) > MAX_OBJECTS
        {
            return Err(Refusal::Full);
        }
        let latest = i64::try_from(now_ns).unwrap_or(i64::MAX).saturating_add(MAX_AHEAD_NS);
        let mut new = ObjectVersionBuilder::default();
        let mut new_bytes = 0;
        for mut version in versions {
            version.time = TimestampNs(version.time.0.min(latest));
            if self.learn(&version) {
                new_bytes += weight(&version);
                new.append(&version);
            }
        }
        if new.is_empty() {
            return Ok(None);
        }
        let batch = new.finish();
        self.push(batch.clone(), new_bytes, now_ns);
        Ok(Some(batch))
    }

    /// What a collector knows is complete: what it was the last to speak of and does not know any
    /// more is gone. Returns how many are.
    pub(crate) fn complete(
        &mut self,
        id: &ObjectsId,
        at_ns: i64,
        known: &FxHashSet<Key>,
        now_ns: u64,
    ) -> Result<Option<RecordBatch>, Refusal> {
        let gone = self
            .newest
            .iter()
            .filter(|(key, newest)| {
                key.cluster == id.cluster
                    && *newest.seen_by == *id.node
                    && newest.manifest.is_some()
                    && newest.time < at_ns
                    && !known.contains(key)
            })
            .map(|(key, _)| ObjectVersion {
                time: TimestampNs(at_ns),
                cluster: key.cluster.clone(),
                node: id.node.clone(),
                kind: key.kind.clone(),
                namespace: key.namespace.clone(),
                name: key.name.clone(),
                manifest: None,
            })
            .collect();
        self.take(gone, now_ns)
    }

    /// Nothing is taken any more.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    /// Since when something waits to be stored.
    pub(crate) fn waiting_since_ns(&self) -> Option<u64> {
        self.hot.front().map(|hot| hot.arrived_ns)
    }

    /// Everything that is not stored; `None` if all is.
    pub(crate) fn flush_job(&self) -> Option<ObjectsJob> {
        let last = self.hot.back()?;
        let batches = self.hot.iter().map(|hot| hot.batch.clone()).collect();
        Some(ObjectsJob { batches, up_to: last.position })
    }

    /// Everything up to the position is in the manifest that takes force.
    pub(crate) fn flushed(&mut self, up_to: u64) {
        while self.hot.front().is_some_and(|hot| hot.position <= up_to) {
            if let Some(hot) = self.hot.pop_front() {
                self.bytes -= hot.bytes;
            }
        }
    }

    /// What is not stored in the manifest of that version.
    pub(crate) fn view(&self, ticket: &HotTicket, manifest_version: u64) -> HotView {
        let after = if ticket.relay_epoch == self.epoch { ticket.after } else { 0 };
        let header = HotHeader {
            relay_epoch: self.epoch,
            manifest_version,
            first: self.hot.front().map_or(self.next_position, |hot| hot.position),
            last: self.next_position - 1,
        };
        let from = self.hot.partition_point(|hot| hot.position <= after);
        let batches = self.hot.range(from..).map(|hot| (hot.position, hot.batch.clone())).collect();
        HotView { header, batches }
    }

    /// Objects that are there, and versions that are not stored yet.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.newest.len(), self.hot.iter().map(|hot| hot.batch.num_rows()).sum())
    }

    /// Whether the version is new; then it is the newest.
    fn learn(&mut self, version: &ObjectVersion) -> bool {
        let key = Key::of(version);
        let Some(newest) = self.newest.get_mut(&key) else {
            let Some(manifest) = &version.manifest else { return false };
            let (manifest, seen_by) =
                (Some(manifest.as_str().into()), version.node.as_str().into());
            self.newest.insert(key, Newest { time: version.time.0, manifest, seen_by });
            return true;
        };
        if newest.manifest.as_deref() == version.manifest.as_deref() {
            if *newest.seen_by != *version.node {
                newest.seen_by = version.node.as_str().into();
            }
            return false;
        }
        if version.time.0 <= newest.time {
            return false;
        }
        *newest = Newest {
            time: version.time.0,
            manifest: version.manifest.as_deref().map(Arc::from),
            seen_by: version.node.as_str().into(),
        };
        true
    }

    fn push(&mut self, batch: RecordBatch, bytes: usize, now_ns: u64) {
        let position = self.next_position;
        self.hot.push_back(HotVersions { position, arrived_ns: now_ns, bytes, batch });
        self.next_position += 1;
        self.bytes += bytes;
    }
}

/// Versions in the order of files, without those that say what the one before says.
pub(crate) fn tidy(mut versions: Vec<ObjectVersion>) -> Vec<ObjectVersion> {
    versions.sort_by_cached_key(|version| (Key::of(version), version.time));
    versions
        .dedup_by(|next, last| next.manifest == last.manifest && Key::of(next) == Key::of(last));
    versions
}

fn weight(version: &ObjectVersion) -> usize {
    let texts = [&version.cluster, &version.node, &version.kind, &version.namespace, &version.name];
    let texts: usize = texts.iter().map(|text| text.len()).sum();
    ROW_BYTES + texts + version.manifest.as_ref().map_or(0, String::len)
}

#[cfg(test)]
mod tests;
