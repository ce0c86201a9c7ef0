//! A collector that is killed again and again under load: enforcement goes on, no connection breaks,
//! and the rows add up to what was attempted.

use std::io::{ErrorKind, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use weir_lab::net::link::Offloads;
use weir_lab::traffic::bulk;
use weir_lab::{LabSpec, Place};

use crate::cluster::{Cluster, address};
use crate::counters::{counted, reported};
use crate::random::Random;
use crate::restart::private_bpf_file_system;

const PORT: u16 = 9000;
/// And once more at the end.
const KILLS: usize = 19;
/// Time between two kills: from the middle of a start to a while of work.
const LIFE_MS: std::ops::Range<u64> = 150..2_500;
const CONNECT_EVERY: Duration = Duration::from_millis(4);
/// Shorter than the second after which a SYN is repeated.
const DENIED_PATIENCE: Duration = Duration::from_millis(120);
const BULK_BLOCK: usize = 32 << 10;
const BULK_PAUSE: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(20);

const CLOSED: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
    metadata: {namespace: default, name: closed}\n\
    spec: {podSelector: {matchLabels: {app: closed}}}\n";

fn spec() -> LabSpec {
    let mut spec = LabSpec::default().node("node-1", &["192.168.93.1".parse().unwrap()]);
    for (index, pod) in
        ["client", "server", "caller", "closed", "sender", "sink"].iter().enumerate()
    {
        let address = format!("10.93.1.{}", index + 1).parse().unwrap();
        spec = spec.pod("node-1", &format!("default/{pod}"), &[address]);
    }
    spec
}

/// What was tried, and when to end.
#[derive(Default)]
struct Load {
    over: AtomicBool,
    connections: AtomicU64,
    denied: AtomicU64,
}

impl Load {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// Takes connections in and drops them.
    fn serve(&self, listener: &TcpListener) {
        while self.goes_on() {
            if listener.accept().is_err() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Allowed connections at a steady rate; each has to succeed.
    fn connect(&self, to: SocketAddr) {
        while self.goes_on() {
            self.connections.fetch_add(1, Ordering::Relaxed);
            TcpStream::connect_timeout(&to, PATIENCE).expect("an allowed connection");
            std::thread::sleep(CONNECT_EVERY);
        }
    }

    /// Denied connections; each has to fail.
    fn attempt(&self, to: SocketAddr) {
        while self.goes_on() {
            self.denied.fetch_add(1, Ordering::Relaxed);
            let attempt = TcpStream::connect_timeout(&to, DENIED_PATIENCE);
            assert!(attempt.is_err(), "a denied connection was made");
        }
    }

    /// One connection that lasts for the whole test.
    fn send(&self, to: SocketAddr) {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let block = vec![b'w'; BULK_BLOCK];
        let mut sent = 0u64;
        while self.goes_on() {
            stream.write_all(&block).expect("a long-lived connection goes on");
            sent += BULK_BLOCK as u64;
            std::thread::sleep(BULK_PAUSE);
        }
        stream.shutdown(Shutdown::Write).unwrap();
        let mut arrived = [0; 8];
        std::io::Read::read_exact(&mut stream, &mut arrived).unwrap();
        assert_eq!(u64::from_be_bytes(arrived), sent);
        let _ = std::io::Read::read(&mut stream, &mut [0; 1]);
    }
}

fn listen(place: &Place, at: SocketAddr) -> TcpListener {
    let listener = place.enter(|| TcpListener::bind(at).unwrap()).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

#[test]
fn a_collector_killed_twenty_times_under_load_loses_and_repeats_nothing() {
    // In a thread of its own, which alone sees what is pinned.
    std::thread::spawn(twenty_times).join().unwrap();
}

fn twenty_times() {
    private_bpf_file_system();
    let directory = tempfile::tempdir().unwrap();
    let spec = spec();
    let mut cluster = Cluster::start_pinned(directory.path(), &spec);
    cluster.write_manifest("closed.yaml", CLOSED);
    cluster.wait_until_policies(1);
    let at = |pod: &str| SocketAddr::new(address(&spec, &format!("default/{pod}")), PORT);
    let place = |pod: &str| cluster.pod(&format!("default/{pod}")).clone();
    let (client, caller, sender) = (place("client"), place("caller"), place("sender"));
    sender.set_offloads("eth0", Offloads::NONE).unwrap();
    place("sink").set_offloads("eth0", Offloads::NONE).unwrap();
    let server = listen(&place("server"), at("server"));
    let closed = listen(&place("closed"), at("closed"));
    let sink = bulk::sink(&place("sink"), at("sink")).unwrap();
    let before = counted(&sender, "eth0");
    let syns_before = counted(&caller, "eth0").sent_packets;

    let load = Load::default();
    let mut random = Random::new();
    std::thread::scope(|scope| {
        let load = &load;
        let _ends = Ends(&load.over);
        scope.spawn(|| load.serve(&server));
        scope.spawn(|| client.enter(|| load.connect(at("server"))).unwrap());
        for _ in 0..4 {
            scope.spawn(|| caller.enter(|| load.attempt(at("closed"))).unwrap());
        }
        for _ in 0..2 {
            scope.spawn(|| sender.enter(|| load.send(at("sink"))).unwrap());
        }
        for _ in 0..KILLS {
            random.wait(LIFE_MS);
            cluster.kill_collectors();
            cluster.start_collector("node-1");
        }
        cluster.kill_collectors();
        cluster.restart_collector("node-1");
        // The last one works for a while.
        std::thread::sleep(Duration::from_secs(1));
    });
    drop(sink);
    assert_eq!(closed.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    let after = counted(&sender, "eth0");
    let syns = counted(&caller, "eth0").sent_packets - syns_before;
    cluster.stop_collectors();

    let count = |condition: &str| {
        cluster.query.number(&format!("select sum(count) as n from flows where {condition}"))
    };
    let connections = load.connections.into_inner();
    assert!(connections > 1_000, "{connections}");
    for side in [
        "verdict = 'allow' and direction = 'ingress' and destination_pod = 'server'",
        "verdict = 'allow' and direction = 'egress' and source_pod = 'client'",
    ] {
        assert_eq!(count(side), connections, "{side}");
    }
    let attempts = load.denied.into_inner();
    println!("{connections} connections, {attempts} denied attempts, {syns} SYNs of them");
    assert!(syns > 200, "{syns}");
    let denied = "verdict = 'deny' and direction = 'ingress' and destination_pod = 'closed' and \
                  policy = 'default/closed'";
    assert_eq!(count(denied), syns);
    assert_eq!(count("verdict = 'deny'"), syns);
    // By packets: a SYN from a port that was used a moment ago is a repetition to the tables.
    let packets = "select sum(packets) as n from flows where verdict = 'allow' and \
                   direction = 'egress' and source_pod = 'caller'";
    assert_eq!(cluster.query.number(packets), syns);
    let bulk = "direction = 'egress' and source_pod = 'sender'";
    assert_eq!(count(bulk), 2);
    assert_eq!(reported(&cluster, bulk), after.since(&before));
    for collector in cluster.collectors() {
        assert_eq!(collector["lost"], serde_json::json!([]), "{collector}");
    }
}

/// Ends the load, also when the test fails on the way.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
