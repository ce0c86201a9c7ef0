//! What was judged and is in no row, counted to the verdict. No I/O.
//!
//! Over the life of the kernel's maps, with all packets at rest and everything reported,
//!
//! ```text
//! stats.allowed + stats.denied = sum(count) of rows + sum(count) of ledger entries of unit `verdicts`
//! ```
//!
//! because each verdict has one way (see [`weir_abi::stats`]), and each way ends here or in a row:
//!
//! | the kernel counted | in a row, by | in the ledger, as stage |
//! |---|---|---|
//! | `allow_submitted`, `deny_submitted` | its event | `join`: the event cannot be a row |
//! | `allow_failed`, `allow_unannounced` | the first report of its entry | `conntrack`: the entry gave way before that |
//! | `deny_failed`, `deny_folded` | a report of its entry | `denies`: the entry gave way before that |
//! | `allow_lost`, `deny_table_failed` | nothing | `kernel` |
//!
//! A row that was made leaves the collector or becomes entries of stage `spool` with its counts. While
//! packets are judged, [`Accounts`] tells less than what is lost, never more: the counters are read
//! before the tables, and a packet is in its table before it is in a counter.
//!
//! Entries are [`Pending`] until a batch takes them. They and the accounts are part of the journal's
//! steps, so a killed collector enters nothing twice.

mod accounts;
mod pending;
mod tally;

pub use accounts::Accounts;
pub(crate) use pending::join;
pub use pending::{Pending, Span};
pub use tally::{Class, Malformed, Tally};

/// A stage that loses something: column `stage` of table `loss`.
pub(crate) mod stage {
    pub(crate) const KERNEL: &str = "kernel";
    pub(crate) const CONNTRACK: &str = "conntrack";
    pub(crate) const DENIES: &str = "denies";
    pub(crate) const JOIN: &str = "join";
    pub(crate) const SPOOL: &str = "spool";
}

/// What an entry counts: column `unit`.
pub(crate) mod unit {
    pub(crate) const VERDICTS: &str = "verdicts";
    pub(crate) const CONNECTIONS: &str = "connections";
    pub(crate) const BATCHES: &str = "batches";
}

/// Of what verdict: column `verdict`.
pub(crate) mod verdict {
    pub(crate) const ALLOW: &str = "allow";
    pub(crate) const DENY: &str = "deny";
    pub(crate) const AUDIT: &str = "audit";
    /// Nobody can tell.
    pub(crate) const UNKNOWN: &str = "";
}
