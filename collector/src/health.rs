//! How the collector is: what it tells the relay with each heartbeat and Prometheus on demand.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use weir_flow::wire::{
    CollectorStatus, IntervalStatus, Loss, MAX_LISTED, MAX_LISTED_PODS, MapUsage, Modes, PodStatus,
    SelfTest, SpoolStatus,
};

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

/// Label of what holds for a namespace; empty: all others.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfNamespace {
    namespace: String,
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
    /// Log records written.
    pub(crate) log_records: Counter,
    /// Updates of the maps, by outcome.
    updates: Family<Name, Counter>,
    lost: Family<LossLabels, Counter>,
    packets: Family<Name, Counter>,
    map_entries: Family<Name, Gauge>,
    map_capacity: Family<Name, Gauge>,
    map_memory: Family<Name, Gauge>,
    self_test: Gauge,
    behind: Gauge,
    revision: Gauge<u64, AtomicU64>,
    enforced: Gauge,
    unenforced: Gauge,
    problems_gauge: Gauge,
    unacknowledged_rows: Gauge,
    intervals: Family<OfNamespace, Gauge<f64, AtomicU64>>,
    spool_bytes: Gauge,
    spool_limit_bytes: Gauge,
    spool_segments: Gauge,
    spool_oldest_seconds: Gauge,
    journal_bytes: Gauge,
    unrecorded_rows: Gauge,
    relay_connected: Gauge<i64, AtomicI64>,
    words: Mutex<Words>,
}

#[derive(Debug, Default)]
struct Words {
    policies: u64,
    modes: Modes,
    intervals: Vec<IntervalStatus>,
    self_test: Option<SelfTest>,
    /// Every local pod, those that are not enforced first.
    pods: Vec<PodStatus>,
    /// Since when the cluster state is another than the one in force.
    behind: Option<Instant>,
    maps: BTreeMap<String, MapUsage>,
    spool: SpoolStatus,
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
        r.register("log_records", "Log records written", self.log_records.clone());
        r.register("scans", "Reads of the kernel's tables", self.scans.clone());
        r.register("updates", "Updates of the kernel's maps, by outcome", self.updates.clone());
        r.register("lost", "What was lost, by stage and unit", self.lost.clone());
        r.register("datapath", "What the programs counted, by class", self.packets.clone());
        r.register("map_entries", "Entries of the kernel's maps", self.map_entries.clone());
        r.register("map_capacity", "Most entries of the kernel's maps", self.map_capacity.clone());
        r.register("map_memory_bytes", "Memory of the kernel's maps", self.map_memory.clone());
        r.register(
            "self_test_passed",
            "1 once a deny was seen to drop a packet",
            self.self_test.clone(),
        );
        r.register(
            "policy_behind",
            "Whether the cluster state is another than the one in force",
            self.behind.clone(),
        );
        r.register("policy_revision", "Policy set in force", self.revision.clone());
        r.register("enforced_pods", "Local pods under enforcement", self.enforced.clone());
        r.register("unenforced_pods", "Local pods that should be", self.unenforced.clone());
        r.register(
            "interval_seconds",
            "Time between two reports of what connections did, by namespace; empty: all others",
            self.intervals.clone(),
        );
        r.register("problems", "What is wrong at present", self.problems_gauge.clone());
        r.register("journal_bytes", "Bytes of the journal", self.journal_bytes.clone());
        r.register(
            "unrecorded_rows",
            "Rows that a kill would lose or repeat, as the journal cannot be written",
            self.unrecorded_rows.clone(),
        );
        r.register(
            "unacknowledged_rows",
            "Rows waiting for the relay",
            self.unacknowledged_rows.clone(),
        );
        r.register("spool_bytes", "Bytes waiting for the relay", self.spool_bytes.clone());
        r.register("spool_limit_bytes", "Most of them", self.spool_limit_bytes.clone());
        r.register("spool_segments", "Files of the spool", self.spool_segments.clone());
        r.register(
            "spool_oldest_seconds",
            "Age of the oldest row waiting for the relay",
            self.spool_oldest_seconds.clone(),
        );
        r.register(
            "relay_connected",
            "Whether the relay is connected",
            self.relay_connected.clone(),
        );
    }

    /// The policy set in force, and every local pod.
    pub(crate) fn set_enforcement(&self, revision: u64, mut pods: Vec<PodStatus>) {
        pods.sort_by(|a, b| {
            let key = |pod: &PodStatus| (pod.enforced, pod.namespace.clone(), pod.name.clone());
            key(a).cmp(&key(b))
        });
        let enforced = pods.iter().filter(|pod| pod.enforced).count();
        self.revision.set(revision);
        self.enforced.set(gauge(enforced));
        self.unenforced.set(gauge(pods.len() - enforced));
        self.words().pods = pods;
    }

    /// Whether the cluster state is the one in force.
    pub(crate) fn set_behind(&self, behind: bool) {
        self.behind.set(i64::from(behind));
        let mut words = self.words();
        if !behind {
            words.behind = None;
        } else if words.behind.is_none() {
            words.behind = Some(Instant::now());
        }
    }

    /// How many policies the cluster has, and how they are applied.
    pub(crate) fn set_policies(&self, policies: usize, modes: Modes) {
        let mut words = self.words();
        words.policies = policies as u64;
        words.modes = modes;
    }

    /// How often it is reported what connections did.
    pub(crate) fn set_intervals(&self, intervals: Vec<IntervalStatus>) {
        self.intervals.clear();
        for status in &intervals {
            let labels = OfNamespace { namespace: status.namespace.clone() };
            let seconds = Duration::from_millis(status.interval_ms).as_secs_f64();
            self.intervals.get_or_create(&labels).set(seconds);
        }
        self.words().intervals = intervals;
    }

    /// What came of denying a packet on purpose.
    pub(crate) fn set_self_test(&self, self_test: SelfTest) {
        self.self_test.set(i64::from(self_test.passed));
        self.words().self_test = Some(self_test);
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

    /// One stage has lost some more.
    pub(crate) fn add_lost(&self, stage: &'static str, unit: &'static str, count: u64) {
        if count > 0 {
            let before = self.words().lost.get(&(stage, unit)).copied().unwrap_or(0);
            self.set_lost(stage, unit, before + count);
        }
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
        self.with_map(map, |usage| usage.entries = Some(entries as u64));
    }

    /// How large a map is.
    pub(crate) fn set_map_size(&self, map: &str, capacity: u64, memory_bytes: u64) {
        let set = |family: &Family<Name, Gauge>, value: u64| {
            family.get_or_create(&name(map)).set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.map_capacity, capacity);
        set(&self.map_memory, memory_bytes);
        self.with_map(map, |usage| {
            usage.capacity = capacity;
            usage.memory_bytes = memory_bytes;
        });
    }

    fn with_map(&self, map: &str, change: impl FnOnce(&mut MapUsage)) {
        let mut words = self.words();
        let new = || MapUsage { map: map.to_owned(), ..MapUsage::default() };
        change(words.maps.entry(map.to_owned()).or_insert_with(new));
    }

    /// What waits for the relay.
    pub(crate) fn set_unacknowledged(&self, rows: u64, spool: SpoolStatus) {
        let gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.unacknowledged_rows.set(gauge(rows));
        self.spool_bytes.set(gauge(spool.bytes));
        self.spool_limit_bytes.set(gauge(spool.limit_bytes));
        self.spool_segments.set(gauge(spool.segments));
        self.spool_oldest_seconds.set(gauge(spool.oldest_ms / 1_000));
        self.set_lost("spool", "verdicts", spool.given_up);
        self.words().spool = spool;
    }

    /// How large the journal is, and how many rows it should tell of and does not.
    pub(crate) fn set_journal(&self, bytes: u64, unrecorded_rows: u64) {
        self.journal_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.unrecorded_rows.set(i64::try_from(unrecorded_rows).unwrap_or(i64::MAX));
    }

    /// Whether the relay is connected.
    pub(crate) fn is_connected(&self) -> bool {
        self.relay_connected.get() != 0
    }

    /// The relay is connected, or not.
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
        let problems = words.problems.values().flatten();
        let unenforced = words.pods.iter().filter(|pod| !pod.enforced);
        let behind = words.behind.map(|since| since.elapsed().as_millis());
        CollectorStatus {
            cluster: cluster.to_owned(),
            node: node.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            policy_revision: self.revision.get(),
            behind_ms: behind.map(|elapsed| u64::try_from(elapsed).unwrap_or(u64::MAX)),
            policies: words.policies,
            modes: words.modes.clone(),
            intervals: words.intervals.clone(),
            self_test: words.self_test.clone(),
            enforced_pods: self.enforced.get().unsigned_abs(),
            unenforced_count: unenforced.clone().count() as u64,
            unenforced_pods: unenforced
                .take(MAX_LISTED)
                .map(|pod| format!("{}/{}: {}", pod.namespace, pod.name, pod.why))
                .collect(),
            pods: words.pods.iter().take(MAX_LISTED_PODS).cloned().collect(),
            maps: words.maps.values().cloned().collect(),
            unacknowledged_rows: self.unacknowledged_rows.get().unsigned_abs(),
            unrecorded_rows: self.unrecorded_rows.get().unsigned_abs(),
            spool: words.spool.clone(),
            lost: lost.collect(),
            problem_count: problems.clone().count() as u64,
            problems: problems.take(MAX_LISTED).cloned().collect(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_counted_all_and_listed_as_far_as_the_list_goes() {
        let health = Health::default();
        let pod = |n: usize| PodStatus {
            namespace: "x".into(),
            name: format!("{n:04}"),
            enforced: n >= 150,
            why: "no veth".into(),
            ..PodStatus::default()
        };
        health.set_enforcement(3, (0..1_000).rev().map(pod).collect());
        health.set_problems("manifests", vec!["bad".into(); 250]);
        health.set_map_size("policy", 10, 4_096);
        health.set_map_entries("policy", 3);
        let status = health.status("lab", "n1");
        assert_eq!((status.enforced_pods, status.unenforced_count), (850, 150));
        assert_eq!(status.unenforced_pods.len(), MAX_LISTED);
        assert_eq!(status.unenforced_pods[0], "x/0000: no veth");
        assert_eq!(status.pods.len(), MAX_LISTED_PODS);
        assert_eq!(status.pods.iter().filter(|pod| !pod.enforced).count(), 150);
        assert_eq!((status.problem_count, status.problems.len()), (250, MAX_LISTED));
        let policy =
            MapUsage { map: "policy".into(), entries: Some(3), capacity: 10, memory_bytes: 4_096 };
        assert_eq!(status.maps, [policy]);
        assert_eq!(status.behind_ms, None);
        health.set_behind(true);
        assert!(health.status("lab", "n1").behind_ms.is_some());
    }
}
