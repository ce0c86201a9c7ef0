//! `weir status`: is it enforcing, is anything lost, is anything wrong. Exit code 1 if policies
//! are not enforced.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::Deserialize;
use weir_flow::wire::{CollectorSeen, RelayStatus};

use crate::client::{Client, Server};

#[derive(Debug, Args)]
pub(crate) struct Status {
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

/// What the text form needs of the answer.
#[derive(Debug, Deserialize)]
struct Answer {
    enforcing: Enforcing,
    relay: Relay,
}

#[derive(Debug, Deserialize)]
struct Enforcing {
    ok: bool,
    summary: String,
}

#[derive(Debug, Deserialize)]
struct Relay {
    address: String,
    status: Option<RelayStatus>,
    error: Option<String>,
}

impl Status {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let client = Client::new(&self.server)?;
        let response = client.send(client.get("/api/v1/status")).await?;
        let answer: serde_json::Value = response.json().await.context("the answer is not JSON")?;
        if self.output == Output::Json {
            println!("{}", serde_json::to_string_pretty(&answer)?);
        }
        let answer: Answer = serde_json::from_value(answer).context("an unknown status")?;
        if self.output == Output::Text {
            print!("{}", text(&answer));
        }
        Ok(if answer.enforcing.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn text(answer: &Answer) -> String {
    let mark = if answer.enforcing.ok { "ok" } else { "!!" };
    let mut lines = vec![format!("{mark} {}", answer.enforcing.summary)];
    match &answer.relay.status {
        Some(status) => {
            lines.push(format!(
                "relay {}: {} rows acknowledged, {} in memory, {} stored in {} files ({} bytes)",
                answer.relay.address,
                status.rows_acknowledged,
                status.hot_rows,
                status.stored_rows,
                status.stored_files,
                status.stored_bytes,
            ));
            lines.extend(status.problems.iter().map(|problem| format!("  !! {problem}")));
            for collector in &status.collectors {
                lines.extend(collector_lines(collector));
            }
        }
        None => {
            let error = answer.relay.error.as_deref().unwrap_or("no answer");
            lines.push(format!("!! relay {}: {error}", answer.relay.address));
        }
    }
    lines.join("\n") + "\n"
}

fn collector_lines(seen: &CollectorSeen) -> Vec<String> {
    let Some(status) = &seen.status else {
        return vec![format!("collector {}: no status yet", seen.collector)];
    };
    let mut lines = vec![format!(
        "collector {}: {} pods enforced, {} policies, revision {}, {} rows waiting",
        seen.collector,
        status.enforced_pods,
        status.policies,
        status.policy_revision,
        status.unacknowledged_rows,
    )];
    let lost = status.lost.iter().filter(|loss| loss.count > 0);
    lines.extend(
        lost.map(|loss| format!("  !! lost {} {} at {}", loss.count, loss.unit, loss.stage)),
    );
    lines.extend(status.unenforced_pods.iter().map(|pod| format!("  !! not enforced: {pod}")));
    lines.extend(status.problems.iter().map(|problem| format!("  !! {problem}")));
    lines
}

#[cfg(test)]
mod tests {
    use weir_flow::wire::{CollectorStatus, Loss};

    use super::*;

    #[test]
    fn what_is_wrong_is_marked() {
        let lost = |count| Loss { stage: "uplink".into(), unit: "rows".into(), count };
        let status = CollectorStatus {
            enforced_pods: 3,
            policies: 1,
            unenforced_pods: vec!["a/b: no veth".into()],
            lost: vec![lost(0), lost(7)],
            ..CollectorStatus::default()
        };
        let seen = CollectorSeen {
            collector: "lab/n".into(),
            epoch: 1,
            sequence: 1,
            last_seen_ns: 1,
            status: Some(status),
        };
        let answer = Answer {
            enforcing: Enforcing { ok: false, summary: "1 PODS ARE NOT ENFORCED".into() },
            relay: Relay {
                address: "unix:///r".into(),
                status: Some(RelayStatus { collectors: vec![seen], ..RelayStatus::default() }),
                error: None,
            },
        };
        assert_eq!(
            text(&answer),
            "!! 1 PODS ARE NOT ENFORCED\n\
             relay unix:///r: 0 rows acknowledged, 0 in memory, 0 stored in 0 files (0 bytes)\n\
             collector lab/n: 3 pods enforced, 1 policies, revision 0, 0 rows waiting\n  \
             !! lost 7 rows at uplink\n  !! not enforced: a/b: no veth\n"
        );
    }
}
