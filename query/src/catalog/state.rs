//! Tables `policies`, `endpoints` and `nodes`: the versions of objects, as rows.
//!
//! Like flows, every query has tables of its own that take one history when the first is scanned.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::Result;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use tokio::sync::OnceCell;
use weir_flow::schema::objects::{
    EndpointBuilder, NodeBuilder, PolicyBuilder, endpoint_schema, node_schema, policy_schema,
};

use super::history::History;
use super::snapshot::Snapshots;
use crate::access::{Namespaces, Principal};
use crate::error::QueryError;

/// Which table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Policies,
    Endpoints,
    Nodes,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Policies, Self::Endpoints, Self::Nodes];

    /// Its SQL name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Policies => "policies",
            Self::Endpoints => "endpoints",
            Self::Nodes => "nodes",
        }
    }

    fn schema(self) -> SchemaRef {
        match self {
            Self::Policies => policy_schema(),
            Self::Endpoints => endpoint_schema(),
            Self::Nodes => node_schema(),
        }
    }

    /// What is in no namespace everybody sees: nodes, and policies that are about all.
    fn rows(self, history: &History, at_ns: Option<i64>, seen: &Namespaces) -> RecordBatch {
        match self {
            Self::Policies => {
                let mut builder = PolicyBuilder::default();
                let rows = history.policies(at_ns);
                rows.filter(|row| row.namespace.is_empty() || seen.has(&row.namespace))
                    .for_each(|row| builder.append(&row));
                builder.finish()
            }
            Self::Endpoints => {
                let mut builder = EndpointBuilder::default();
                let rows = history.endpoints(at_ns);
                rows.filter(|row| seen.has(&row.namespace)).for_each(|row| builder.append(&row));
                builder.finish()
            }
            Self::Nodes => {
                let mut builder = NodeBuilder::default();
                history.nodes(at_ns).for_each(|row| builder.append(&row));
                builder.finish()
            }
        }
    }
}

/// The history that the tables of one query share.
#[derive(Debug)]
pub(crate) struct State {
    snapshots: Arc<Snapshots>,
    principal: Arc<Principal>,
    history: OnceCell<(Arc<History>, Vec<String>)>,
}

impl State {
    pub(crate) fn new(snapshots: Arc<Snapshots>, principal: Arc<Principal>) -> Arc<Self> {
        Arc::new(Self { snapshots, principal, history: OnceCell::new() })
    }

    /// A table; with a time, only the versions of that time.
    pub(crate) fn table(self: &Arc<Self>, kind: Kind, at_ns: Option<i64>) -> StateTable {
        StateTable { state: self.clone(), kind, at_ns }
    }

    /// What the answer must say about itself; known once a table is scanned.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.history.get().map(|(_, warnings)| warnings.clone()).unwrap_or_default()
    }
}

/// One table of one query.
#[derive(Debug)]
pub(crate) struct StateTable {
    state: Arc<State>,
    kind: Kind,
    at_ns: Option<i64>,
}

#[async_trait]
impl TableProvider for StateTable {
    fn schema(&self) -> SchemaRef {
        self.kind.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let state = &self.state;
        let take = || state.snapshots.history();
        let (history, _) = state.history.get_or_try_init(take).await?;
        let (history, kind, at_ns) = (history.clone(), self.kind, self.at_ns);
        let principal = state.principal.clone();
        let rows = move || kind.rows(&history, at_ns, &principal.namespaces);
        let rows = tokio::task::spawn_blocking(rows)
            .await
            .map_err(|error| QueryError::Internal(error.to_string()))?;
        let plan =
            MemorySourceConfig::try_new_exec(&[vec![rows]], self.schema(), projection.cloned())?;
        Ok(plan)
    }
}
