//! Every kind of probe, between all kinds of places, without enforcement.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod common;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use common::{create, ip, two_nodes};
use weir_lab::Lab;
use weir_lab::probe::{
    Observed, Probe, ProbeOptions, Prober, Protocol, Responders, Service, Serving,
};

const PROTOCOLS: [Protocol; 4] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp, Protocol::Icmp];
const ADDRESSES: [&str; 14] = [
    "10.244.1.11",
    "10.244.1.12",
    "10.244.2.11",
    "192.168.77.1",
    "192.168.77.2",
    "203.0.113.10",
    "203.0.113.11",
    "198.51.100.7",
    "fd00:1::11",
    "fd00:1::12",
    "fd00:2::11",
    "fd77::1",
    "fd77::2",
    "2001:db8::10",
];
const PORT: u16 = 80;

fn serve_all(lab: &Lab, responders: &Responders) -> Vec<Serving> {
    ADDRESSES
        .iter()
        .map(|address| {
            let address = ip(address);
            let services = PROTOCOLS.map(|protocol| Service { address, port: PORT, protocol });
            responders.serve(lab.place_of(address).unwrap(), &services).unwrap()
        })
        .collect()
}

fn probe(lab: &Lab, source: IpAddr, destination: IpAddr, protocol: Protocol) -> Probe {
    Probe {
        from: lab.place_of(source).unwrap().clone(),
        source,
        to: lab.place_of(destination).unwrap().clone(),
        destination: SocketAddr::new(destination, PORT),
        protocol,
        expect: true,
    }
}

#[test]
fn everybody_reaches_everybody() {
    let lab = create(&two_nodes());
    let responders = Responders::start().unwrap();
    let _serving = serve_all(&lab, &responders);
    let mut probes = Vec::new();
    for source in ADDRESSES.map(ip) {
        for destination in ADDRESSES.map(ip) {
            if source.is_ipv4() == destination.is_ipv4() {
                probes.extend(PROTOCOLS.map(|kind| probe(&lab, source, destination, kind)));
            }
        }
    }
    assert_eq!(probes.len(), 4 * (8 * 8 + 6 * 6));
    let prober = Prober::new(ProbeOptions::default());
    for _ in 0..2 {
        for (probe, outcome) in probes.iter().zip(prober.run(&probes).unwrap()) {
            assert!(outcome.is_as_expected(true), "{probe:?}: {outcome:?}");
        }
    }
}

#[test]
fn what_fails_says_how() {
    let lab = create(&two_nodes());
    let responders = Responders::start().unwrap();
    let serving = serve_all(&lab, &responders);
    let options = ProbeOptions {
        deadline: Duration::from_millis(700),
        retry_deadline: Duration::from_millis(900),
        ..ProbeOptions::default()
    };
    let prober = Prober::new(options);
    let one = |probe: Probe| prober.run(&[probe]).unwrap().remove(0);
    let base = |protocol| probe(&lab, ip("10.244.1.11"), ip("10.244.2.11"), protocol);

    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
        // Nobody listens.
        let mut closed = base(protocol);
        closed.destination.set_port(81);
        let outcome = one(closed.clone());
        assert_eq!(outcome.observed, Observed::Refused, "{protocol}");
        assert_eq!(outcome.retried_after, Some(Observed::Refused), "{protocol}");
        closed.expect = false;
        assert!(one(closed).is_as_expected(false));
        // Somebody else answers.
        let mut astray = base(protocol);
        astray.to = lab.pod("x/b").unwrap().clone();
        assert_eq!(one(astray).observed, Observed::WrongAnswer("weir pod y/a".into()));
    }

    // Nothing comes back: the pod's way out is gone.
    let pod = lab.pod("y/a").unwrap();
    pod.enter(|| {
        let status =
            std::process::Command::new("ip").args(["link", "set", "eth0", "down"]).status();
        assert!(status.unwrap().success());
    })
    .unwrap();
    let silent: Vec<Probe> = [false, true]
        .into_iter()
        .flat_map(|expect| PROTOCOLS.map(|protocol| Probe { expect, ..base(protocol) }))
        .collect();
    for (probe, outcome) in silent.iter().zip(prober.run(&silent).unwrap()) {
        let protocol = probe.protocol;
        assert_eq!(outcome.observed, Observed::Silent, "{protocol}");
        assert!(outcome.elapsed >= options.deadline, "{protocol}");
        // Only what should have connected gets a second chance.
        let first = probe.expect.then_some(Observed::Silent);
        assert_eq!(outcome.retried_after, first, "{protocol}");
    }

    // Not an address of the place.
    let mut wrong = base(Protocol::Tcp);
    wrong.source = ip("10.9.9.9");
    let error = prober.run(&[wrong]).unwrap_err();
    assert!(error.to_string().starts_with("cannot send from 10.9.9.9 in pod x/a"), "{error}");

    // No way at all.
    let mut lost = base(Protocol::Tcp);
    lost.destination.set_ip(ip("172.31.0.1"));
    let observed = one(lost).observed;
    assert!(matches!(observed, Observed::Unreachable(_)), "{observed}");
    drop(serving);
}

#[test]
fn responders_end_with_their_handle() {
    let lab = create(&two_nodes());
    let responders = Responders::start().unwrap();
    let prober = Prober::new(ProbeOptions::default());
    let probe = probe(&lab, ip("10.244.1.11"), ip("10.244.1.12"), Protocol::Tcp);
    let service = Service { address: ip("10.244.1.12"), port: PORT, protocol: Protocol::Tcp };
    let serving = responders.serve(lab.pod("x/b").unwrap(), &[service]).unwrap();
    assert!(prober.run(std::slice::from_ref(&probe)).unwrap()[0].is_as_expected(true));
    let error = responders.serve(lab.pod("x/b").unwrap(), &[service]).unwrap_err();
    assert!(error.to_string().contains("10.244.1.12 port 80 TCP"), "{error}");
    drop(serving);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let refused = Probe { expect: false, ..probe };
    while !prober.run(std::slice::from_ref(&refused)).unwrap()[0].is_as_expected(false) {
        assert!(std::time::Instant::now() < deadline);
    }
}
