//! What each reporting interval would make of the flows there are.
//!
//! Rows of one connection (or one kind of denied attempts) that would be in the same interval are one.
//! Where the rows are coarser than an interval, how many of its rows they stand for at most is known
//! from the time that they cover. Bytes are these rows by the bytes of a stored row.

use std::time::Duration;

use arrow::array::AsArray as _;
use arrow::compute::cast;
use arrow::datatypes::{DataType, UInt64Type};
use serde::Serialize;
use weir_flow::schema::TimestampNs;
use weir_policy::model::{ANNOUNCED, Interval};

use crate::catalog::completeness::Completeness;
use crate::engine::{Caller, Engine, Next, Request, SqlRequest};
use crate::error::QueryError;

/// The outcome.
#[derive(Debug, Serialize)]
pub(crate) struct Preview {
    /// Of the pods of that namespace; of all if null.
    namespace: Option<String>,
    /// Begin of the time that was looked at.
    from: TimestampNs,
    /// Its end: more keeps coming while it is counted.
    until: TimestampNs,
    /// The same in seconds.
    since_seconds: u64,
    /// Rows there are.
    rows: u64,
    /// Bytes of a stored row; null while nothing is stored.
    bytes_per_row: Option<f64>,
    /// Whether these rows are all there were.
    completeness: Option<Completeness>,
    intervals: Vec<Estimate>,
}

#[derive(Debug, Serialize)]
struct Estimate {
    interval: String,
    rows: u64,
    bytes: Option<u64>,
    /// Rows less than there are, in percent of them; negative where there would be more.
    saving_percent: Option<f64>,
    /// Bytes less than those of the rows there are, the same way.
    saved_bytes: Option<i64>,
}

/// Counts flows between two times, nanoseconds since 1970.
pub(crate) async fn preview(
    engine: &Engine,
    caller: Caller,
    namespace: Option<String>,
    from: TimestampNs,
    until: TimestampNs,
) -> Result<Preview, QueryError> {
    let of_rows = condition(namespace.as_deref(), from, until);
    let counting = format!("select count(*) from flows where {of_rows}");
    let (rows, completeness) = number(engine, &caller, counting).await?;
    let snapshot = engine.snapshots().take().await?;
    let stored = &snapshot.stored.files;
    let stored_rows: u64 = stored.iter().map(|file| file.rows).sum();
    let stored_bytes: u64 = stored.iter().map(|file| file.size_bytes).sum();
    let bytes_per_row = (stored_rows > 0).then(|| stored_bytes as f64 / stored_rows as f64);
    let bytes_of = |rows: u64| bytes_per_row.map(|bytes| (bytes * rows as f64).round() as u64);
    let mut intervals = Vec::new();
    for interval in Interval::ALL {
        let (would_be, _) =
            number(engine, &caller, statement(interval.duration(), &of_rows)).await?;
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let bytes = bytes_of(would_be);
        intervals.push(Estimate {
            interval: interval.to_string(),
            rows: would_be,
            bytes,
            saving_percent: (rows > 0).then(|| 100.0 - 100.0 * would_be as f64 / rows as f64),
            saved_bytes: bytes_of(rows).zip(bytes).map(|(are, be)| signed(are) - signed(be)),
        });
    }
    let nanoseconds = u64::try_from(until.0.saturating_sub(from.0)).unwrap_or(0);
    let since_seconds = Duration::from_nanos(nanoseconds).as_secs();
    Ok(Preview {
        namespace,
        from,
        until,
        since_seconds,
        rows,
        bytes_per_row,
        completeness,
        intervals,
    })
}

/// Which rows are looked at.
fn condition(namespace: Option<&str>, from: TimestampNs, until: TimestampNs) -> String {
    let time =
        |at: TimestampNs| format!("arrow_cast({}, 'Timestamp(Nanosecond, Some(\"UTC\"))')", at.0);
    let mut condition = format!("time >= {} and time < {}", time(from), time(until));
    if let Some(namespace) = namespace {
        let quoted = namespace.replace('\'', "''");
        condition += &format!(
            " and (direction = 'egress' and source_namespace = '{quoted}' \
             or direction = 'ingress' and destination_namespace = '{quoted}')"
        );
    }
    condition
}

/// How many rows the interval would make of those.
///
/// A connection that goes on makes one row in each interval, counted from its beginning. Another
/// one under the same ports is one more, so a group stands for as many rows as connections begin in
/// it. Up to [`ANNOUNCED`] there is besides one row for each beginning.
fn statement(interval: Duration, of_rows: &str) -> String {
    let ns = interval.as_nanos();
    let (beginnings, folds, of_folds) = if interval <= ANNOUNCED {
        let beginnings =
            "select sum(cast(count as bigint)) as n from r where verdict <> 'deny' union all ";
        (beginnings, "1", "and state <> 'open'")
    } else {
        ("", "greatest(sum(cast(count as bigint)), 1)", "")
    };
    format!(
        "with r as (select node, direction, verdict, policy_revision, reason, protocol, source_ip, \
         source_port, destination_ip, destination_port, icmp_type, icmp_code, state, count, \
         cast(time as bigint) as t, \
         coalesce(cast(end_time as bigint) - cast(duration_ns as bigint), cast(time as bigint)) \
         as begun, \
         greatest(cast(round((cast(end_time as bigint) - cast(time as bigint)) / {ns}.0) \
         as bigint) - 1, 0) as more from flows where {of_rows}) \
         select sum(n) from ({beginnings}\
         select {folds} + sum(more) as n from r where verdict <> 'deny' {of_folds} \
         group by node, direction, protocol, source_ip, source_port, destination_ip, \
         destination_port, icmp_type, icmp_code, (t - begun) / {ns} \
         union all select count(*) as n from r where verdict = 'deny' and state = 'open' \
         union all select 1 + sum(more) as n from r where verdict = 'deny' and state <> 'open' \
         group by node, direction, policy_revision, reason, protocol, source_ip, destination_ip, \
         destination_port, icmp_type, icmp_code, t / {ns})"
    )
}

/// The one number that a statement gives, and whether it was made of all there is.
async fn number(
    engine: &Engine,
    caller: &Caller,
    sql: String,
) -> Result<(u64, Option<Completeness>), QueryError> {
    let defect = |cause: &dyn std::fmt::Display| QueryError::Internal(cause.to_string());
    let mut answer = engine.run(caller.clone(), Request::Sql(SqlRequest::new(sql)), 2).await?;
    let completeness = answer.completeness().cloned();
    let mut number = 0;
    while let Next::Batch(batch) = answer.next().await? {
        let column = cast(batch.column(0), &DataType::UInt64).map_err(|error| defect(&error))?;
        let column = column.as_primitive::<UInt64Type>();
        // The sum of nothing is null.
        number += column.iter().flatten().sum::<u64>();
    }
    Ok((number, completeness))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use weir_flow::Flow;

    use super::*;
    use crate::testing::{Stand, batch, flow};

    /// One connection of a minute, told every five seconds.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_each_interval_would_make_is_counted() {
        let stand = Stand::new().await;
        let told = (0..12).map(|number| {
            let (first, then) = (flow(1), 5 * i64::from(number) * 1_000_000_000);
            let time = TimestampNs(first.time.0 + then);
            Flow {
                time,
                end_time: time,
                duration_ns: Some(then as u64),
                count: u64::from(number == 0),
                state: if number == 0 { "open" } else { "active" }.into(),
                ..first
            }
        });
        let path =
            "/api/v1/intervals/preview?since=2026-01-01T00:00:00Z&until=2026-01-02T00:00:00Z";
        let ask = async |path: &str| {
            let (status, body) = stand.get(path).await;
            (status, serde_json::from_str::<Value>(&body).unwrap())
        };
        stand.relay.push(batch(told));
        let (status, body) = ask(path).await;
        assert_eq!(
            (status, &body["rows"], &body["bytes_per_row"]),
            (200, &json!(12), &Value::Null)
        );
        stand.relay.flush();
        let (_, body) = ask(path).await;
        let of = |key: &str| -> Vec<Value> {
            body["intervals"].as_array().unwrap().iter().map(|of| of[key].clone()).collect()
        };
        assert_eq!(of("interval"), ["5s", "30s", "1m", "5m", "10m", "15m"]);
        assert_eq!(of("rows"), [12, 2, 1, 1, 1, 1]);
        let saving = of("saving_percent")[2].as_f64().unwrap();
        assert!((saving - (100.0 - 100.0 / 12.0)).abs() < 1e-6, "{saving}");
        let bytes = body["bytes_per_row"].as_f64().unwrap();
        assert_eq!(of("saved_bytes")[1], ((bytes * 12.0).round() - (bytes * 2.0).round()) as i64);
        assert_eq!(
            (&body["completeness"]["complete"], &body["since_seconds"]),
            (&json!(true), &json!(86_400))
        );
        let (_, body) = ask(&format!("{path}&namespace=default")).await;
        assert_eq!((&body["rows"], &body["namespace"]), (&json!(0), &json!("default")));
        let (_, body) = ask(&format!("{path}&namespace=ns-1")).await;
        assert_eq!(body["rows"], 12);
        assert_eq!(ask("/api/v1/intervals/preview?since=1h&until=2h").await.0, 400);
        assert_eq!(ask("/api/v1/intervals/preview?for=1h").await.0, 400);
    }

    #[test]
    fn a_name_cannot_end_the_text_it_is_in() {
        let condition = condition(Some("x' or '1'='1"), TimestampNs(1), TimestampNs(2));
        assert!(condition.contains("source_namespace = 'x'' or ''1''=''1'"), "{condition}");
    }
}
