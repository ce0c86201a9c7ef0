//! `weir interval preview`: what each interval would make of the flows that are stored, as the query
//! service counts it.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use weir_service::settings::Period;

use crate::client::{Client, Server};
use crate::completeness::Completeness;
use crate::output::{print, say};

const PATH: &str = "/api/v1/intervals/preview";

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
#[derive(Debug, Deserialize, Serialize)]
struct Report {
    namespace: Option<String>,
    /// Seconds looked at.
    since_seconds: u64,
    /// Rows there are.
    rows: u64,
    /// Bytes of a stored row; null while nothing is stored.
    bytes_per_row: Option<f64>,
    intervals: Vec<Estimate>,
    #[serde(skip_serializing)]
    completeness: Option<Completeness>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Estimate {
    interval: String,
    rows: u64,
    bytes: Option<u64>,
    /// Rows less than there are, in percent of them; negative where there would be more.
    saving_percent: Option<f64>,
    /// Bytes less, the same way.
    saved_bytes: Option<i64>,
}

impl Preview {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let client = Client::new(&self.server)?;
        let seconds = self.since.0.max(Duration::from_secs(1)).as_secs();
        let mut asked = client.get(PATH).query(&[("since", format!("{seconds}s"))]);
        if let Some(namespace) = &self.namespace {
            asked = asked.query(&[("namespace", namespace)]);
        }
        let response = client.send(asked).await;
        let response = response.context("the flows cannot be counted (try a shorter --since)")?;
        let report: Report = response.json().await.context("the answer is no preview")?;
        match self.output {
            Output::Json => say!("{}", serde_json::to_string_pretty(&report)?),
            Output::Text => print(&text(&report, self.since)),
        }
        Ok(ExitCode::SUCCESS)
    }
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
    lines.extend(
        report.completeness.iter().filter(|told| !told.complete()).map(ToString::to_string),
    );
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
                saved_bytes: Some(7_687),
            }],
            completeness: None,
        };
        assert_eq!(
            text(&report, "10m".parse().unwrap()),
            "last 10m, namespace shop: 1000 rows; 10.2 bytes a stored row\n\
             interval           rows           bytes   saving\n\
             5m                  250            2563     75 %\n"
        );
    }
}
