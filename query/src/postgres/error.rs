//! Errors as clients of Postgres get them: SQLSTATE, message, and the place in the text.

use pgwire::messages::response::{ErrorResponse, NoticeResponse};

use crate::error::QueryError;

/// Why a statement or a connection fails.
#[derive(Debug)]
pub(super) enum Failure {
    /// For the client to read.
    Told { code: &'static str, message: String, position: Option<usize>, fatal: bool },
    /// The connection broke.
    Gone(std::io::Error),
}

impl Failure {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self::Told { code, message: message.into(), position: None, fatal: false }
    }

    /// The connection ends with it.
    pub(super) fn fatal(code: &'static str, message: impl Into<String>) -> Self {
        Self::Told { code, message: message.into(), position: None, fatal: true }
    }

    /// The client does not keep to the protocol, and nothing that follows can be trusted.
    pub(super) fn protocol(message: impl Into<String>) -> Self {
        Self::fatal("08P01", message)
    }

    /// Of a query whose text begins at this character of what the client sent.
    pub(super) fn of(error: &QueryError, sql: &str, begin: usize) -> Self {
        let place = match error {
            QueryError::Syntax { place, .. } => *place,
            QueryError::NoTable(missing) | QueryError::NoColumn(missing) => missing.place(),
            _ => None,
        };
        let position = place.map(|place| begin + character(sql, place));
        Self::Told { code: code(error), message: error.to_string(), position, fatal: false }
    }

    pub(super) fn response(
        code: &str,
        message: &str,
        position: Option<usize>,
        fatal: bool,
    ) -> ErrorResponse {
        let severity = if fatal { "FATAL" } else { "ERROR" };
        let mut fields = vec![
            (b'S', severity.to_owned()),
            (b'V', severity.to_owned()),
            (b'C', code.to_owned()),
            // A text ends with a zero byte.
            (b'M', message.replace('\0', " ")),
        ];
        fields.extend(position.map(|position| (b'P', position.to_string())));
        ErrorResponse::new(fields)
    }
}

/// Something that the reader of an answer must know.
pub(super) fn warning(message: &str) -> NoticeResponse {
    NoticeResponse::new(vec![
        (b'S', "WARNING".to_owned()),
        (b'V', "WARNING".to_owned()),
        (b'C', "01000".to_owned()),
        (b'M', message.replace('\0', " ")),
    ])
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Gone(error)
    }
}

/// SQLSTATE, PostgreSQL 15, appendix A.
fn code(error: &QueryError) -> &'static str {
    match error {
        QueryError::Syntax { .. } => "42601",
        QueryError::NoTable(_) => "42P01",
        QueryError::NoColumn(_) => "42703",
        QueryError::ReadOnly(_) => "25006",
        QueryError::Invalid(_) => "42000",
        QueryError::OutOfMemory(_) => "53200",
        // A cursor that is not there.
        QueryError::Gone(_) => "34000",
        QueryError::TimedOut(_) | QueryError::Killed(_) => "57014",
        QueryError::TooBusy { .. } | QueryError::TooManyFollowers(_) => "53300",
        QueryError::Forbidden(_) => "42501",
        QueryError::Unavailable(_) => "58000",
        QueryError::Internal(_) => "XX000",
    }
}

/// Which character of the text, from 1, that is.
fn character(sql: &str, (line, column): (u64, u64)) -> usize {
    let before = usize::try_from(line - 1).unwrap_or(0);
    let lines: usize = sql.split('\n').take(before).map(|line| line.chars().count() + 1).sum();
    lines + usize::try_from(column).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_counted_in_characters() {
        assert_eq!(character("select 1", (1, 8)), 8);
        assert_eq!(character("select 'ä'\nfrom", (2, 1)), 12);
        let error = QueryError::Syntax { message: "x".into(), place: Some((2, 1)) };
        let Failure::Told { code, position, .. } = Failure::of(&error, "a\nb", 10) else {
            panic!()
        };
        assert_eq!((code, position), ("42601", Some(13)));
    }
}
