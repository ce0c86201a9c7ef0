//! Finds the name that was meant, and where the one stands that is not there.

use std::fmt;

use datafusion::common::{Column, SchemaError};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use weir_flow::schema::tables;

/// A name that stands for nothing.
#[derive(Clone, Debug)]
pub struct Missing {
    name: String,
    message: String,
    place: Option<(u64, u64)>,
}

impl Missing {
    pub(crate) fn new(name: &str, message: String) -> Self {
        Self { name: name.to_owned(), message, place: None }
    }

    /// Finds the place in the statement's text: where the name stands first.
    pub(crate) fn look_for(&mut self, sql: &str) {
        let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location();
        let named = |token: &Token| matches!(token, Token::Word(word) if word.value.eq_ignore_ascii_case(&self.name));
        let found = tokens.ok().and_then(|tokens| tokens.into_iter().find(|at| named(&at.token)));
        self.place = found.map(|at| (at.span.start.line, at.span.start.column));
    }

    /// Line and column, each from 1, if known.
    pub(crate) fn place(&self) -> Option<(u64, u64)> {
        self.place
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => {
                write!(f, "line {line}, column {column}: {}", self.message)
            }
            None => f.write_str(&self.message),
        }
    }
}

/// What is wrong with a column reference, and what was probably meant.
pub(crate) fn explain(error: &SchemaError) -> String {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            unknown(&field.name, valid_fields.iter().map(Column::name))
        }
        other => other.to_string(),
    }
}

/// What is wrong with a reference to a table, if that is what the engine's message says.
pub(crate) fn missing_table(message: &str) -> Option<Missing> {
    let name = message.strip_prefix("table '")?.strip_suffix("' not found")?;
    let name = name.strip_prefix("weir.public.").unwrap_or(name);
    let known: Vec<String> = tables().iter().map(|table| format!("`{}`", table.name)).collect();
    let message = format!("there is no table `{name}`: there are {}", known.join(", "));
    Some(Missing::new(name.rsplit('.').next().unwrap_or(name), message))
}

/// Says that there is no such column and names the nearest of the known ones.
pub(crate) fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    match nearest(name, known) {
        Some(near) => format!("there is no column `{name}`: did you mean `{near}`?"),
        None => format!("there is no column `{name}`: GET /api/v1/schema lists the columns"),
    }
}

/// The known name that is nearest to one that is not, if any is near.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    if name.len() > 100 {
        return None;
    }
    known
        .map(|candidate| (distance(&name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(name.len()) / 2)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits between two words; a part left out at one end (`pod` for `source_pod`) counts once.
fn distance(left: &str, right: &str) -> usize {
    if left.len() >= 3 && (right.ends_with(left) || right.starts_with(left)) {
        return 1;
    }
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_name_is_found_in_the_text() {
        let mut missing = Missing::new("verdct", "it is not there".into());
        assert_eq!(missing.to_string(), "it is not there");
        for (sql, place) in [
            ("select verdct from flows", Some((1, 8))),
            ("select 'verdct', -- verdct\n  f.\"Verdct\" from flows f", Some((2, 5))),
            ("select verdict", None),
            ("select 'open", None),
        ] {
            missing.look_for(sql);
            assert_eq!(missing.place(), place, "{sql}");
        }
        missing.look_for("select\n verdct");
        assert_eq!(missing.to_string(), "line 2, column 2: it is not there");
    }

    #[test]
    fn the_nearest_name_is_suggested() {
        let known = ["time", "source_pod", "destination_port", "verdict"];
        let suggest = |name| nearest(name, known.into_iter());
        assert_eq!(suggest("sourcepod"), Some("source_pod"));
        assert_eq!(suggest("Verdikt"), Some("verdict"));
        assert_eq!(suggest("pod"), Some("source_pod"));
        assert_eq!(suggest("xyzzy"), None);
    }
}
