//! Counts the new rows that pass filters, for log-based metrics.
//!
//! In: a queue of the hub, while there is anything to count. Out: counters of [`Metrics`]. What the queue
//! refuses is counted as missed. Ends with the metrics' sender or its task.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{Array as _, AsArray, RecordBatch};
use arrow::datatypes::UInt64Type;
use datafusion::execution::SessionState;
use datafusion::physical_expr::PhysicalExpr;
use tokio::sync::watch;

use super::follower::physical;
use super::hub::{Hub, Item};
use crate::error::QueryError;
use crate::filter;
use crate::logging::metrics::LogMetrics;
use crate::metrics::LogCounters;

/// Counts until nobody can change the metrics any more.
pub(crate) async fn count(
    hub: Arc<Hub>,
    mut metrics: watch::Receiver<LogMetrics>,
    session: SessionState,
    counters: LogCounters,
) {
    let mut known = LogMetrics::new();
    loop {
        let wanted = |metrics: &LogMetrics| metrics.values().any(|metric| !metric.disabled);
        if metrics.wait_for(wanted).await.is_err() {
            return;
        }
        let mut subscription = hub.join(None).await;
        let overflow = subscription.overflow.clone();
        let mut counted = Vec::new();
        loop {
            if known != *metrics.borrow() {
                let now = metrics.borrow_and_update().clone();
                for gone in known.keys().filter(|name| !now.contains_key(*name)) {
                    counters.forget(gone);
                }
                counted = compile(&now, &session);
                known = now;
                if counted.is_empty() {
                    break;
                }
            }
            let item = tokio::select! {
                item = subscription.items.recv() => item,
                changed = metrics.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
            };
            match item {
                Some(Item::Batch(batch)) => {
                    overflow.waiting_bytes.fetch_sub(batch.wire_bytes, Ordering::Relaxed);
                    let seen = &mut subscription.seen;
                    if seen.of(batch.epoch).is_none_or(|seen| seen < batch.position) {
                        seen.read(batch.epoch, batch.position);
                        for (name, filter) in &counted {
                            add(name, filter.as_ref(), &batch.batch, &counters);
                        }
                    }
                }
                Some(Item::Missed(gap)) => {
                    counters.missed(gap.news_to(&mut subscription.seen));
                }
                Some(Item::Trouble(_)) => {}
                None => break,
            }
            counters.missed(overflow.batches.swap(0, Ordering::Relaxed));
            overflow.rows.store(0, Ordering::Relaxed);
        }
    }
}

type Counted = (String, Option<Arc<dyn PhysicalExpr>>);

fn compile(metrics: &LogMetrics, session: &SessionState) -> Vec<Counted> {
    let metrics = metrics.values().filter(|metric| !metric.disabled);
    let compiled = metrics.map(|metric| {
        let parsed = filter::parse(&metric.filter)
            .map_err(|error| QueryError::Invalid(error.to_string()))?;
        let filter = parsed.filter.map(|filter| physical(filter, session)).transpose()?;
        Ok((metric.name.clone(), filter))
    });
    let good = |compiled: Result<Counted, QueryError>| {
        compiled
            .inspect_err(|error| tracing::error!(%error, "a log-based metric does not count"))
            .ok()
    };
    compiled.filter_map(good).collect()
}

fn add(
    name: &str,
    filter: Option<&Arc<dyn PhysicalExpr>>,
    batch: &RecordBatch,
    counters: &LogCounters,
) {
    let counts =
        batch.column_by_name("count").and_then(|array| array.as_primitive_opt::<UInt64Type>());
    let passing = filter.map(|filter| filter.evaluate(batch)?.into_array(batch.num_rows()));
    let (Some(counts), Ok(passing)) = (counts, passing.transpose()) else {
        counters.missed(1);
        return;
    };
    let passing = passing.as_ref().map(AsArray::as_boolean);
    let passes =
        |row: usize| passing.is_none_or(|passing| passing.is_valid(row) && passing.value(row));
    let rows = (0..batch.num_rows()).filter(|row| counts.value(*row) > 0 && passes(*row));
    let (entries, verdicts) = rows.fold((0, 0_u64), |(entries, verdicts), row| {
        (entries + 1, verdicts.saturating_add(counts.value(row)))
    });
    counters.add(name, entries, verdicts);
}
