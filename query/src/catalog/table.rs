//! The stored columns of table `flows`: the hot batches and the Parquet files of one snapshot.
//!
//! Every query has a table of its own, over its own moment: a query that reads the table twice sees
//! the same rows twice. Columns and filters are pushed
//! into the Parquet reader by the physical optimizer; files are left out by time before that.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use weir_flow::manifest::DataFile;
use weir_flow::schema::stored_schema;

use super::moment::Moment;
use super::range::TimeRange;
use super::scan::{self, Columns};
use super::{barrier, prune};

/// The stored columns of `flows`, for one query.
#[derive(Debug)]
pub(crate) struct Flows {
    moment: Arc<Moment>,
    part: Part,
}

/// Which rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    All,
    /// Those of files that have a roll-up.
    WithRollUp,
    /// The others, hot ones too.
    WithoutRollUp,
}

impl Flows {
    pub(crate) fn new(moment: Arc<Moment>) -> Arc<Self> {
        Self::part(moment, Part::All)
    }

    /// Some of the rows.
    pub(crate) fn part(moment: Arc<Moment>, part: Part) -> Arc<Self> {
        Arc::new(Self { moment, part })
    }

    /// The query that this is for, if it is of all rows.
    pub(super) fn moment_of_all(&self) -> Option<&Arc<Moment>> {
        (self.part == Part::All).then_some(&self.moment)
    }
}

impl Part {
    fn has(self, file: &DataFile) -> bool {
        match self {
            Self::All => true,
            Self::WithRollUp => file.edges.is_some(),
            Self::WithoutRollUp => file.edges.is_none(),
        }
    }
}

#[async_trait]
impl TableProvider for Flows {
    fn schema(&self) -> SchemaRef {
        stored_schema()
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
        self.moment.reads(range);
        let columns = Columns { schema: stored_schema(), projection };
        let files = snapshot.stored.files.iter();
        let files = files
            .filter(|file| self.part.has(file) && range.meets(file.min_time_ns, file.max_time_ns));
        let files = prune::prune(session, &columns.schema, filters, files)?;
        let hot: &[RecordBatch] = if self.part == Part::WithRollUp { &[] } else { &snapshot.hot };
        let principal = self.moment.principal();
        barrier::seen(session, principal, &columns, filters, limit, |columns, limit| {
            let stored = scan::files(session, columns, files, limit)?;
            let hot = scan::batches(session, columns, hot)?;
            scan::all(columns, stored.into_iter().chain(hot).collect())
        })
    }
}
