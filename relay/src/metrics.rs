//! The relay's metrics; every name is in [`Metrics::register`].

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Handles; clones count into the same metrics.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) serving: Gauge,
    pub(crate) start_failures: Counter,
    pub(crate) rows: Counter,
    pub(crate) batches: Counter,
    pub(crate) repeated_batches: Counter,
    pub(crate) missing_batches: Counter,
    pub(crate) refused_messages: Counter,
    pub(crate) damaged_batches: Counter,
    pub(crate) replayed_batches: Counter,
    pub(crate) wal_bytes: Gauge,
    pub(crate) wal_segments: Gauge,
    pub(crate) wal_commits: Counter,
    pub(crate) wal_commit_seconds: Histogram,
    pub(crate) wal_failures: Counter,
    pub(crate) followers: Gauge,
    pub(crate) follower_missed_batches: Counter,
    pub(crate) waiting: Gauge,
    pub(crate) hot_rows: Gauge,
    pub(crate) hot_bytes: Gauge,
    pub(crate) flushes: Counter,
    pub(crate) flush_failures: Counter,
    pub(crate) flush_seconds: Histogram,
    pub(crate) encode_seconds: Counter<f64, AtomicU64>,
    pub(crate) stored_rows: Gauge,
    pub(crate) stored_bytes: Gauge,
    pub(crate) stored_files: Gauge,
    pub(crate) manifest_version: Gauge,
    pub(crate) merged_rows: Counter,
    pub(crate) expired_rows: Counter,
    pub(crate) expired_files: Counter,
    pub(crate) maintenance_failures: Counter,
    pub(crate) objects: Gauge,
    pub(crate) object_versions: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            serving: Gauge::default(),
            start_failures: Counter::default(),
            rows: Counter::default(),
            batches: Counter::default(),
            repeated_batches: Counter::default(),
            missing_batches: Counter::default(),
            refused_messages: Counter::default(),
            damaged_batches: Counter::default(),
            replayed_batches: Counter::default(),
            wal_bytes: Gauge::default(),
            wal_segments: Gauge::default(),
            wal_commits: Counter::default(),
            wal_commit_seconds: Histogram::new(exponential_buckets(0.0001, 2.0, 16)),
            wal_failures: Counter::default(),
            followers: Gauge::default(),
            follower_missed_batches: Counter::default(),
            waiting: Gauge::default(),
            hot_rows: Gauge::default(),
            hot_bytes: Gauge::default(),
            flushes: Counter::default(),
            flush_failures: Counter::default(),
            flush_seconds: Histogram::new(exponential_buckets(0.01, 2.0, 14)),
            encode_seconds: Counter::default(),
            stored_rows: Gauge::default(),
            stored_bytes: Gauge::default(),
            stored_files: Gauge::default(),
            manifest_version: Gauge::default(),
            merged_rows: Counter::default(),
            expired_rows: Counter::default(),
            expired_files: Counter::default(),
            maintenance_failures: Counter::default(),
            objects: Gauge::default(),
            object_versions: Counter::default(),
        }
    }
}

impl Metrics {
    /// Puts everything into the registry, under these names.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let relay = registry.sub_registry_with_prefix("weir_relay");
        let metrics = self.clone();
        relay.register(
            "serving",
            "1 while batches are taken, 0 while the relay waits for its store at the start",
            metrics.serving,
        );
        relay.register(
            "start_failures",
            "Attempts to read the store at the start that failed",
            metrics.start_failures,
        );
        relay.register("rows", "Rows acknowledged", metrics.rows);
        relay.register("batches", "Batches acknowledged", metrics.batches);
        relay.register(
            "repeated_batches",
            "Batches sent again and recognised",
            metrics.repeated_batches,
        );
        relay.register(
            "missing_batches",
            "Batches that never arrived, known from gaps in the sequence",
            metrics.missing_batches,
        );
        relay.register("refused_messages", "Messages refused", metrics.refused_messages);
        relay.register(
            "damaged_batches",
            "Acknowledged batches that the write-ahead log did not hold any more at the start",
            metrics.damaged_batches,
        );
        relay.register(
            "replayed_batches",
            "Batches read from the write-ahead log at the start",
            metrics.replayed_batches,
        );
        relay.register("wal_bytes", "Bytes of the write-ahead log", metrics.wal_bytes);
        relay.register("wal_segments", "Files of the write-ahead log", metrics.wal_segments);
        relay.register(
            "wal_commits",
            "Groups of batches written to the write-ahead log",
            metrics.wal_commits,
        );
        relay.register(
            "wal_commit_duration_seconds",
            "From the begin of a group until it is on disk",
            metrics.wal_commit_seconds,
        );
        relay.register(
            "wal_failures",
            "Attempts to write the write-ahead log that failed",
            metrics.wal_failures,
        );
        relay.register("followers", "Streams that follow", metrics.followers);
        relay.register(
            "follower_missed_batches",
            "Batches that were stored before a slow follower came to them",
            metrics.follower_missed_batches,
        );
        relay.register("waiting_batches", "Batches waiting for room in memory", metrics.waiting);
        relay.register("hot_rows", "Rows in memory", metrics.hot_rows);
        relay.register("hot_bytes", "Bytes of the rows in memory", metrics.hot_bytes);
        relay.register("flushes", "Flushes that succeeded", metrics.flushes);
        relay.register("flush_failures", "Attempts to store that failed", metrics.flush_failures);
        relay.register(
            "flush_duration_seconds",
            "From the start of a flush to its manifest",
            metrics.flush_seconds,
        );
        relay.register(
            "encode_seconds",
            "Time spent on sorting and encoding files",
            metrics.encode_seconds,
        );
        relay.register("stored_rows", "Rows in the manifest in force", metrics.stored_rows);
        relay.register("stored_bytes", "Bytes of those files", metrics.stored_bytes);
        relay.register("stored_files", "Number of those files", metrics.stored_files);
        relay.register("manifest_version", "Manifest in force", metrics.manifest_version);
        relay.register("merged_rows", "Rows of files that were merged", metrics.merged_rows);
        relay.register(
            "expired_rows",
            "Rows removed because of their age or of the store's size",
            metrics.expired_rows,
        );
        relay.register("expired_files", "Files of those rows", metrics.expired_files);
        relay.register(
            "maintenance_failures",
            "Attempts to merge or to remove files that failed",
            metrics.maintenance_failures,
        );
        relay.register("objects", "Objects of clusters that are known", metrics.objects);
        relay.register(
            "object_versions",
            "Versions of objects that were new",
            metrics.object_versions,
        );
    }
}
