//! Packets, bytes and counts in rows are what the interfaces counted, to the packet.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::net::sockopt::set_socket_recv_buffer_size;
use weir_lab::net::link::Offloads;
use weir_lab::{LabSpec, Place};

use crate::cluster::{Cluster, address};
use crate::weir::wait_for;

const SENT_BYTES: usize = 24 << 20;
const ANSWERED_BYTES: usize = 3 << 20;
const PORT: u16 = 9000;
/// Little enough under way that no queue on the way overflows: what is dropped between the nodes
/// is on one interface and not on the next.
const WINDOW_BYTES: usize = 128 << 10;

fn spec() -> LabSpec {
    LabSpec::default()
        .node("node-1", &["192.168.90.1".parse().unwrap()])
        .node("node-2", &["192.168.90.2".parse().unwrap()])
        .pod("node-1", "default/client", &["10.90.1.1".parse().unwrap()])
        .pod("node-2", "default/server", &["10.90.2.1".parse().unwrap()])
}

/// Sends a known amount one way and another one back, and closes.
fn transfer(client: &Place, server: &Place, to: SocketAddr) {
    let listener = server.enter(|| TcpListener::bind(to).unwrap()).unwrap();
    set_socket_recv_buffer_size(&listener, WINDOW_BYTES).unwrap();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        stream.write_all(&vec![7; ANSWERED_BYTES]).unwrap();
        received.len()
    });
    let mut stream =
        client.enter(|| TcpStream::connect_timeout(&to, Duration::from_secs(20)).unwrap()).unwrap();
    set_socket_recv_buffer_size(&stream, WINDOW_BYTES).unwrap();
    stream.write_all(&vec![9; SENT_BYTES]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    drop(stream);
    assert_eq!(serving.join().unwrap(), SENT_BYTES);
    assert_eq!(answer.len(), ANSWERED_BYTES);
}

/// What an interface sent and received.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) sent_packets: u64,
    sent_bytes: u64,
    received_packets: u64,
    received_bytes: u64,
}

impl Counted {
    /// How much more it is than at another moment.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            sent_packets: self.sent_packets - before.sent_packets,
            sent_bytes: self.sent_bytes - before.sent_bytes,
            received_packets: self.received_packets - before.received_packets,
            received_bytes: self.received_bytes - before.received_bytes,
        }
    }
}

pub(crate) fn counted(place: &Place, link: &str) -> Counted {
    let counters = place.link(link).unwrap();
    Counted {
        sent_packets: counters.sent_packets,
        sent_bytes: counters.sent_bytes,
        received_packets: counters.received_packets,
        received_bytes: counters.received_bytes,
    }
}

pub(crate) fn reported(cluster: &Cluster, condition: &str) -> Counted {
    let rows = cluster.query.sql(&format!(
        "select sum(packets) as p, sum(bytes) as b, sum(reply_packets) as rp, \
         sum(reply_bytes) as rb from flows where {condition}"
    ));
    let number = |name: &str| rows[0][name].as_u64().unwrap_or(0);
    Counted {
        sent_packets: number("p"),
        sent_bytes: number("b"),
        received_packets: number("rp"),
        received_bytes: number("rb"),
    }
}

fn check(offloads_at_pods: bool, place: fn(&Cluster) -> (&Place, &'static str)) {
    let directory = tempfile::tempdir().unwrap();
    let spec = spec();
    let mut cluster = Cluster::start(directory.path(), &spec);
    for node in ["node-1", "node-2"] {
        cluster.node(node).set_offloads("uplink0", Offloads::NONE).unwrap();
    }
    if !offloads_at_pods {
        for pod in ["default/client", "default/server"] {
            cluster.pod(pod).set_offloads("eth0", Offloads::NONE).unwrap();
        }
    }
    let to = SocketAddr::new(address(&spec, "default/server"), PORT);
    let (counting, link) = place(&cluster);
    let before = counted(counting, link);
    transfer(cluster.pod("default/client"), cluster.pod("default/server"), to);
    // The last segments may still be under way when both ends have closed.
    let after = wait_for("the connection to be over", || {
        let first = counted(counting, link);
        std::thread::sleep(Duration::from_secs(1));
        (first == counted(counting, link)).then_some(first)
    });
    cluster.stop_collectors();
    let expected = after.since(&before);
    assert!(expected.sent_bytes > SENT_BYTES as u64, "{expected:?}");
    for side in [
        "direction = 'egress' and source_pod = 'client'",
        "direction = 'ingress' and destination_pod = 'server'",
    ] {
        assert_eq!(reported(&cluster, side), expected, "{side}");
        let count = format!("select sum(count) as n from flows where {side}");
        assert_eq!(cluster.query.number(&count), 1, "{side}");
    }
}

#[test]
fn rows_add_up_to_the_pods_interface() {
    check(false, |cluster| (cluster.pod("default/client"), "eth0"));
}

/// The pods hand over segments of up to 64 KiB; the link between the nodes carries real packets.
#[test]
fn segmented_packets_count_as_on_the_wire() {
    check(true, |cluster| (cluster.node("node-1"), "uplink0"));
}

#[test]
fn every_denied_syn_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let spec = spec();
    let mut cluster = Cluster::start(directory.path(), &spec);
    cluster.write_manifest(
        "deny.yaml",
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata: {namespace: default, name: closed}\nspec: {podSelector: {matchLabels: {app: server}}}\n",
    );
    cluster.wait_until_policies(1);
    let to = SocketAddr::new(address(&spec, "default/server"), PORT);
    let client = cluster.pod("default/client");
    let before = counted(client, "eth0").sent_packets;
    // Each attempt sends a SYN, and a second one when it was not answered for a second.
    client
        .enter(|| {
            std::thread::scope(|scope| {
                for _ in 0..40 {
                    scope.spawn(|| {
                        let attempt = TcpStream::connect_timeout(&to, Duration::from_millis(1500));
                        assert!(attempt.is_err());
                    });
                }
            });
        })
        .unwrap();
    let sent = counted(client, "eth0").sent_packets - before;
    assert!(sent >= 40, "{sent}");
    cluster.stop_collectors();
    let denied = cluster.query.number(
        "select sum(count) as n from flows where verdict = 'deny' and policy = 'default/closed' \
         and destination_pod = 'server' and direction = 'ingress'",
    );
    assert_eq!(denied, sent);
}
