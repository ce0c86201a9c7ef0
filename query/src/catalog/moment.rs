//! What the tables of one query share: who asks, one snapshot, taken when the first of them is
//! scanned, and over which time flows were asked for.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;
use weir_flow::schema::loss::LossRow;

use super::completeness::Completeness;
use super::range::TimeRange;
use super::snapshot::{Snapshot, Snapshots};
use crate::access::Principal;
use crate::error::QueryError;
use crate::live::Positions;

/// One query's moment.
#[derive(Debug)]
pub(crate) struct Moment {
    snapshots: Arc<Snapshots>,
    principal: Arc<Principal>,
    snapshot: OnceCell<Snapshot>,
    asked: Mutex<Option<TimeRange>>,
    /// Whether the planner may answer from roll-ups what asks for flows.
    roll_ups: bool,
}

impl Moment {
    pub(crate) fn new(
        snapshots: Arc<Snapshots>,
        principal: Arc<Principal>,
        roll_ups: bool,
    ) -> Arc<Self> {
        let (snapshot, asked) = (OnceCell::new(), Mutex::default());
        Arc::new(Self { snapshots, principal, snapshot, asked, roll_ups })
    }

    /// Who asks.
    pub(crate) fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Whether the planner may answer from roll-ups what asks for flows.
    pub(super) fn may_use_roll_ups(&self) -> bool {
        self.roll_ups
    }

    /// The snapshot.
    pub(crate) async fn snapshot(&self) -> Result<&Snapshot, QueryError> {
        self.snapshot.get_or_try_init(|| self.snapshots.take()).await
    }

    /// Notes that flows of that time are read.
    pub(super) fn reads(&self, range: TimeRange) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        *asked = Some(asked.map_or(range, |asked| asked.or(range)));
    }

    /// How far the flows of the snapshot go; `None` while nothing has been read.
    pub(crate) fn positions(&self) -> Option<Positions> {
        self.snapshot.get().map(|snapshot| snapshot.positions.clone())
    }

    /// What the answer must say about itself; known once the query is planned.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.snapshot.get().map(Snapshot::warnings).unwrap_or_default()
    }

    /// Whether what was read is all of it; known once the query is planned. `None`: it reads no
    /// flows.
    pub(crate) async fn completeness(&self) -> Option<Completeness> {
        let asked = *self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let range = asked?;
        Some(self.completeness_of(range).await)
    }

    /// What was lost over a time.
    pub(crate) async fn losses(&self, range: TimeRange) -> Result<Vec<LossRow>, QueryError> {
        let snapshot = self.snapshot().await?;
        self.snapshots.ledger.rows(&self.snapshots.store, snapshot, range).await
    }

    /// The same for a time that nobody asked flows of.
    pub(crate) async fn completeness_of(&self, range: TimeRange) -> Completeness {
        let told = async || -> Result<Completeness, QueryError> {
            let snapshot = self.snapshot().await?;
            let ledger = &self.snapshots.ledger;
            let rows: Vec<LossRow> = ledger.rows(&self.snapshots.store, snapshot, range).await?;
            Ok(Completeness::of(range, &rows, &snapshot.unreachable))
        };
        told().await.unwrap_or_else(|error| Completeness::unknown(range, &error.to_string()))
    }
}
