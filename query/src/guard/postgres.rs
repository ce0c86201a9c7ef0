//! Questions that clients of Postgres ask about its catalogs, `\d` of psql among them, in words that the
//! planner knows. Other statements mean the same through every door and do not come here.

use std::collections::VecDeque;
use std::sync::LazyLock;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion_pg_catalog::sql::PostgresCompatibilityParser;

use crate::error::QueryError;

/// What only questions about the catalogs have in them.
const WORDS: [&str; 9] = [
    "pg_",
    "information_schema",
    "current_schema",
    "current_setting",
    "current_user",
    "session_user",
    "current_database",
    "version",
    "::reg",
];

/// Parts of psql's `\d+`, `\dn+`, `\dp`, `\dT`, `\df+`, `\do` and `\du`, and of Grafana's query builder, that the planner
/// does not know, and what they say here: there are no options of tables, no privileges, no policies of rows and no
/// descriptions, nobody is a member of a role, and one schema is searched. Spaces and capitals do not matter.
const REWORDED: [(&str, &str); 10] = [
    (
        "pg_catalog.array_to_string(c.reloptions || array(select 'toast.' || x from \
         pg_catalog.unnest(tc.reloptions) x), ', ')",
        "''",
    ),
    ("pg_catalog.array_to_string(n.nspacl, E'\\n')", "''"),
    ("pg_catalog.array_to_string(c.relacl, E'\\n')", "''"),
    ("pg_catalog.array_to_string(p.proacl, E'\\n')", "''"),
    (
        "pg_catalog.array_to_string(ARRAY(SELECT attname || E':\\n  ' || \
         pg_catalog.array_to_string(attacl, E'\\n  ') FROM pg_catalog.pg_attribute a WHERE attrelid = c.oid \
         AND NOT attisdropped AND attacl IS NOT NULL), E'\\n')",
        "''",
    ),
    (
        "pg_catalog.array_to_string(ARRAY(SELECT polname || CASE WHEN NOT polpermissive THEN E' (RESTRICTIVE)' \
         ELSE '' END || CASE WHEN polcmd != '*' THEN E' (' || polcmd::pg_catalog.text || E'):' ELSE E':' END || \
         CASE WHEN polqual IS NOT NULL THEN E'\\n  (u): ' || pg_catalog.pg_get_expr(polqual, polrelid) ELSE E'' \
         END || CASE WHEN polwithcheck IS NOT NULL THEN E'\\n  (c): ' || \
         pg_catalog.pg_get_expr(polwithcheck, polrelid) ELSE E'' END || CASE WHEN polroles <> '{0}' THEN \
         E'\\n  to: ' || pg_catalog.array_to_string(ARRAY(SELECT rolname FROM pg_catalog.pg_roles WHERE oid = \
         ANY (polroles) ORDER BY 1), E', ') ELSE E'' END FROM pg_catalog.pg_policy pol WHERE polrelid = c.oid), \
         E'\\n')",
        "''",
    ),
    (
        "(SELECT c.relkind = 'c' FROM pg_catalog.pg_class c WHERE c.oid = t.typrelid)",
        "EXISTS (SELECT 1 FROM pg_catalog.pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c')",
    ),
    ("pg_catalog.obj_description(o.oprcode, 'pg_proc')", "NULL"),
    (
        "ARRAY(SELECT b.rolname FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles b ON \
         (m.roleid = b.oid) WHERE m.member = r.oid) as memberof",
        "'{}' as memberof",
    ),
    (
        "SELECT CASE WHEN trim(s[i]) = '\"$user\"' THEN user ELSE trim(s[i]) END FROM generate_series(\
         array_lower(string_to_array(current_setting('search_path'), ','), 1), \
         array_upper(string_to_array(current_setting('search_path'), ','), 1)) AS i, \
         string_to_array(current_setting('search_path'), ',') s",
        "'public'",
    ),
];

static REWRITER: LazyLock<PostgresCompatibilityParser> =
    LazyLock::new(PostgresCompatibilityParser::new);

/// Whether a statement may need to be put in other words.
pub(super) fn asks_catalog(sql: &str) -> bool {
    let sql = sql.to_ascii_lowercase();
    WORDS.iter().any(|word| sql.contains(word))
}

/// The statements, in words that the planner knows.
pub(super) fn parse(sql: &str) -> Result<VecDeque<Statement>, QueryError> {
    let reworded = REWORDED.iter().fold(sql.to_owned(), |sql, (from, to)| reword(sql, from, to));
    let statements = REWRITER.parse(&reworded).map_err(|unplaced| {
        // The rewriter does not keep places: ask for the error again.
        let placed = Parser::parse_sql(&PostgreSqlDialect {}, sql).err();
        QueryError::from(&placed.unwrap_or(unplaced))
    })?;
    Ok(statements.into_iter().map(|statement| Statement::Statement(Box::new(statement))).collect())
}

/// The text with another part in place of each that says the same but for spaces and capitals.
fn reword(sql: String, from: &str, to: &str) -> String {
    let from: Vec<u8> = letters(from.as_bytes()).map(|(_, letter)| letter).collect();
    let letters: Vec<(usize, u8)> = letters(sql.as_bytes()).collect();
    let is_there = |at: usize| {
        let here = letters.get(at..at + from.len());
        here.is_some_and(|here| here.iter().map(|(_, letter)| letter).eq(&from))
    };
    let (mut reworded, mut copied, mut at) = (String::new(), 0, 0);
    while at + from.len() <= letters.len() {
        if is_there(at) {
            reworded.push_str(&sql[copied..letters[at].0]);
            reworded.push_str(to);
            at += from.len();
            copied = letters[at - 1].0 + 1;
        } else {
            at += 1;
        }
    }
    if copied == 0 {
        return sql;
    }
    reworded.push_str(&sql[copied..]);
    reworded
}

/// The bytes that are no spaces, small, with their places.
fn letters(text: &[u8]) -> impl Iterator<Item = (usize, u8)> {
    let letters = text.iter().enumerate().filter(|(_, letter)| !letter.is_ascii_whitespace());
    letters.map(|(at, letter)| (at, letter.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_whatever_their_spaces_and_capitals() {
        for (sql, reworded) in [
            ("a B  (c) d", "a X d"),
            ("a\nb(\tC )d b(c)", "a\nXd X"),
            ("b(c)b(c)", "XX"),
            ("ä b(ç) b(c", "ä b(ç) b(c"),
            ("ä b(c)ä", "ä Xä"),
            ("", ""),
        ] {
            assert_eq!(reword(sql.to_owned(), "b (c)", "X"), reworded, "{sql}");
        }
    }
}
