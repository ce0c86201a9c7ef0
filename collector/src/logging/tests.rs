use weir_flow::schema::{FlowBuilder, LabelMap, TimestampNs};
use weir_flow::values::PolicyRule;
use weir_policy::manifest::{Object, parse};

use super::*;

/// A row of an allowed connection from a pod to a pod.
fn row() -> Flow {
    Flow {
        time: TimestampNs(1_795_168_800_123_456_789),
        end_time: TimestampNs(1_795_168_800_123_456_789),
        cluster: "lab".into(),
        node: "node-a".into(),
        direction: "ingress".into(),
        verdict: "allow".into(),
        reason: "policy".into(),
        policies: vec![
            rule("NetworkPolicy", "shop", "clients", Some(0)),
            rule("NetworkPolicy", "shop", "clients", Some(1)),
            rule("NetworkPolicy", "shop", "other", Some(0)),
            rule("AdminNetworkPolicy", "", "all", Some(2)),
        ],
        policy: "all,shop/clients,shop/other".into(),
        policy_revision: 7,
        protocol: "TCP".into(),
        source_ip: "10.8.0.7".into(),
        source_port: Some(41_952),
        destination_ip: "10.8.1.9".into(),
        destination_port: Some(6_379),
        tcp_flags: Some(2),
        icmp_type: None,
        icmp_code: None,
        source_kind: "pod".into(),
        source_namespace: Some("default".into()),
        source_pod: Some("rogue".into()),
        source_workload_kind: Some("Pod".into()),
        source_workload: Some("rogue".into()),
        source_labels: LabelMap::new(),
        source_node: Some("node-b".into()),
        source_names: Vec::new(),
        destination_kind: "pod".into(),
        destination_namespace: Some("shop".into()),
        destination_pod: Some("redis-0".into()),
        destination_workload_kind: Some("StatefulSet".into()),
        destination_workload: Some("redis".into()),
        destination_labels: LabelMap::new(),
        destination_node: Some("node-a".into()),
        destination_names: Vec::new(),
        destination_service: None,
        count: 1,
        packets: 1,
        bytes: 74,
        reply_packets: 0,
        reply_bytes: 0,
        duration_ns: None,
        rtt_ns: None,
        state: "open".into(),
    }
}

fn rule(kind: &str, namespace: &str, name: &str, rule: Option<u32>) -> PolicyRule {
    PolicyRule { kind: kind.into(), namespace: namespace.into(), name: name.into(), rule }
}

fn denied(count: u64) -> Flow {
    let policies = vec![rule("NetworkPolicy", "shop", "clients", None)];
    let (verdict, reason) = ("deny".into(), "default_deny".into());
    Flow { verdict, reason, policies, count, ..row() }
}

/// A cluster with this object, a policy and a namespace with annotations and one without.
fn cluster(spec: &str) -> Cluster {
    let text = format!(
        "apiVersion: networking.gke.io/v1alpha1\nkind: NetworkLogging\n\
         metadata: {{name: default}}\nspec: {{cluster: {spec}}}\n---\n\
         apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: clients\n  \
         namespace: shop\n  annotations: {{policy.network.gke.io/enable-logging: 'true'}}\n\
         spec: {{podSelector: {{}}}}\n---\n\
         apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n  \
         annotations: {{policy.network.gke.io/enable-deny-logging: 'true'}}\n"
    );
    let mut cluster = Cluster::default();
    for object in parse(&text) {
        match object.unwrap() {
            Object::NetworkLogging(logging) => cluster.logging = Some(logging),
            Object::NetworkPolicy(policy) => cluster.policies.push(policy),
            Object::Namespace(namespace) => cluster.namespaces.push(namespace),
            other => panic!("{other:?}"),
        }
    }
    cluster
}

const ALL: &str = "{allow: {log: true}, deny: {log: true}}";
const DELEGATED: &str = "{allow: {log: true, delegate: true}, deny: {log: true, delegate: true}}";

fn selections(spec: &str) -> Selections {
    Selections::default().with(5, &cluster(spec))
}

/// The lines for rows, by way of a batch as in the collector.
fn log(selections: &Selections, rows: &[Flow]) -> Vec<String> {
    let mut builder = FlowBuilder::default();
    rows.iter().for_each(|row| builder.append(row));
    let batch = builder.finish();
    let Some(candidates) = selections.candidates(&batch) else { return Vec::new() };
    records(&Work { batch, candidates, selections: Arc::new(selections.clone()) }).unwrap()
}

#[test]
fn records_have_the_documented_shape() {
    let world = Flow {
        source_ip: "203.0.113.9".into(),
        source_pod: None,
        source_namespace: None,
        source_workload_kind: None,
        source_workload: None,
        source_kind: "world".into(),
        protocol: "ICMP".into(),
        source_port: None,
        destination_port: None,
        ..denied(1)
    };
    let explicit = Flow {
        reason: "explicit_deny".into(),
        direction: "egress".into(),
        protocol: "SCTP".into(),
        time: TimestampNs(1_795_168_800_000_000_000),
        ..denied(9)
    };
    let lines = log(&selections(ALL), &[row(), denied(3), world, explicit]).concat();
    let src = r#""src":{"pod_name":"rogue","pod_namespace":"default","namespace":"default"}"#;
    let dest = r#""dest":{"pod_name":"redis-0","pod_namespace":"shop","namespace":"shop","workload_kind":"StatefulSet","workload_name":"redis"}"#;
    let end = r#""node_name":"node-a","timestamp":"2026-11-20T10:00:00.123456789Z"}"#;
    let connection =
        r#""src_ip":"10.8.0.7","dest_ip":"10.8.1.9","src_port":41952,"dest_port":6379"#;
    let expected = [
        format!(
            r#"{{"connection":{{{connection},"protocol":"tcp","direction":"ingress"}},"disposition":"allow","policies":[{{"kind":"NetworkPolicy","name":"clients","namespace":"shop"}},{{"kind":"NetworkPolicy","name":"other","namespace":"shop"}},{{"kind":"AdminNetworkPolicy","name":"all"}}],{src},{dest},"count":1,{end}"#
        ),
        format!(
            r#"{{"connection":{{{connection},"protocol":"tcp","direction":"ingress"}},"disposition":"deny",{src},{dest},"count":3,{end}"#
        ),
        format!(
            r#"{{"connection":{{"src_ip":"203.0.113.9","dest_ip":"10.8.1.9","protocol":"icmp","direction":"ingress"}},"disposition":"deny","src":{{"instance":"203.0.113.9"}},{dest},"count":1,{end}"#
        ),
        format!(
            r#"{{"connection":{{{connection},"protocol":"unknown","direction":"egress"}},"disposition":"deny",{src},{dest},"count":9,"node_name":"node-a","timestamp":"2026-11-20T10:00:00.000000000Z"}}"#
        ),
    ];
    assert_eq!(lines, expected.map(|line| line + "\n").concat());
}

#[test]
fn only_verdicts_of_policies_make_records_and_each_connection_one() {
    let with = |verdict: &str, reason: &str, count| Flow {
        verdict: verdict.into(),
        reason: reason.into(),
        count,
        ..row()
    };
    let none = [
        // A connection that has its record goes on.
        Flow { state: "active".into(), count: 0, ..row() },
        with("allow", "no_policy", 1),
        with("allow", "node_traffic", 1),
        with("allow", "related", 1),
        with("audit", "default_deny", 1),
        with("deny", "spoofed_source", 1),
        with("deny", "invalid_packet", 1),
        with("deny", "not_ready", 1),
    ];
    assert_eq!(log(&selections(ALL), &none), [""; 0]);
    // One whose first packet's verdict did not fit its ring has its record from the table.
    let late = Flow { state: "active".into(), count: 1, packets: 90, ..row() };
    assert_eq!(log(&selections(ALL), &[late]).len(), 1);
}

#[test]
fn what_is_off_is_not_logged() {
    let rows = [row(), denied(1)];
    assert_eq!(log(&Selections::default(), &rows), [""; 0]);
    assert_eq!(log(&Selections::default().with(1, &Cluster::default()), &rows), [""; 0]);
    let disposition = |spec| {
        let lines = log(&selections(spec), &rows);
        lines.iter().map(|line| line.contains(r#""disposition":"deny""#)).collect::<Vec<_>>()
    };
    assert_eq!(disposition("{allow: {log: true}}"), [false]);
    assert_eq!(disposition("{deny: {log: true}}"), [true]);
}

#[test]
fn delegation_asks_the_policies_and_the_namespace_of_the_enforced_pod() {
    let delegated = selections(DELEGATED);
    let lines = log(&delegated, &[row()]);
    assert!(
        lines[0].contains(
            r#""policies":[{"kind":"NetworkPolicy","name":"clients","namespace":"shop"}],"#
        ),
        "{}",
        lines[0]
    );
    let other = vec![
        rule("NetworkPolicy", "shop", "other", Some(0)),
        rule("NetworkPolicy", "elsewhere", "clients", Some(0)),
        rule("AdminNetworkPolicy", "shop", "clients", Some(0)),
    ];
    assert_eq!(log(&delegated, &[Flow { policies: other, ..row() }]), [""; 0]);
    assert_eq!(log(&delegated, &[denied(1)]).len(), 1);
    // Out of `default`, which has no annotation, into `shop`, which has one.
    assert_eq!(log(&delegated, &[Flow { direction: "egress".into(), ..denied(1) }]), [""; 0]);
}

#[test]
fn a_row_is_judged_by_the_state_that_was_in_force() {
    let off = Cluster::default();
    // Revision 7 is before the change at 8.
    let changed = selections(ALL).with(8, &off);
    assert_eq!(log(&changed, &[row()]).len(), 1);
    assert_eq!(log(&changed, &[Flow { policy_revision: 8, ..row() }]), [""; 0]);
    // Without a new revision the newer state counts.
    assert_eq!(log(&selections(ALL).with(5, &off), &[row()]), [""; 0]);
    // It is bounded, and knows the last ones.
    let (mut many, on) = (selections(ALL), cluster(ALL));
    for revision in 6..1_000 {
        many = many.with(revision, if revision % 2 == 0 { &on } else { &off });
    }
    let logged = |revision| log(&many, &[Flow { policy_revision: revision, ..row() }]).len();
    assert_eq!((logged(998), logged(999), logged(2_000)), (1, 0, 0));
}

#[test]
fn the_thread_writes_what_it_is_offered_and_counts_what_it_cannot() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("policy_action.log");
    let health = Arc::new(Health::default());
    let logger = Logger::start(LogFile::new(&path), health.clone()).unwrap();
    let mut builder = FlowBuilder::default();
    builder.append(&denied(4));
    let batch = builder.finish();
    logger.offer(&batch);
    logger.select(3, &cluster(ALL));
    logger.offer(&batch);
    drop(logger);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 1, "nothing before the object is known: {text}");
    assert_eq!(health.log_records.get(), 1);

    let full = LogFile::new("/dev/full");
    let logger = Logger::start(full, health.clone()).unwrap();
    logger.select(3, &cluster(ALL));
    logger.offer(&batch);
    drop(logger);
    let status = health.status("lab", "n1");
    assert!(status.problems[0].contains("/dev/full"), "{:?}", status.problems);
    assert_eq!((status.lost[0].stage.as_str(), status.lost[0].count), ("log", 1));
}

#[test]
fn a_disk_that_hangs_stops_nobody_and_what_finds_no_room_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let (go, may_read) = std::sync::mpsc::channel::<()>();
    let reader = std::thread::spawn({
        let path = path.clone();
        move || {
            let pipe = std::fs::File::open(path).unwrap();
            may_read.recv().unwrap();
            std::io::read_to_string(pipe).unwrap()
        }
    });
    let health = Arc::new(Health::default());
    let file = LogFile { max_bytes: u64::MAX, ..LogFile::new(&path) };
    let logger = Logger::start(file, health.clone()).unwrap();
    logger.select(3, &cluster(ALL));
    let mut builder = FlowBuilder::default();
    // More than a pipe holds.
    (0..400).for_each(|_| builder.append(&denied(1)));
    let batch = builder.finish();
    for _ in 0..QUEUE_BATCHES + 20 {
        logger.offer(&batch);
    }
    let lost = health.status("lab", "n1").lost;
    assert_eq!((lost[0].stage.as_str(), lost[0].unit.as_str()), ("log_queue", "records"));
    assert!(lost[0].count >= 19 * 400, "{lost:?}");
    go.send(()).unwrap();
    drop(logger);
    let written = reader.join().unwrap().lines().count() as u64;
    assert_eq!(written + lost[0].count, (QUEUE_BATCHES as u64 + 20) * 400);
}
