//! The one guard that every query passes, whatever door it comes through.
//!
//! What the engine's own limits (memory, time, rows) cannot stop is refused before planning: a deep
//! or long expression would overflow the stack and abort the process, a chain of doubled
//! subqueries would never end planning. What is left is planned, checked to be read-only, and runs
//! on threads with large stacks.

mod admission;
pub(crate) mod budget;
pub(crate) mod functions;
pub(crate) mod parameters;
mod postgres;
mod shape;
#[cfg(test)]
mod tests;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::execution::SessionState;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::engine::{Dialect, SqlRequest};
use crate::error::QueryError;
use parameters::Parameter;

/// Largest SQL text.
pub(crate) const MAX_SQL_BYTES: usize = 64 * 1024;
/// Most words, numbers and operators; commas, blanks and comments do not count.
const MAX_TOKENS: usize = 1_000;
/// Deepest nesting that the parser follows.
const MAX_PARSER_DEPTH: usize = 50;

/// Plans a read-only query, with its parameters in it.
pub(crate) async fn plan(
    state: &SessionState,
    request: &SqlRequest,
) -> Result<LogicalPlan, QueryError> {
    parameters::bind(plan_open(state, request).await?, &request.parameters)
}

/// What a statement gives and takes.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    /// The columns.
    pub(crate) schema: SchemaRef,
    /// The types of `$1`, `$2` and so on, as far as they are known.
    pub(crate) parameters: Vec<Option<DataType>>,
}

/// Plans a read-only query to see what it gives. `types` are those that the client says of the parameters.
pub(crate) async fn describe(
    state: &SessionState,
    request: &SqlRequest,
    types: &[Option<DataType>],
) -> Result<Described, QueryError> {
    let plan = plan_open(state, request).await?;
    let mut parameters = parameters::types(&plan)?;
    for (parameter, said) in parameters.iter_mut().zip(types) {
        if said.is_some() {
            parameter.clone_from(said);
        }
    }
    let nulls = parameters.iter().map(|data_type| match data_type {
        Some(data_type) => ScalarValue::try_from(data_type).map(Parameter::Typed),
        None => Ok(Parameter::Text(None)),
    });
    let nulls = nulls.collect::<Result<Vec<_>, _>>()?;
    let plan = parameters::bind(plan, &nulls)?;
    Ok(Described { schema: plan.schema().inner().clone(), parameters })
}

async fn plan_open(state: &SessionState, request: &SqlRequest) -> Result<LogicalPlan, QueryError> {
    let statement = parse(&request.sql, request.dialect)?;
    let plan = state.statement_to_plan(statement).await;
    let plan = plan.map_err(|error| QueryError::planning(error).placed(&request.sql))?;
    read_only().verify_plan(&plan).map_err(|_| refuse_writes())?;
    Ok(plan)
}

/// Parses one statement that only reads.
fn parse(sql: &str, dialect: Dialect) -> Result<Statement, QueryError> {
    if sql.len() > MAX_SQL_BYTES {
        return Err(QueryError::Invalid(format!(
            "the SQL has {} bytes, {MAX_SQL_BYTES} are allowed",
            sql.len()
        )));
    }
    let tokens = Tokenizer::new(&GenericDialect {}, sql)
        .tokenize()
        .map_err(|error| QueryError::from(&ParserError::from(error)))?;
    let counted = |token: &&Token| !matches!(token, Token::Whitespace(_) | Token::Comma);
    let count = tokens.iter().filter(counted).count();
    if count > MAX_TOKENS {
        return Err(QueryError::Invalid(format!(
            "the SQL has {count} words and operators, {MAX_TOKENS} are allowed: use IN (…) \
             instead of OR, or split the query"
        )));
    }
    let mut statements = match dialect {
        Dialect::Postgres if postgres::asks_catalog(sql) => postgres::parse(sql)?,
        _ => DFParserBuilder::new(sql)
            .with_dialect(&GenericDialect {})
            .with_recursion_limit(MAX_PARSER_DEPTH)
            .build()
            .and_then(|mut parser| parser.parse_statements())?,
    };
    if statements.len() > 1 {
        return Err(QueryError::Invalid("only one statement at a time is allowed".into()));
    }
    let statement = statements
        .pop_front()
        .ok_or_else(|| QueryError::Invalid("the SQL is empty: send a SELECT".into()))?;
    let reading = reads(&statement).ok_or_else(refuse_writes)?;
    shape::check(reading)?;
    Ok(statement)
}

/// The statement that runs, if it is one that only reads.
fn reads(statement: &Statement) -> Option<&ast::Statement> {
    match statement {
        Statement::Statement(inner) => match inner.as_ref() {
            ast::Statement::Query(_) | ast::Statement::ExplainTable { .. } => Some(inner),
            ast::Statement::Explain { statement, .. } => {
                matches!(statement.as_ref(), ast::Statement::Query(_)).then_some(statement.as_ref())
            }
            _ => None,
        },
        Statement::Explain(explain) => match explain.statement.as_ref() {
            Statement::Statement(inner) if matches!(inner.as_ref(), ast::Statement::Query(_)) => {
                Some(inner)
            }
            _ => None,
        },
        _ => None,
    }
}

fn read_only() -> SQLOptions {
    SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false)
}

pub(crate) fn refuse_writes() -> QueryError {
    QueryError::ReadOnly(
        "only SELECT, WITH, VALUES, DESCRIBE and EXPLAIN of these are allowed: \
         the flow store is read-only"
            .into(),
    )
}
