//! View `connections`: what both ends saw of each connection, joined.
//!
//! The SQL beside says how. Of a query's conditions on `time` the earliest and the latest begin are
//! known: rows of connections that began before or after are left out where they are read, and files of
//! what is more than [`LASTS_NS`] later than the latest begin are not read at all. A connection that
//! lasts longer is there as it was by then.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Column;
use datafusion::datasource::TableType;
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, TableProviderFilterPushDown, cast, col,
};
use datafusion::physical_plan::ExecutionPlan;
use weir_flow::schema::connections::{connection_columns, connection_schema};

use super::barrier::unqualified;
use super::connection_id;
use super::range::TimeRange;
use crate::error::QueryError;

const SQL: &str = include_str!("connections.sql");
/// How far the begins may be apart that two ends report of one connection: clocks differ.
const NEAR_NS: i64 = 2_000_000_000;
/// Times are rounded to milliseconds where the kernel notes them by its tick.
const ROUNDING_NS: i64 = 10_000_000;

/// How long after the latest begin rows of a connection are looked for: a day.
const LASTS_NS: i64 = 24 * 3600 * 1_000_000_000;

/// The view.
#[derive(Debug)]
pub(crate) struct Connections;

impl Connections {
    async fn plan(state: &SessionState, filters: &[Expr]) -> Result<LogicalPlan> {
        let of_time: Vec<Expr> =
            filters.iter().filter(|filter| is_about_time(filter)).cloned().collect();
        let range = TimeRange::of(&of_time);
        let at = |ns: i64| format!("arrow_cast({ns}, 'Timestamp(Nanosecond, Some(\"UTC\"))')");
        let mut conditions = vec!["true".to_owned()];
        if let Some(from) = range.from() {
            let before = |ns: i64| at(from.0.saturating_sub(ns));
            let (rows, denies) = (before(NEAR_NS + ROUNDING_NS), before(2 * NEAR_NS));
            conditions
                .push(format!("(time >= {rows} or (verdict = 'deny' and end_time >= {denies}))"));
        }
        let mut begun = "true".to_owned();
        if let Some(until) = range.until() {
            // Of both ends, and of a deny that says what became of an attempt before it.
            let latest = until.0.saturating_add(3 * NEAR_NS + ROUNDING_NS);
            begun = format!("begin_ns <= {latest}");
            conditions.push(format!("time <= {}", at(latest.saturating_add(LASTS_NS))));
        }
        let sql = SQL
            .replace("CONDITION", &conditions.join(" and "))
            .replace("BEGUN", &begun)
            .replace("NEAR", &NEAR_NS.to_string());
        let plan = state.create_logical_plan(&sql).await?;
        let schema = connection_schema();
        let columns = schema.fields().iter().map(|field| {
            let column = match field.name().as_str() {
                "time" => col("begin_ns"),
                "end_time" => col("end_ns"),
                name => Expr::Column(Column::from_name(name)),
            };
            cast(column, field.data_type().clone()).alias(field.name())
        });
        let mut plan = LogicalPlanBuilder::from(plan).project(columns)?;
        let unqualified = filters.iter().cloned().map(unqualified).collect::<Result<Vec<_>>>()?;
        let stored = unqualified
            .into_iter()
            .filter(|filter| !filter.column_refs().iter().any(|c| c.name == "connection_id"));
        if let Some(filter) = conjunction(stored) {
            plan = plan.filter(filter)?;
        }
        let columns = schema.fields().iter().map(|field| col(field.name()));
        plan.project(columns.chain([connection_id::expression()]))?.build()
    }
}

/// Whether a condition is about the begin and about nothing else.
fn is_about_time(filter: &Expr) -> bool {
    filter.column_refs().iter().all(|column| column.name == "time")
}

#[async_trait]
impl TableProvider for Connections {
    fn schema(&self) -> SchemaRef {
        let fields = connection_columns().iter().map(|column| {
            arrow::datatypes::Field::new(column.name, column.data_type.clone(), true)
        });
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let state = session.as_any().downcast_ref::<SessionState>();
        let no_state = || QueryError::Internal("connections are planned without a session".into());
        let state = state.ok_or_else(no_state)?;
        let mut plan = Self::plan(state, filters).await?;
        if let Some(wanted) = projection {
            let schema = self.schema();
            let names = wanted.iter().map(|index| col(schema.field(*index).name()));
            plan = LogicalPlanBuilder::from(plan).project(names)?.build()?;
        }
        state.create_physical_plan(&plan).await
    }
}

#[cfg(test)]
mod tests;
