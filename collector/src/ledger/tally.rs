//! How many verdicts some rows stand for.

use weir_abi::event::{VERDICT_AUDIT, VERDICT_DENY};
use weir_flow::wire::LossEntry;

use super::{unit, verdict};

/// Rows that are kept together, as long as there is room for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Denies, and what is only audited. They are given up last.
    Denies,
    /// The rest.
    Allows,
}

impl Class {
    /// Both, those that go first to the relay first.
    pub const ALL: [Self; 2] = [Self::Denies, Self::Allows];

    /// Where a row of that verdict belongs.
    pub(crate) fn of(verdict: u8) -> Self {
        match verdict {
            VERDICT_DENY | VERDICT_AUDIT => Self::Denies,
            _ => Self::Allows,
        }
    }
}

/// Verdicts that cannot be rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Malformed {
    /// Of allows, or of what nobody knows.
    pub allows: u64,
    /// Of denies.
    pub denies: u64,
}

/// Sums over rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Rows.
    pub rows: u64,
    /// Sum of column `count` where the verdict is `allow`.
    pub allow: u64,
    /// Where it is `deny`.
    pub deny: u64,
    /// Where it is `audit`.
    pub audit: u64,
    /// Rows that tell more of connections that were counted before.
    pub continued: u64,
    /// Earliest time, nanoseconds since 1970.
    pub from_ns: i64,
    /// Latest time.
    pub to_ns: i64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            rows: 0,
            allow: 0,
            deny: 0,
            audit: 0,
            continued: 0,
            from_ns: i64::MAX,
            to_ns: i64::MIN,
        }
    }
}

impl Tally {
    /// One more row.
    pub(crate) fn add(&mut self, of: u8, count: u64, from_ns: i64, to_ns: i64) {
        self.rows += 1;
        self.continued += u64::from(count == 0);
        match of {
            VERDICT_DENY => self.deny += count,
            VERDICT_AUDIT => self.audit += count,
            _ => self.allow += count,
        }
        self.from_ns = self.from_ns.min(from_ns);
        self.to_ns = self.to_ns.max(to_ns);
    }

    /// Verdicts in all.
    pub fn verdicts(&self) -> u64 {
        self.allow + self.deny + self.audit
    }

    /// What the ledger says when these rows are lost.
    pub(crate) fn losses(&self, stage: &str, reason: &str) -> Vec<LossEntry> {
        let counts = [
            (verdict::ALLOW, unit::VERDICTS, self.allow),
            (verdict::DENY, unit::VERDICTS, self.deny),
            (verdict::AUDIT, unit::VERDICTS, self.audit),
            (verdict::UNKNOWN, unit::CONNECTIONS, self.continued),
        ];
        let entry = |(verdict, unit, count): (&str, &str, u64)| LossEntry {
            from_ns: self.from_ns,
            to_ns: self.to_ns,
            stage: stage.to_owned(),
            verdict: verdict.to_owned(),
            unit: unit.to_owned(),
            count,
            reason: reason.to_owned(),
        };
        counts.into_iter().filter(|(_, _, count)| *count > 0).map(entry).collect()
    }
}
