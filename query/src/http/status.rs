//! `GET /api/v1/status`: how the parts are, and loudly whether policies are enforced.

mod seen;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use futures::future::join_all;
use serde_json::{Value, json};
use weir_flow::wire::{CollectorSeen, CollectorStatus, MAX_LISTED};

use super::App;
use super::who::Who;
use crate::catalog::range::TimeRange;

/// A collector that was silent for longer does not count as alive; it speaks every few seconds.
pub(crate) const ALIVE_NS: u64 = 30_000_000_000;
/// Over which time it is told what is missing: a day.
const COMPLETENESS_NS: i64 = 24 * 3_600_000_000_000;
/// Most names in the one sentence.
const MAX_NAMED: usize = 5;
/// A collector that needs longer to put a cluster state in force has failed to.
const BEHIND_MS: u64 = 5_000;

pub(super) async fn status(State(app): State<Arc<App>>, Who(principal): Who) -> Json<Value> {
    let sources = &app.engine.snapshots().sources;
    let answers = join_all(sources.iter().map(async |source| {
        let mut answer = source.relay.status().await;
        if let Ok(status) = &mut answer {
            seen::leave_out(status, &principal.namespaces);
        }
        answer
    }));
    let answers = answers.await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos());
    let now = u64::try_from(now).unwrap_or(u64::MAX);
    let silent: Vec<String> =
        answers.iter().filter_map(|answer| Some(answer.as_ref().err()?.to_string())).collect();
    let enforcing = if silent.is_empty() {
        let collectors = answers.iter().flatten().flat_map(|status| status.collectors.clone());
        enforcing(&latest(collectors), now)
    } else {
        let why = silent.join("; ");
        json!({"ok": false, "summary": format!("UNKNOWN WHETHER POLICIES ARE ENFORCED: {why}")})
    };
    let mut relays = sources.iter().zip(answers).map(|(source, answer)| {
        let address = source.relay.address();
        match answer {
            Ok(status) => json!({"address": address, "reachable": true, "status": status}),
            Err(error) => {
                json!({"address": address, "reachable": false, "error": error.to_string()})
            }
        }
    });
    let from_ns = i64::try_from(now).unwrap_or(i64::MAX).saturating_sub(COMPLETENESS_NS);
    let completeness = app.engine.completeness(TimeRange { from_ns, ..TimeRange::ALL }).await;
    let limits = app.engine.limits();
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "notice": app.notice,
        "uptime_seconds": app.started.elapsed().as_secs(),
        "enforcing": enforcing,
        "completeness": completeness,
        "relay": relays.next(),
        "other_relays": relays.collect::<Vec<Value>>(),
        "queries": {"running": app.engine.busy()},
        "limits": {
            "memory_bytes": limits.memory_bytes,
            "spill_bytes": limits.spill_bytes,
            "timeout_seconds": limits.timeout.as_secs(),
            "max_rows": limits.max_rows,
            "concurrent": limits.concurrent,
            "queued": limits.queued,
        },
    }))
}

/// Whether every pod that a policy selects is guarded, in one sentence and in numbers.
fn enforcing(collectors: &[CollectorSeen], now_ns: u64) -> Value {
    let alive = |seen: &&CollectorSeen| now_ns.saturating_sub(seen.last_seen_ns) <= ALIVE_NS;
    let silent: Vec<&str> =
        collectors.iter().filter(|seen| !alive(seen)).map(|seen| seen.collector.as_str()).collect();
    let statuses = || collectors.iter().filter(alive).filter_map(|seen| seen.status.as_ref());
    // What a silent collector said last still tells whether there is anything to enforce.
    let policies = collectors
        .iter()
        .filter_map(|seen| seen.status.as_ref())
        .map(|status| status.policies)
        .max()
        .unwrap_or(0);
    let enforced: u64 = statuses().map(|status| status.enforced_pods).sum();
    let unenforced_count: u64 = statuses().map(unenforced_count).sum();
    let unenforced: Vec<&String> =
        statuses().flat_map(|status| &status.unenforced_pods).take(MAX_LISTED).collect();
    let problem_count: u64 = statuses().map(problem_count).sum();
    let problems: Vec<&String> =
        statuses().flat_map(|status| &status.problems).take(MAX_LISTED).collect();
    let failed_tests: Vec<String> = statuses()
        .filter_map(|status| Some((status, status.self_test.as_ref()?)))
        .filter(|(_, test)| !test.passed)
        .map(|(status, test)| format!("{} ({})", name(status), test.message))
        .collect();
    let behind: Vec<String> = statuses()
        .filter(|status| status.behind_ms.is_some_and(|behind| behind > BEHIND_MS))
        .map(|status| format!("{} ({} s)", name(status), status.behind_ms.unwrap_or(0) / 1_000))
        .collect();
    let audited: Vec<String> = statuses().filter(|status| status.modes.audit).map(name).collect();
    let collectors = collectors.len();
    let living = collectors - silent.len();

    let mut wrong = Vec::new();
    if collectors == 0 {
        wrong.push("NO COLLECTOR HAS EVER REPORTED: no policy is known to be enforced".to_owned());
    } else if living == 0 {
        wrong.push("NO COLLECTOR IS ALIVE: changed policies are not enforced".to_owned());
    } else if !silent.is_empty() {
        wrong.push(format!("COLLECTORS ARE SILENT: {}", some(&silent)));
    }
    if policies > 0 && unenforced_count > 0 {
        wrong.push(format!("{unenforced_count} PODS ARE NOT ENFORCED"));
    }
    if !failed_tests.is_empty() {
        wrong.push(format!("DENIES WERE SEEN NOT TO WORK ON: {}", some(&failed_tests)));
    }
    if !behind.is_empty() {
        wrong.push(format!("OLDER POLICIES THAN THE CLUSTER'S ARE IN FORCE ON: {}", some(&behind)));
    }
    let mut summary = if wrong.is_empty() {
        format!("{policies} policies are enforced on {enforced} pods by {living} collectors")
    } else {
        wrong.join("; ")
    };
    if !audited.is_empty() {
        summary += &format!("; audit only, denies pass on: {}", some(&audited));
    }
    json!({
        "ok": wrong.is_empty(),
        "summary": summary,
        "policies": policies,
        "enforced_pods": enforced,
        "unenforced_count": unenforced_count,
        "unenforced_pods": unenforced,
        "collectors": collectors,
        "collectors_alive": living,
        "collectors_silent": silent,
        "collectors_behind": behind,
        "collectors_audit_only": audited,
        "self_tests_failed": failed_tests,
        "problem_count": problem_count,
        "problems": problems,
    })
}

/// Each collector as the relay knows it that heard of it last: a collector may change its relay.
pub(crate) fn latest(seen: impl Iterator<Item = CollectorSeen>) -> Vec<CollectorSeen> {
    let mut latest: BTreeMap<String, CollectorSeen> = BTreeMap::new();
    for seen in seen {
        let newer = |known: &CollectorSeen| known.last_seen_ns < seen.last_seen_ns;
        if latest.get(&seen.collector).is_none_or(newer) {
            latest.insert(seen.collector.clone(), seen);
        }
    }
    latest.into_values().collect()
}

/// An older collector sends only the list.
fn unenforced_count(status: &CollectorStatus) -> u64 {
    status.unenforced_count.max(status.unenforced_pods.len() as u64)
}

/// An older collector sends only the list.
fn problem_count(status: &CollectorStatus) -> u64 {
    status.problem_count.max(status.problems.len() as u64)
}

fn name(status: &CollectorStatus) -> String {
    format!("{}/{}", status.cluster, status.node)
}

/// The first few, and how many there are besides.
fn some<T: AsRef<str>>(names: &[T]) -> String {
    let named: Vec<&str> = names.iter().take(MAX_NAMED).map(AsRef::as_ref).collect();
    let more = match names.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    named.join(", ") + &more
}

#[cfg(test)]
mod tests {
    use weir_flow::wire::{Modes, SelfTest};

    use super::*;

    const NOW: u64 = 1_000_000_000_000;

    fn seen(name: &str, ago_ns: u64, unenforced: &[&str]) -> CollectorSeen {
        CollectorSeen {
            collector: name.into(),
            epoch: 1,
            sequence: 1,
            last_seen_ns: NOW - ago_ns,
            status: Some(CollectorStatus {
                policies: 2,
                enforced_pods: 3,
                unenforced_pods: unenforced.iter().map(|pod| (*pod).to_owned()).collect(),
                ..CollectorStatus::default()
            }),
        }
    }

    fn check(collectors: &[CollectorSeen], ok: bool, summary: &str) {
        let enforcing = enforcing(collectors, NOW);
        assert_eq!(enforcing["ok"], ok, "{enforcing}");
        assert_eq!(enforcing["summary"], summary);
    }

    #[test]
    fn it_shouts_when_policies_are_not_enforced() {
        check(
            &[seen("a", 0, &[]), seen("b", 1_000, &[])],
            true,
            "2 policies are enforced on 6 pods by 2 collectors",
        );
        check(&[], false, "NO COLLECTOR HAS EVER REPORTED: no policy is known to be enforced");
        check(
            &[seen("a", 60_000_000_000, &[])],
            false,
            "NO COLLECTOR IS ALIVE: changed policies are not enforced",
        );
        check(
            &[seen("a", 0, &["x/y: no veth"]), seen("b", 60_000_000_000, &[])],
            false,
            "COLLECTORS ARE SILENT: b; 1 PODS ARE NOT ENFORCED",
        );
    }

    fn with(change: impl FnOnce(&mut CollectorStatus)) -> Vec<CollectorSeen> {
        let mut seen = seen("lab/n1", 0, &[]);
        let status = seen.status.as_mut().unwrap();
        (status.cluster, status.node) = ("lab".into(), "n1".into());
        change(status);
        vec![seen]
    }

    #[test]
    fn the_true_number_of_pods_is_told_and_lists_are_bounded() {
        let many = with(|status| {
            status.unenforced_count = 5_000;
            status.unenforced_pods = (0..100).map(|n| format!("x/{n}: no veth")).collect();
        });
        check(&many, false, "5000 PODS ARE NOT ENFORCED");
        let collectors = [many.clone(), many].concat();
        let answer = enforcing(&collectors, NOW);
        assert_eq!(answer["unenforced_count"], 10_000);
        assert_eq!(answer["unenforced_pods"].as_array().unwrap().len(), 100);
        let silent = (0..7).map(|n| seen(&format!("lab/n{n}"), 60_000_000_000, &[]));
        let collectors: Vec<_> = silent.chain([seen("lab/alive", 0, &[])]).collect();
        check(
            &collectors,
            false,
            "COLLECTORS ARE SILENT: lab/n0, lab/n1, lab/n2, lab/n3, lab/n4 and 2 more",
        );
    }

    #[test]
    fn denies_that_do_not_work_and_old_policies_are_shouted() {
        check(
            &with(|status| {
                let message = "a packet to a closed port passed".into();
                status.self_test = Some(SelfTest { passed: false, message, time_ns: 1 });
            }),
            false,
            "DENIES WERE SEEN NOT TO WORK ON: lab/n1 (a packet to a closed port passed)",
        );
        check(
            &with(|status| status.behind_ms = Some(12_345)),
            false,
            "OLDER POLICIES THAN THE CLUSTER'S ARE IN FORCE ON: lab/n1 (12 s)",
        );
        // It takes a moment to put a state in force.
        check(
            &with(|status| status.behind_ms = Some(40)),
            true,
            "2 policies are enforced on 3 pods by 1 collectors",
        );
        check(
            &with(|status| status.modes = Modes { audit: true, ..Modes::default() }),
            true,
            "2 policies are enforced on 3 pods by 1 collectors; audit only, denies pass on: lab/n1",
        );
    }
}
