//! Leaf columns as keys into sorted values.

use std::ops::Range;

use arrow::array::{Array as _, ArrayRef, StringArray};
use arrow::error::ArrowError;
use rustc_hash::FxHashMap;

use crate::columns::{FlatLists, Leaf, NULL};

/// A value of a dictionary. Numbers are unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Value<'a> {
    Text(&'a str),
    Number(u32),
}

impl Value<'_> {
    /// Parquet's encoding PLAIN.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => {
                out.extend_from_slice(&(text.len() as u32).to_le_bytes());
                out.extend_from_slice(text.as_bytes());
            }
            Self::Number(number) => out.extend_from_slice(&number.to_le_bytes()),
        }
    }

    /// As in statistics.
    pub(super) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.as_bytes().to_vec(),
            Self::Number(number) => number.to_le_bytes().to_vec(),
        }
    }
}

/// A leaf: for each row a key, into the values or into lists of keys into the values.
pub(super) struct KeyedLeaf<'a> {
    /// Sorted, each once.
    pub(super) values: Vec<Value<'a>>,
    pub(super) keys: &'a [u32],
    pub(super) lists: Option<KeyedLists>,
    /// Whether a bloom filter pays.
    pub(super) bloom: bool,
}

/// Lists of keys.
pub(super) struct KeyedLists {
    offsets: Vec<usize>,
    items: Vec<u32>,
}

impl KeyedLists {
    pub(super) fn items(&self, list: u32) -> &[u32] {
        let list = list as usize;
        &self.items[self.offsets[list]..self.offsets[list + 1]]
    }
}

impl<'a> KeyedLeaf<'a> {
    pub(super) fn text(values: &'a StringArray, keys: &'a [u32], bloom: bool) -> Self {
        Self {
            values: values.iter().flatten().map(Value::Text).collect(),
            keys,
            lists: None,
            bloom,
        }
    }

    /// The leaves of lists.
    pub(super) fn of_lists(values: &'a ArrayRef, keys: &'a [u32]) -> Result<Vec<Self>, ArrowError> {
        let lists = FlatLists::of(values)?;
        let leaves = lists.leaves.iter().map(|leaf| of_leaf(&lists, leaf, keys));
        Ok(leaves.collect())
    }

    /// The values that these rows have, sorted, and for each key its place among them.
    pub(super) fn used(&self, rows: Range<usize>) -> (Vec<Value<'a>>, Vec<u32>) {
        let mut used = vec![false; self.values.len()];
        let mut mark = |key: u32| {
            if let Some(used) = used.get_mut(key as usize) {
                *used = true;
            }
        };
        match &self.lists {
            None => self.keys[rows].iter().for_each(|&key| mark(key)),
            Some(lists) => {
                let mut seen = vec![false; lists.offsets.len()];
                for &list in &self.keys[rows] {
                    if !std::mem::replace(&mut seen[list as usize], true) {
                        lists.items(list).iter().for_each(|&key| mark(key));
                    }
                }
            }
        }
        let mut values = Vec::new();
        let mut ranks = vec![0; self.values.len()];
        for (key, value) in self.values.iter().enumerate().filter(|(key, _)| used[*key]) {
            ranks[key] = values.len() as u32;
            values.push(*value);
        }
        (values, ranks)
    }
}

fn of_leaf<'a>(lists: &FlatLists<'a>, leaf: &Leaf<'a>, keys: &'a [u32]) -> KeyedLeaf<'a> {
    let value = |item: usize| match leaf {
        Leaf::Text(texts) => texts.is_valid(item).then(|| Value::Text(texts.value(item))),
        Leaf::Number(numbers) => numbers.is_valid(item).then(|| Value::Number(numbers.value(item))),
    };
    let all = || (0..lists.len()).flat_map(|list| lists.items(list));
    let mut ranks: FxHashMap<Value<'a>, u32> = FxHashMap::default();
    ranks.extend(all().filter_map(value).map(|value| (value, 0)));
    let mut values: Vec<Value<'a>> = ranks.keys().copied().collect();
    values.sort_unstable();
    for (rank, value) in (0..).zip(&values) {
        ranks.insert(*value, rank);
    }
    let mut offsets = vec![0];
    offsets.extend((0..lists.len()).scan(0, |end, list| {
        *end += lists.items(list).len();
        Some(*end)
    }));
    let items = all().map(|item| value(item).map_or(NULL, |value| ranks[&value])).collect();
    KeyedLeaf { values, keys, lists: Some(KeyedLists { offsets, items }), bloom: false }
}
