//! Which pod is behind which interface, and what it is called in events.

use std::collections::{BTreeMap, HashMap};

use weir_policy::Cluster;
use weir_policy::model::{Pod, precedence};

use super::journal::Record;
use super::{Enforcer, Instance, Kernel, Last, Network, Unenforced};
use crate::kernel::MonotonicClock;

impl<K: Kernel, N: Network> Enforcer<K, N> {
    /// One pod, by its index in the compiled endpoints, for each interface.
    pub(super) fn choose(&self, next: &Last) -> (BTreeMap<u32, usize>, Vec<Unenforced>) {
        let pods = local_pods(&next.cluster, &self.options.node);
        let pod = |index: usize| {
            let endpoint = &next.compiled.endpoints[index];
            pods.get(&(endpoint.namespace.as_str(), endpoint.pod.as_str())).copied()
        };
        let mut chosen: BTreeMap<u32, usize> = BTreeMap::new();
        let mut unenforced = Vec::new();
        for (index, place) in next.places.iter().enumerate() {
            let interface = match place {
                Ok(interface) => *interface,
                Err(why) => {
                    unenforced.push(unenforced_pod(next, index, why.clone()));
                    continue;
                }
            };
            let Some(other) = chosen.insert(interface, index) else { continue };
            let first = pod(other).map(precedence) < pod(index).map(precedence);
            let (winner, loser) = if first { (other, index) } else { (index, other) };
            chosen.insert(interface, winner);
            let holder = &next.compiled.endpoints[winner];
            let why = format!("its address belongs to {}/{}", holder.namespace, holder.pod);
            unenforced.push(unenforced_pod(next, loser, why));
        }
        (chosen, unenforced)
    }

    /// Tells the directory what the kernel is about to learn. Returns endpoints by interface, and
    /// what is to be written down of them.
    pub(super) fn announce(
        &mut self,
        next: &Last,
        chosen: &BTreeMap<u32, usize>,
    ) -> (HashMap<u32, u32>, Vec<Record>) {
        let now = MonotonicClock::now_ns();
        self.directory.set_own_addresses(&self.options.node, &next.own_addresses);
        self.directory.set_cluster(&next.cluster, now);
        let pods = local_pods(&next.cluster, &self.options.node);
        let mut endpoints = HashMap::new();
        let mut instances = HashMap::new();
        let mut news = Vec::new();
        for (interface, index) in chosen {
            let compiled = &next.compiled.endpoints[*index];
            let instance = Instance {
                namespace: compiled.namespace.clone(),
                pod: compiled.pod.clone(),
                addresses: compiled.addresses.clone(),
                interface: *interface,
            };
            let endpoint = self.instances.get(&instance).copied().unwrap_or_else(|| {
                self.last_endpoint += 1;
                news.push(Record::Endpoint(self.last_endpoint, instance.clone()));
                self.last_endpoint
            });
            if let Some(pod) = pods.get(&(compiled.namespace.as_str(), compiled.pod.as_str())) {
                self.directory.set_endpoint(endpoint, pod, now);
            }
            endpoints.insert(*interface, endpoint);
            instances.insert(instance, endpoint);
        }
        for (instance, endpoint) in &self.instances {
            if !instances.contains_key(instance) {
                self.directory.remove_endpoint(*endpoint, now);
                news.push(Record::Gone(*endpoint));
            }
        }
        self.instances = instances;
        self.directory.set_rule_sets(self.compiler.rule_sets());
        self.directory.publish();
        (endpoints, news)
    }
}

pub(super) fn unenforced_pod(next: &Last, index: usize, why: String) -> Unenforced {
    let endpoint = &next.compiled.endpoints[index];
    Unenforced { namespace: endpoint.namespace.clone(), pod: endpoint.pod.clone(), why }
}

fn local_pods<'a>(cluster: &'a Cluster, node: &str) -> HashMap<(&'a str, &'a str), &'a Pod> {
    let local = cluster.pods.iter().filter(|pod| pod.node.as_deref() == Some(node));
    local.map(|pod| ((pod.namespace.as_str(), pod.name.as_str()), pod)).collect()
}
