//! Why a job failed. The library tells it as a text with the error as Rust prints it for debugging.

use weir_query::QueryError;

use crate::nobody::NOBODY;
use crate::whole::BROKEN;

/// How often the library may try a task or a stage, before it fails a job and says so.
pub(crate) const TRIES: usize = 1;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Rows or tasks went away on the way: the plan may be handed in again.
    Lost(String),
    /// It would fail again.
    Query(QueryError),
}

/// What stands before an error of the query itself.
const MARK: &str = "runtime execution error: DataFusionError(";
/// What an error says before its text where it is shown to people.
const PREFIXES: [(&str, &str); 5] = [
    ("CastError", "Cast error: "),
    ("ComputeError", "Compute error: "),
    ("ParseError", "Parser error: "),
    ("InvalidArgumentError", "Invalid argument error: "),
    ("ArithmeticOverflow", "Arithmetic overflow: "),
];

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        Self::Query(error)
    }
}

/// The query cannot come to its end.
pub(crate) fn gone(cause: &str) -> QueryError {
    QueryError::Unavailable(format!("the query broke off ({cause}): ask again"))
}

/// Of a failed job.
pub(crate) fn read(message: &str) -> Failure {
    let line = message.lines().next().unwrap_or_default();
    if line == NOBODY {
        let start =
            format!("{NOBODY}: start `weir executor`, or the query service without --distributed");
        return Failure::Query(QueryError::Unavailable(start));
    }
    let tried = format!(" failed {TRIES} times, ");
    if line == BROKEN || line.contains(&tried) {
        return Failure::Lost(line.to_owned());
    }
    Failure::Query(of_query(line))
}

/// The error as the engine would have told it here.
fn of_query(line: &str) -> QueryError {
    if line.trim_end().ends_with("Cancelled") {
        return QueryError::OutOfMemory(
            "its rows on the way pass the limit `work_bytes` of an executor".into(),
        );
    }
    let Some((_, cause)) = line.split_once(MARK) else { return gone(line) };
    if cause.contains("DivideByZero") {
        return QueryError::Invalid("Divide by zero error".into());
    }
    let Some((kind, text)) = innermost(cause) else { return gone(line) };
    match kind {
        "ResourcesExhausted" => {
            let cause = text.split(" with top memory consumers").next().unwrap_or_default();
            QueryError::OutOfMemory(cause.lines().next().unwrap_or_default().to_owned())
        }
        "Internal" => QueryError::Internal(text),
        _ if ["ObjectStore(", "IoError(", "ParquetError("]
            .iter()
            .any(|kind| cause.contains(kind)) =>
        {
            QueryError::Unavailable(format!("the store cannot be read: {text}"))
        }
        _ => {
            let prefix = PREFIXES.iter().find(|(name, _)| *name == kind);
            QueryError::Invalid(format!("{}{text}", prefix.map_or("", |(_, prefix)| prefix)))
        }
    }
}

/// The last `Kind("text")`: quotes within a text are escaped.
fn innermost(cause: &str) -> Option<(&str, String)> {
    let (before, after) = cause.rsplit_once("(\"")?;
    let kind = before.rsplit(|c: char| !c.is_alphanumeric()).next()?;
    let mut text = String::new();
    let mut characters = after.chars();
    loop {
        match characters.next()? {
            '"' => return Some((kind, text)),
            '\\' => match characters.next()? {
                'n' => text.push('\n'),
                other => text.push(other),
            },
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_whose_it_is() {
        let of = |cause: &str| {
            of_query(&format!(
                "Job failed due to stage 2 failed: Task failed due to {MARK}{cause})"
            ))
        };
        let divided = of("Shared(External(ArrowError(DivideByZero)))").to_string();
        assert_eq!(divided, "Divide by zero error");
        let own = of(r#"External(Invalid("repeat() makes \"x\" too long"))"#);
        assert!(
            matches!(own, QueryError::Invalid(text) if text == "repeat() makes \"x\" too long")
        );
        let cast = of(r#"ArrowError(CastError("Cannot cast 'x'"), None)"#).to_string();
        assert_eq!(cast, "Cast error: Cannot cast 'x'");
        let memory = of(r#"ResourcesExhausted("9 bytes with top memory consumers:\nall")"#);
        assert!(matches!(memory, QueryError::OutOfMemory(text) if text == "9 bytes"));
        let file = of(r#"ObjectStore(NotFound { path: "a", source: Custom("gone") })"#);
        assert!(matches!(file, QueryError::Unavailable(_)));
        assert!(matches!(of_query("no executors are left"), QueryError::Unavailable(_)));
        assert!(matches!(of_query("Cancelled"), QueryError::OutOfMemory(_)));
    }

    #[test]
    fn what_was_lost_may_be_asked_again() {
        // As the library puts it (ballista-scheduler 55, state/execution_graph.rs).
        let stage = "Job failed due to stage 3 failed: Stage 3 has failed 1 times, most recent failure reason: \"gone\"";
        let task = "Job failed due to stage 1 failed: Task 0 in Stage 1 failed 1 times, fail the stage, most recent \
             failure reason: \"Task failed due to IO error: broken pipe\"";
        for message in [BROKEN, stage, task] {
            assert!(matches!(read(message), Failure::Lost(_)), "{message}");
        }
        assert!(matches!(read("Cancelled"), Failure::Query(_)));
        let nobody = read(NOBODY);
        assert!(
            matches!(nobody, Failure::Query(QueryError::Unavailable(text)) if text.contains("weir executor"))
        );
    }
}
