//! `weir interval preview`: what each interval would make of the flows that are stored.
//!
//! The query service counts: rows of one connection (or one kind of denied attempts) that would be
//! in the same interval are one. Where the stored rows are coarser than an interval, how many of
//! its rows they stand for at most is known from the time that they cover.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use weir_policy::model::{ANNOUNCED, Interval};
use weir_service::settings::Period;

use crate::client::{Client, Server};

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  weir interval preview --namespace shop --since 10m

Rows are counted from the flows that are stored; bytes are these rows by the bytes of a stored row.")]
pub(crate) struct Preview {
    /// Only flows of the pods of this namespace.
    #[arg(long, short, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// How far back flows are looked at.
    #[arg(long, value_name = "TIME", default_value = "1h")]
    since: Period,
    /// How it is printed.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    server: Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// The outcome.
#[derive(Debug, Serialize)]
struct Report {
    namespace: Option<String>,
    /// Seconds looked at.
    since_seconds: u64,
    /// Rows there are.
    rows: u64,
    /// Bytes of a stored row; null while nothing is stored.
    bytes_per_row: Option<f64>,
    intervals: Vec<Estimate>,
}

#[derive(Debug, Serialize)]
struct Estimate {
    interval: String,
    rows: u64,
    bytes: Option<u64>,
    /// Rows less than there are, in percent of them; negative where there would be more.
    saving_percent: Option<f64>,
}

impl Preview {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let client = Client::new(&self.server)?;
        let of_rows = condition(self.namespace.as_deref(), self.since.0)?;
        let rows = number(&client, &format!("select count(*) from flows where {of_rows}")).await?;
        let bytes_per_row = bytes_per_row(&client).await?;
        let mut intervals = Vec::new();
        for interval in Interval::ALL {
            let would_be = number(&client, &statement(interval.duration(), &of_rows)).await?;
            intervals.push(Estimate {
                interval: interval.to_string(),
                rows: would_be,
                bytes: bytes_per_row.map(|bytes| (bytes * would_be as f64).round() as u64),
                saving_percent: (rows > 0).then(|| 100.0 - 100.0 * would_be as f64 / rows as f64),
            });
        }
        let since_seconds = self.since.0.as_secs();
        let report =
            Report { namespace: self.namespace, since_seconds, rows, bytes_per_row, intervals };
        match self.output {
            Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
            Output::Text => print!("{}", text(&report, self.since)),
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Which rows are looked at.
fn condition(namespace: Option<&str>, since: Duration) -> anyhow::Result<String> {
    let now = Timestamp::now();
    let from = now.checked_sub(since).context("--since goes back too far")?;
    // With an end, since more keeps coming while it is counted.
    let mut condition = format!("time >= timestamp '{from}' and time < timestamp '{now}'");
    if let Some(namespace) = namespace {
        let quoted = namespace.replace('\'', "''");
        condition += &format!(
            " and (direction = 'egress' and source_namespace = '{quoted}' \
             or direction = 'ingress' and destination_namespace = '{quoted}')"
        );
    }
    Ok(condition)
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

async fn number(client: &Client, statement: &str) -> anyhow::Result<u64> {
    let body = json!({"sql": statement, "format": "json"});
    let response = client.send(client.post("/api/v1/sql").json(&body)).await;
    let response = response.context("the flows cannot be counted (try a shorter --since)")?;
    let answer: Value = response.json().await.context("the answer is not JSON")?;
    let value = answer["rows"][0].as_object().and_then(|row| row.values().next());
    match value {
        Some(Value::Null) => Ok(0),
        Some(value) => value.as_u64().with_context(|| format!("{value} is no number of rows")),
        None => bail!("the answer has no rows"),
    }
}

#[derive(Deserialize)]
struct Status {
    relay: Relay,
}

#[derive(Deserialize)]
struct Relay {
    status: Option<Stored>,
}

#[derive(Deserialize)]
struct Stored {
    stored_rows: u64,
    stored_bytes: u64,
}

/// Of all stored rows; none while there are none, or the relay does not answer.
async fn bytes_per_row(client: &Client) -> anyhow::Result<Option<f64>> {
    let response = client.send(client.get("/api/v1/status")).await?;
    let status: Status = response.json().await.context("an unknown status")?;
    let stored = status.relay.status.filter(|stored| stored.stored_rows > 0);
    Ok(stored.map(|stored| stored.stored_bytes as f64 / stored.stored_rows as f64))
}

fn text(report: &Report, since: Period) -> String {
    let whose = match &report.namespace {
        Some(namespace) => format!("namespace {namespace}"),
        None => "the whole cluster".to_owned(),
    };
    let stored = match report.bytes_per_row {
        Some(bytes) => format!("{bytes:.1} bytes a stored row"),
        None => "no row is stored yet, so bytes are not known".to_owned(),
    };
    let mut lines = vec![
        format!("last {since}, {whose}: {} rows; {stored}", report.rows),
        format!("{:<9}{:>14}{:>16}{:>9}", "interval", "rows", "bytes", "saving"),
    ];
    lines.extend(report.intervals.iter().map(|estimate| {
        let bytes = estimate.bytes.map_or("-".to_owned(), |bytes| bytes.to_string());
        // Not "-0".
        let whole = |percent: f64| format!("{:.0} %", percent.round() + 0.0);
        let saving = estimate.saving_percent.map_or("-".to_owned(), whole);
        format!("{:<9}{:>14}{bytes:>16}{saving:>9}", estimate.interval, estimate.rows)
    }));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_printed() {
        let report = Report {
            namespace: Some("shop".into()),
            since_seconds: 600,
            rows: 1_000,
            bytes_per_row: Some(10.25),
            intervals: vec![Estimate {
                interval: "5m".into(),
                rows: 250,
                bytes: Some(2_563),
                saving_percent: Some(75.0),
            }],
        };
        assert_eq!(
            text(&report, "10m".parse().unwrap()),
            "last 10m, namespace shop: 1000 rows; 10.2 bytes a stored row\n\
             interval           rows           bytes   saving\n\
             5m                  250            2563     75 %\n"
        );
    }

    #[test]
    fn a_name_cannot_end_the_text_it_is_in() {
        let condition = condition(Some("x' or '1'='1"), Duration::ZERO).unwrap();
        assert!(condition.contains("source_namespace = 'x'' or ''1''=''1'"), "{condition}");
    }
}
