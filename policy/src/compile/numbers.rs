//! The numbers that were given out, as data that outlives the process.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_flow::values::PolicyRule;

use super::Digest;
use super::keys::IDENTITY_FIRST_POD;

/// Numbers that a compiler gave out: all that it knows, or what is new since it was last asked.
///
/// Whoever keeps the kernel's maps for another process writes the new ones down before it uses
/// them, puts all of them together with [`extend`](Self::extend), and resumes from that. Content is
/// known by its digest; rule sets are named in full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    /// Of the last compile.
    pub revision: u64,
    /// Content and number of identities.
    pub identities: Vec<(Digest, u32)>,
    /// The first number that no identity ever had.
    pub next_identity: u32,
    /// Content and number of subjects.
    pub subjects: Vec<(Digest, u32)>,
    /// The first number that no subject ever had.
    pub next_subject: u32,
    /// Content and number of the tables of blocks.
    pub tables: Vec<(Digest, u32)>,
    /// The first number that no table ever had.
    pub next_table: u32,
    /// Number and content of rule sets.
    pub rule_sets: Vec<(u32, Arc<[PolicyRule]>)>,
}

impl Default for Numbers {
    /// Nothing was given out yet.
    fn default() -> Self {
        Self {
            revision: 0,
            identities: Vec::new(),
            next_identity: IDENTITY_FIRST_POD,
            subjects: Vec::new(),
            next_subject: 1,
            tables: Vec::new(),
            next_table: 1,
            rule_sets: Vec::new(),
        }
    }
}

/// Numbers that no compiler gave out.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("these are not the numbers of compiled policy: {what}; start with empty maps instead")]
pub struct NumbersError {
    what: String,
}

impl Numbers {
    /// Adds what was given out later.
    pub fn extend(&mut self, later: Self) {
        self.revision = self.revision.max(later.revision);
        self.identities.extend(later.identities);
        self.next_identity = self.next_identity.max(later.next_identity);
        self.subjects.extend(later.subjects);
        self.next_subject = self.next_subject.max(later.next_subject);
        self.tables.extend(later.tables);
        self.next_table = self.next_table.max(later.next_table);
        self.rule_sets.extend(later.rule_sets);
    }

    /// Whether there is anything in it that has to be written down, but for the revision.
    pub fn is_empty(&self) -> bool {
        self.identities.is_empty()
            && self.subjects.is_empty()
            && self.tables.is_empty()
            && self.rule_sets.is_empty()
    }

    /// That every number has one meaning and is below the next, and no rule set is missing.
    pub(super) fn check(&self) -> Result<(), NumbersError> {
        let wrong = |what: String| Err(NumbersError { what });
        let kinds = [
            ("identity", &self.identities, IDENTITY_FIRST_POD, self.next_identity),
            ("subject", &self.subjects, 1, self.next_subject),
            ("table", &self.tables, 1, self.next_table),
        ];
        for (kind, numbers, first, next) in kinds {
            let mut numbers: Vec<(u32, Digest)> =
                numbers.iter().map(|&(digest, id)| (id, digest)).collect();
            numbers.sort_unstable();
            numbers.dedup();
            if next < first {
                return wrong(format!("the next {kind} is {next}, the first was {first}"));
            }
            if let Some((id, _)) = numbers.iter().find(|(id, _)| !(first..next).contains(id)) {
                return wrong(format!("{kind} {id} was never given out"));
            }
            if let Some(twice) = numbers.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                return wrong(format!("{kind} {} has two meanings", twice[0].0));
            }
        }
        match (1_u32..).zip(&self.rule_sets).find(|(expected, (id, _))| expected != id) {
            Some((expected, (id, _))) => wrong(format!("rule set {expected} is {id}")),
            None => Ok(()),
        }
    }
}
