//! The enforcer over maps in memory.

mod fake;
mod gapless;

use std::net::IpAddr;

use weir_abi::endpoint::{DENY_NOT_READY, READY};
use weir_policy::model::{NetworkPolicy, Pod};

use super::*;
use fake::{Fake, FakeNetwork};

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn pod(name: &str, ip: &str) -> Pod {
    Pod {
        namespace: "default".into(),
        name: name.into(),
        addresses: vec![address(ip)],
        node: Some("n1".into()),
        ..Pod::default()
    }
}

fn isolate_everything() -> NetworkPolicy {
    NetworkPolicy {
        namespace: "default".into(),
        name: "deny-all".into(),
        isolates_ingress: true,
        ..NetworkPolicy::default()
    }
}

fn enforcer(startup: Startup) -> Enforcer<Fake, FakeNetwork> {
    let options = Options { node: "n1".into(), startup, ..Options::default() };
    let mut network = FakeNetwork::default();
    network.own.push(address("192.168.0.1"));
    for last in 1..10 {
        network.behind.insert(address(&format!("10.0.0.{last}")), 100 + last);
    }
    Enforcer::with(options, Fake::default(), network)
}

fn endpoint_of(applied: &Applied, pod: &str) -> u32 {
    applied.enforced.iter().find(|enforced| enforced.pod == pod).unwrap().endpoint
}

#[test]
fn pods_are_attached_and_ready() {
    let mut enforcer = enforcer(Startup::Open);
    let mut elsewhere = pod("elsewhere", "10.0.0.3");
    elsewhere.node = Some("n2".into());
    let cluster = Cluster {
        pods: vec![pod("a", "10.0.0.1"), pod("lost", "10.9.9.9"), elsewhere],
        policies: vec![isolate_everything()],
        ..Cluster::default()
    };
    let applied = enforcer.apply(&cluster).unwrap();
    assert_eq!(applied.enforced.len(), 1);
    assert_eq!(applied.unenforced.len(), 1);
    assert_eq!(
        applied.unenforced[0].to_string(),
        "default/lost: there is no route to its addresses"
    );
    let kernel = enforcer.kernel();
    assert_eq!(kernel.attached.iter().copied().collect::<Vec<_>>(), [101]);
    let endpoint = kernel.state.endpoints[&101];
    assert_ne!(endpoint.flags & READY, 0);
    assert_eq!(endpoint.revision, applied.revision);
    let node = crate::directory::to_kernel(address("192.168.0.1"));
    assert_eq!(
        kernel.state.identities[&node],
        weir_abi::policy::IDENTITY_LOCAL_NODE,
        "an address of this node"
    );
    let directory = enforcer.directory().load();
    let info = directory.endpoint(endpoint.endpoint, u64::MAX).info;
    assert_eq!(info.pod.as_deref(), Some("a"));
}

#[test]
fn a_pod_that_moves_is_another_endpoint() {
    let mut enforcer = enforcer(Startup::Open);
    let cluster = Cluster { pods: vec![pod("a", "10.0.0.1")], ..Cluster::default() };
    let before = enforcer.apply(&cluster).unwrap();
    assert_eq!(enforcer.refresh().unwrap(), None);
    assert_eq!(endpoint_of(&enforcer.apply(&cluster).unwrap(), "a"), endpoint_of(&before, "a"));

    enforcer.network.behind.insert(address("10.0.0.1"), 777);
    let after = enforcer.refresh().unwrap().unwrap();
    assert_ne!(endpoint_of(&before, "a"), endpoint_of(&after, "a"));
    let kernel = enforcer.kernel();
    assert_eq!(kernel.attached.iter().copied().collect::<Vec<_>>(), [777]);
    assert_eq!(kernel.state.endpoints.keys().copied().collect::<Vec<_>>(), [777]);
}

#[test]
fn numbers_of_endpoints_are_not_used_again() {
    let mut enforcer = enforcer(Startup::Open);
    let with = Cluster { pods: vec![pod("a", "10.0.0.1")], ..Cluster::default() };
    let first = endpoint_of(&enforcer.apply(&with).unwrap(), "a");
    enforcer.apply(&Cluster::default()).unwrap();
    assert!(enforcer.kernel().attached.is_empty() && enforcer.kernel().state.endpoints.is_empty());
    let second = endpoint_of(&enforcer.apply(&with).unwrap(), "a");
    assert_ne!(first, second);
}

#[test]
fn a_new_address_of_the_node_is_followed() {
    let mut enforcer = enforcer(Startup::Open);
    enforcer.apply(&Cluster::default()).unwrap();
    enforcer.network.own.push(address("192.168.0.2"));
    assert!(enforcer.refresh().unwrap().is_some());
    let node = crate::directory::to_kernel(address("192.168.0.2"));
    assert!(enforcer.kernel().state.identities.contains_key(&node));
}

#[test]
fn of_two_pods_with_one_address_the_running_one_has_it() {
    let mut enforcer = enforcer(Startup::Open);
    let mut starting = pod("a-starting", "10.0.0.1");
    starting.phase = weir_policy::model::Phase::Pending;
    let cluster =
        Cluster { pods: vec![starting, pod("b-running", "10.0.0.1")], ..Cluster::default() };
    let applied = enforcer.apply(&cluster).unwrap();
    assert_eq!(applied.enforced[0].pod, "b-running");
    assert!(applied.unenforced[0].why.contains("belongs to default/b-running"));
}

#[test]
fn a_failed_update_leaves_the_old_state_and_marks_new_pods() {
    for (startup, flags) in [(Startup::Open, 0), (Startup::Closed, DENY_NOT_READY)] {
        let mut enforcer = enforcer(startup);
        let old = Cluster { pods: vec![pod("a", "10.0.0.1")], ..Cluster::default() };
        let applied = enforcer.apply(&old).unwrap();
        enforcer.kernel().fail_policies = true;
        let mut allowing = isolate_everything();
        allowing.ingress.push(weir_policy::model::Rule::default());
        let new = Cluster {
            pods: vec![pod("a", "10.0.0.1"), pod("b", "10.0.0.2")],
            policies: vec![allowing],
            ..Cluster::default()
        };
        let error = enforcer.apply(&new).unwrap_err().to_string();
        assert!(error.contains("stays as it is") && error.contains("POLICY is full"), "{error}");
        let state = &enforcer.kernel().state;
        assert_eq!(state.endpoints[&101].revision, applied.revision);
        assert_eq!(state.endpoints[&102].flags, flags);

        enforcer.kernel().fail_policies = false;
        let applied = enforcer.apply(&new).unwrap();
        let state = &enforcer.kernel().state;
        assert!(state.endpoints.values().all(|endpoint| endpoint.revision == applied.revision));
        assert!(state.endpoints.values().all(|endpoint| endpoint.flags & READY != 0));
    }
}

#[test]
fn an_interface_that_refuses_is_reported() {
    let mut enforcer = enforcer(Startup::Open);
    enforcer.kernel().refuse.insert(101);
    let cluster =
        Cluster { pods: vec![pod("a", "10.0.0.1"), pod("b", "10.0.0.2")], ..Cluster::default() };
    let applied = enforcer.apply(&cluster).unwrap();
    assert_eq!(applied.enforced[0].pod, "b");
    assert!(applied.unenforced[0].why.contains("no interface 101"), "{:?}", applied.unenforced);
    // It is tried again with the next state.
    enforcer.kernel().refuse.clear();
    assert_eq!(enforcer.apply(&cluster).unwrap().enforced.len(), 2);
}
