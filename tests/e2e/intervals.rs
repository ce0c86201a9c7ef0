//! How often connections are reported is switched while they live: sums stay what the interfaces
//! counted, and a short connection is one row.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use weir_lab::{LabSpec, Place};

use crate::cluster::{Cluster, address};
use crate::counters::{counted, reported};
use crate::weir::{run, wait_for};

const PORT: u16 = 9000;
const DENIED_PORT: u16 = 9001;
const DATAGRAMS: u64 = 10;
const POLICY: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
     metadata: {name: door, namespace: shop}\n\
     spec: {podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{port: 9000}]}]}\n";
const NAMESPACE: &str = "apiVersion: v1\nkind: Namespace\n\
     metadata: {name: shop, annotations: {weir.io/interval: 30s}}\n";

fn spec() -> LabSpec {
    LabSpec::default()
        .node("node-1", &["192.168.97.1".parse().unwrap()])
        .node("node-2", &["192.168.97.2".parse().unwrap()])
        .pod("node-1", "default/client", &["10.97.1.1".parse().unwrap()])
        .pod("node-2", "shop/server", &["10.97.2.1".parse().unwrap()])
}

/// Answers each connection's bytes with the same, until there is one from itself.
fn echo(listener: &TcpListener, over: &AtomicBool) {
    std::thread::scope(|scope| {
        while let Ok((mut stream, _)) = listener.accept() {
            if over.load(Ordering::Relaxed) {
                return;
            }
            scope.spawn(move || {
                let mut bytes = [0; 4_096];
                while let Ok(read @ 1..) = stream.read(&mut bytes) {
                    stream.write_all(&bytes[..read]).unwrap();
                }
            });
        }
    });
}

fn exchange(stream: &mut TcpStream) {
    let mut bytes = [7; 700];
    stream.write_all(&bytes).unwrap();
    stream.read_exact(&mut bytes).unwrap();
}

/// Short connections one after another; the ports they come from.
fn connect(client: &Place, to: SocketAddr, connections: usize) -> Vec<u16> {
    let short = |_| {
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(20)).unwrap();
        exchange(&mut stream);
        stream.local_addr().unwrap().port()
    };
    client.enter(|| (0..connections).map(short).collect()).unwrap()
}

/// Waits until every collector reports the server's namespace so often, and says why.
fn wait_until_interval(cluster: &Cluster, interval_ms: u64, source: &str) {
    wait_for("the interval to be in force", || {
        let is_so = |status: &Value| {
            let intervals = status["intervals"].as_array()?;
            let of_shop = intervals.iter().find(|interval| interval["namespace"] == "shop")?;
            let is_so = of_shop["interval_ms"] == interval_ms && of_shop["source"] == source;
            is_so.then_some(())
        };
        cluster.collectors().iter().all(|status| is_so(status).is_some()).then_some(())
    });
}

/// What `weir interval preview` says: rows there are, and those of each interval.
fn preview(cluster: &Cluster, namespace: &str) -> (u64, Vec<u64>) {
    let url = format!("http://{}", cluster.query.door("http"));
    let output = run(&[
        "interval",
        "preview",
        "--url",
        &url,
        "--namespace",
        namespace,
        "--since",
        "10m",
        "--output",
        "json",
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = |value: &Value| value["rows"].as_u64().unwrap();
    (rows(&report), report["intervals"].as_array().unwrap().iter().map(rows).collect())
}

#[test]
fn an_interval_is_switched_live_and_nothing_is_lost_or_told_twice() {
    let directory = tempfile::tempdir().unwrap();
    let spec = spec();
    let mut cluster = Cluster::start(directory.path(), &spec);
    cluster.write_manifest("namespace.yaml", NAMESPACE);
    cluster.write_manifest("policy.yaml", POLICY);
    cluster.wait_until_policies(1);
    wait_until_interval(&cluster, 30_000, "annotation");
    let (client, server) = (cluster.pod("default/client"), cluster.pod("shop/server"));
    let to = SocketAddr::new(address(&spec, "shop/server"), PORT);
    let listener = server.enter(|| TcpListener::bind(to).unwrap()).unwrap();
    let before = counted(client, "eth0");

    let manifests = directory.path().join("manifests");
    let interval = |arguments: &[&str]| {
        let mut all = vec!["interval"];
        all.extend(arguments);
        all.extend(["--manifests", manifests.to_str().unwrap()]);
        let output = run(&all);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let over = AtomicBool::new(false);
    let long_over = AtomicBool::new(false);
    let ports = std::thread::scope(|scope| {
        scope.spawn(|| echo(&listener, &over));
        let mut long = client
            .enter(|| TcpStream::connect_timeout(&to, Duration::from_secs(20)).unwrap())
            .unwrap();
        let long = scope.spawn({
            let long_over = &long_over;
            move || {
                while !long_over.load(Ordering::Relaxed) {
                    exchange(&mut long);
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        });
        let mut ports = connect(client, to, 20);
        client
            .enter(|| {
                let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                for _ in 0..DATAGRAMS {
                    socket.send_to(&[1; 100], SocketAddr::new(to.ip(), DENIED_PORT)).unwrap();
                }
            })
            .unwrap();
        // The client's side has the collector's own interval, the server's waits; its deny does not.
        let egress = "select sum(count) as n from flows where direction = 'egress'";
        wait_for("the client's side", || (cluster.query.number(egress) == 22).then_some(()));
        let deny = "select sum(count) as n from flows where verdict = 'deny'";
        wait_for("the first deny", || (cluster.query.number(deny) > 0).then_some(()));
        let opens = "select count(*) as n from flows where direction = 'ingress' \
                     and verdict = 'allow' and state = 'open'";
        assert_eq!(cluster.query.number(opens), 0);

        let said = interval(&["set", "--namespace", "shop", "5s", "--for", "20s"]);
        assert!(said.starts_with("shop: 5s until 20"), "{said}");
        let shown = interval(&["show"]);
        assert!(shown.contains("shop: 5s until 20") && shown.contains("(override)"), "{shown}");
        wait_until_interval(&cluster, 5_000, "override");
        ports.extend(connect(client, to, 5));
        // What was held back comes now, and what begins now comes at once.
        let ingress = "select sum(count) as n from flows where direction = 'ingress' \
                       and verdict = 'allow'";
        wait_for("the server's side", || (cluster.query.number(ingress) == 26).then_some(()));
        assert_eq!(cluster.query.number(opens), 5);

        wait_until_interval(&cluster, 30_000, "annotation");
        ports.extend(connect(client, to, 5));
        long_over.store(true, Ordering::Relaxed);
        long.join().unwrap();
        over.store(true, Ordering::Relaxed);
        // Closes without a word; it is not of the client's.
        server.enter(|| TcpStream::connect(to).unwrap()).unwrap();
        ports
    });
    let after = wait_for("the connections to be over", || {
        let first = counted(client, "eth0");
        std::thread::sleep(Duration::from_secs(1));
        (first == counted(client, "eth0")).then_some(first)
    });
    cluster.stop_collectors();

    let expected = after.since(&before);
    assert_eq!(reported(&cluster, "direction = 'egress'"), expected);
    let number = |what: &str| cluster.query.number(&format!("select {what}"));
    let arrived = reported(&cluster, "direction = 'ingress' and verdict = 'allow'");
    assert_eq!(arrived.sent_packets, expected.sent_packets - DATAGRAMS);
    for (side, connections) in
        [("direction = 'egress'", 32), ("direction = 'ingress' and verdict = 'allow'", 31)]
    {
        assert_eq!(number(&format!("sum(count) as n from flows where {side}")), connections);
    }
    // The first attempt at once, the others folded.
    let denies = "select state, count from flows where verdict = 'deny' order by time, state desc";
    let denies: Vec<(String, u64)> = cluster
        .query
        .sql(denies)
        .iter()
        .map(|row| (row["state"].as_str().unwrap().to_owned(), row["count"].as_u64().unwrap()))
        .collect();
    let folded: u64 = denies[1..].iter().map(|(_, count)| count).sum();
    assert_eq!(
        (denies[0].1, folded, denies[0].0.as_str()),
        (1, DATAGRAMS - 1, "open"),
        "{denies:?}"
    );
    // Short connections of long intervals are one row each; those in between, two.
    for (phase, rows) in [(0..20, 20), (20..25, 10), (25..30, 5)] {
        let ports: Vec<String> = ports[phase.clone()].iter().map(u16::to_string).collect();
        let of_phase = format!(
            "count(*) as n from flows where direction = 'ingress' and source_port in ({})",
            ports.join(", ")
        );
        assert_eq!(number(&of_phase), rows, "{phase:?}");
    }
    let (rows, would_be) = preview(&cluster, "default");
    assert_eq!(rows, number("count(*) as n from flows where direction = 'egress'"));
    assert!(would_be[0] < rows && would_be[1] < would_be[0], "{rows}, {would_be:?}");
    // A row for each of 31 TCP connections and the datagrams.
    assert_eq!(would_be[5], 32, "{would_be:?}");
    let (_, would_be) = preview(&cluster, "shop");
    assert_eq!(would_be[5], 31 + denies.len() as u64, "{would_be:?}");
}
