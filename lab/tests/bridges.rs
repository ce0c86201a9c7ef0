//! How the collector finds pods behind a node's bridge, without a packet of its own.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod common;

use std::net::{IpAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use common::{create, ip, ips};
use weir_collector::enforcer::{Host, Network as _};
use weir_lab::{Lab, LabSpec, Network};

const PATIENCE: Duration = Duration::from_secs(20);

fn lab() -> Lab {
    let spec = LabSpec { network: Network::Bridge, ..LabSpec::default() }
        .node("n1", &ips(&["192.168.77.1", "fd77::1"]))
        .pod("n1", "x/a", &ips(&["10.244.1.11", "fd00:1::11"]))
        .pod("n1", "x/b", &ips(&["10.244.1.12", "fd00:1::12"]));
    create(&spec)
}

fn index(lab: &Lab, pod: &str) -> u32 {
    lab.node("n1").unwrap().link(lab.pod_link(pod).unwrap()).unwrap().index
}

fn run(namespace: &str, arguments: &str) {
    let output = Command::new("ip")
        .args(["-n", namespace])
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip -n {namespace} {arguments}: {error}");
}

#[test]
fn pods_are_found_by_what_is_behind_each_port() {
    let lab = lab();
    let node = lab.node("n1").unwrap();
    let (a, b) = (index(&lab, "x/a"), index(&lab, "x/b"));
    let (of_a, of_b) = (ips(&["10.244.1.11", "fd00:1::11"]), ips(&["fd00:1::12", "10.244.1.12"]));
    let mixed = ips(&["10.244.1.11", "fd00:1::12"]);
    let found =
        node.enter(|| Host::new().unwrap().interfaces(&[&of_a, &of_b, &mixed]).unwrap()).unwrap();
    assert_eq!(found[..2], [Ok(a), Ok(b)]);
    let error = found[2].clone().unwrap_err();
    let (link_a, link_b) = (lab.pod_link("x/a").unwrap(), lab.pod_link("x/b").unwrap());
    assert_eq!(
        error,
        format!(
            "its addresses are behind different interfaces: 10.244.1.11 behind {link_a}, \
             fd00:1::12 behind {link_b}"
        )
    );
}

#[test]
fn a_pod_whose_other_end_does_not_say_is_found_by_neighbour_and_forwarding_tables() {
    let lab = lab();
    let (node, pod) = (lab.node("n1").unwrap(), lab.pod("x/a").unwrap());
    let a = index(&lab, "x/a");
    // The pod has its address elsewhere, and answers for it all the same.
    run(pod.namespace(), "addr del 10.244.1.11/32 dev eth0");
    run(pod.namespace(), "addr add 10.244.1.11/32 dev lo");
    let address = ip("10.244.1.11");
    node.enter(|| {
        let mut host = Host::new().unwrap();
        let place = |host: &mut Host| host.interfaces(&[&[address]]).unwrap().remove(0);
        run(node.namespace(), "neigh flush all");
        let why = place(&mut host).unwrap_err();
        assert!(why.contains("neither its ports' other ends nor the neighbour table"), "{why}");
        speak(address);
        let begun = Instant::now();
        while place(&mut host).is_err() {
            assert!(begun.elapsed() < PATIENCE, "{:?}", place(&mut host));
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(place(&mut host), Ok(a));
        // A pod that is silent is forgotten by its neighbours, and not by the collector.
        run(node.namespace(), "neigh flush all");
        assert_eq!(place(&mut host), Ok(a));
        assert!(place(&mut Host::new().unwrap()).is_err());
    })
    .unwrap();
    // Nor does it hold on to a port that is gone.
    let mut lab = lab;
    lab.remove_pod("x/a").unwrap();
    let gone = lab
        .node("n1")
        .unwrap()
        .enter(|| Host::new().unwrap().interfaces(&[&[address]]).unwrap().remove(0).unwrap_err());
    assert!(gone.unwrap().contains("10.244.1.11"));
}

/// Sends a datagram, so that the address has to be resolved.
fn speak(address: IpAddr) {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
    socket.send_to(b"x", (address, 9)).unwrap();
}
