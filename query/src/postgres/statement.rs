//! What kind of statement a text is. Queries go to the engine; what clients say about sessions and
//! transactions is answered here, since nothing is ever written.

use super::error::Failure;
use crate::guard;

/// Most statements of one message.
const MAX_STATEMENTS: usize = 32;

/// A statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Statement {
    Empty,
    /// Goes to the engine.
    Query(String),
    Begin,
    Commit,
    Rollback,
    RollbackTo,
    /// Done by saying so: SET, RESET, DISCARD, SAVEPOINT and the like, with the tag of the answer.
    Nothing(&'static str),
    /// SHOW of one setting, or of all.
    Show(String),
    /// DEALLOCATE of a prepared statement, or of all.
    Deallocate(Option<String>),
    Declare {
        cursor: String,
        query: String,
    },
    Fetch {
        cursor: String,
        rows: usize,
    },
    /// CLOSE of a cursor, or of all.
    Close(Option<String>),
}

/// The statements of a text, each with the byte where it begins.
pub(super) fn split(text: &str) -> Result<Vec<(usize, &str)>, Failure> {
    let mut parts = Vec::new();
    let (mut begin, mut at) = (0, 0);
    let bytes = text.as_bytes();
    while at < bytes.len() {
        if bytes[at] == b';' {
            parts.push((begin, &text[begin..at]));
            begin = at + 1;
            at += 1;
        } else {
            at = skip(text, at);
        }
    }
    parts.push((begin, &text[begin..]));
    parts.retain(|(_, part)| !words(part, 1).is_empty());
    if parts.len() > MAX_STATEMENTS {
        return Err(Failure::new(
            "54000",
            format!("more than {MAX_STATEMENTS} statements at once"),
        ));
    }
    Ok(parts)
}

/// Where what begins at this byte ends: a quoted text, a comment, or one character.
fn skip(text: &str, at: usize) -> usize {
    let rest = &text[at..];
    let behind = |end: Option<usize>, from: usize, length: usize| {
        end.map_or(text.len(), |end| at + from + end + length)
    };
    let first = rest.chars().next().map_or(1, char::len_utf8);
    if rest.starts_with('\'') || rest.starts_with('"') {
        let escapes = rest.starts_with('\'') && text[..at].ends_with(['e', 'E']);
        let quote = rest.as_bytes()[0];
        let mut bytes = rest.bytes().enumerate().skip(1);
        while let Some((end, byte)) = bytes.next() {
            if escapes && byte == b'\\' {
                bytes.next();
            } else if byte == quote {
                return at + end + 1;
            }
        }
        text.len()
    } else if rest.starts_with("--") {
        behind(rest.find('\n'), 0, 1)
    } else if rest.starts_with("/*") {
        let (mut depth, mut end) = (1, 2);
        while depth > 0 && end < rest.len() {
            let here = &rest.as_bytes()[end..];
            let step = if here.starts_with(b"/*") {
                depth += 1;
                2
            } else if here.starts_with(b"*/") {
                depth -= 1;
                2
            } else {
                1
            };
            end += step;
        }
        at + end.min(rest.len())
    } else if let Some(quoted) = rest.strip_prefix('$') {
        let tag = quoted.find(|c: char| !c.is_alphanumeric() && c != '_').map(|end| end + 1);
        match tag.filter(|end| {
            rest[*end..].starts_with('$') && !quoted.starts_with(|c: char| c.is_ascii_digit())
        }) {
            Some(end) => behind(rest[end + 1..].find(&rest[..=end]), end + 1, end + 1),
            None => at + 1,
        }
    } else {
        at + first
    }
}

/// The kind of one statement.
pub(super) fn classify(text: &str) -> Result<Statement, Failure> {
    let words = words(text, 12);
    let upper: Vec<String> = words.iter().map(|word| word.to_ascii_uppercase()).collect();
    let has = |at: usize, word: &str| upper.get(at).is_some_and(|found| found == word);
    let Some(first) = upper.first() else { return Ok(Statement::Empty) };
    let named = |at: usize| words.get(at).map(|word| unquote(word));
    Ok(match first.as_str() {
        "BEGIN" | "START" => Statement::Begin,
        "COMMIT" | "END" => Statement::Commit,
        "ROLLBACK" | "ABORT" if upper.iter().any(|word| word == "TO") => Statement::RollbackTo,
        "ROLLBACK" | "ABORT" => Statement::Rollback,
        "SAVEPOINT" => Statement::Nothing("SAVEPOINT"),
        "RELEASE" => Statement::Nothing("RELEASE"),
        "SET" => {
            encoding(&upper)?;
            Statement::Nothing("SET")
        }
        "RESET" => Statement::Nothing("RESET"),
        "DISCARD" => Statement::Nothing("DISCARD ALL"),
        "UNLISTEN" => Statement::Nothing("UNLISTEN"),
        "SHOW" if has(1, "TABLES") || has(1, "COLUMNS") => Statement::Query(text.to_owned()),
        "SHOW" => Statement::Show(words[1..].join(" ").to_ascii_lowercase()),
        "DEALLOCATE" => {
            let at = if has(1, "PREPARE") { 2 } else { 1 };
            Statement::Deallocate(named(at).filter(|_| !has(at, "ALL")))
        }
        "CLOSE" => Statement::Close(named(1).filter(|_| !has(1, "ALL"))),
        "DECLARE" => declare(text, named(1))?,
        "FETCH" => fetch(&words, &upper)?,
        "COPY" | "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "CREATE" | "DROP" | "ALTER"
        | "TRUNCATE" | "GRANT" | "REVOKE" | "VACUUM" | "ANALYZE" | "LOCK" | "CALL" | "DO"
        | "LOAD" | "COMMENT" | "REINDEX" | "CLUSTER" | "REFRESH" | "IMPORT" => {
            return Err(Failure::new("25006", guard::refuse_writes().to_string()));
        }
        _ => Statement::Query(text.to_owned()),
    })
}

/// The first words of a statement; a quoted name is one, comments are none.
fn words(text: &str, most: usize) -> Vec<&str> {
    let (mut words, mut at) = (Vec::new(), 0);
    while at < text.len() && words.len() < most {
        let rest = &text[at..];
        let end = skip(text, at);
        if rest.starts_with("--")
            || rest.starts_with("/*")
            || rest.starts_with(|c: char| c.is_whitespace())
        {
            at = end;
        } else if rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '.');
            at += length.unwrap_or(rest.len());
            words.push(&rest[..length.unwrap_or(rest.len())]);
        } else {
            words.push(&text[at..end]);
            at = end;
        }
    }
    words
}

/// A name as it is meant: small letters, unless it is quoted.
fn unquote(name: &str) -> String {
    match name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => name.to_lowercase(),
    }
}

/// Everything is UTF-8 here.
fn encoding(upper: &[String]) -> Result<(), Failure> {
    let names = upper.iter().any(|word| word == "CLIENT_ENCODING" || word == "NAMES");
    let value = upper.last().map(|value| value.trim_matches('\'').replace('-', ""));
    if names && !matches!(value.as_deref(), Some("UTF8" | "UNICODE" | "DEFAULT")) {
        return Err(Failure::new("22023", "the only client_encoding is UTF8"));
    }
    Ok(())
}

/// `DECLARE name [BINARY] [INSENSITIVE] [[NO] SCROLL] CURSOR [WITH|WITHOUT HOLD] FOR query`.
fn declare(text: &str, cursor: Option<String>) -> Result<Statement, Failure> {
    let wrong =
        || Failure::new("42601", "a cursor is declared by DECLARE name CURSOR FOR SELECT …");
    let head = words(text, 12);
    let at = head.iter().position(|word| word.eq_ignore_ascii_case("for")).ok_or_else(wrong)?;
    if !head[..at].iter().any(|word| word.eq_ignore_ascii_case("cursor")) {
        return Err(wrong());
    }
    let end = head[at].as_ptr().addr() - text.as_ptr().addr() + head[at].len();
    let cursor = cursor.ok_or_else(wrong)?;
    Ok(Statement::Declare { cursor, query: text[end..].to_owned() })
}

/// `FETCH [NEXT | [FORWARD] [n | ALL]] [FROM | IN] name`.
fn fetch(words: &[&str], upper: &[String]) -> Result<Statement, Failure> {
    let wrong =
        || Failure::new("0A000", "rows of a cursor come by FETCH [FORWARD] n|ALL FROM name");
    let cursor =
        words.get(1..).and_then(<[_]>::last).map(|name| unquote(name)).ok_or_else(wrong)?;
    let mut rows = 1;
    for word in &upper[1..upper.len() - 1] {
        match word.as_str() {
            "FORWARD" | "NEXT" | "FROM" | "IN" => {}
            "ALL" => rows = usize::MAX,
            number => rows = number.parse().map_err(|_| wrong())?,
        }
    }
    Ok(Statement::Fetch { cursor, rows })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Statement {
        classify(text).unwrap_or_else(|error| panic!("{text}: {error:?}"))
    }

    #[test]
    fn statements_end_at_semicolons_outside_of_quotes() {
        let parts = |text| {
            split(text)
                .unwrap()
                .into_iter()
                .map(|(_, part)| part.trim().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(parts("select 1; select 2;;"), ["select 1", "select 2"]);
        assert_eq!(parts("select ';', \";\" -- ;\n, 1"), ["select ';', \";\" -- ;\n, 1"]);
        assert_eq!(parts("select $$;$$, $a$;$b$;$a$; x"), ["select $$;$$, $a$;$b$;$a$", "x"]);
        assert_eq!(
            parts("select E'\\';', '''' ; /* ; /* */ ; */ y"),
            ["select E'\\';', ''''", "/* ; /* */ ; */ y"]
        );
        assert_eq!(parts("select $1;2"), ["select $1", "2"]);
        assert_eq!(parts("ä;'unended ; ü"), ["ä", "'unended ; ü"]);
        assert!(parts(" ; -- nothing\n;").is_empty());
        assert!(split(&"select 1;".repeat(40)).is_err());
    }

    #[test]
    fn statements_about_the_session_are_known() {
        assert_eq!(kind("/* a */ begin isolation level serializable"), Statement::Begin);
        assert_eq!(kind("ROLLBACK TO SAVEPOINT a"), Statement::RollbackTo);
        assert_eq!(
            kind("show transaction isolation level"),
            Statement::Show("transaction isolation level".into())
        );
        assert_eq!(kind("deallocate \"_pg3_0\""), Statement::Deallocate(Some("_pg3_0".into())));
        assert_eq!(kind("DEALLOCATE ALL"), Statement::Deallocate(None));
        assert_eq!(
            kind("DECLARE \"C 1\" NO SCROLL CURSOR FOR select 1 for"),
            Statement::Declare { cursor: "C 1".into(), query: " select 1 for".into() }
        );
        assert_eq!(
            kind("FETCH FORWARD 7 FROM \"C 1\""),
            Statement::Fetch { cursor: "C 1".into(), rows: 7 }
        );
        assert_eq!(
            kind("fetch all from c"),
            Statement::Fetch { cursor: "c".into(), rows: usize::MAX }
        );
        assert_eq!(kind("(select 1)"), Statement::Query("(select 1)".into()));
        assert_eq!(kind("SET client_encoding TO 'UTF8'"), Statement::Nothing("SET"));
        for refused in [
            "set client_encoding = latin1",
            "copy flows to stdout",
            "Delete from flows",
            "fetch",
            "declare c",
        ] {
            assert!(classify(refused).is_err(), "{refused}");
        }
    }
}
