//! Table `flows`: the hot batches and the Parquet files of one snapshot.
//!
//! Every query has a table of its own, over its own moment: a query that reads the table twice sees
//! the same rows twice. Columns and filters are pushed
//! into the Parquet reader by the physical optimizer; files are left out by time before that.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DFSchema;
use datafusion::datasource::TableType;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::projection::ProjectionExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;
use weir_flow::manifest::DataFile;
use weir_flow::schema::{stored_schema, table_schema};

use super::moment::Moment;
use super::range::TimeRange;
use super::scan::{self, Columns};
use super::{barrier, connection_id, prune};

/// The stored columns of `flows`, for one query.
#[derive(Debug)]
pub(crate) struct Flows {
    moment: Arc<Moment>,
    part: Part,
}

/// Table `flows` with all its columns, the computed ones too, for one query.
#[derive(Debug)]
pub(crate) struct AllColumns {
    stored: Arc<Flows>,
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

impl AllColumns {
    pub(crate) fn of(stored: &Arc<Flows>) -> Arc<Self> {
        Arc::new(Self { stored: stored.clone() })
    }

    pub(super) fn stored(&self) -> &Flows {
        &self.stored
    }

    /// Rows of stored columns with the computed ones that are wanted beside them.
    async fn computed(
        &self,
        session: &dyn Session,
        wanted: &[usize],
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (schema, stored) = (table_schema(), stored_schema());
        let mut read: BTreeSet<usize> =
            wanted.iter().copied().filter(|column| *column < stored.fields().len()).collect();
        for name in connection_id::ARGUMENTS {
            read.insert(stored.index_of(name)?);
        }
        let read: Vec<usize> = read.into_iter().collect();
        let rows = self.stored.scan(session, Some(&read), filters, limit).await?;
        let names = DFSchema::try_from(rows.schema())?;
        let column = |wanted: &usize| {
            let name = schema.field(*wanted).name();
            let expr = match read.binary_search(wanted) {
                Ok(place) => Arc::new(Column::new(name, place)) as Arc<dyn PhysicalExpr>,
                Err(_) => session.create_physical_expr(connection_id::expression(), &names)?,
            };
            Ok(ProjectionExpr { expr, alias: name.clone() })
        };
        let columns = wanted.iter().map(column).collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(ProjectionExec::try_new(columns, rows)?))
    }
}

#[async_trait]
impl TableProvider for AllColumns {
    /// The stored ones, and those that are computed behind them.
    fn schema(&self) -> SchemaRef {
        table_schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let stored = stored_schema();
        let is_stored = |filter: &&Expr| {
            filter.column_refs().iter().all(|column| stored.index_of(&column.name).is_ok())
        };
        let told = filters.iter().map(|filter| match is_stored(filter) {
            true => TableProviderFilterPushDown::Inexact,
            false => TableProviderFilterPushDown::Unsupported,
        });
        Ok(told.collect())
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let stored = stored_schema().fields().len();
        match projection {
            Some(wanted) if wanted.iter().all(|column| *column < stored) => {
                self.stored.scan(session, projection, filters, limit).await
            }
            Some(wanted) => self.computed(session, wanted, filters, limit).await,
            None => {
                let all: Vec<usize> = (0..table_schema().fields().len()).collect();
                self.computed(session, &all, filters, limit).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_columns_come_first() {
        let (all, stored) = (table_schema(), stored_schema());
        assert_eq!(all.fields()[..stored.fields().len()], stored.fields()[..]);
        let computed: Vec<&str> = all.fields()[stored.fields().len()..]
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        assert_eq!(computed, ["connection_id"]);
    }
}
