//! One follower: what passes its filter, in order, and what it missed.
//!
//! In: its queue of the hub. Out: [`Told`] in handfuls, taken by whoever writes them to the client.
//! Order: by time within [`WINDOW`]; a row waits no longer for earlier ones. Capacity: a window's
//! rows, and one handful that waits; while the client does not read, the queue fills, and what it
//! refuses is told.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::array::AsArray as _;
use arrow::compute::{filter_record_batch, interleave_record_batch};
use arrow::datatypes::TimestampNanosecondType;
use arrow::record_batch::RecordBatch;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::execution::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use weir_flow::schema::{stored_schema, table_schema};

use super::hub::{Hub, Item, Subscription};
use super::position::Positions;
use crate::access::Principal;
use crate::catalog::{ENDS, connection_id};
use crate::error::QueryError;
use crate::filter::Filter;

/// How long a row waits for earlier ones.
const WINDOW: Duration = Duration::from_millis(20);
/// How often a position without rows is told.
const POSITION_INTERVAL: Duration = Duration::from_secs(1);
/// Rows of a handful.
const HANDFUL: usize = 1_024;

/// What a follower is told.
#[derive(Debug)]
pub(crate) enum Told {
    /// Rows in order; with the position behind which a follower goes on, if nothing before it is still
    /// to come.
    Rows(RecordBatch, Option<String>),
    /// Batches that it did not get, and rows as far as they are known.
    Missed { batches: u64, rows: Option<u64> },
    /// The filter says something that is probably not meant.
    Warning(String),
    /// Something does not work at present.
    Trouble(String),
    /// How far everything is, without a row.
    Position(String),
}

impl Told {
    /// How many rows it is.
    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::Rows(batch, _) => batch.num_rows(),
            _ => 0,
        }
    }
}

/// A follower before it follows.
#[derive(Debug)]
pub(crate) struct Follower {
    hub: Arc<Hub>,
    /// Which rows the principal sees.
    seen: Option<Arc<dyn PhysicalExpr>>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    connection_id: Arc<dyn PhysicalExpr>,
}

impl Follower {
    pub(crate) fn new(
        hub: Arc<Hub>,
        principal: &Principal,
        filter: Option<Filter>,
        session: &SessionState,
    ) -> Result<Self, QueryError> {
        let schema = DFSchema::try_from(stored_schema())?;
        let connection_id = connection_id::expression().unalias();
        let filter = filter.map(|filter| physical(filter, session)).transpose()?;
        let seen = principal.namespaces.condition(&ENDS);
        let seen = seen.map(|seen| session.create_physical_expr(seen, &schema)).transpose()?;
        let connection_id = session.create_physical_expr(connection_id, &schema)?;
        Ok(Self { hub, seen, filter, connection_id })
    }

    /// Joins, tells that by a first position, and follows until nobody listens.
    pub(crate) async fn follow(self, after: Option<Positions>, told: mpsc::Sender<Vec<Told>>) {
        let subscription = self.hub.join(after.as_ref()).await;
        let read = after.unwrap_or_else(|| subscription.seen.clone());
        self.go_on(subscription, read, told).await;
    }

    /// Joins, says so, waits until it is known which rows a query has found that began then, and follows behind
    /// them: no row comes by both ways, and none by neither.
    pub(crate) async fn follow_behind(
        self,
        joined: oneshot::Sender<()>,
        found: oneshot::Receiver<Positions>,
        told: mpsc::Sender<Vec<Told>>,
    ) {
        let mut subscription = self.hub.join(None).await;
        let (Ok(()), Ok(found)) = (joined.send(()), found.await) else { return };
        subscription.seen.merge(&found);
        let read = subscription.seen.clone();
        self.go_on(subscription, read, told).await;
    }

    async fn go_on(
        self,
        subscription: Subscription,
        mut read: Positions,
        told: mpsc::Sender<Vec<Told>>,
    ) {
        let Subscription { mut items, overflow, mut seen, backlog, missed } = subscription;
        let mut window = Window { passing: self, batches: vec![], rows: vec![] };
        let mut out = vec![Told::Position(read.to_string())];
        if missed > 0 {
            out.push(Told::Missed { batches: missed, rows: None });
        }
        for batch in backlog {
            out.extend(
                window.add(&batch.batch).err().map(|error| Told::Trouble(error.to_string())),
            );
        }
        read.merge(&seen);
        if told.send(out).await.is_err() {
            return;
        }
        let mut due = (!window.rows.is_empty()).then(|| Instant::now() + WINDOW);
        let mut position_due = Instant::now() + POSITION_INTERVAL;
        let mut position_told = read.clone();
        let mut trouble = None;
        loop {
            let wake = due.unwrap_or(position_due);
            let item = tokio::select! {
                item = items.recv() => match item {
                    Some(item) => Some(item),
                    None => return,
                },
                () = tokio::time::sleep_until(wake) => None,
                () = told.closed() => return,
            };
            let mut out = Vec::new();
            match item {
                Some(Item::Batch(batch)) => {
                    overflow.waiting_bytes.fetch_sub(batch.wire_bytes, Ordering::Relaxed);
                    trouble = None;
                    if seen.of(batch.epoch).is_none_or(|seen| seen < batch.position) {
                        seen.read(batch.epoch, batch.position);
                        if let Err(error) = window.add(&batch.batch) {
                            out.push(Told::Trouble(error.to_string()));
                        }
                        read.read(batch.epoch, batch.position);
                        if due.is_none() && !window.rows.is_empty() {
                            due = Some(Instant::now() + WINDOW);
                        }
                    }
                }
                // What it was told of when it joined may come by the stream again.
                Some(Item::Missed(gap)) => match gap.news_to(&mut seen) {
                    0 => {}
                    batches => out.push(Told::Missed { batches, rows: None }),
                },
                // Told once, until something comes again.
                Some(Item::Trouble(cause)) if trouble.as_ref() != Some(&cause) => {
                    trouble = Some(cause.clone());
                    out.push(Told::Trouble(cause));
                }
                Some(Item::Trouble(_)) | None => {}
            }
            let batches = overflow.batches.swap(0, Ordering::Relaxed);
            if batches > 0 {
                let rows = overflow.rows.swap(0, Ordering::Relaxed);
                out.push(Told::Missed { batches, rows: Some(rows) });
            }
            let now = Instant::now();
            if due.is_some_and(|due| due <= now) || window.rows.len() >= HANDFUL {
                due = None;
                if !out.is_empty() && told.send(std::mem::take(&mut out)).await.is_err() {
                    return;
                }
                let position = read.to_string();
                if window.hand_out(&position, &told).await.is_err() {
                    return;
                }
                position_told.clone_from(&read);
                position_due = Instant::now() + POSITION_INTERVAL;
            } else if position_due <= now && window.rows.is_empty() {
                position_due = now + POSITION_INTERVAL;
                if position_told != read {
                    position_told.clone_from(&read);
                    out.push(Told::Position(read.to_string()));
                }
            }
            if !out.is_empty() && told.send(out).await.is_err() {
                return;
            }
        }
    }

    /// The rows that pass, with all columns.
    fn passing(&self, batch: &RecordBatch) -> Result<RecordBatch, QueryError> {
        let defect = |error: arrow::error::ArrowError| QueryError::Internal(error.to_string());
        let mut batch = batch.clone();
        // What is not seen nothing else looks at.
        for filter in self.seen.iter().chain(&self.filter) {
            let passes = filter.evaluate(&batch)?.into_array(batch.num_rows())?;
            batch = filter_record_batch(&batch, passes.as_boolean()).map_err(defect)?;
        }
        let id = self.connection_id.evaluate(&batch)?.into_array(batch.num_rows())?;
        let columns = batch.columns().iter().cloned().chain([id]).collect();
        RecordBatch::try_new(table_schema(), columns).map_err(defect)
    }
}

/// The filter as it is evaluated over batches of the hub.
pub(super) fn physical(
    filter: Filter,
    session: &SessionState,
) -> Result<Arc<dyn PhysicalExpr>, QueryError> {
    let schema = DFSchema::try_from(stored_schema())?;
    let stored = over_stored(filter.into_expr(), &connection_id::expression().unalias())?;
    Ok(session.create_physical_expr(stored, &schema)?)
}

/// The filter with the computed column replaced by what it is computed from.
fn over_stored(filter: Expr, connection_id: &Expr) -> Result<Expr, QueryError> {
    let replaced = filter.transform(|expr| {
        Ok(match &expr {
            Expr::Column(column) if column.name == "connection_id" => {
                Transformed::yes(connection_id.clone())
            }
            _ => Transformed::no(expr),
        })
    })?;
    Ok(replaced.data)
}

/// Rows that wait for earlier ones.
struct Window {
    passing: Follower,
    batches: Vec<RecordBatch>,
    /// Time, batch and row.
    rows: Vec<(i64, usize, usize)>,
}

/// Nobody listens any more.
struct Gone;

impl Window {
    fn add(&mut self, batch: &RecordBatch) -> Result<(), QueryError> {
        let batch = self.passing.passing(batch)?;
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let times = batch.column(0).as_primitive::<TimestampNanosecondType>();
        let at = self.batches.len();
        self.rows.extend(times.values().iter().enumerate().map(|(row, time)| (*time, at, row)));
        self.batches.push(batch);
        Ok(())
    }

    /// Hands out all rows in order; the last with the position.
    async fn hand_out(
        &mut self,
        position: &str,
        told: &mpsc::Sender<Vec<Told>>,
    ) -> Result<(), Gone> {
        let mut rows = std::mem::take(&mut self.rows);
        let batches = std::mem::take(&mut self.batches);
        rows.sort_unstable();
        let batches: Vec<&RecordBatch> = batches.iter().collect();
        let mut left = rows.len();
        for handful in rows.chunks(HANDFUL) {
            let wanted: Vec<(usize, usize)> =
                handful.iter().map(|(_, batch, row)| (*batch, *row)).collect();
            left -= handful.len();
            let position = (left == 0).then(|| position.to_owned());
            let out = match interleave_record_batch(&batches, &wanted) {
                Ok(rows) => vec![Told::Rows(rows, position)],
                Err(error) => vec![
                    Told::Trouble(error.to_string()),
                    Told::Missed { batches: 0, rows: Some(handful.len() as u64) },
                ],
            };
            told.send(out).await.map_err(|_| Gone)?;
        }
        Ok(())
    }
}
