//! Dictionary-encoded text columns, from numbers that rows already hold.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, StringArray, StringBuilder};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::error::ArrowError;
use rustc_hash::FxHashMap;
use weir_flow::values::{Direction, EndpointKind, Reason, State, Verdict};

/// The key that stands for null.
pub(super) const NULL: i32 = -1;

/// Distinct texts, numbered as they appear.
#[derive(Debug, Default)]
pub(super) struct Texts {
    keys: FxHashMap<Box<str>, i32>,
    values: StringBuilder,
}

impl Texts {
    /// The number of a text.
    pub(super) fn key(&mut self, text: &str) -> i32 {
        if let Some(key) = self.keys.get(text) {
            return *key;
        }
        // A batch has at most 2^20 rows.
        let key = i32::try_from(self.keys.len()).unwrap_or(i32::MAX);
        self.keys.insert(text.into(), key);
        self.values.append_value(text);
        key
    }

    /// The number of a text, [`NULL`] for none.
    pub(super) fn key_or_null(&mut self, text: Option<&str>) -> i32 {
        text.map_or(NULL, |text| self.key(text))
    }

    /// The texts by number.
    pub(super) fn finish(mut self) -> ArrayRef {
        Arc::new(self.values.finish())
    }
}

/// A column from keys into different values, none of them null.
pub(super) fn dictionary(keys: Vec<i32>, values: ArrayRef) -> Result<ArrayRef, ArrowError> {
    Ok(Arc::new(DictionaryArray::try_new(Int32Array::new(keys.into(), None), values)?))
}

/// A text column from keys, some of which may be [`NULL`].
pub(super) fn nullable_dictionary(
    mut keys: Vec<i32>,
    values: ArrayRef,
) -> Result<ArrayRef, ArrowError> {
    if keys.iter().all(|key| *key != NULL) {
        return dictionary(keys, values);
    }
    let valid = BooleanBuffer::collect_bool(keys.len(), |row| keys[row] != NULL);
    for key in &mut keys {
        *key = (*key).max(0);
    }
    let keys = Int32Array::new(keys.into(), Some(NullBuffer::new(valid)));
    Ok(Arc::new(DictionaryArray::try_new(keys, values)?))
}

/// A column of one text.
pub(super) fn constant(text: &str, rows: usize) -> Result<ArrayRef, ArrowError> {
    dictionary(vec![0; rows], Arc::new(StringArray::from(vec![text])))
}

/// A column of words that rows hold by number.
pub(super) fn words(numbers: &[u8], words: &LazyLock<ArrayRef>) -> Result<ArrayRef, ArrowError> {
    let keys = numbers.iter().map(|number| i32::from(*number)).collect();
    dictionary(keys, LazyLock::force(words).clone())
}

fn list<T: Copy>(all: &[T], word: impl Fn(T) -> &'static str) -> ArrayRef {
    Arc::new(all.iter().map(|value| Some(word(*value))).collect::<StringArray>())
}

pub(super) static DIRECTIONS: LazyLock<ArrayRef> =
    LazyLock::new(|| list(Direction::ALL, Direction::as_str));
pub(super) static VERDICTS: LazyLock<ArrayRef> =
    LazyLock::new(|| list(Verdict::ALL, Verdict::as_str));
pub(super) static REASONS: LazyLock<ArrayRef> = LazyLock::new(|| list(Reason::ALL, Reason::as_str));
pub(super) static KINDS: LazyLock<ArrayRef> =
    LazyLock::new(|| list(EndpointKind::ALL, EndpointKind::as_str));
pub(super) static STATES: LazyLock<ArrayRef> = LazyLock::new(|| list(State::ALL, State::as_str));
