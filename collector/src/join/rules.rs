//! The columns `policies` and `policy`: which rules decided.

use arrow::array::ArrayRef;
use arrow::error::ArrowError;
use rustc_hash::FxHashMap;
use weir_flow::schema::{Kind, Policies};
use weir_flow::values::{PolicyRule, policy_text};

use super::texts::{Texts, dictionary};
use crate::directory::Directory;

/// Distinct pairs of rule sets of a batch.
#[derive(Debug, Default)]
pub(super) struct Rules {
    numbers: FxHashMap<(u32, u32), i32>,
    policies: <Policies as Kind>::Builder,
    texts: Texts,
    /// Key of column `policy` by pair.
    text_keys: Vec<i32>,
    /// Pair by row.
    rows: Vec<i32>,
}

impl Rules {
    /// Adds a row decided by the rules of both sets.
    pub(super) fn push(&mut self, sets: (u32, u32), directory: &Directory) {
        let number = match self.numbers.get(&sets) {
            Some(number) => *number,
            None => self.add(sets, directory),
        };
        self.rows.push(number);
    }

    fn add(&mut self, sets: (u32, u32), directory: &Directory) -> i32 {
        let mut rules: Vec<PolicyRule> = directory.rule_set(sets.0).to_vec();
        rules.extend_from_slice(directory.rule_set(sets.1));
        rules.sort_unstable();
        rules.dedup();
        Policies::append(&mut self.policies, &rules);
        self.text_keys.push(self.texts.key(&policy_text(&rules)));
        let number = i32::try_from(self.numbers.len()).unwrap_or(i32::MAX);
        self.numbers.insert(sets, number);
        number
    }

    /// Columns `policies` and `policy`.
    pub(super) fn finish(mut self) -> Result<(ArrayRef, ArrayRef), ArrowError> {
        let keys = self.rows.iter().map(|pair| self.text_keys[*pair as usize]).collect();
        let text = dictionary(keys, self.texts.finish())?;
        let distinct = Policies::finish(&mut self.policies);
        Ok((dictionary(self.rows, distinct)?, text))
    }
}
