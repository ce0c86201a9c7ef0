//! What is wrong with a filter, or looks wrong, and where.

use serde::Serialize;

/// Characters of the text, from 0; the last is not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: usize,
    pub(super) until: usize,
}

impl Span {
    pub(super) const fn new(from: usize, until: usize) -> Self {
        Self { from, until }
    }

    /// From the begin of this to the end of that.
    pub(super) fn to(self, end: Self) -> Self {
        Self { from: self.from, until: end.until.max(self.until) }
    }
}

/// A message about a place, before the text is at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spanned {
    pub(super) span: Span,
    pub(super) message: String,
}

pub(super) fn spanned(span: Span, message: impl Into<String>) -> Spanned {
    Spanned { span, message: message.into() }
}

/// What is wrong with a filter, where, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("filter, line {line}, column {column}: {message}")]
pub(crate) struct FilterError {
    /// From 1.
    pub(crate) line: usize,
    /// The character in the line, from 1.
    pub(crate) column: usize,
    /// The character behind the last of it in that line.
    pub(crate) end: usize,
    /// What is wrong and how to mend it.
    pub(crate) message: String,
}

/// What is allowed and probably not meant so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Warning(pub(crate) FilterError);

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Spanned {
    pub(super) fn locate(self, text: &str) -> FilterError {
        let Span { from, until } = self.span;
        let (mut line, mut column) = (1, 1);
        let mut rest = text.chars();
        for c in rest.by_ref().take(from) {
            if c == '\n' {
                (line, column) = (line + 1, 1);
            } else {
                column += 1;
            }
        }
        let wide = rest.take(until.saturating_sub(from)).take_while(|c| *c != '\n').count();
        FilterError { line, column, end: column + wide.max(1), message: self.message }
    }
}
