//! Hot and stored rows of one moment, each row exactly once.
//!
//! Each relay says what it holds and which manifest that completes. Then one manifest is read that
//! is at least as new as each of these. Where it is newer for a relay, it says up to which position
//! it has that relay's batches, and these are left out of the hot ones.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use futures::future::join_all;
use weir_flow::manifest::{FlushedUpTo, Manifest};

use super::history::History;
use super::hot::HotView;
use super::ledger::{self, Ledger};
use super::objects::Objects;
use super::relay::RelayError;
use super::source::{self, Source};
use super::store::Store;
use crate::error::QueryError;
use crate::live::Positions;

/// How often a manifest may be pruned between the relay's word and our reading before we give up.
pub(super) const ATTEMPTS: usize = 5;

/// All rows of one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// Of `flows`.
    pub(crate) hot: Vec<RecordBatch>,
    /// Of `loss`, with what retention removed.
    pub(crate) hot_losses: Vec<RecordBatch>,
    pub(crate) stored: Arc<Manifest>,
    /// How far the rows of `flows` go.
    pub(crate) positions: Positions,
    /// Where more may be.
    pub(crate) unreachable: Vec<Unreachable>,
}

/// A relay that did not say what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unreachable {
    pub(crate) relay: String,
    /// Whether its rows are missing, and not only its part of the ledger.
    pub(crate) rows: bool,
    pub(crate) error: String,
}

/// Takes snapshots.
#[derive(Debug)]
pub(crate) struct Snapshots {
    /// The relays that write the store.
    pub(crate) sources: Vec<Source>,
    pub(crate) store: Store,
    pub(crate) objects: Objects,
    pub(crate) ledger: Ledger,
}

impl Snapshots {
    /// The versions of the clusters' objects known by now, and what the answer must say about itself.
    pub(crate) async fn history(&self) -> Result<(Arc<History>, Vec<String>), QueryError> {
        self.objects.history(&self.sources, &self.store).await
    }

    /// The rows acknowledged by now. Without a relay: what it has stored, and the snapshot says so.
    pub(crate) async fn take(&self) -> Result<Snapshot, QueryError> {
        let unavailable =
            |error: &dyn std::fmt::Display| QueryError::Unavailable(error.to_string());
        for _ in 0..ATTEMPTS {
            let answers = join_all(self.sources.iter().map(async |source| {
                (source, source.flows.refresh().await, source.loss.refresh().await)
            }));
            let mut unreachable = Vec::new();
            let mut keep = |source: &Source, rows, answer: Result<HotView, RelayError>| {
                let failed = |error: RelayError| Unreachable {
                    relay: source.relay.address().to_owned(),
                    rows,
                    error: error.to_string(),
                };
                answer.map_err(|error| unreachable.push(failed(error))).ok()
            };
            let (mut flows, mut losses) = (Vec::new(), Vec::new());
            for (source, rows, ledger) in answers.await {
                let silent = rows.is_err();
                flows.extend(keep(source, true, rows));
                if !silent {
                    losses.extend(keep(source, false, ledger));
                }
            }
            for missing in &unreachable {
                tracing::warn!(error = missing.error, "answering from the store alone");
            }
            let views = || flows.iter().chain(&losses);
            let least = views().map(|view| view.manifest_version).max().unwrap_or(0);
            let newest = unreachable.iter().any(|missing| missing.rows);
            let manifest = self.store.at_least(least, newest).await;
            if let Some(stored) = manifest.map_err(|error| unavailable(&error))? {
                return Ok(Snapshot::of(&flows, &losses, stored, unreachable));
            }
        }
        Err(QueryError::Unavailable(format!(
            "{} names manifests that are not in the store: check that all use the same store",
            source::addresses(&self.sources)
        )))
    }
}

impl Snapshot {
    /// `stored` is at least as new as what each view names.
    fn of(
        flows: &[HotView],
        losses: &[HotView],
        stored: Arc<Manifest>,
        unreachable: Vec<Unreachable>,
    ) -> Self {
        let newer = |views: &[HotView], position: fn(&FlushedUpTo) -> u64| -> Vec<RecordBatch> {
            let of_view = |view: &HotView| {
                let known = stored.flushed.iter().find(|known| known.relay_epoch == view.epoch);
                view.after(known.map_or(0, position))
            };
            views.iter().flat_map(of_view).collect()
        };
        let hot = newer(flows, |known| known.position);
        let mut hot_losses = newer(losses, |known| known.loss_position);
        hot_losses.extend(ledger::of_retention(&stored));
        let mut positions = Positions::default();
        stored.flushed.iter().for_each(|known| positions.read(known.relay_epoch, known.position));
        flows.iter().for_each(|view| positions.read(view.epoch, view.last));
        Self { hot, hot_losses, stored, positions, unreachable }
    }

    /// What an answer over flows must say about itself.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let missing = self.unreachable.iter().filter(|missing| missing.rows);
        missing
            .map(|missing| format!("rows that are not stored yet are missing: {}", missing.error))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::array::AsArray as _;
    use arrow::datatypes::UInt64Type;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{batch, flow};

    /// What one of two relays does, and when a query asks it.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Take(usize),
        Flush(usize),
        Ask(usize),
    }

    /// A relay as the contract has it, without bytes.
    #[derive(Default)]
    struct Model {
        next: u64,
        hot: Vec<(u64, u64)>,
        /// The manifest that it wrote last.
        version: u64,
    }

    fn step() -> impl Strategy<Value = Step> {
        (0..2usize, 0..5u8).prop_map(|(relay, kind)| match kind {
            0..=2 => Step::Take(relay),
            3 => Step::Flush(relay),
            _ => Step::Ask(relay),
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_row_of_two_relays_is_seen_twice_or_missed(
            steps in prop::collection::vec(step(), 0..60),
            later in 0..4usize,
        ) {
            let mut relays = [Model { next: 1, ..Model::default() }, Model { next: 1, ..Model::default() }];
            // Every manifest, with the rows in its files.
            let mut manifests = vec![(Manifest::default(), Vec::<u64>::new())];
            let mut row = 0;
            let mut views: [Option<(HotView, u64)>; 2] = [None, None];
            for step in steps {
                match step {
                    Step::Take(at) => {
                        let relay = &mut relays[at];
                        relay.hot.push((relay.next, row));
                        relay.next += 1;
                        row += 1;
                    }
                    Step::Flush(at) => {
                        let (mut manifest, mut rows) = manifests.last().unwrap().clone();
                        let relay = &mut relays[at];
                        let epoch = at as u64 + 10;
                        rows.extend(relay.hot.drain(..).map(|(_, row)| row));
                        manifest.version += 1;
                        manifest.flushed.retain(|known| known.relay_epoch != epoch);
                        manifest.flushed.push(FlushedUpTo {
                            relay_epoch: epoch,
                            position: relay.next - 1,
                            loss_position: 0,
                            at_ns: 0,
                        });
                        relay.version = manifest.version;
                        manifests.push((manifest, rows));
                    }
                    Step::Ask(at) => {
                        let relay = &relays[at];
                        let view = HotView {
                            epoch: at as u64 + 10,
                            first: relay.hot.first().map_or(relay.next, |(position, _)| *position),
                            last: relay.next - 1,
                            manifest_version: relay.version,
                            batches: relay.hot.iter()
                                .map(|(position, row)| (*position, batch([flow(*row)])))
                                .collect(),
                        };
                        // The first answers of one query; what comes later is another one's.
                        views[at].get_or_insert((view, row));
                    }
                }
            }
            let [Some((first, known_first)), Some((second, known_second))] = views else { return Ok(()) };
            let known = known_first.min(known_second);
            let least = first.manifest_version.max(second.manifest_version) as usize;
            let (stored, stored_rows) = manifests[(least + later).min(manifests.len() - 1)].clone();
            let snapshot = Snapshot::of(&[first, second], &[], Arc::new(stored), vec![]);
            let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
            let hot = snapshot.hot.iter().flat_map(|batch| {
                let packets = batch.column_by_name("packets").unwrap();
                packets.as_primitive::<UInt64Type>().values().to_vec()
            });
            for row in hot.chain(stored_rows) {
                *seen.entry(row).or_default() += 1;
            }
            for row in 0..known {
                prop_assert_eq!(seen.get(&row), Some(&1), "row {}", row);
            }
            prop_assert!(seen.values().all(|times| *times == 1));
        }
    }
}
