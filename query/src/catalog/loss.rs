//! Table `loss`: the hot entries and the files of the ledger of one snapshot.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use weir_flow::schema::loss::loss_schema;

use super::moment::Moment;
use super::prune;
use super::scan::{self, Columns};

/// The ledger, for one query.
#[derive(Debug)]
pub(crate) struct Loss {
    moment: Arc<Moment>,
}

impl Loss {
    pub(crate) fn new(moment: Arc<Moment>) -> Arc<Self> {
        Arc::new(Self { moment })
    }
}

#[async_trait]
impl TableProvider for Loss {
    fn schema(&self) -> SchemaRef {
        loss_schema()
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
        let columns = Columns { schema: loss_schema(), projection };
        let files = prune::prune(session, &columns.schema, filters, snapshot.stored.loss.iter())?;
        let stored = scan::files(session, &columns, files, limit)?;
        let hot = scan::batches(session, &columns, &snapshot.hot_losses)?;
        scan::all(&columns, stored.into_iter().chain(hot).collect())
    }
}
