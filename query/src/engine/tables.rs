//! The tables of one query.

use std::sync::Arc;

use datafusion::catalog::{MemorySchemaProvider, SchemaProvider as _};
use datafusion::logical_expr::LogicalPlan;

use crate::access::Principal;
use crate::catalog::connections::Connections;
use crate::catalog::loss::Loss;
use crate::catalog::moment::Moment;
use crate::catalog::snapshot::Snapshots;
use crate::catalog::state::{Kind, State};
use crate::catalog::table::Flows;
use crate::catalog::{CONNECTIONS, EDGES, FLOWS, LOSS, edges};
use crate::error::QueryError;

/// What one query of somebody reads: all at the same moment.
pub(super) struct Tables {
    pub(super) moment: Arc<Moment>,
    pub(super) flows: Arc<Flows>,
    pub(super) loss: Arc<Loss>,
    pub(super) state: Arc<State>,
}

impl Tables {
    pub(super) fn new(
        snapshots: &Arc<Snapshots>,
        principal: &Arc<Principal>,
        roll_ups: bool,
    ) -> Self {
        let moment = Moment::new(snapshots.clone(), principal.clone(), roll_ups);
        Self {
            flows: Flows::new(moment.clone()),
            loss: Loss::new(moment.clone()),
            state: State::new(snapshots.clone(), principal.clone()),
            moment,
        }
    }

    /// All of them by name.
    pub(super) fn schema(&self) -> Result<MemorySchemaProvider, QueryError> {
        let schema = MemorySchemaProvider::new();
        schema.register_table(FLOWS.into(), Arc::new(self.flows.clone().view()?))?;
        schema.register_table(CONNECTIONS.into(), Arc::new(Connections))?;
        schema.register_table(EDGES.into(), Arc::new(edges::view(&self.moment)?))?;
        schema.register_table(LOSS.into(), self.loss.clone())?;
        for kind in Kind::ALL {
            let table = Arc::new(self.state.table(kind, None));
            schema.register_table(kind.name().into(), table)?;
        }
        Ok(schema)
    }

    /// EXPLAIN ANALYZE counts the rows that a principal does not see, and the statistics of EXPLAIN VERBOSE are of
    /// them too.
    pub(super) fn refuse_measures(&self, plan: &LogicalPlan) -> Result<(), QueryError> {
        let measures = match plan {
            LogicalPlan::Analyze(_) => true,
            LogicalPlan::Explain(explain) => explain.verbose,
            _ => false,
        };
        if measures && !self.moment.principal().namespaces.is_all() {
            return Err(QueryError::Forbidden(
                "EXPLAIN ANALYZE and EXPLAIN VERBOSE are for principals who see every namespace: use EXPLAIN"
                    .into(),
            ));
        }
        Ok(())
    }

    /// What the answer must say about itself; known once the query is planned.
    pub(super) fn warnings(&self) -> Vec<String> {
        [self.moment.warnings(), self.state.warnings()].concat()
    }
}
