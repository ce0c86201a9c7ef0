//! The observer API, spoken to by a client that shares nothing with the server: Python's gRPC with messages
//! made of Hubble's names and numbers.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use weir_flow::Flow;
use weir_flow::schema::{LabelMap, TimestampNs};
use weir_flow::wire::{CollectorSeen, CollectorStatus, RelayStatus};

use crate::clock;
use crate::testing::{Stand, batch, flow, loss, losses, python};
use crate::{AccessSettings, GrantSettings, QueryConfig, TokenSettings};

/// Runs a program behind the library; it prints that it passed.
async fn passes(stand: &Stand, program: &str, arguments: &[&str]) {
    let program = format!("{}\n{program}", include_str!("library.py"));
    let all = [&[include_str!("messages.txt"), &stand.grpc, &stand.url], arguments].concat();
    assert_eq!(python(&program, &all).await.trim(), "passed");
}

/// Feeds for ever, a few flows at a time, counting up; stores them now and then.
async fn feed(stand: &Stand, mut number: u64) {
    for round in 1_u64.. {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if round.is_multiple_of(7) {
            stand.relay.flush();
        }
        stand.relay.push(batch((number..number + 3).map(flow)));
        number += 3;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_filter_is_the_same_as_sql() {
    let stand = Stand::new().await;
    stand.relay.push(batch((0..60).map(varied)));
    stand.relay.flush();
    stand.relay.push(batch((60..120).map(varied)));
    passes(&stand, include_str!("filters.py"), &[]).await;
}

/// Flows of every kind.
fn varied(number: u64) -> Flow {
    let mut flow = flow(number);
    let app = ["web", "db", "cache"][usize::try_from(number / 2 % 3).unwrap()];
    flow.source_labels = LabelMap::from([("app".into(), app.into())]);
    if number.is_multiple_of(4) {
        flow.source_labels
            .insert("tier".into(), if number.is_multiple_of(8) { "back" } else { "front" }.into());
    }
    flow.tcp_flags = flow.tcp_flags.map(|_| [2, 18, 6, 4][usize::try_from(number % 4).unwrap()]);
    match number % 10 {
        1 => {
            flow.destination_kind = "world".into();
            flow.destination_ip = "93.184.216.34".into();
            flow.destination_names = vec!["Www.Example.com.".into(), "edge.example.org".into()];
            (flow.destination_namespace, flow.destination_pod) = (None, None);
            (flow.destination_workload, flow.destination_workload_kind) = (None, None);
        }
        2 => {
            flow.source_kind = "node".into();
            flow.source_node = Some("node-0".into());
            (flow.source_namespace, flow.source_pod) = (None, None);
            (flow.source_workload, flow.source_workload_kind) = (None, None);
            flow.source_labels = LabelMap::new();
            flow.node = format!("node-{}", number / 10 % 2);
        }
        3 => {
            flow.source_ip = format!("fd00::{number:x}");
            flow.destination_ip = "fd00::1".into();
        }
        4 => {
            flow.protocol = "UDP".into();
            (flow.tcp_flags, flow.icmp_type, flow.icmp_code) = (None, None, None);
            (flow.source_port, flow.destination_port) = (Some(40_005), Some(53));
            flow.destination_service = Some("kube-system/kube-dns".into());
        }
        5 => (flow.verdict, flow.reason) = ("audit".into(), "default_deny".into()),
        6 => (flow.verdict, flow.reason) = ("deny".into(), "explicit_deny".into()),
        7 => {
            (flow.verdict, flow.reason) = ("allow".into(), "policy".into());
            (flow.count, flow.state) = (0, "active".into());
        }
        8 => (flow.verdict, flow.reason) = ("deny".into(), "spoofed_source".into()),
        9 => (flow.verdict, flow.reason) = ("allow".into(), "no_policy".into()),
        _ => {}
    }
    flow
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_of_hubble_are_answered() {
    let stand = Stand::new().await;
    stand.relay.push(batch((0..15).map(flow)));
    stand.relay.flush();
    stand.relay.push(batch((15..30).map(flow)));
    stand.relay.push_loss(losses([loss(11, "kernel", "deny", 7)]));
    let now_ns = clock::now().0;
    let recent = |number| Flow {
        time: TimestampNs(now_ns + 3_600_000_000_000),
        end_time: TimestampNs(now_ns + 3_600_000_000_000),
        ..flow(number)
    };
    stand.relay.push(batch((100_000..100_003).map(recent)));
    let seen = |node: &str, last_seen_ns: i64| CollectorSeen {
        collector: format!("test/{node}"),
        epoch: 1,
        sequence: 1,
        last_seen_ns: u64::try_from(last_seen_ns).unwrap(),
        status: Some(CollectorStatus {
            cluster: "test".into(),
            node: node.into(),
            version: "1.2.3".into(),
            ..CollectorStatus::default()
        }),
    };
    let collectors = vec![seen("node-0", now_ns + 3_600_000_000_000), seen("node-1", 1)];
    stand.relay.set_status(RelayStatus { collectors, ..RelayStatus::default() });
    let page = include_str!("../../../../docs/HUBBLE.md");
    let command = page.split("```").nth(1).unwrap().trim();
    passes(&stand, include_str!("commands.py"), &[command]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_follows_gets_every_flow_once() {
    let stand = Stand::new().await;
    stand.relay.push(batch((0..40).map(flow)));
    stand.relay.flush();
    stand.relay.push(batch((40..60).map(flow)));
    tokio::select! {
        () = passes(&stand, include_str!("follow.py"), &[]) => {}
        () = feed(&stand, 60) => unreachable!("it feeds for ever"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flows_of_two_relays_come_in_order_of_time() {
    let stand = Stand::with_two_relays().await;
    let other = stand.other.as_ref().unwrap();
    let of = |rest| (0..90).filter(move |number| number % 2 == rest).map(flow);
    stand.relay.push(batch(of(0).take(20)));
    stand.relay.flush();
    stand.relay.push(batch(of(0).skip(20)));
    other.push(batch(of(1)));
    let feeder = async {
        for number in (90_u64..).step_by(2) {
            tokio::time::sleep(Duration::from_millis(50)).await;
            // The later one first: both are there before a follower hands out either.
            other.push(batch([flow(number + 1)]));
            stand.relay.push(batch([flow(number)]));
        }
    };
    tokio::select! {
        () = passes(&stand, include_str!("order.py"), &[]) => {}
        () = feeder => unreachable!("it feeds for ever"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_principal_sees_its_own_flows_only() {
    const ALICE: &str = "alice-has-a-long-secret";
    const ROOT: &str = "root-has-another-secret";
    let token = |name: &str, secret: &str| {
        let digest = Sha256::digest(secret.as_bytes());
        let sha256 = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        TokenSettings { name: name.into(), sha256: Some(sha256), file: None }
    };
    let grant = |principal: &str, namespace: &str, admin| GrantSettings {
        principals: vec![principal.into()],
        groups: vec![],
        namespaces: vec![namespace.into()],
        admin,
    };
    let access = AccessSettings {
        tokens: vec![token("alice", ALICE), token("root", ROOT)],
        grants: vec![grant("alice", "ns-1", false), grant("root", "*", true)],
        ..AccessSettings::default()
    };
    let config = QueryConfig { access: Some(access), ..QueryConfig::default() };
    let stand = Stand::with(config).await;
    stand.relay.push(batch((0..30).map(flow)));
    stand.relay.flush();
    stand.relay.push(batch((30..60).map(flow)));
    let feeder = async {
        // What is counted before somebody follows does not change.
        let followed = || async {
            let url = format!("{}/metrics", stand.url);
            let answer = stand.client.get(url).bearer_auth(ROOT).send().await.unwrap();
            answer.text().await.unwrap().contains("\nweir_query_followers 1")
        };
        while !followed().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        feed(&stand, 60).await;
    };
    tokio::select! {
        () = passes(&stand, include_str!("principals.py"), &[ALICE, ROOT]) => {}
        () = feeder => unreachable!("it feeds for ever"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_requests_are_refused_with_words() {
    let stand = Stand::new().await;
    stand.relay.push(batch((0..30).map(flow)));
    passes(&stand, include_str!("hostile.py"), &[]).await;
}
