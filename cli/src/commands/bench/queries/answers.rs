//! What engines answered, how long it took, and whether they agree.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

/// Rows of an answer: each value as text.
pub(super) type Rows = Vec<Vec<Option<String>>>;

/// A query that was asked once or often.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// Milliseconds of each time.
    pub(super) ms: Vec<f64>,
    pub(super) rows: Rows,
}

/// Dashboards that were opened side by side.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Boards {
    /// Milliseconds until the last of them was complete.
    pub(super) wall_ms: f64,
    /// Of each.
    pub(super) ms: Vec<f64>,
    /// Of each panel of each.
    pub(super) rows: Vec<Vec<Rows>>,
    /// The most resident memory of the process, with all that it was asked before.
    pub(super) peak_bytes: u64,
}

/// Everything that one engine did.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    pub(super) name: String,
    /// Of each query.
    pub(super) cold: Vec<Asked>,
    pub(super) warm: Vec<Asked>,
    pub(super) boards: Boards,
}

impl Asked {
    pub(super) fn median_ms(&self) -> f64 {
        median(&self.ms)
    }
}

pub(super) fn median(ms: &[f64]) -> f64 {
    let mut sorted = ms.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A JSON value as the text that is compared.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// Where an answer is not the one that was expected.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) row: usize,
    pub(super) expected: Option<Vec<Option<String>>>,
    pub(super) got: Option<Vec<Option<String>>>,
}

/// The first row in which two answers differ.
pub(super) fn difference(expected: &Rows, got: &Rows) -> Option<Difference> {
    let rows = expected.len().max(got.len());
    let row = (0..rows).find(|&row| expected.get(row) != got.get(row))?;
    Some(Difference { row, expected: expected.get(row).cloned(), got: got.get(row).cloned() })
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { row, expected, got } = self;
        write!(f, "row {row} is {got:?}, not {expected:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_found() {
        let rows = |numbers: &[u64]| -> Rows {
            numbers.iter().map(|number| vec![Some(number.to_string())]).collect()
        };
        assert_eq!(difference(&rows(&[1, 2]), &rows(&[1, 2])), None);
        let differs = difference(&rows(&[1, 2]), &rows(&[1, 3])).unwrap();
        assert_eq!(differs.to_string(), "row 1 is Some([Some(\"3\")]), not Some([Some(\"2\")])");
        assert_eq!(difference(&rows(&[1]), &rows(&[])).unwrap().row, 0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
    }
}
