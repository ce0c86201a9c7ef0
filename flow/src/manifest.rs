//! The store's layout: which objects there are and how a reader learns which of them count.
//!
//! * `flows/date=YYYY-MM-DD/hour=HH/NAME.parquet`: rows of [`crate::schema::stored_schema`].
//! * `edges_1m/date=YYYY-MM-DD/hour=HH/NAME.parquet`: rows of [`crate::schema::edges::edge_schema`],
//!   the roll-up of the file of flows with the same NAME.
//! * `loss/NAME.parquet`: rows of [`crate::schema::loss::loss_schema`].
//! * `objects/NAME.parquet`: rows of [`crate::schema::objects::object_schema`].
//! * `manifests/VERSION.json`: a [`Manifest`], twenty digits, written once and never changed.
//!   The one with the highest version is in force. A writer creates the next version only if it
//!   does not exist, so two writers cannot both succeed and readers never see half a change.

use serde::{Deserialize, Serialize};

/// Prefix of the manifest objects.
pub const MANIFEST_PREFIX: &str = "manifests";
/// Prefix of the data objects of table `flows`.
pub const FLOWS_PREFIX: &str = "flows";
/// Prefix of the roll-ups.
pub const EDGES_PREFIX: &str = "edges_1m";
/// Prefix of the data objects of table `loss`.
pub const LOSS_PREFIX: &str = "loss";
/// Prefix of the data objects with versions of the cluster's objects.
pub const OBJECTS_PREFIX: &str = "objects";
/// Versions kept behind the newest one, so that a reader may finish with the one it holds.
pub const MANIFESTS_KEPT: u64 = 16;

/// The complete list of data files at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Counts up by one.
    pub version: u64,
    /// Every file, oldest first.
    pub files: Vec<DataFile>,
    /// Every file with versions of the cluster's objects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<DataFile>,
    /// Every file of the loss ledger.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loss: Vec<DataFile>,
    /// Objects that are not named any more, and will be deleted when no reader can hold a manifest that
    /// does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<Removed>,
    /// What retention removed, ever: an entry for each class and cause.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expired: Vec<Expired>,
    /// Up to where each relay's batches are in these files. A reader who holds a relay's hot
    /// batches leaves out those up to this position.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flushed: Vec<FlushedUpTo>,
    /// How far each collector's batches are in these files, so that a relay that starts anew still
    /// recognises what is sent again, and notices what is missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stored: Vec<StoredUpTo>,
}

/// An object that manifests named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Path from the store's root.
    pub path: String,
    /// Since when no manifest names it, nanoseconds since 1970.
    pub at_ns: u64,
}

/// Rows that were removed because they were old enough, or too many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expired {
    /// Of what.
    pub class: ExpiredClass,
    /// Why.
    pub cause: ExpiredCause,
    /// Least `time` of a row that went, nanoseconds since 1970.
    pub from_ns: i64,
    /// Greatest `end_time` of one. Later rows are all there; of those before, some may be.
    pub until_ns: i64,
    /// How many went.
    pub rows: u64,
}

/// What went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExpiredClass {
    /// Flows of any verdict, from files of versions that did not keep them apart.
    Any,
    /// Allowed flows.
    Allow,
    /// Denied and audited flows.
    Deny,
    /// The ledger's own entries.
    Loss,
}

/// Why it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExpiredCause {
    /// It was older than it is kept for.
    Age,
    /// There was more than is kept.
    Size,
}

/// Every batch of one life of a collector up to and including `sequence` is in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredUpTo {
    /// From [`crate::wire::BatchId`].
    pub collector: String,
    /// From [`crate::wire::BatchId`].
    pub epoch: u64,
    /// From [`crate::wire::BatchId`].
    pub sequence: u64,
    /// When the collector was last heard, nanoseconds since 1970; long silent ones are forgotten.
    pub last_seen_ns: u64,
}

/// Every batch of one relay up to and including `position` is in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlushedUpTo {
    /// From [`crate::wire::HotHeader`].
    pub relay_epoch: u64,
    /// From [`crate::wire::HotPosition`], of batches of flows.
    pub position: u64,
    /// The same of the ledger, whose positions count for themselves.
    #[serde(default)]
    pub loss_position: u64,
    /// When that was, nanoseconds since 1970; long silent relays are forgotten.
    pub at_ns: u64,
}

/// Which rows a file of flows has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdicts {
    /// Any.
    #[default]
    Any,
    /// Verdict `allow` only.
    Allow,
    /// Verdicts `deny` and `audit` only: these may be kept for longer.
    Deny,
}

/// The roll-up of a file of flows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollUp {
    /// Path from the store's root.
    pub path: String,
    /// Rows in it.
    pub rows: u64,
    /// Its size.
    pub size_bytes: u64,
}

/// One Parquet file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// Path from the store's root.
    pub path: String,
    /// Rows in it.
    pub rows: u64,
    /// Its size.
    pub size_bytes: u64,
    /// Least `time` in it.
    pub min_time_ns: i64,
    /// Greatest `end_time` in it.
    pub max_time_ns: i64,
    /// Version of the columns it was written with.
    pub schema_version: u32,
    /// Which rows it has, if it is of flows.
    #[serde(default, skip_serializing_if = "Verdicts::is_any")]
    pub verdicts: Verdicts,
    /// How often its rows were merged: 0 for a file as it was flushed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub level: u32,
    /// Its roll-up; none for files of versions that made none, and of other tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edges: Option<RollUp>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(level: &u32) -> bool {
    *level == 0
}

impl Verdicts {
    fn is_any(&self) -> bool {
        *self == Self::Any
    }
}

impl From<Verdicts> for ExpiredClass {
    fn from(verdicts: Verdicts) -> Self {
        match verdicts {
            Verdicts::Any => Self::Any,
            Verdicts::Allow => Self::Allow,
            Verdicts::Deny => Self::Deny,
        }
    }
}

impl Manifest {
    /// Remembers that retention removed the rows of a file.
    pub fn expire(&mut self, class: ExpiredClass, cause: ExpiredCause, file: &DataFile) {
        let (from_ns, until_ns, rows) = (file.min_time_ns, file.max_time_ns, file.rows);
        let same = |known: &&mut Expired| known.class == class && known.cause == cause;
        match self.expired.iter_mut().find(same) {
            Some(known) => {
                known.from_ns = known.from_ns.min(from_ns);
                known.until_ns = known.until_ns.max(until_ns);
                known.rows = known.rows.saturating_add(rows);
            }
            None => self.expired.push(Expired { class, cause, from_ns, until_ns, rows }),
        }
    }

    /// Where a version lies.
    pub fn path(version: u64) -> String {
        format!("{MANIFEST_PREFIX}/{version:020}.json")
    }

    /// The version of a path made by [`path`](Self::path); `None` for any other path.
    pub fn version_of(path: &str) -> Option<u64> {
        let name = path.strip_prefix(MANIFEST_PREFIX)?.strip_prefix('/')?.strip_suffix(".json")?;
        (name.len() == 20).then(|| name.parse().ok()).flatten()
    }
}

/// Where a data file whose first row is at `time_ns` lies. `name` is unique among all writers.
pub fn data_path(time_ns: i64, name: &str) -> String {
    hour_path(FLOWS_PREFIX, time_ns, name)
}

/// Where the roll-up of that data file lies.
pub fn edges_path(time_ns: i64, name: &str) -> String {
    hour_path(EDGES_PREFIX, time_ns, name)
}

fn hour_path(prefix: &str, time_ns: i64, name: &str) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(time_ns))
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_zoned(jiff::tz::TimeZone::UTC);
    format!("{prefix}/date={}/hour={:02}/{name}.parquet", time.date(), time.hour())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_partitioned_by_date_and_hour() {
        let path = data_path(1_700_000_000_000_000_000, "a-1");
        assert_eq!(path, "flows/date=2023-11-14/hour=22/a-1.parquet");
    }

    #[test]
    fn what_expired_is_one_entry_a_class_and_cause() {
        let mut manifest = Manifest::default();
        let file = |from, to| DataFile {
            min_time_ns: from,
            max_time_ns: to,
            rows: 2,
            ..DataFile::default()
        };
        manifest.expire(ExpiredClass::Allow, ExpiredCause::Age, &file(5, 9));
        manifest.expire(ExpiredClass::Allow, ExpiredCause::Size, &file(6, 7));
        manifest.expire(ExpiredClass::Allow, ExpiredCause::Age, &file(1, 3));
        let told = |of: &Expired| (of.cause, of.from_ns, of.until_ns, of.rows);
        let expected = [(ExpiredCause::Age, 1, 9, 4), (ExpiredCause::Size, 6, 7, 2)];
        assert_eq!(manifest.expired.iter().map(told).collect::<Vec<_>>(), expected);
        let text = serde_json::to_string(&manifest).unwrap();
        assert!(text.contains(r#"{"class":"allow","cause":"age","#), "{text}");
        assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap(), manifest);
    }

    #[test]
    fn versions_round_trip_and_sort_as_text() {
        assert_eq!(Manifest::version_of(&Manifest::path(42)), Some(42));
        assert_eq!(Manifest::version_of("manifests/42.json"), None);
        assert_eq!(Manifest::version_of("flows/x"), None);
        assert!(Manifest::path(9) < Manifest::path(10));
    }
}
