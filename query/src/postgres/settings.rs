//! What `SHOW` answers and what a client is told when it comes. Nothing of it can be changed: every session
//! reads, in UTF-8 and UTC.

use std::time::Duration;

use crate::engine::SERVER_VERSION;

/// Those that a client is told when it comes, as Postgres does.
const REPORTED: [&str; 13] = [
    "server_version",
    "server_encoding",
    "client_encoding",
    "application_name",
    "default_transaction_read_only",
    "in_hot_standby",
    "is_superuser",
    "session_authorization",
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "integer_datetimes",
    "standard_conforming_strings",
];

/// Those that are the same in all sessions.
const FIXED: [(&str, &str); 20] = [
    ("server_version", SERVER_VERSION),
    ("server_version_num", "150012"),
    ("server_encoding", "UTF8"),
    ("client_encoding", "UTF8"),
    ("application_name", ""),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "on"),
    ("transaction_isolation", "read committed"),
    ("transaction_read_only", "on"),
    ("in_hot_standby", "off"),
    ("is_superuser", "off"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("integer_datetimes", "on"),
    ("standard_conforming_strings", "on"),
    ("extra_float_digits", "1"),
    ("bytea_output", "hex"),
    ("max_identifier_length", "63"),
    ("search_path", "public"),
];

/// All settings of a session, by name.
pub(super) fn all(principal: &str, timeout: Duration) -> Vec<(&'static str, String)> {
    let mut all: Vec<_> = FIXED.map(|(name, value)| (name, value.to_owned())).into();
    all.push(("session_authorization", principal.to_owned()));
    all.push(("statement_timeout", format!("{}s", timeout.as_secs())));
    all
}

/// One that is the same in all sessions, if there is one of that name.
pub(crate) fn fixed(asked: &str) -> Option<&'static str> {
    let found = FIXED.iter().find(|(name, _)| name.eq_ignore_ascii_case(asked));
    found.map(|(_, value)| *value)
}

/// Whether a client is told this one when it comes.
pub(super) fn is_reported(name: &str) -> bool {
    REPORTED.contains(&name)
}

/// The name that `SHOW` means.
pub(super) fn name(asked: &str) -> &str {
    match asked {
        "transaction isolation level" => "transaction_isolation",
        "session authorization" => "session_authorization",
        "time zone" => "timezone",
        "names" => "client_encoding",
        other => other.trim_matches('"'),
    }
}
