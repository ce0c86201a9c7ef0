//! The made-up cluster: endpoints, workloads, who calls whom, policies.

use std::net::Ipv4Addr;

use super::SyntheticOptions;
use super::random::Random;
use crate::schema::LabelMap;
use crate::values::{EndpointKind, PolicyRule};

const DOMAINS: &[&str] = &[
    "account",
    "ads",
    "audit",
    "basket",
    "billing",
    "booking",
    "catalog",
    "chat",
    "checkout",
    "content",
    "coupon",
    "currency",
    "delivery",
    "discovery",
    "email",
    "export",
    "feed",
    "fraud",
    "geo",
    "identity",
    "image",
    "import",
    "index",
    "invoice",
    "ledger",
    "loyalty",
    "media",
    "metrics",
    "offer",
    "order",
    "partner",
    "payment",
    "pricing",
    "product",
    "profile",
    "quote",
    "rating",
    "refund",
    "report",
    "review",
    "risk",
    "search",
    "session",
    "shipping",
    "stock",
    "subscription",
    "support",
    "tax",
    "ticket",
    "tracking",
    "user",
    "wallet",
    "warehouse",
];

/// A kind of workload: name, what it is in Kubernetes, the port it serves.
const ROLES: &[(&str, &str, u16)] = &[
    ("api", "Deployment", 8080),
    ("web", "Deployment", 3000),
    ("db", "StatefulSet", 5432),
    ("worker", "Deployment", 9000),
    ("cache", "StatefulSet", 6379),
    ("grpc", "Deployment", 50051),
    ("queue", "StatefulSet", 9092),
];

/// Something with an address.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) kind: EndpointKind,
    pub(super) address: Ipv4Addr,
    pub(super) name: String,
    /// Of a pod.
    pub(super) workload: Option<usize>,
    /// Of a pod or a node.
    pub(super) node: Option<usize>,
    pub(super) labels: LabelMap,
    pub(super) names: Vec<String>,
}

/// Pods of one make.
#[derive(Debug)]
pub(super) struct Workload {
    pub(super) namespace: usize,
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) port: u16,
    /// Its pods, as endpoints.
    pub(super) pods: std::ops::Range<usize>,
    /// The workloads it calls.
    pub(super) calls: Vec<usize>,
    /// Bytes of a typical request to it and of the answer.
    pub(super) request: u64,
    pub(super) answer: u64,
    /// Who decides about connections into it and out of it: indices of [`Cluster::policies`].
    pub(super) ingress: usize,
    pub(super) egress: usize,
    /// Who isolates it.
    pub(super) isolation: usize,
}

/// Rules that decide together, and the text that names them.
#[derive(Debug, Default)]
pub(super) struct PolicySet {
    pub(super) rules: Vec<PolicyRule>,
    pub(super) text: String,
}

#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) namespaces: Vec<String>,
    pub(super) nodes: usize,
    pub(super) workloads: Vec<Workload>,
    /// Pods, then nodes, then the world.
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) pods: usize,
    pub(super) policies: Vec<PolicySet>,
    /// The workload that answers DNS.
    pub(super) dns: usize,
    /// The workload through which the world comes in.
    pub(super) entrance: usize,
}

impl Cluster {
    pub(super) fn new(options: &SyntheticOptions) -> Self {
        let mut random = Random::new(options.seed);
        let nodes = options.nodes.max(1);
        let mut cluster = Self {
            namespaces: namespaces(options.namespaces.max(1)),
            nodes,
            workloads: Vec::new(),
            endpoints: Vec::new(),
            pods: 0,
            policies: vec![PolicySet::default()],
            dns: 0,
            entrance: 0,
        };
        let workloads = options.workloads.max(1);
        let mut pods_left = options.pods.max(workloads) - workloads;
        for index in 0..workloads {
            // Popular ones are large; the last takes nothing from those after it.
            let more = random.spread(1, 16) as usize - 1;
            let more = if index + 1 == workloads { pods_left } else { more.min(pods_left) };
            pods_left -= more;
            cluster.add_workload(index, 1 + more, &mut random);
        }
        cluster.pods = cluster.endpoints.len();
        cluster.dns = 0;
        cluster.entrance = 1 % workloads;
        cluster.add_calls(&mut random);
        for node in 0..nodes {
            cluster.endpoints.push(Endpoint {
                kind: EndpointKind::Node,
                address: Ipv4Addr::from(0x0a00_0000 + 10 + node as u32),
                name: node_name(node),
                workload: None,
                node: Some(node),
                labels: LabelMap::new(),
                names: Vec::new(),
            });
        }
        for number in 0..options.world.max(1) {
            cluster.endpoints.push(world(number, &mut random));
        }
        cluster
    }

    /// The endpoints outside.
    pub(super) fn world(&self) -> std::ops::Range<usize> {
        self.pods + self.nodes..self.endpoints.len()
    }

    pub(super) fn workload_of(&self, endpoint: usize) -> Option<&Workload> {
        self.endpoints[endpoint].workload.map(|workload| &self.workloads[workload])
    }

    fn add_workload(&mut self, index: usize, pods: usize, random: &mut Random) {
        let (name, kind, port, namespace) = match index {
            0 => ("coredns".to_owned(), "Deployment", 53, 0),
            1 => ("ingress-nginx".to_owned(), "Deployment", 8443, 1 % self.namespaces.len()),
            _ => {
                let (role, kind, port) = ROLES[index % ROLES.len()];
                let domain = index / ROLES.len();
                let name = DOMAINS[domain % DOMAINS.len()];
                let round = domain / DOMAINS.len();
                let name = if round == 0 {
                    format!("{name}-{role}")
                } else {
                    format!("{name}{}-{role}", round + 1)
                };
                let namespace = if self.namespaces.len() > 2 {
                    2 + domain % (self.namespaces.len() - 2)
                } else {
                    0
                };
                (name, kind, port, namespace)
            }
        };
        let first = self.endpoints.len();
        for number in 0..pods {
            let node = random.below(self.nodes);
            let pod = self.pod(&name, kind, namespace, number, node, random);
            self.endpoints.push(Endpoint { workload: Some(index), ..pod });
        }
        let (ingress, egress, isolation) = self.add_policies(namespace, &name, random);
        self.workloads.push(Workload {
            namespace,
            name,
            kind,
            port,
            pods: first..self.endpoints.len(),
            calls: Vec::new(),
            request: random.spread(80, 4000),
            answer: random.spread(60, 60_000),
            ingress,
            egress,
            isolation,
        });
    }

    fn pod(
        &self,
        workload: &str,
        kind: &str,
        namespace: usize,
        number: usize,
        node: usize,
        random: &mut Random,
    ) -> Endpoint {
        // As Kubernetes makes them: letters and digits without vowels, the first the same for all
        // pods of one template.
        let mut template = Random::new(
            workload.bytes().fold(7, |hash: u64, byte| hash.wrapping_mul(31) ^ u64::from(byte)),
        );
        let hash = suffix(&mut template, 10);
        let mut labels = LabelMap::from([
            ("app.kubernetes.io/name".to_owned(), workload.to_owned()),
            ("app.kubernetes.io/part-of".to_owned(), self.namespaces[namespace].clone()),
            ("team".to_owned(), format!("team-{}", namespace % 12)),
        ]);
        let name = if kind == "StatefulSet" {
            let name = format!("{workload}-{number}");
            labels.insert("apps.kubernetes.io/pod-index".into(), number.to_string());
            labels.insert("controller-revision-hash".into(), format!("{workload}-{hash}"));
            labels.insert("statefulset.kubernetes.io/pod-name".into(), name.clone());
            name
        } else {
            labels.insert("pod-template-hash".into(), hash.clone());
            if template.per_mille(500) {
                labels.insert(
                    "app.kubernetes.io/version".into(),
                    format!("1.{}", template.below(40)),
                );
            }
            format!("{workload}-{hash}-{}", suffix(random, 5))
        };
        let index = self.endpoints.len() as u32;
        Endpoint {
            kind: EndpointKind::Pod,
            // 10.64.0.0/10, a pod's address says nothing about its node.
            address: Ipv4Addr::from(0x0a40_0000 + 2 + index * 3),
            name,
            workload: None,
            node: Some(node),
            labels,
            names: Vec::new(),
        }
    }

    /// Policies of a workload: who lets in, who lets out, who isolates. Half of the workloads
    /// have none for what goes out.
    fn add_policies(
        &mut self,
        namespace: usize,
        workload: &str,
        random: &mut Random,
    ) -> (usize, usize, usize) {
        let rule = |name: String, rule| PolicyRule {
            kind: "NetworkPolicy".into(),
            namespace: self.namespaces[namespace].clone(),
            name,
            rule,
        };
        let into = rule(format!("{workload}-ingress"), Some(random.below(3) as u32));
        let shared = rule("allow-same-namespace".into(), Some(0));
        let isolating =
            vec![rule("default-deny".into(), None), rule(format!("{workload}-ingress"), None)];
        let out = random.per_mille(500).then(|| rule(format!("{workload}-egress"), Some(0)));
        let into = if random.per_mille(250) { vec![into, shared] } else { vec![into] };
        let ingress = self.add_policy(into);
        let isolation = self.add_policy(isolating);
        let egress = out.map_or(0, |out| self.add_policy(vec![out]));
        (ingress, egress, isolation)
    }

    fn add_policy(&mut self, rules: Vec<PolicyRule>) -> usize {
        let text = crate::values::policy_text(&rules);
        self.policies.push(PolicySet { rules, text });
        self.policies.len() - 1
    }

    fn add_calls(&mut self, random: &mut Random) {
        let count = self.workloads.len();
        for index in 0..count {
            let calls = 1 + random.below(6);
            let called = (0..calls).map(|_| random.popular(count)).filter(|&to| to != index);
            self.workloads[index].calls = called.collect();
            if self.workloads[index].calls.is_empty() {
                self.workloads[index].calls.push((index + 1) % count);
            }
        }
    }
}

pub(super) fn node_name(node: usize) -> String {
    format!("ip-10-0-0-{}.eu-west-1.compute.internal", 10 + node)
}

fn namespaces(count: usize) -> Vec<String> {
    let mut names = vec!["kube-system".to_owned(), "ingress".to_owned()];
    names.extend((2..count).map(|index| {
        let domain = DOMAINS[(index * 7) % DOMAINS.len()];
        if index - 2 < DOMAINS.len() { domain.to_owned() } else { format!("{domain}-{index}") }
    }));
    names.truncate(count);
    names
}

fn suffix(random: &mut Random, length: usize) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    (0..length).map(|_| char::from(LETTERS[random.below(LETTERS.len())])).collect()
}

fn world(number: usize, random: &mut Random) -> Endpoint {
    // Anything from 32.0.0.0 to 127 and above 128 to below 190: global unicast, nobody in special.
    let address = Ipv4Addr::from(0x2000_0000 + (random.next() as u32 % 0x5e00_0000));
    let names = if random.per_mille(600) {
        vec![format!("{}.example.net", DOMAINS[number % DOMAINS.len()])]
    } else {
        Vec::new()
    };
    Endpoint {
        kind: EndpointKind::World,
        address,
        name: String::new(),
        workload: None,
        node: None,
        labels: LabelMap::new(),
        names,
    }
}
