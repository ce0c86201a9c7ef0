//! How the collector is: what it tells the relay with each heartbeat and Prometheus on demand.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use weir_flow::wire::{CollectorStatus, Loss};

/// Most entries of a list in the status.
const MAX_LISTED: usize = 100;

/// Label of a counter by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Name {
    name: String,
}

/// Labels of a loss.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct LossLabels {
    stage: String,
    unit: String,
}

/// Counters and gauges that need no lock, and the words that do.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Events read from the rings.
    pub(crate) events: Counter,
    /// Rows made.
    pub(crate) rows: Counter,
    /// Reads of the tables.
    pub(crate) scans: Counter,
    /// Updates of the maps, by outcome.
    updates: Family<Name, Counter>,
    lost: Family<LossLabels, Counter>,
    packets: Family<Name, Counter>,
    map_entries: Family<Name, Gauge>,
    revision: Gauge<u64, AtomicU64>,
    enforced: Gauge,
    unenforced: Gauge,
    problems_gauge: Gauge,
    unacknowledged_rows: Gauge,
    unacknowledged_bytes: Gauge,
    relay_connected: Gauge<i64, AtomicI64>,
    words: Mutex<Words>,
}

#[derive(Debug, Default)]
struct Words {
    policies: u64,
    unenforced: Vec<String>,
    problems: BTreeMap<&'static str, Vec<String>>,
    /// By stage and unit.
    lost: BTreeMap<(&'static str, &'static str), u64>,
}

impl Health {
    /// Offers everything to Prometheus.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("weir_collector");
        let r = registry;
        r.register("events", "Events read from the rings", self.events.clone());
        r.register("rows", "Rows made", self.rows.clone());
        r.register("scans", "Reads of the kernel's tables", self.scans.clone());
        r.register("updates", "Updates of the kernel's maps, by outcome", self.updates.clone());
        r.register("lost", "What was lost, by stage and unit", self.lost.clone());
        r.register("datapath", "What the programs counted, by class", self.packets.clone());
        r.register("map_entries", "Entries of the kernel's maps", self.map_entries.clone());
        r.register("policy_revision", "Policy set in force", self.revision.clone());
        r.register("enforced_pods", "Local pods under enforcement", self.enforced.clone());
        r.register("unenforced_pods", "Local pods that should be", self.unenforced.clone());
        r.register("problems", "What is wrong at present", self.problems_gauge.clone());
        r.register(
            "unacknowledged_rows",
            "Rows waiting for the relay",
            self.unacknowledged_rows.clone(),
        );
        r.register(
            "unacknowledged_bytes",
            "Bytes waiting for the relay",
            self.unacknowledged_bytes.clone(),
        );
        r.register(
            "relay_connected",
            "Whether the relay is connected",
            self.relay_connected.clone(),
        );
    }

    /// The policy set in force and the pods under it.
    pub(crate) fn set_enforcement(&self, revision: u64, enforced: usize, unenforced: Vec<String>) {
        self.revision.set(revision);
        self.enforced.set(gauge(enforced));
        self.unenforced.set(gauge(unenforced.len()));
        self.words().unenforced = unenforced;
    }

    /// How many policies the cluster has.
    pub(crate) fn set_policies(&self, policies: usize) {
        self.words().policies = policies as u64;
    }

    /// What is wrong at present in one part; empty when all is well.
    pub(crate) fn set_problems(&self, part: &'static str, problems: Vec<String>) {
        let mut words = self.words();
        words.problems.insert(part, problems);
        let count = words.problems.values().map(Vec::len).sum();
        self.problems_gauge.set(gauge(count));
    }

    /// How much one stage has lost since the collector began.
    pub(crate) fn set_lost(&self, stage: &'static str, unit: &'static str, count: u64) {
        self.words().lost.insert((stage, unit), count);
        let labels = LossLabels { stage: stage.to_owned(), unit: unit.to_owned() };
        self.lost.get_or_create(&labels).inner().store(count, Ordering::Relaxed);
    }

    /// An update of the maps was made, or not.
    pub(crate) fn updated(&self, outcome: &str) {
        self.updates.get_or_create(&name(outcome)).inc();
    }

    /// What the programs counted.
    pub(crate) fn set_packets(&self, class: &str, count: u64) {
        self.packets.get_or_create(&name(class)).inner().store(count, Ordering::Relaxed);
    }

    /// How full a map is.
    pub(crate) fn set_map_entries(&self, map: &str, entries: usize) {
        self.map_entries.get_or_create(&name(map)).set(gauge(entries));
    }

    /// What waits for the relay.
    pub(crate) fn set_unacknowledged(&self, rows: u64, bytes: usize) {
        self.unacknowledged_rows.set(i64::try_from(rows).unwrap_or(i64::MAX));
        self.unacknowledged_bytes.set(gauge(bytes));
    }

    /// Whether the relay is connected.
    pub(crate) fn set_connected(&self, connected: bool) {
        self.relay_connected.set(i64::from(connected));
    }

    /// The status that heartbeats carry.
    pub(crate) fn status(&self, cluster: &str, node: &str) -> CollectorStatus {
        let words = self.words();
        let lost = words.lost.iter().filter(|(_, count)| **count > 0).map(|(place, count)| Loss {
            stage: place.0.to_owned(),
            unit: place.1.to_owned(),
            count: *count,
        });
        let listed = |list: &[String]| list.iter().take(MAX_LISTED).cloned().collect::<Vec<_>>();
        let problems: Vec<String> = words.problems.values().flatten().cloned().collect();
        CollectorStatus {
            cluster: cluster.to_owned(),
            node: node.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            policy_revision: self.revision.get(),
            policies: words.policies,
            enforced_pods: self.enforced.get().unsigned_abs(),
            unenforced_pods: listed(&words.unenforced),
            unacknowledged_rows: self.unacknowledged_rows.get().unsigned_abs(),
            lost: lost.collect(),
            problems: listed(&problems),
        }
    }

    fn words(&self) -> MutexGuard<'_, Words> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(name: &str) -> Name {
    Name { name: name.to_owned() }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
