//! `weir status`: is it enforcing, is anything lost, is anything wrong.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::Deserialize;
use weir_flow::wire::{
    CollectorSeen, IntervalStatus, MapUsage, Modes, PodStatus, RelayStatus, SpoolStatus,
};
use weir_service::settings::Period;

use super::interval::moment;
use crate::client::{Client, Server};
use crate::completeness::Completeness;
use crate::output::{print, say};

/// A map that is fuller than this, in percent, is pointed out.
const FULL_PERCENT: u64 = 90;

/// Exit code: 0 if every policy is enforced, 1 if not or if nobody can tell.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Also list each pod that is enforced, and each map.
    #[arg(long)]
    pods: bool,
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
    completeness: Completeness,
    relay: Relay,
    other_relays: Vec<Relay>,
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
            say!("{}", serde_json::to_string_pretty(&answer)?);
        }
        let answer: Answer = serde_json::from_value(answer).context("an unknown status")?;
        if self.output == Output::Text {
            print(&text(&answer, self.pods));
        }
        Ok(if answer.enforcing.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn text(answer: &Answer, pods: bool) -> String {
    let mark = if answer.enforcing.ok { "ok" } else { "!!" };
    let mut lines = vec![format!("{mark} {}", answer.enforcing.summary)];
    let mark = if answer.completeness.complete() { "ok" } else { "!!" };
    lines.push(format!("{mark} flows of the last 24 h: {}", answer.completeness));
    for relay in std::iter::once(&answer.relay).chain(&answer.other_relays) {
        lines.extend(relay_lines(relay, pods));
    }
    lines.join("\n") + "\n"
}

fn relay_lines(relay: &Relay, pods: bool) -> Vec<String> {
    let mut lines = Vec::new();
    match &relay.status {
        Some(status) => {
            lines.push(format!(
                "relay {}: {} rows acknowledged, {} in memory, {} stored in {} files ({} bytes)",
                relay.address,
                status.rows_acknowledged,
                status.hot_rows,
                status.stored_rows,
                status.stored_files,
                status.stored_bytes,
            ));
            lines.extend(status.problems.iter().map(|problem| format!("  !! {problem}")));
            for collector in &status.collectors {
                lines.extend(collector_lines(collector, pods));
            }
        }
        None => {
            let error = relay.error.as_deref().unwrap_or("no answer");
            lines.push(format!("!! relay {}: {error}", relay.address));
        }
    }
    lines
}

fn collector_lines(seen: &CollectorSeen, pods: bool) -> Vec<String> {
    let Some(status) = &seen.status else {
        return vec![format!("collector {}: no status yet", seen.collector)];
    };
    let unenforced = status.unenforced_count.max(status.unenforced_pods.len() as u64);
    let mut lines = vec![format!(
        "collector {}: {} of {} pods enforced, {} policies, revision {}, {} rows waiting",
        seen.collector,
        status.enforced_pods,
        status.enforced_pods + unenforced,
        status.policies,
        status.policy_revision,
        status.unacknowledged_rows,
    )];
    lines.push(format!("  {}", mode_words(&status.modes)));
    lines.extend(interval_words(&status.intervals).map(|words| format!("  {words}")));
    lines.push(match &status.self_test {
        Some(test) if test.passed => format!("  self-test passed: {}", test.message),
        Some(test) => format!("  !! self-test FAILED: {}", test.message),
        None => "  self-test has not run yet".to_owned(),
    });
    if let Some(behind) = status.behind_ms {
        lines.push(format!("  !! behind the cluster's policies for {} ms", behind));
    }
    lines.extend(spool_line(&status.spool));
    let lost = status.lost.iter().filter(|loss| loss.count > 0);
    lines.extend(
        lost.map(|loss| format!("  !! lost {} {} at {}", loss.count, loss.unit, loss.stage)),
    );
    lines.extend(status.unenforced_pods.iter().map(|pod| format!("  !! not enforced: {pod}")));
    lines.extend(more(unenforced, status.unenforced_pods.len(), "pods not enforced"));
    lines.extend(status.problems.iter().map(|problem| format!("  !! {problem}")));
    lines.extend(more(status.problem_count, status.problems.len(), "problems"));
    lines.extend(map_lines(&status.maps, pods));
    if pods {
        lines.extend(status.pods.iter().filter(|pod| pod.enforced).map(pod_line));
        lines.extend(more(status.enforced_pods + unenforced, status.pods.len(), "pods"));
    }
    lines
}

/// What waits for the relay, unless that is only what is on its way.
fn spool_line(spool: &SpoolStatus) -> Option<String> {
    (spool.oldest_ms >= SPOOL_SHOWN_MS).then(|| {
        format!(
            "  spool: {} of {} bytes in {} files, the oldest row is {} s old",
            spool.bytes,
            spool.limit_bytes,
            spool.segments,
            spool.oldest_ms / 1_000
        )
    })
}

/// Age from which on waiting rows are worth a line.
const SPOOL_SHOWN_MS: u64 = 10_000;

fn mode_words(modes: &Modes) -> String {
    let word = |text: &str| if text.is_empty() { "?".to_owned() } else { text.to_owned() };
    let audit = if modes.audit { "on: DENIES PASS" } else { "off" };
    let mut words = format!(
        "established {}, startup {}, audit {audit}",
        word(&modes.established),
        word(&modes.startup)
    );
    if modes.audited_namespaces + modes.audited_policies > 0 {
        words += &format!(
            " (but for {} namespaces and {} policies)",
            modes.audited_namespaces, modes.audited_policies
        );
    }
    words
}

/// How often connections are reported; none from a collector that does not say.
fn interval_words(intervals: &[IntervalStatus]) -> Option<String> {
    let word = |status: &IntervalStatus| {
        let interval = Period(Duration::from_millis(status.interval_ms));
        let until = status.until_ns.map(|ns| format!(" until {}", moment(ns)));
        let place = match status.namespace.as_str() {
            "" => String::new(),
            namespace => format!("{namespace}: "),
        };
        format!("{place}{interval}{} ({})", until.unwrap_or_default(), status.source)
    };
    let words: Vec<String> = intervals.iter().map(word).collect();
    (!words.is_empty()).then(|| format!("interval {}", words.join(", ")))
}

fn pod_line(pod: &PodStatus) -> String {
    let audit = if pod.audit { ", audited" } else { "" };
    format!(
        "  {}/{}: revision {} on {}{audit}",
        pod.namespace, pod.name, pod.revision, pod.interface
    )
}

/// The memory of all maps, and those that are nearly full; or each of them.
fn map_lines(maps: &[MapUsage], all: bool) -> Vec<String> {
    let memory: u64 = maps.iter().map(|map| map.memory_bytes).sum();
    let mut lines = Vec::new();
    if memory > 0 {
        lines.push(format!("  {} MiB in {} maps", memory >> 20, maps.len()));
    }
    for map in maps {
        let entries = map.entries.unwrap_or(0);
        let full = map.capacity > 0
            && entries.saturating_mul(100) >= map.capacity.saturating_mul(FULL_PERCENT);
        if !full && !all {
            continue;
        }
        let mark = if full { "!! " } else { "" };
        let counted = map.entries.map(|entries| format!("{entries} of ")).unwrap_or_default();
        lines.push(format!(
            "  {mark}map {}: {counted}{} entries, {} KiB",
            map.map,
            map.capacity,
            map.memory_bytes >> 10
        ));
    }
    lines
}

/// A list is bounded; what it leaves out is counted.
fn more(count: u64, listed: usize, what: &str) -> Option<String> {
    let left_out = count.saturating_sub(listed as u64);
    (left_out > 0).then(|| format!("  … and {left_out} more {what}"))
}

#[cfg(test)]
mod tests {
    use weir_flow::wire::{CollectorStatus, Loss, SelfTest};

    use super::*;

    #[test]
    fn what_is_wrong_is_marked() {
        let lost = |count| Loss { stage: "spool".into(), unit: "verdicts".into(), count };
        let status = CollectorStatus {
            enforced_pods: 3,
            policies: 1,
            modes: Modes {
                established: "cut".into(),
                startup: "open".into(),
                audited_policies: 2,
                ..Modes::default()
            },
            intervals: vec![
                IntervalStatus {
                    interval_ms: 60_000,
                    source: "cluster".into(),
                    ..IntervalStatus::default()
                },
                IntervalStatus {
                    namespace: "shop".into(),
                    interval_ms: 5_000,
                    until_ns: Some(900_000_000_000),
                    source: "override".into(),
                },
            ],
            self_test: Some(SelfTest {
                passed: false,
                message: "a deny passed".into(),
                time_ns: 1,
            }),
            unenforced_count: 7,
            unenforced_pods: vec!["a/b: no veth".into()],
            pods: vec![PodStatus {
                namespace: "a".into(),
                name: "web".into(),
                enforced: true,
                revision: 4,
                interface: "veth1".into(),
                audit: true,
                why: String::new(),
            }],
            maps: vec![
                MapUsage {
                    map: "policy".into(),
                    entries: Some(95),
                    capacity: 100,
                    memory_bytes: 3 << 20,
                },
                MapUsage { map: "denies".into(), capacity: 8, ..MapUsage::default() },
            ],
            behind_ms: Some(12),
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
            enforcing: Enforcing { ok: false, summary: "7 PODS ARE NOT ENFORCED".into() },
            completeness: serde_json::from_str(r#"{"complete":true}"#).unwrap(),
            other_relays: vec![Relay {
                address: "http://b".into(),
                status: None,
                error: Some("refused".into()),
            }],
            relay: Relay {
                address: "unix:///r".into(),
                status: Some(RelayStatus { collectors: vec![seen], ..RelayStatus::default() }),
                error: None,
            },
        };
        let head = "!! 7 PODS ARE NOT ENFORCED\n\
             ok flows of the last 24 h: complete\n\
             relay unix:///r: 0 rows acknowledged, 0 in memory, 0 stored in 0 files (0 bytes)\n\
             collector lab/n: 3 of 10 pods enforced, 1 policies, revision 0, 0 rows waiting\n  \
             established cut, startup open, audit off (but for 0 namespaces and 2 policies)\n  \
             interval 1m (cluster), shop: 5s until 1970-01-01T00:15:00Z (override)\n  \
             !! self-test FAILED: a deny passed\n  \
             !! behind the cluster's policies for 12 ms\n  \
             !! lost 7 verdicts at spool\n  !! not enforced: a/b: no veth\n  \
             … and 6 more pods not enforced\n  \
             3 MiB in 2 maps\n  !! map policy: 95 of 100 entries, 3072 KiB\n";
        let other = "!! relay http://b: refused\n";
        assert_eq!(text(&answer, false), format!("{head}{other}"));
        let rest = "  map denies: 8 entries, 0 KiB\n  \
             a/web: revision 4 on veth1, audited\n  … and 9 more pods\n";
        assert_eq!(text(&answer, true), format!("{head}{rest}{other}"));
    }
}
