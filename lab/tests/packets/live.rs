//! Connections that live while others try to end them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use weir_abi::{PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP};

use crate::frame::{ACK, FIN, RST, SYN, V4, icmp, tcp, udp};
use crate::shot::{Shot, checked};
use crate::stage::{A, B, From, OPEN, OUTSIDE, SHUT, Stage};

const ITEM: u8 = 200;
/// How long a live connection may take for a message: TCP's repetitions after lost ones included.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection that pod `b` made to the host outside: its replies come in only as replies.
struct Live {
    pod: TcpStream,
    outside: TcpStream,
}

impl Live {
    fn new(stage: &Stage) -> Self {
        let outside = stage.lab.host("internet").unwrap();
        let listener = outside.enter(|| TcpListener::bind((OUTSIDE.0, 0)).unwrap()).unwrap();
        let to: SocketAddr = listener.local_addr().unwrap();
        let pod = stage.lab.pod("x/b").unwrap();
        let pod = pod.enter(|| TcpStream::connect_timeout(&to, PATIENCE).unwrap()).unwrap();
        let (outside, _) = listener.accept().unwrap();
        for stream in [&pod, &outside] {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.set_nodelay(true).unwrap();
        }
        let mut live = Self { pod, outside };
        live.speak();
        live
    }

    /// A word from the host to the pod, and back.
    fn speak(&mut self) {
        let mut word = [0; 4];
        self.outside.write_all(b"word").unwrap();
        self.pod.read_exact(&mut word).unwrap();
        self.pod.write_all(&word).unwrap();
        self.outside.read_exact(&mut word).unwrap();
        assert_eq!(&word, b"word");
    }
}

/// How many marked frames have come, to the shut and to the open port.
fn marked(stage: &Stage) -> [u64; 2] {
    let mut counts = [0; 2];
    stage.arrivals(|frame| {
        if let Some((ITEM, open)) = Shot::of_mark(frame) {
            counts[usize::from(open)] += 1;
        }
    });
    counts
}

#[test]
fn floods_of_syn_and_rst_leave_live_connections_alone() {
    const EACH: u16 = 10_000;
    let mut stage = Stage::new(65_536);
    let mut live = Live::new(&stage);
    for flags in [SYN, RST, RST | ACK, ACK] {
        for number in 0..EACH {
            for port in [SHUT, OPEN] {
                let shot = Shot { source: OUTSIDE, port, number, item: ITEM };
                stage.send(From::Outside, &[], &shot.v4(PROTOCOL_TCP, &shot.tcp(flags, 8)));
            }
        }
        let [leaked, came] = marked(&stage);
        assert_eq!(leaked, 0, "flags {flags:#x}");
        if flags == SYN {
            assert_eq!(came, u64::from(EACH));
        }
        live.speak();
    }
    let stats = stage.scan();
    assert!(stats.denied >= 4 * u64::from(EACH), "{stats:?}");
    assert_eq!(stats.evicted, 0);
}

#[test]
fn a_live_connection_survives_that_others_fill_the_table() {
    let mut stage = Stage::new(4_096);
    let mut live = Live::new(&stage);
    // Allowed ones, each new, many times what the table holds.
    for number in 0..40_000 {
        let shot = Shot { source: A, port: OPEN, number, item: ITEM };
        let packet = shot.v4(PROTOCOL_UDP, &shot.udp(8));
        stage.send(From::Pod, &[], &packet);
    }
    let [leaked, came] = marked(&stage);
    assert_eq!((leaked, came), (0, 40_000));
    let stats = stage.scan();
    assert!(stats.evicted > 30_000, "{stats:?}");
    // The host speaks first, to a pod that lets nothing in.
    live.speak();
    // But nothing begins that way.
    for number in 0..100 {
        let shot = Shot { source: OUTSIDE, port: SHUT, number, item: ITEM };
        stage.send(From::Outside, &[], &shot.v4(PROTOCOL_TCP, &shot.tcp(SYN, 8)));
    }
    assert_eq!(marked(&stage), [0, 0]);
    live.speak();
}

#[test]
fn a_live_udp_flow_keeps_its_entry_while_others_fill_the_table() {
    /// New flows between two answers, each with an entry at either pod: an eighth of the table.
    const BETWEEN: u16 = 256;
    let mut stage = Stage::new(4_096);
    let (own, theirs) = (30_000, 53);
    let question = |id| {
        let mut packet = V4::new(B.0, OUTSIDE.0, PROTOCOL_UDP);
        packet.id = id;
        checked(packet.with(&udp(own, theirs, b"weir")))
    };
    let shot = Shot { source: OUTSIDE, port: SHUT, number: 0, item: ITEM };
    let answer = shot.v4(PROTOCOL_UDP, &udp(theirs, own, &shot.mark()));
    stage.send(From::Receiver, &[], &question(1));
    let mut number = 0;
    for round in 0..100 {
        for _ in 0..BETWEEN {
            let shot = Shot { source: A, port: OPEN, number, item: ITEM };
            stage.send(From::Pod, &[], &shot.v4(PROTOCOL_UDP, &shot.udp(8)));
            number += 1;
        }
        // Only the far end speaks, to a pod that lets nothing in.
        stage.send(From::Outside, &[], &answer);
        assert_eq!(marked(&stage), [1, u64::from(BETWEEN)], "round {round}");
    }
    assert!(stage.scan().evicted > 40_000);
    // One that is silent may lose its entry; whoever may begin makes it anew.
    for number in 0..20_000 {
        let shot = Shot { source: A, port: OPEN, number, item: ITEM };
        stage.send(From::Pod, &[], &shot.v4(PROTOCOL_UDP, &shot.udp(8)));
    }
    marked(&stage);
    stage.send(From::Receiver, &[], &question(2));
    stage.send(From::Outside, &[], &answer);
    assert_eq!(marked(&stage)[0], 1);
}

#[test]
fn who_answers_on_a_closed_connections_ports_is_let_in_only_by_policy() {
    let stage = Stage::new(4_096);
    let (own, theirs) = (30_000, 443);
    let out = |flags, id| {
        let mut packet = V4::new(B.0, OUTSIDE.0, PROTOCOL_TCP);
        packet.id = id;
        checked(packet.with(&tcp(own, theirs, flags, b"")))
    };
    let shot = Shot { source: OUTSIDE, port: SHUT, number: 0, item: ITEM };
    let back = |flags| {
        let mut segment = tcp(theirs, own, flags, &shot.mark());
        segment[4..12].fill(0);
        shot.v4(PROTOCOL_TCP, &segment)
    };
    let sent = |packet: &[u8]| stage.send(From::Receiver, &[], packet);
    let got = |packet: &[u8]| stage.send(From::Outside, &[], packet);
    // The ports are used twice, and each time the replies come.
    for id in [1, 10] {
        sent(&out(SYN, id));
        got(&back(SYN | ACK));
        sent(&out(ACK, id + 1));
        assert_eq!(marked(&stage)[0], 1, "the answer");
        got(&back(SYN));
        assert_eq!(marked(&stage)[0], 0, "a question in an answer's place");
        sent(&out(FIN | ACK, id + 2));
        got(&back(FIN | ACK));
        sent(&out(ACK, id + 3));
        assert_eq!(marked(&stage)[0], 1, "the end");
        got(&back(SYN));
        assert_eq!(marked(&stage)[0], 0, "a new connection of the other end");
    }
}

#[test]
fn an_error_about_what_the_pod_sent_comes_back() {
    let stage = Stage::new(4_096);
    let shot = Shot { source: OUTSIDE, port: SHUT, number: 0, item: ITEM };
    let question =
        checked(V4::new(B.0, OUTSIDE.0, PROTOCOL_UDP).with(&udp(30_000, 53, &shot.marks(16))));
    let error = shot.v4(PROTOCOL_ICMP, &icmp(3, 3, [0; 4], &question));
    stage.send(From::Outside, &[], &error);
    assert_eq!(marked(&stage)[0], 0, "nothing was asked");
    stage.send(From::Receiver, &[], &question);
    stage.send(From::Outside, &[], &error);
    // The host's own answer, that the port is closed, is one more.
    assert_eq!(marked(&stage)[0], 2);
}

#[test]
fn a_packet_that_stands_for_many_is_judged_as_one() {
    let stage = Stage::new(4_096);
    for (port, expected) in [(SHUT, [0, 0]), (OPEN, [0, 1])] {
        let shot = Shot { source: A, port, number: port, item: ITEM };
        let packet = shot.v4(PROTOCOL_TCP, &shot.tcp(ACK, 8_000));
        stage.send_segments(From::Pod, &packet, 1_000);
        assert_eq!(marked(&stage), expected);
    }
}
