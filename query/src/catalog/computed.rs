//! Table `flows` as queries see it: its stored columns, and those that are computed of them.
//!
//! Only what wants a computed column reads what that is computed from. A condition on one stands above the scan, and
//! the physical optimizer takes it down in words of the stored ones.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
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
use weir_flow::schema::{stored_schema, table_schema};

use super::connection_id;
use super::table::Flows;

/// Table `flows` with all its columns, the computed ones too, for one query.
#[derive(Debug)]
pub(crate) struct AllColumns {
    stored: Arc<Flows>,
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
