//! Policy names stay right while policies change ten times a second under traffic.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use weir_lab::LabSpec;

use crate::cluster::{Cluster, address};

const PORT: u16 = 9000;
const CHANGES: usize = 60;
const CHANGE_EVERY: Duration = Duration::from_millis(100);

/// Even turns allow the client, odd ones do not; each turn's policy has a name of its own.
fn policy(turn: usize) -> String {
    let ingress = if turn.is_multiple_of(2) {
        "[{from: [{podSelector: {matchLabels: {app: client}}}]}]"
    } else {
        "[]"
    };
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata: {{namespace: default, name: turn-{turn:03}}}\n\
         spec: {{podSelector: {{matchLabels: {{app: server}}}}, ingress: {ingress}}}\n"
    )
}

#[test]
fn names_are_those_of_the_policy_in_force_at_the_packet() {
    let directory = tempfile::tempdir().unwrap();
    let spec = LabSpec::default()
        .node("node-1", &["192.168.91.1".parse().unwrap()])
        .pod("node-1", "default/client", &["10.91.1.1".parse().unwrap()])
        .pod("node-1", "default/server", &["10.91.1.2".parse().unwrap()]);
    let mut cluster = Cluster::start(directory.path(), &spec);
    cluster.write_manifest("policy.yaml", &policy(0));
    cluster.wait_until_policies(1);

    let to = SocketAddr::new(address(&spec, "default/server"), PORT);
    let over = AtomicBool::new(false);
    let server = cluster.pod("default/server").clone();
    let client = cluster.pod("default/client").clone();
    std::thread::scope(|scope| {
        let listener = server.enter(|| TcpListener::bind(to).unwrap()).unwrap();
        listener.set_nonblocking(true).unwrap();
        scope.spawn({
            let over = &over;
            move || {
                while !over.load(Ordering::Relaxed) {
                    if listener.accept().is_err() {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                }
            }
        });
        for _ in 0..4 {
            scope.spawn(|| {
                client
                    .enter(|| {
                        while !over.load(Ordering::Relaxed) {
                            let _ = TcpStream::connect_timeout(&to, Duration::from_millis(30));
                        }
                    })
                    .unwrap();
            });
        }
        for turn in 1..=CHANGES {
            std::thread::sleep(CHANGE_EVERY);
            cluster.write_manifest("policy.yaml", &policy(turn));
        }
        std::thread::sleep(CHANGE_EVERY);
        over.store(true, Ordering::Relaxed);
    });
    cluster.stop_collectors();

    let rows = cluster.query.sql(
        "select policy_revision, verdict, policy, reason, sum(count) as n from flows \
         where direction = 'ingress' and destination_pod = 'server' and policy <> '' \
         group by policy_revision, verdict, policy, reason order by policy_revision",
    );
    let mut turns: BTreeMap<u64, usize> = BTreeMap::new();
    let mut denied = 0;
    for row in &rows {
        let name = row["policy"].as_str().unwrap();
        let turn: usize = name.strip_prefix("default/turn-").unwrap().parse().unwrap();
        let allows = turn.is_multiple_of(2);
        assert_eq!(row["verdict"], if allows { "allow" } else { "deny" }, "{row}");
        assert_eq!(row["reason"], if allows { "policy" } else { "default_deny" }, "{row}");
        let revision = row["policy_revision"].as_u64().unwrap();
        let known = turns.insert(revision, turn);
        assert!(known.is_none_or(|known| known == turn), "two policies in revision {revision}");
        denied += usize::from(!allows);
    }
    // Revisions and the policies they stand for are in the same order.
    assert!(turns.values().is_sorted(), "{turns:?}");
    // Most changes were met by traffic, or nothing was tested.
    assert!(turns.len() > CHANGES / 3 && denied > CHANGES / 10, "{turns:?}");
}
