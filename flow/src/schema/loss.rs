//! The loss ledger: what was judged and is in no row of `flows`, by where it was lost.

use super::kind::{Text, TimestampNs, UInt64};

/// Stages behind the store: what they lose is missing from what they hand on, not from queries.
pub const BEHIND_STORE: [&str; 2] = ["follower", "exporter"];

/// The stage of entries that say what retention removed, of `count` rows between their times.
pub const RETENTION: &str = "retention";

table! {
    /// What one stage lost in one interval, of one verdict, for one reason.
    row LossRow;
    /// Builds record batches of the ledger.
    builder LossBuilder;
    /// Every column of table `loss`, in order.
    columns loss_columns;
    /// The schema of table `loss`, and of its Parquet files.
    schema loss_schema;
    stored {
        time: TimestampNs, "Begin of the interval in which it was lost, UTC.";
        end_time: TimestampNs, "End of the interval.";
        cluster: Text, "Cluster of the node.";
        node: Text, "Node whose flows were lost; the relay's name where the relay lost them.";
        stage: Text, "Where: `kernel`, `conntrack`, `denies`, `join`, `spool`, `uplink`, `relay`, `follower`, `exporter`; `retention` removed what was stored.";
        verdict: Text, "Of what: `allow` (at stages `kernel` and `conntrack` maybe `audit`), `deny`, `audit`; empty where nobody can tell.";
        unit: Text, "What `count` counts: `verdicts` are missing from `sum(count)` of table `flows`; `connections` are there, but not all of their packets and bytes; `batches` never arrived and nobody knows what was in them; `rows` were stored and are removed, `entries` are such rows of this table.";
        count: UInt64, "How many.";
        reason: Text, "Why, in a word or a few: `table full`, `evicted`, `disk full`, `age`, `size`, …";
    }
    derived {}
}
