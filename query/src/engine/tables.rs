//! The tables of one query.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::LogicalPlan;
use tokio::runtime::Handle;

use super::ahead::Ahead;
use crate::access::Principal;
use crate::catalog::computed::AllColumns;
use crate::catalog::connections::Connections;
use crate::catalog::loss::Loss;
use crate::catalog::moment::Moment;
use crate::catalog::snapshot::Snapshots;
use crate::catalog::state::{Kind, State};
use crate::catalog::table::Flows;
use crate::catalog::{CONNECTIONS, EDGES, FLOWS, LOSS, edges};
use crate::error::QueryError;

/// Tables of what relays hold and have written.
const OF_MOMENT: [&str; 4] = [FLOWS, CONNECTIONS, EDGES, LOSS];

/// What one query of somebody reads: all at the same moment.
pub(super) struct Tables {
    pub(super) moment: Arc<Moment>,
    pub(super) flows: Arc<Flows>,
    pub(super) loss: Arc<Loss>,
    pub(super) state: Arc<State>,
    ahead: Option<Arc<Ahead>>,
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
            ahead: None,
        }
    }

    /// The same for a query that will run: relays are asked on these threads as soon as it is known that it reads
    /// what they hold, beside its planning.
    pub(super) fn ahead_on(self, threads: Handle) -> Self {
        let ahead = Ahead::new(self.moment.clone(), threads);
        Self { ahead: Some(Arc::new(ahead)), ..self }
    }

    /// Rows of this moment will be read.
    pub(super) fn begin(&self) {
        if let Some(ahead) = &self.ahead {
            ahead.begin();
        }
    }

    /// All of them by name.
    pub(super) fn schema(&self) -> Schema {
        let Self { moment, flows, loss, state, ahead } = self;
        Schema {
            moment: moment.clone(),
            flows: flows.clone(),
            loss: loss.clone(),
            state: state.clone(),
            ahead: ahead.clone(),
        }
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

/// The tables by name, each made when a query names it.
#[derive(Debug)]
pub(super) struct Schema {
    moment: Arc<Moment>,
    flows: Arc<Flows>,
    loss: Arc<Loss>,
    state: Arc<State>,
    ahead: Option<Arc<Ahead>>,
}

#[async_trait]
impl SchemaProvider for Schema {
    fn table_names(&self) -> Vec<String> {
        let names = OF_MOMENT.into_iter();
        names.chain(Kind::ALL.map(Kind::name)).map(str::to_owned).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(ahead) = self.ahead.as_ref().filter(|_| OF_MOMENT.contains(&name)) {
            ahead.begin();
        }
        Ok(Some(match name {
            FLOWS => AllColumns::of(&self.flows),
            CONNECTIONS => Arc::new(Connections),
            EDGES => Arc::new(edges::view(&self.moment)?),
            LOSS => self.loss.clone(),
            name => match Kind::ALL.into_iter().find(|kind| kind.name() == name) {
                Some(kind) => Arc::new(self.state.table(kind, None)),
                None => return Ok(None),
            },
        }))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.table_names().iter().any(|known| known == name)
    }
}
