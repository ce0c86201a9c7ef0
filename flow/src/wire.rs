//! What processes say to each other around Arrow Flight: the JSON in `app_metadata`, tickets and
//! action bodies. The batches themselves are of [`crate::schema::sent_schema`].
//!
//! Collector → relay, `DoPut` with descriptor path [`FLOWS`]: each data message carries a
//! [`BatchId`]; the relay answers each with a `PutResult` that carries an [`Acknowledgement`].
//! Sequence numbers count up by one within an epoch; a batch sent again after a reconnect is
//! recognised and acknowledged without being stored twice. A message without a data header is a
//! heartbeat: only its [`BatchId::status`] counts, and the answer acknowledges what is known of
//! that epoch.
//!
//! Collector → relay, `DoPut` with descriptor path [`OBJECTS`]: versions of the cluster's objects, of
//! [`crate::schema::objects::object_schema`]. Each data message carries an [`ObjectsId`] and is
//! answered by an [`Acknowledgement`]. Every stream begins with everything the collector knows, oldest
//! first; the relay keeps what it does not have, so a version sent again costs nothing.
//!
//! Query → relay, `DoGet` with a [`HotTicket`]: the first message, the schema, carries a
//! [`HotHeader`], each batch that follows a [`HotPosition`]. The header's manifest and the
//! positions it names are taken in one step, so stored files and hot batches together hold each
//! row exactly once. With an [`ObjectsTicket`] the same for object versions, with a [`LossTicket`]
//! for the ledger; the positions of each of the three count for themselves, without gaps.
//!
//! Query → relay, `DoGet` with a [`FollowTicket`]: the same messages, and then each further batch as
//! soon as it is there, without end. A follower that is too slow is told by a position that is not
//! the next one.
//!
//! Query → relay, `DoAction` [`STATUS_ACTION`]: one result, a [`RelayStatus`].

use serde::{Deserialize, Serialize};

use crate::schema::TimestampNs;
use crate::schema::loss::LossRow;

/// Descriptor path of the flows stream.
pub const FLOWS: &str = "flows";
/// Descriptor path of the stream of object versions.
pub const OBJECTS: &str = "objects";
/// Action type that asks for [`RelayStatus`].
pub const STATUS_ACTION: &str = "weir.status";
/// Largest message either side accepts.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;
/// Longest name of an object, a namespace or a node; Kubernetes has 253.
pub const MAX_NAME_BYTES: usize = 512;
/// Largest manifest of one object; Kubernetes stores 1.5 MiB.
pub const MAX_MANIFEST_BYTES: usize = 4 << 20;
/// Most entries of the ledger that a batch may bring.
pub const MAX_LOSSES: usize = 1_000;
/// Most rows a batch may have.
pub const MAX_BATCH_ROWS: usize = 1 << 20;

/// Who sent a batch, and which one it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchId {
    /// The collector, unique in the cluster: its cluster and node.
    pub collector: String,
    /// When the numbering began, nanoseconds since 1970. A collector that starts again goes on with
    /// it, unless what it wrote down is lost or of another boot.
    pub epoch: u64,
    /// Counts up by one, from 1.
    pub sequence: u64,
    /// How the collector is; carried by heartbeats and some batches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<CollectorStatus>,
    /// What was lost before the relay, entered into the ledger together with the batch. A batch
    /// may have no rows and only this.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<LossEntry>,
}

/// One entry of the loss ledger, on its way to table `loss`, whose columns these are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossEntry {
    /// Begin of the interval, nanoseconds since 1970.
    pub from_ns: i64,
    /// End of the interval.
    pub to_ns: i64,
    /// Column `stage`.
    pub stage: String,
    /// Column `verdict`.
    pub verdict: String,
    /// Column `unit`.
    pub unit: String,
    /// Column `count`.
    pub count: u64,
    /// Column `reason`.
    pub reason: String,
}

impl LossEntry {
    /// The row of table `loss`. `collector` is [`BatchId::collector`].
    pub fn row(&self, collector: &str) -> LossRow {
        let (cluster, node) = collector.split_once('/').unwrap_or(("", collector));
        LossRow {
            time: TimestampNs(self.from_ns),
            end_time: TimestampNs(self.to_ns),
            cluster: cluster.to_owned(),
            node: node.to_owned(),
            stage: self.stage.clone(),
            verdict: self.verdict.clone(),
            unit: self.unit.clone(),
            count: self.count,
            reason: self.reason.clone(),
        }
    }
}

/// Everything up to and including `sequence` of that epoch is the relay's to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// From [`BatchId`].
    pub epoch: u64,
    /// From [`BatchId`].
    pub sequence: u64,
}

/// Which batch of object versions a message is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectsId {
    /// Cluster of the collector.
    pub cluster: String,
    /// Node of the collector.
    pub node: String,
    /// When the collector's process began, nanoseconds since 1970.
    pub epoch: u64,
    /// Counts up by one within a stream, from 1.
    pub sequence: u64,
    /// Set on the last batch of what the collector knew when the stream began: as of this time,
    /// nanoseconds since 1970, an object that was not in these batches is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete_at_ns: Option<i64>,
}

/// Asks for the hot object versions that the caller does not have yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectsTicket {
    /// As for flows.
    pub objects: HotTicket,
}

/// Asks for the hot rows of the ledger that the caller does not have yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossTicket {
    /// As for flows.
    pub loss: HotTicket,
}

/// Asks for the hot batches that the caller does not have yet, and for all that come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowTicket {
    /// As for flows.
    pub follow: HotTicket,
}

/// Asks for the hot batches that the caller does not have yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HotTicket {
    /// The relay's life that `after` belongs to; if it is another one, everything is sent.
    pub relay_epoch: u64,
    /// Batches at this position and before are not sent.
    pub after: u64,
}

/// What is hot, and which manifest it completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HotHeader {
    /// Since when the relay numbers its batches, nanoseconds since 1970: as old as its write-ahead
    /// log.
    pub relay_epoch: u64,
    /// Manifest version that holds every acknowledged row that is not hot; 0 while there is none.
    pub manifest_version: u64,
    /// Position of the oldest hot batch.
    pub first: u64,
    /// Position of the newest hot batch; below `first` when nothing is hot.
    pub last: u64,
}

/// Where a hot batch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HotPosition {
    /// Counts up by one within a relay's epoch.
    pub position: u64,
}

/// How a collector is. What an older collector does not send is as in a new one's first moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CollectorStatus {
    /// Its cluster.
    pub cluster: String,
    /// Its node.
    pub node: String,
    /// Its version.
    pub version: String,
    /// Policy set in force in the kernel.
    pub policy_revision: u64,
    /// How long the cluster state has been another than the one in force, milliseconds. `None`
    /// while they agree.
    pub behind_ms: Option<u64>,
    /// Policies in the cluster state, of every kind.
    pub policies: u64,
    /// How policies are applied.
    pub modes: Modes,
    /// Whether a deny was seen to drop a packet; `None` before the test has run.
    pub self_test: Option<SelfTest>,
    /// How often it is reported what connections did: of the cluster, then of namespaces that
    /// differ; at most [`MAX_LISTED`].
    pub intervals: Vec<IntervalStatus>,
    /// Local pods whose programs are attached.
    pub enforced_pods: u64,
    /// Local pods that should be enforced and are not.
    pub unenforced_count: u64,
    /// The first [`MAX_LISTED`] of them, as `namespace/name: why`.
    pub unenforced_pods: Vec<String>,
    /// Local pods, those that are not enforced first; at most [`MAX_LISTED_PODS`]. There are
    /// `enforced_pods + unenforced_count`.
    pub pods: Vec<PodStatus>,
    /// The kernel's maps.
    pub maps: Vec<MapUsage>,
    /// Rows waiting for an acknowledgement.
    pub unacknowledged_rows: u64,
    /// What keeps them.
    pub spool: SpoolStatus,
    /// Rows that a kill of the collector would lose or repeat; 0 unless its journal cannot be
    /// written.
    pub unrecorded_rows: u64,
    /// What was lost, by stage, since the collector began.
    pub lost: Vec<Loss>,
    /// What is wrong at present: how many problems there are.
    pub problem_count: u64,
    /// The first [`MAX_LISTED`] of them, in words: an unreadable manifest, a failed update.
    pub problems: Vec<String>,
}

/// Most texts of a list in a [`CollectorStatus`].
pub const MAX_LISTED: usize = 100;
/// Most pods that a [`CollectorStatus`] lists: more than a node usually has.
pub const MAX_LISTED_PODS: usize = 256;

/// How a collector applies policies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Modes {
    /// Connections older than a policy: `keep` or `cut`.
    pub established: String,
    /// Pods whose policy is not in the kernel yet: `open` or `closed`.
    pub startup: String,
    /// Every deny is only reported, as `audit`.
    pub audit: bool,
    /// Namespaces that are audited by their annotation.
    pub audited_namespaces: u64,
    /// Policies that are audited by their annotation.
    pub audited_policies: u64,
}

/// How often it is reported what the connections of some pods did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IntervalStatus {
    /// Whose pods; empty: all others.
    pub namespace: String,
    /// The interval, milliseconds.
    pub interval_ms: u64,
    /// Until when, nanoseconds since 1970; `None` if it has no end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ns: Option<u64>,
    /// What said so: `collector`, `cluster`, `annotation`, `namespace` or `override`.
    pub source: String,
}

/// What came of denying a packet on purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SelfTest {
    /// Whether denies drop and allows pass.
    pub passed: bool,
    /// What was seen, in a sentence.
    pub message: String,
    /// When, nanoseconds since 1970.
    pub time_ns: u64,
}

/// A local pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodStatus {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether its packets are judged.
    pub enforced: bool,
    /// Policy set it is under; 0 if none.
    pub revision: u64,
    /// Its host-side interface; empty if none is known.
    pub interface: String,
    /// Denies are only reported: by the collector's setting or its namespace's annotation.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub audit: bool,
    /// Why it is not enforced.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// What a collector keeps until the relay has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SpoolStatus {
    /// Bytes in use.
    pub bytes: u64,
    /// Most bytes it may use.
    pub limit_bytes: u64,
    /// Files on disk; 0 if everything is in memory.
    pub segments: u64,
    /// Age of the oldest row, milliseconds.
    pub oldest_ms: u64,
    /// Verdicts whose rows the collector has given up since it began, for want of room or because
    /// they were damaged.
    pub given_up: u64,
}

/// A map of the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MapUsage {
    /// Its name.
    pub map: String,
    /// Entries in it, as far as the collector counts them.
    pub entries: Option<u64>,
    /// Most entries it can have.
    pub capacity: u64,
    /// Memory the kernel has set aside for it, bytes.
    pub memory_bytes: u64,
}

/// An exact count of what one stage lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Where: `uplink`, `conntrack`, …
    pub stage: String,
    /// What the count counts: `rows`, `connections`, `packets`.
    pub unit: String,
    /// How many.
    pub count: u64,
}

/// How the relay is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayStatus {
    /// Its version.
    pub version: String,
    /// From [`HotHeader`]: how old its write-ahead log is.
    pub relay_epoch: u64,
    /// Rows acknowledged since its process began.
    pub rows_acknowledged: u64,
    /// Rows in memory.
    pub hot_rows: u64,
    /// Bytes in memory.
    pub hot_bytes: u64,
    /// Rows in files of the manifest in force.
    pub stored_rows: u64,
    /// Bytes of those files.
    pub stored_bytes: u64,
    /// Number of those files.
    pub stored_files: u64,
    /// What is wrong at present, in words.
    pub problems: Vec<String>,
    /// Every collector heard of.
    pub collectors: Vec<CollectorSeen>,
}

/// A collector as the relay knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectorSeen {
    /// From [`BatchId`].
    pub collector: String,
    /// From [`BatchId`].
    pub epoch: u64,
    /// Last sequence acknowledged.
    pub sequence: u64,
    /// When it last sent something, nanoseconds since 1970.
    pub last_seen_ns: u64,
    /// Its last status.
    pub status: Option<CollectorStatus>,
}

/// The JSON form of any message of this module.
pub fn encode<T: Serialize>(message: &T) -> bytes::Bytes {
    serde_json::to_vec(message).expect("plain structs always serialise").into()
}

/// Parses a message of this module.
///
/// # Errors
/// Not JSON, or not of this shape.
pub fn decode<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Older peers read what newer ones write and the other way round, so the bytes are pinned.
    #[test]
    fn bytes_are_pinned() {
        let id = BatchId {
            collector: "lab/node-1".into(),
            epoch: 5,
            sequence: 9,
            status: None,
            losses: vec![],
        };
        assert_eq!(&encode(&id)[..], br#"{"collector":"lab/node-1","epoch":5,"sequence":9}"#);
        let ack = Acknowledgement { epoch: 5, sequence: 9 };
        assert_eq!(&encode(&ack)[..], br#"{"epoch":5,"sequence":9}"#);
        let ticket = HotTicket { relay_epoch: 1, after: 2 };
        assert_eq!(&encode(&ticket)[..], br#"{"relay_epoch":1,"after":2}"#);
        let header = HotHeader { relay_epoch: 1, manifest_version: 2, first: 3, last: 4 };
        assert_eq!(
            &encode(&header)[..],
            br#"{"relay_epoch":1,"manifest_version":2,"first":3,"last":4}"#
        );
    }
}
