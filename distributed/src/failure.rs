//! Why a job failed. The library tells it as a text with the error as Rust prints it for debugging.

use weir_query::QueryError;

use crate::job::gone;

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

/// The error as the engine would have told it here.
pub(crate) fn read(message: &str) -> QueryError {
    let line = message.lines().next().unwrap_or_default();
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
            read(&format!("Job failed due to stage 2 failed: Task failed due to {MARK}{cause})"))
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
        assert!(matches!(read("no executors are left"), QueryError::Unavailable(_)));
        assert!(matches!(read("Cancelled"), QueryError::OutOfMemory(_)));
    }
}
