//! Random policies for real: one lab, and in it one cluster state after the other, each probed
//! between random ends and compared with the naive evaluator. Needs root.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

use std::net::IpAddr;
use std::time::Duration;

use weir_lab::case::{CaseOptions, run_case};
use weir_lab::probe::ProbeOptions;
use weir_policy::Cluster;
use weir_policy::case::{Case, End, Probe, Step};
use weir_policy::evaluate::{Attempt, decide};
use weir_policy::model::{Node, Phase, Pod, Protocol};
use weir_policy::random::{Source, outside, pod_address, port_at, redecorate};

const STATES: usize = 200;
const PROBES_PER_STATE: usize = 40;
/// TCP and UDP are cheap to probe; a fifth is SCTP.
const PROTOCOLS: [u8; 5] = [6, 17, 6, 17, 132];

#[test]
fn two_hundred_random_clusters_agree_with_the_naive_evaluator() {
    let seed: u64 =
        std::env::var("WEIR_SEED").map_or_else(|_| fresh_seed(), |text| text.parse().unwrap());
    println!("WEIR_SEED={seed} repeats this");
    let mut source = Source::new(&[], seed);
    let mut cluster = fixed();
    let steps: Vec<Step> = (0..STATES)
        .map(|_| {
            redecorate(&mut source, &mut cluster);
            let probes = (0..PROBES_PER_STATE).map(|_| probe(&mut source, &cluster)).collect();
            Step { cluster: cluster.clone(), probes }
        })
        .collect();
    let expected = |allowed| {
        steps.iter().flat_map(|step| &step.probes).filter(|probe| probe.expect == allowed).count()
    };
    println!("{} probes to pass, {} to be denied", expected(true), expected(false));
    assert!(expected(true).min(expected(false)) > STATES * PROBES_PER_STATE / 8);

    let case = Case { name: "random clusters".into(), steps };
    let probes = ProbeOptions { deadline: Duration::from_millis(300), ..ProbeOptions::default() };
    let report = run_case(&case, &CaseOptions { probes, ..CaseOptions::default() }).unwrap();
    println!(
        "{} probes of {STATES} clusters, {} at the second try, in {:?}",
        report.passed, report.retried, report.elapsed
    );
    for wrong in report.wrong.iter().take(3) {
        println!("{wrong}\n{:#?}", case.steps[wrong.step].cluster);
    }
    let wrong: Vec<String> = report.wrong.iter().map(ToString::to_string).collect();
    assert!(wrong.is_empty(), "seed {seed}: {} wrong\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(report.passed, STATES * PROBES_PER_STATE);
}

fn fresh_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// Two nodes, seven pods of both families, one on its node's network, and one that has ended and
/// whose addresses another one has.
fn fixed() -> Cluster {
    let addresses = |host| vec![pod_address(false, host), pod_address(true, host)];
    let pod = |namespace: &str, host: u8, node: &str| Pod {
        namespace: namespace.into(),
        name: format!("p{host}"),
        addresses: addresses(host),
        node: Some(node.into()),
        ..Pod::default()
    };
    let node = |name: &str, v4: &str, v6: &str| Node {
        name: name.into(),
        addresses: vec![v4.parse().unwrap(), v6.parse().unwrap()],
        ..Node::default()
    };
    let nodes = vec![node("n1", "10.0.2.1", "fd00::2:1"), node("n2", "10.0.2.2", "fd00::2:2")];
    let on_network = Pod {
        name: "host".into(),
        addresses: nodes[0].addresses.clone(),
        host_network: true,
        ..pod("a", 0, "n1")
    };
    let ended = Pod { name: "ended".into(), phase: Phase::Succeeded, ..pod("b", 3, "n2") };
    Cluster {
        pods: vec![
            pod("a", 1, "n1"),
            pod("a", 2, "n2"),
            pod("b", 3, "n1"),
            pod("b", 4, "n2"),
            pod("c", 5, "n1"),
            pod("c", 6, "n2"),
            pod("a", 7, "n1"),
            on_network,
            ended,
        ],
        nodes,
        ..Cluster::default()
    }
}

/// A probe between two ends of one family, one of them a pod, and what must come of it.
fn probe(source: &mut Source<'_>, cluster: &Cluster) -> Probe {
    let is_v6 = source.one_in(2);
    let pods: Vec<IpAddr> = cluster
        .pods
        .iter()
        .filter(|pod| pod.is_networked())
        .flat_map(|pod| pod.addresses.iter().copied())
        .filter(|address| address.is_ipv6() == is_v6)
        .collect();
    let mut others: Vec<IpAddr> =
        cluster.nodes.iter().flat_map(|node| node.addresses.iter().copied()).collect();
    others.extend(outside());
    others.retain(|address| address.is_ipv6() == is_v6);

    let one = source.pick(&pods);
    let other = if source.one_in(4) {
        source.pick(&others)
    } else {
        let rest: Vec<IpAddr> = pods.into_iter().filter(|address| *address != one).collect();
        source.pick(&rest)
    };
    let (from, to) = if source.one_in(2) { (one, other) } else { (other, one) };
    let (number, port) = port_at(source, cluster, to, &PROTOCOLS);
    let protocol = match number {
        17 => Protocol::Udp,
        132 => Protocol::Sctp,
        _ => Protocol::Tcp,
    };
    // No connection can be made to port 0.
    let port = if port == 0 { 80 } else { port };
    let attempt = Attempt {
        source: from,
        destination: to,
        protocol: protocol.number(),
        destination_port: port,
    };
    Probe {
        from: end(cluster, from),
        to: end(cluster, to),
        port,
        protocol,
        expect: decide(cluster, &attempt).is_allowed(),
        loopback: false,
        why: None,
        attempts: vec![attempt],
    }
}

fn end(cluster: &Cluster, address: IpAddr) -> End {
    match cluster.pod_at(address) {
        Some(pod) => End::Pod { namespace: pod.namespace.clone(), name: pod.name.clone() },
        None => End::Outside(address),
    }
}
