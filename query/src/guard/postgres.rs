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
const WORDS: [&str; 8] = [
    "pg_",
    "information_schema",
    "current_schema",
    "current_user",
    "session_user",
    "current_database",
    "version",
    "::reg",
];

/// Parts of psql's `\d+`, `\dn+` and `\du` that the planner does not know, and what they say here: there are no
/// options of tables, no privileges, and nobody is a member of a role.
const REWORDED: [(&str, &str); 3] = [
    (
        "pg_catalog.array_to_string(c.reloptions || array(select 'toast.' || x from \
         pg_catalog.unnest(tc.reloptions) x), ', ')",
        "''",
    ),
    ("pg_catalog.array_to_string(n.nspacl, E'\\n')", "''"),
    (
        "ARRAY(SELECT b.rolname\n        FROM pg_catalog.pg_auth_members m\n        JOIN pg_catalog.pg_roles b ON \
         (m.roleid = b.oid)\n        WHERE m.member = r.oid) as memberof",
        "'{}' as memberof",
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
    let reworded = REWORDED.iter().fold(sql.to_owned(), |sql, (from, to)| sql.replace(from, to));
    let statements = REWRITER.parse(&reworded).map_err(|unplaced| {
        // The rewriter does not keep places: ask for the error again.
        let placed = Parser::parse_sql(&PostgreSqlDialect {}, sql).err();
        QueryError::from(&placed.unwrap_or(unplaced))
    })?;
    Ok(statements.into_iter().map(|statement| Statement::Statement(Box::new(statement))).collect())
}
