//! What the tests share: a two-node lab of both address families.
#![allow(dead_code, reason = "each test file uses its part")]

use std::net::IpAddr;

use weir_lab::{Lab, LabSpec};

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn ips(text: &[&str]) -> Vec<IpAddr> {
    text.iter().map(|text| ip(text)).collect()
}

/// Two nodes, three pods, one pod of the host network, two hosts outside.
pub(crate) fn two_nodes() -> LabSpec {
    let mut spec = LabSpec::default()
        .node("n1", &ips(&["192.168.77.1", "fd77::1"]))
        .node("n2", &ips(&["192.168.77.2", "fd77::2"]))
        .pod("n1", "x/a", &ips(&["10.244.1.11", "fd00:1::11"]))
        .pod("n1", "x/b", &ips(&["10.244.1.12", "fd00:1::12"]))
        .pod("n2", "y/a", &ips(&["10.244.2.11", "fd00:2::11"]))
        .pod("n2", "y/host", &[])
        .host("internet", &ips(&["203.0.113.10", "203.0.113.11", "2001:db8::10"]))
        .host("office", &ips(&["198.51.100.7"]));
    spec.pods[3].host_network = true;
    spec
}

pub(crate) fn create(spec: &LabSpec) -> Lab {
    Lab::create(spec).expect("these tests make network namespaces and need root")
}

/// Names of the namespaces of a process's labs.
pub(crate) fn namespaces_of(pid: u32) -> Vec<String> {
    namespaces(&format!("weir-{pid}-"))
}

/// Names of the namespaces of the lab that has this one. Other tests of the process have labs too.
pub(crate) fn namespaces_beside(namespace: &str) -> Vec<String> {
    // weir-PID-START-LAB-NUMBER-LABEL
    let end = namespace.match_indices('-').nth(3).unwrap().0;
    namespaces(&namespace[..=end])
}

fn namespaces(prefix: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(prefix))
        .collect()
}
