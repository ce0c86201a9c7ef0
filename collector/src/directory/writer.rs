//! Builds the directory from cluster states, one after another.

use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use weir_abi::Address;
use weir_flow::values::{EndpointKind, PolicyRule};
use weir_policy::Cluster;
use weir_policy::model::{Pod, Service, precedence};

use super::{
    Directory, EndpointInfo, History, LocalPod, Period, SharedDirectory, is_v4, to_kernel,
};

/// How long it is remembered who had an address or was an endpoint. Longer than the idle time of a
/// connection, after which nothing refers to it any more, and than its report may be held back.
const KEPT_NS: u64 = 20 * 60 * 1_000_000_000;
/// Most periods kept of one address or endpoint.
const MAX_PERIODS: usize = 64;

/// The one writer.
#[derive(Debug)]
pub struct DirectoryWriter {
    shared: SharedDirectory,
    current: Directory,
    world: Arc<EndpointInfo>,
    /// This node, and addresses that it has.
    own: (String, Vec<IpAddr>),
}

impl Default for DirectoryWriter {
    fn default() -> Self {
        Self {
            shared: SharedDirectory::default(),
            current: Directory::default(),
            world: Arc::new(EndpointInfo::bare(EndpointKind::World)),
            own: Default::default(),
        }
    }
}

impl DirectoryWriter {
    /// What readers see.
    pub fn shared(&self) -> SharedDirectory {
        self.shared.clone()
    }

    /// Notes which addresses this node has besides those that the cluster knows, for the next
    /// [`set_cluster`](Self::set_cluster).
    pub fn set_own_addresses(&mut self, node: &str, addresses: &[IpAddr]) {
        self.own = (node.to_owned(), addresses.to_vec());
    }

    /// Notes who has which address from `now_ns` on.
    pub fn set_cluster(&mut self, cluster: &Cluster, now_ns: u64) {
        self.current.elsewhere = self.world.clone();
        let present = owners(cluster, (&self.own.0, &self.own.1));
        for (address, history) in &mut self.current.addresses {
            if !present.contains_key(address) {
                history.put(&self.world, now_ns);
            }
        }
        let world = &self.world;
        for (address, owner) in present {
            match self.current.addresses.get_mut(&address) {
                Some(history) if history.0.last().is_some_and(|last| owner.is(&last.info)) => {}
                Some(history) => history.put(&Arc::new(owner.info()), now_ns),
                None => {
                    let history = History::of(Arc::new(owner.info()));
                    self.current.addresses.insert(address, history);
                }
            }
        }
        self.current.addresses.retain(|_, history| {
            history.forget(now_ns);
            history.0.len() > 1 || !Arc::ptr_eq(&history.0[0].info, world)
        });
        self.current.endpoints.retain(|_, pod| {
            pod.history.forget(now_ns);
            pod.gone_ns.is_none_or(|gone| now_ns.saturating_sub(gone) < KEPT_NS)
        });
    }

    /// Notes which pod an endpoint is.
    pub fn set_endpoint(&mut self, endpoint: u32, pod: &Pod, now_ns: u64) {
        let info = Arc::new(pod_info(pod));
        let of_family = |v4: bool| {
            pod.addresses.iter().map(|address| to_kernel(*address)).find(|a| is_v4(a) == v4)
        };
        let (address_v4, address_v6) = (of_family(true), of_family(false));
        let known = self.current.endpoints.entry(endpoint).or_insert_with(|| LocalPod {
            history: History::of(info.clone()),
            address_v4,
            address_v6,
            gone_ns: None,
        });
        known.history.put(&info, now_ns);
        (known.address_v4, known.address_v6, known.gone_ns) = (address_v4, address_v6, None);
    }

    /// Notes that an endpoint is no more; events about it may still come.
    pub fn remove_endpoint(&mut self, endpoint: u32, now_ns: u64) {
        if let Some(pod) = self.current.endpoints.get_mut(&endpoint) {
            pod.gone_ns.get_or_insert(now_ns);
        }
    }

    /// Notes what the rule sets hold, by number. The list only grows.
    pub fn set_rule_sets(&mut self, all: &[Arc<[PolicyRule]>]) {
        if all.len() > self.current.rule_sets.len() {
            self.current.rule_sets = all.into();
        }
    }

    /// Lets readers see all that was noted.
    pub fn publish(&self) {
        self.shared.store(self.current.clone());
    }
}

impl History {
    fn of(info: Arc<EndpointInfo>) -> Self {
        Self(vec![Period { from_ns: 0, info }])
    }

    /// Begins a period, unless nothing changed.
    fn put(&mut self, info: &Arc<EndpointInfo>, now_ns: u64) {
        if self.0.last().is_some_and(|last| last.info == *info) {
            return;
        }
        if self.0.len() == MAX_PERIODS {
            self.0.remove(0);
        }
        self.0.push(Period { from_ns: now_ns, info: info.clone() });
    }

    /// Drops periods that ended long ago.
    fn forget(&mut self, now_ns: u64) {
        let old = |period: &Period| now_ns.saturating_sub(period.from_ns) >= KEPT_NS;
        let ended = self.0.iter().skip(1).take_while(|next| old(next)).count();
        self.0.drain(..ended);
    }
}

/// Who has an address.
#[derive(Clone, Copy)]
enum Owner<'a> {
    Pod(&'a Pod),
    Node(Option<&'a str>),
    Service(&'a Service),
}

impl Owner<'_> {
    /// Whether that is what is known already.
    fn is(self, info: &EndpointInfo) -> bool {
        match self {
            // Told without making what is said of it, since there are many and few change.
            Self::Pod(pod) => {
                let (kind, workload) = workload(pod);
                info.kind == EndpointKind::Pod
                    && info.namespace.as_deref() == Some(&pod.namespace)
                    && info.pod.as_deref() == Some(&pod.name)
                    && info.workload_kind.as_deref() == Some(kind)
                    && info.workload.as_deref() == Some(workload)
                    && info.labels == pod.labels
                    && info.node == pod.node
            }
            Self::Node(_) | Self::Service(_) => *info == self.info(),
        }
    }

    fn info(self) -> EndpointInfo {
        match self {
            Self::Pod(pod) => pod_info(pod),
            Self::Node(name) => EndpointInfo {
                node: name.map(str::to_owned),
                ..EndpointInfo::bare(EndpointKind::Node)
            },
            Self::Service(service) => EndpointInfo {
                service: Some(format!("{}/{}", service.namespace, service.name)),
                ..EndpointInfo::bare(EndpointKind::Service)
            },
        }
    }
}

/// Who has each address: pods before nodes, nodes before Services.
fn owners<'a>(cluster: &'a Cluster, own: (&'a str, &'a [IpAddr])) -> FxHashMap<Address, Owner<'a>> {
    let mut owners = FxHashMap::default();
    owners.reserve(cluster.pods.len());
    for service in &cluster.services {
        let addresses = service.cluster_ips.iter().map(|address| to_kernel(*address));
        owners.extend(addresses.map(|address| (address, Owner::Service(service))));
    }
    for pod in cluster.pods.iter().filter(|pod| pod.host_network && !pod.phase.is_terminal()) {
        let owner = Owner::Node(pod.node.as_deref());
        owners.extend(pod.addresses.iter().map(|address| (to_kernel(*address), owner)));
    }
    let nodes = cluster.nodes.iter().map(|node| (node.name.as_str(), node.addresses.as_slice()));
    for (name, addresses) in nodes.chain([own]) {
        let owner = Owner::Node(Some(name));
        owners.extend(addresses.iter().map(|address| (to_kernel(*address), owner)));
    }
    for pod in cluster.pods.iter().filter(|pod| pod.is_networked()) {
        for address in &pod.addresses {
            let before = owners.insert(to_kernel(*address), Owner::Pod(pod));
            if let Some(Owner::Pod(other)) = before
                && precedence(other) < precedence(pod)
            {
                owners.insert(to_kernel(*address), Owner::Pod(other));
            }
        }
    }
    owners
}

/// Kind and name of what made a pod: itself where nothing did.
fn workload(pod: &Pod) -> (&str, &str) {
    pod.workload.as_ref().map_or(("Pod", pod.name.as_str()), |workload| {
        (workload.kind.as_str(), workload.name.as_str())
    })
}

fn pod_info(pod: &Pod) -> EndpointInfo {
    let (kind, name) = workload(pod);
    EndpointInfo {
        kind: EndpointKind::Pod,
        namespace: Some(pod.namespace.clone()),
        pod: Some(pod.name.clone()),
        workload_kind: Some(kind.to_owned()),
        workload: Some(name.to_owned()),
        labels: pod.labels.clone(),
        node: pod.node.clone(),
        names: Vec::new(),
        service: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(pods: &[(&str, &str)]) -> Cluster {
        let pods = pods.iter().map(|(name, address)| Pod {
            namespace: "default".into(),
            name: (*name).into(),
            addresses: vec![address.parse().unwrap()],
            ..Pod::default()
        });
        Cluster { pods: pods.collect(), ..Cluster::default() }
    }

    fn who(directory: &Directory, address: &str, at_ns: u64) -> String {
        let info = directory.address(&to_kernel(address.parse().unwrap()), at_ns).info;
        info.pod.clone().unwrap_or_else(|| info.kind.to_string())
    }

    #[test]
    fn an_address_is_who_had_it_at_that_time() {
        let mut writer = DirectoryWriter::default();
        assert_eq!(who(&writer.shared().load(), "10.0.0.1", 0), "unknown");
        writer.set_cluster(&cluster(&[("a", "10.0.0.1")]), 100);
        writer.set_cluster(&cluster(&[]), 200);
        writer.set_cluster(&cluster(&[("b", "10.0.0.1")]), 300);
        writer.publish();
        let directory = writer.shared().load();
        for (at_ns, expected) in [(0, "a"), (199, "a"), (200, "world"), (299, "world"), (300, "b")]
        {
            assert_eq!(who(&directory, "10.0.0.1", at_ns), expected, "at {at_ns}");
        }
        assert_eq!(who(&directory, "192.0.2.1", 300), "world");
        let known = directory.address(&to_kernel("10.0.0.1".parse().unwrap()), 250);
        assert_eq!((known.from_ns, known.until_ns), (200, 300));
    }

    #[test]
    fn what_is_long_gone_is_forgotten() {
        let mut writer = DirectoryWriter::default();
        writer.set_cluster(&cluster(&[("a", "10.0.0.1")]), 0);
        writer.set_endpoint(5, &cluster(&[("a", "10.0.0.1")]).pods[0], 0);
        writer.set_cluster(&cluster(&[]), 10);
        writer.remove_endpoint(5, 10);
        writer.set_cluster(&cluster(&[]), KEPT_NS);
        assert_eq!((writer.current.addresses.len(), writer.current.endpoints.len()), (1, 1));
        writer.set_cluster(&cluster(&[]), KEPT_NS + 10);
        assert_eq!((writer.current.addresses.len(), writer.current.endpoints.len()), (0, 0));
    }

    #[test]
    fn nothing_new_makes_no_history() {
        let mut writer = DirectoryWriter::default();
        for now in 0..10 {
            writer.set_cluster(&cluster(&[("a", "10.0.0.1")]), now);
        }
        assert!(writer.current.addresses.values().all(|history| history.0.len() == 1));
    }
}
