//! `GET /api/v1/status`: how the parts are, and loudly whether policies are enforced.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use weir_flow::wire::{CollectorSeen, RelayStatus};

use super::App;

/// A collector that was silent for longer does not count as alive; it speaks every few seconds.
const ALIVE_NS: u64 = 30_000_000_000;

pub(super) async fn status(State(app): State<Arc<App>>) -> Json<Value> {
    let relay = app.engine.snapshots().hot.relay();
    let answer = relay.status().await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos());
    let now = u64::try_from(now).unwrap_or(u64::MAX);
    let enforcing = match &answer {
        Ok(status) => enforcing(status, now),
        Err(error) => json!({
            "ok": false,
            "summary": format!("UNKNOWN WHETHER POLICIES ARE ENFORCED: {error}"),
        }),
    };
    let relay = match answer {
        Ok(status) => json!({"address": relay.address(), "reachable": true, "status": status}),
        Err(error) => json!({
            "address": relay.address(),
            "reachable": false,
            "error": error.to_string(),
        }),
    };
    let limits = app.engine.limits();
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": app.started.elapsed().as_secs(),
        "enforcing": enforcing,
        "relay": relay,
        "queries": {"running": app.engine.running()},
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
fn enforcing(status: &RelayStatus, now_ns: u64) -> Value {
    let alive = |seen: &&CollectorSeen| now_ns.saturating_sub(seen.last_seen_ns) <= ALIVE_NS;
    let silent: Vec<&str> = status
        .collectors
        .iter()
        .filter(|seen| !alive(seen))
        .map(|seen| seen.collector.as_str())
        .collect();
    let statuses =
        || status.collectors.iter().filter(alive).filter_map(|seen| seen.status.as_ref());
    // What a silent collector said last still tells whether there is anything to enforce.
    let policies = status
        .collectors
        .iter()
        .filter_map(|seen| seen.status.as_ref())
        .map(|status| status.policies)
        .max()
        .unwrap_or(0);
    let enforced: u64 = statuses().map(|status| status.enforced_pods).sum();
    let unenforced: Vec<&String> = statuses().flat_map(|status| &status.unenforced_pods).collect();
    let problems: Vec<&String> = statuses().flat_map(|status| &status.problems).collect();
    let collectors = status.collectors.len();
    let living = collectors - silent.len();

    let mut wrong = Vec::new();
    if collectors == 0 {
        wrong.push("NO COLLECTOR HAS EVER REPORTED: no policy is known to be enforced".to_owned());
    } else if living == 0 {
        wrong.push("NO COLLECTOR IS ALIVE: changed policies are not enforced".to_owned());
    } else if !silent.is_empty() {
        wrong.push(format!("COLLECTORS ARE SILENT: {}", silent.join(", ")));
    }
    if policies > 0 && !unenforced.is_empty() {
        wrong.push(format!("{} PODS ARE NOT ENFORCED", unenforced.len()));
    }
    let summary = if wrong.is_empty() {
        format!("{policies} policies are enforced on {enforced} pods by {living} collectors")
    } else {
        wrong.join("; ")
    };
    json!({
        "ok": wrong.is_empty(),
        "summary": summary,
        "policies": policies,
        "enforced_pods": enforced,
        "unenforced_pods": unenforced,
        "collectors": collectors,
        "collectors_alive": living,
        "collectors_silent": silent,
        "problems": problems,
    })
}

#[cfg(test)]
mod tests {
    use weir_flow::wire::CollectorStatus;

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

    fn check(collectors: Vec<CollectorSeen>, ok: bool, summary: &str) {
        let status = RelayStatus { collectors, ..RelayStatus::default() };
        let enforcing = enforcing(&status, NOW);
        assert_eq!(enforcing["ok"], ok, "{enforcing}");
        assert_eq!(enforcing["summary"], summary);
    }

    #[test]
    fn it_shouts_when_policies_are_not_enforced() {
        check(
            vec![seen("a", 0, &[]), seen("b", 1_000, &[])],
            true,
            "2 policies are enforced on 6 pods by 2 collectors",
        );
        check(vec![], false, "NO COLLECTOR HAS EVER REPORTED: no policy is known to be enforced");
        check(
            vec![seen("a", 60_000_000_000, &[])],
            false,
            "NO COLLECTOR IS ALIVE: changed policies are not enforced",
        );
        check(
            vec![seen("a", 0, &["x/y: no veth"]), seen("b", 60_000_000_000, &[])],
            false,
            "COLLECTORS ARE SILENT: b; 1 PODS ARE NOT ENFORCED",
        );
    }
}
