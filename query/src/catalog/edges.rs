//! Table `edges_1m`: the roll-ups of files, and what has none rolled up on the way.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Column;
use datafusion::datasource::{TableType, ViewTable, provider_as_source};
use datafusion::error::Result;
use datafusion::functions::datetime::expr_fn::date_trunc;
use datafusion::functions_aggregate::expr_fn::{count, sum};
use datafusion::logical_expr::{
    Expr, LogicalPlanBuilder, TableProviderFilterPushDown, cast, col, lit,
};
use datafusion::physical_plan::ExecutionPlan;
use weir_flow::manifest::DataFile;
use weir_flow::schema::edges::edge_schema;

use super::moment::Moment;
use super::range::TimeRange;
use super::scan::{self, Columns};
use super::table::{Flows, Part};
use super::{EDGES, FLOWS, barrier, prune};

/// What one row of a roll-up is about, in nanoseconds.
pub(crate) const MINUTE_NS: i64 = 60_000_000_000;
/// The columns of `edges_1m` that are sums of columns of `flows` of the same name.
pub(crate) const SUMS: [&str; 5] = ["count", "packets", "bytes", "reply_packets", "reply_bytes"];
/// The number of rows of `flows`.
pub(crate) const FLOW_ROWS: &str = "flow_rows";

/// Whether a column is the same in `flows` and in `edges_1m`, and one of its keys.
pub(crate) fn is_key(name: &str) -> bool {
    name != "time"
        && name != FLOW_ROWS
        && !SUMS.contains(&name)
        && edge_schema().field_with_name(name).is_ok()
}

/// The roll-ups that files have, for one query.
#[derive(Debug)]
pub(crate) struct RollUps {
    moment: Arc<Moment>,
}

impl RollUps {
    pub(crate) fn new(moment: Arc<Moment>) -> Arc<Self> {
        Arc::new(Self { moment })
    }
}

/// The whole table.
pub(crate) fn view(moment: &Arc<Moment>) -> Result<ViewTable> {
    let schema = edge_schema();
    let names = || schema.fields().iter().map(|field| field.name().as_str());
    let keys = names().filter(|name| is_key(name)).map(col);
    let minute = date_trunc(lit("minute"), col("time")).alias("time");
    let sums = SUMS.map(|name| sum(col(name)).alias(name));
    let rows = count(lit(1_i64)).alias(FLOW_ROWS);
    let rest = Flows::part(moment.clone(), Part::WithoutRollUp);
    let rest = LogicalPlanBuilder::scan(FLOWS, provider_as_source(rest), None)?
        .aggregate(std::iter::once(minute).chain(keys), sums.into_iter().chain([rows]))?
        .project(names().map(|name| match name {
            FLOW_ROWS => cast(col(name), DataType::UInt64).alias(name),
            name => Expr::Column(Column::from_name(name)).alias(name),
        }))?
        .build()?;
    let rolled_up = provider_as_source(RollUps::new(moment.clone()));
    let plan = LogicalPlanBuilder::scan(EDGES, rolled_up, None)?
        .project(names().map(|name| col(name).alias(name)))?
        .union(rest)?
        .build()?;
    Ok(ViewTable::new(plan, None))
}

#[async_trait]
impl TableProvider for RollUps {
    fn schema(&self) -> SchemaRef {
        edge_schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
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
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let snapshot = self.moment.snapshot().await?;
        let range = TimeRange::of(filters);
        // A row is about the minute that begins with its time.
        let last_minute = range.until_ns.div_euclid(MINUTE_NS).saturating_mul(MINUTE_NS);
        let until_ns = last_minute.saturating_add(MINUTE_NS - 1);
        self.moment.reads(TimeRange { until_ns, ..range });
        let columns = Columns { schema: edge_schema(), projection };
        let rolled_up: Vec<DataFile> = snapshot.stored.files.iter().filter_map(roll_up).collect();
        let files = prune::prune(session, &columns.schema, filters, rolled_up.iter())?;
        let principal = self.moment.principal();
        barrier::seen(session, principal, &columns, filters, limit, |columns, limit| {
            let stored = scan::files(session, columns, files, limit)?;
            scan::all(columns, stored.into_iter().collect())
        })
    }
}

/// The roll-up of a file, as a file.
fn roll_up(file: &DataFile) -> Option<DataFile> {
    let edges = file.edges.as_ref()?;
    Some(DataFile {
        path: edges.path.clone(),
        rows: edges.rows,
        size_bytes: edges.size_bytes,
        min_time_ns: file.min_time_ns.div_euclid(MINUTE_NS) * MINUTE_NS,
        max_time_ns: file.max_time_ns,
        ..DataFile::default()
    })
}
