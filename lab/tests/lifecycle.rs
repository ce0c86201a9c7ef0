//! Labs come and go completely.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod common;

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{create, ips, namespaces_beside, namespaces_of, two_nodes};
use weir_lab::net::link::Offloads;
use weir_lab::traffic::bulk;
use weir_lab::{Lab, LabError, LabSpec};

const PATIENCE: Duration = Duration::from_secs(20);

/// The machine's own network, as far as a lab could have changed it.
fn machine() -> String {
    let show = |arguments: &[&str]| {
        let output = Command::new("ip").args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let forwarding = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
    [
        show(&["-o", "link"]),
        show(&["-br", "addr"]),
        show(&["route", "show", "table", "all"]),
        show(&["-6", "route", "show", "table", "all"]),
        forwarding,
    ]
    .join("--\n")
}

#[test]
fn nothing_is_left_behind() {
    let before = machine();
    let begun = Instant::now();
    let lab = create(&two_nodes());
    let took = begun.elapsed();
    let fabric = lab.fabric().namespace().to_owned();
    assert_eq!(namespaces_beside(&fabric).len(), 1 + 2 + 3 + 2);
    assert_eq!(machine(), before, "the machine's own network stays as it was");
    let sleeper = lab.pod("x/a").unwrap().spawn(sleep_forever()).unwrap();
    let pid = sleeper.id();
    drop(lab);
    assert_eq!(namespaces_beside(&fabric), Vec::<String>::new());
    assert_eq!(machine(), before);
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    assert!(state.contains(") Z "), "killed with its lab: {state}");
    drop(sleeper);
    eprintln!("a lab of 8 namespaces took {took:?}");
}

#[test]
fn a_wrong_spec_is_explained() {
    let spec = two_nodes().pod("n1", "x/twin", &ips(&["10.244.1.11"]));
    let error = Lab::create(&spec).unwrap_err();
    assert!(matches!(error, LabError::Spec(_)), "{error}");
    assert_eq!(
        error.to_string(),
        "lab description: pod x/twin and pod x/a both have the address 10.244.1.11"
    );
    let error = Lab::create(&LabSpec::default().pod("n9", "x/a", &[])).unwrap_err();
    assert_eq!(error.to_string(), "the lab has no node `n9`; it has: ");
}

#[test]
fn pods_come_and_go() {
    let mut lab = create(&two_nodes());
    let fabric = lab.fabric().namespace().to_owned();
    let before = namespaces_beside(&fabric).len();
    let spec = lab.pod_spec("x/b").unwrap().clone();
    for _ in 0..3 {
        lab.remove_pod("x/b").unwrap();
        assert_eq!(namespaces_beside(&fabric).len(), before - 1);
        assert!(lab.pod("x/b").is_err());
        assert!(lab.place_of(spec.addresses[0]).is_none());
        // The same addresses at another pod, on another node.
        let other = weir_lab::PodSpec { name: "c".into(), node: "n2".into(), ..spec.clone() };
        lab.add_pods(&[other]).unwrap();
        assert_eq!(lab.place_of(spec.addresses[0]).unwrap().label(), "pod x/c");
        lab.remove_pod("x/c").unwrap();
        lab.add_pods(std::slice::from_ref(&spec)).unwrap();
    }
    let error = lab.remove_pod("x/none").unwrap_err();
    assert_eq!(error.to_string(), "the lab has no pod `x/none`; it has: x/a, x/b, y/a, y/host");
}

#[test]
fn children_and_threads_live_inside() {
    let lab = create(&two_nodes());
    let pod = lab.pod("x/a").unwrap();
    let mut command = Command::new("ip");
    command.args(["-br", "addr"]).stdout(Stdio::piped());
    let mut child = pod.spawn(command).unwrap();
    let mut lines = BufReader::new(child.child().stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("10.244.1.11/32")));
    assert!(child.wait(PATIENCE).unwrap().unwrap().success());

    let error = pod.spawn(Command::new("/nonexistent/program")).unwrap_err();
    assert!(error.to_string().starts_with("cannot start /nonexistent/program in"), "{error}");

    let mut sleeper = pod.spawn(sleep_forever()).unwrap();
    assert!(sleeper.wait(Duration::from_millis(50)).unwrap().is_none());
    assert!(!sleeper.terminate(PATIENCE).unwrap().success());

    let own = || std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let inside = pod.thread(own).unwrap().join().unwrap();
    assert_eq!(inside, pod.enter(own).unwrap());
    assert_ne!(inside, own());
    assert_ne!(inside, lab.pod("x/b").unwrap().enter(own).unwrap());
    // A pod of the host network is in its node.
    assert_eq!(
        lab.pod("y/host").unwrap().enter(own).unwrap(),
        lab.node("n2").unwrap().enter(own).unwrap()
    );

    let stray = pod.clone();
    drop(lab);
    let error = stray.enter(|| ()).unwrap_err();
    assert!(matches!(error, LabError::Enter { .. }), "{error}");
    assert!(stray.thread(|| ()).is_err());
    assert!(stray.spawn(sleep_forever()).is_err());
}

/// What interfaces count must be what was sent, so the kernel itself may send nothing.
#[test]
fn unused_links_are_silent() {
    let lab = create(&two_nodes());
    // Multicast reports come within a second, router solicitations within four.
    std::thread::sleep(Duration::from_secs(2));
    let places = ["x/a", "x/b", "y/a"].map(|name| lab.pod(name).unwrap());
    let nodes = ["n1", "n2"].map(|name| lab.node(name).unwrap());
    for place in places.iter().chain(&nodes).chain([&lab.host("internet").unwrap()]) {
        for link in place.links().unwrap() {
            assert_eq!((link.sent_packets, link.received_packets), (0, 0), "{place:?} {link:?}");
        }
    }
}

#[test]
fn offloads_can_be_switched_off() {
    let lab = create(&two_nodes());
    let address = "10.244.2.11:9000".parse().unwrap();
    let sink = bulk::sink(lab.pod("y/a").unwrap(), address).unwrap();
    let bytes = 4_000_000;
    let sent_packets = || {
        let before = lab.pod("x/a").unwrap().link("eth0").unwrap();
        let sent = lab.pod("x/a").unwrap().enter(|| bulk::send(address, bytes, PATIENCE));
        assert_eq!(sent.unwrap().unwrap(), bytes);
        let after = lab.pod("x/a").unwrap().link("eth0").unwrap();
        assert!(after.sent_bytes - before.sent_bytes > bytes);
        after.sent_packets - before.sent_packets
    };
    let merged = sent_packets();
    lab.pod("x/a").unwrap().set_offloads("eth0", Offloads::NONE).unwrap();
    let single = sent_packets();
    // 1448 bytes a packet; with offloads up to 64 KiB.
    assert!(single >= bytes / 1448, "{single} packets");
    assert!(merged < single / 2, "{merged} packets with offloads, {single} without");
    lab.pod("x/a").unwrap().set_offloads("eth0", Offloads::ALL).unwrap();
    assert!(sent_packets() < single / 2);
    assert!(lab.pod("x/a").unwrap().set_offloads("eth9", Offloads::ALL).is_err());
    assert_eq!(sink.served(), 3);
}

/// Not a test: the process that [`leftovers_of_the_killed_are_swept`] kills.
#[test]
fn owner_to_be_killed() {
    if std::env::var_os("WEIR_LAB_OWNER").is_none() {
        return;
    }
    let lab = create(&two_nodes());
    let child = lab.pod("x/a").unwrap().spawn(sleep_forever()).unwrap();
    println!("\nchild {}", child.id());
    std::io::stdout().flush().unwrap();
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
fn leftovers_of_the_killed_are_swept() {
    let lab = create(&LabSpec::default().node("n1", &ips(&["192.168.77.1"])));
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "owner_to_be_killed", "--nocapture"])
        .env("WEIR_LAB_OWNER", "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let child: u32 = BufReader::new(owner.stdout.take().unwrap())
        .lines()
        .find_map(|line| line.unwrap().strip_prefix("child ").map(|pid| pid.parse().unwrap()))
        .expect("the owner's lab did not come up");
    Lab::sweep().unwrap();
    assert_eq!(namespaces_of(owner.id()).len(), 8, "a living owner's lab is left alone");
    owner.kill().unwrap();
    owner.wait().unwrap();
    let swept = Lab::sweep().unwrap();
    assert_eq!(namespaces_of(owner.id()), Vec::<String>::new());
    // Another process's sweep may have come first.
    assert!(swept.len() <= 8, "{swept:?}");
    assert!(lab.node("n1").unwrap().enter(|| ()).is_ok(), "our own lab is left alone");
    let deadline = Instant::now() + PATIENCE;
    while std::fs::read_to_string(format!("/proc/{child}/stat"))
        .is_ok_and(|stat| !stat.contains(") Z "))
    {
        assert!(Instant::now() < deadline, "the dead owner's child {child} lives on");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn sleep_forever() -> Command {
    let mut command = Command::new("sleep");
    command.arg("600").stdin(Stdio::null());
    command
}
