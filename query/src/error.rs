//! Why a query has no answer, and why the service does not start.

use std::net::SocketAddr;
use std::path::PathBuf;

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;

use crate::catalog::names::{self, Missing};

/// Why a query has no answer. The text says what to do about it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum QueryError {
    /// The text of the query is wrong or not allowed.
    #[error("{0}")]
    Invalid(String),
    /// The text cannot be read.
    #[error("the SQL cannot be read: {message}")]
    Syntax {
        /// What is wrong.
        message: String,
        /// Line and column, each from 1, if known.
        place: Option<(u64, u64)>,
    },
    /// It names a table that is not there.
    #[error("{0}")]
    NoTable(Missing),
    /// It names a column that is not there.
    #[error("{0}")]
    NoColumn(Missing),
    /// It would change something.
    #[error("{0}")]
    ReadOnly(String),
    /// It would need more memory or disk than queries may use.
    #[error(
        "the query needs more memory than queries may use ({0}): narrow it by time, \
         select fewer columns or group by fewer values"
    )]
    OutOfMemory(String),
    /// It took too long.
    #[error(
        "the query did not end within {0} seconds: narrow it by time, or add conditions to joins"
    )]
    TimedOut(u64),
    /// Too many queries run and wait.
    #[error(
        "{running} queries run and {waiting} wait already: try again in a few seconds, \
         or raise the limits `concurrent` and `queued` of the query service"
    )]
    TooBusy {
        /// The limit of running queries.
        running: usize,
        /// The limit of waiting queries.
        waiting: usize,
    },
    /// Somebody ended it.
    #[error("the query was ended by {0}")]
    Killed(String),
    /// It asks for what was there and is not kept any more.
    #[error("{0}")]
    Gone(String),
    /// It asks for what the principal does not see.
    #[error("{0}")]
    Forbidden(String),
    /// Too many clients follow new flows.
    #[error("{0} others follow new flows already: try again when one has gone")]
    TooManyFollowers(usize),
    /// The store or the relay cannot be read.
    #[error("{0}")]
    Unavailable(String),
    /// A defect of the service.
    #[error("internal error: {0}")]
    Internal(String),
}

impl QueryError {
    /// Why a statement cannot be planned. That is about its text, so it is for whoever wrote it to change, also where
    /// the engine calls it internal: types that it cannot bring together, for example.
    pub(crate) fn planning(error: DataFusionError) -> Self {
        match Self::from(error) {
            Self::Internal(cause) => {
                Self::Invalid(format!("the statement cannot be planned: {cause}"))
            }
            other => other,
        }
    }

    /// The same with the place where the statement names what is not there.
    pub(crate) fn placed(mut self, sql: &str) -> Self {
        if let Self::NoTable(missing) | Self::NoColumn(missing) = &mut self {
            missing.look_for(sql);
        }
        self
    }
}

/// Whether an error is about a regular expression.
fn is_of_pattern(message: &str) -> bool {
    ["Regular expression did not compile", "regex parse error"]
        .iter()
        .any(|known| message.contains(known))
}

impl From<DataFusionError> for QueryError {
    fn from(error: DataFusionError) -> Self {
        let root = error.find_root();
        if let DataFusionError::External(inner) = root
            && let Some(own) = inner.downcast_ref::<QueryError>()
        {
            return own.clone();
        }
        let text = || first_line(&root.message());
        match root {
            // The engine has no variant of its own for this.
            _ if root.message().contains("during the spilling process") => {
                Self::OutOfMemory("its temporary files pass the limit `spill_bytes`".into())
            }
            DataFusionError::ResourcesExhausted(message) => {
                // What follows lists the engine's operators.
                let cause = message.split(" with top memory consumers").next();
                Self::OutOfMemory(first_line(cause.unwrap_or_default()))
            }
            // A pattern of the query's own, which is compiled when it runs.
            _ if is_of_pattern(&root.message()) => {
                Self::Invalid(format!("a regular expression cannot be used: {}", text()))
            }
            DataFusionError::SchemaError(error, _) => match error.as_ref() {
                SchemaError::FieldNotFound { field, .. } => {
                    Self::NoColumn(Missing::new(&field.name, names::explain(error)))
                }
                _ => Self::Invalid(names::explain(error)),
            },
            DataFusionError::SQL(error, _) => Self::from(error.as_ref()),
            DataFusionError::ObjectStore(_)
            | DataFusionError::IoError(_)
            | DataFusionError::ParquetError(_) => {
                Self::Unavailable(format!("the store cannot be read: {}", text()))
            }
            DataFusionError::Internal(_)
            | DataFusionError::ExecutionJoin(_)
            | DataFusionError::External(_) => Self::Internal(text()),
            DataFusionError::Plan(message) => match names::missing_table(message) {
                Some(missing) => Self::NoTable(missing),
                None => Self::Invalid(text()),
            },
            _ => Self::Invalid(text()),
        }
    }
}

impl From<&ParserError> for QueryError {
    fn from(error: &ParserError) -> Self {
        match error {
            ParserError::RecursionLimitExceeded => Self::Invalid(
                "the SQL is nested too deeply: use fewer parentheses and subqueries".into(),
            ),
            ParserError::TokenizerError(message) | ParserError::ParserError(message) => {
                let message = first_line(message);
                Self::Syntax { place: place(&message), message }
            }
        }
    }
}

/// The parser ends its messages with `at Line: 1, Column: 8`.
fn place(message: &str) -> Option<(u64, u64)> {
    let (line, column) = message.rsplit_once("at Line: ")?.1.split_once(", Column: ")?;
    let place = (line.parse().ok()?, column.trim_end_matches('.').parse().ok()?);
    (place.0 > 0).then_some(place)
}

impl From<QueryError> for DataFusionError {
    fn from(error: QueryError) -> Self {
        DataFusionError::External(Box::new(error))
    }
}

/// Messages of libraries may carry plans and traces; the first line says what is wrong.
fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let mut end = line.len().min(1000);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line[..end].to_owned()
}

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be bound.
    #[error("cannot listen for {door} on {address}: {source}")]
    Bind {
        /// What would be served there.
        door: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The settings of who may come in are wrong.
    #[error("{0}")]
    Access(String),
    /// The certificate of the doors cannot be used.
    #[error("tls: {0}")]
    Tls(String),
    /// The audit log cannot be written.
    #[error("cannot write the audit log {}: {source}", path.display())]
    Audit {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file of saved queries cannot be used.
    #[error("the saved queries of {}: {cause}", path.display())]
    SavedQueries {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] weir_store::OpenError),
    /// The relay's address cannot be parsed.
    #[error(
        "the relay's address {address:?} is wrong ({cause}): give http://host:port or unix:///path"
    )]
    Relay {
        /// The address.
        address: String,
        /// Why.
        cause: String,
    },
    /// The state directory cannot be used.
    #[error("{path} cannot be used: {cause}")]
    State {
        /// The file in it.
        path: std::path::PathBuf,
        /// Why.
        cause: String,
    },
    /// The threads for queries cannot be started.
    #[error("cannot start the query engine: {0}")]
    Engine(String),
}
