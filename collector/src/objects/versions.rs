//! What the cluster's objects are now, and what became of them that the relay does not know yet. No
//! I/O, no clock.
//!
//! Bounded in bytes. When the queue is full all of it is given up and counted, and the relay is told
//! the whole state again: it then misses what was between, and nothing of what is now.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use weir_flow::schema::TimestampNs;
use weir_flow::schema::objects::ObjectVersion;
use weir_flow::wire::{MAX_MANIFEST_BYTES, MAX_NAME_BYTES};
use weir_policy::manifest;

use crate::source::ClusterState;

/// Kind, namespace and name.
type Key = (String, String, String);

/// Objects of one cluster as one collector sees them.
#[derive(Debug)]
pub(super) struct Versions {
    cluster: String,
    node: String,
    current: BTreeMap<Key, Current>,
    /// When the current state was read, nanoseconds since 1970; none before the first.
    as_of_ns: Option<i64>,
    /// Whether all of that state could be read.
    complete: bool,
    queue: VecDeque<ObjectVersion>,
    queue_bytes: usize,
    limit_bytes: usize,
    /// How often the queue was given up.
    overflows: u64,
    lost: u64,
}

#[derive(Debug)]
struct Current {
    since_ns: i64,
    manifest: Arc<str>,
}

/// Everything that a new stream begins with.
#[derive(Debug)]
pub(super) struct Everything {
    /// What waits, then what is now.
    pub(super) versions: Vec<ObjectVersion>,
    /// How many of them come from the queue.
    pub(super) queued: usize,
    /// What is not among them is not there, as of this time; none if that is not certain.
    pub(super) complete_at_ns: Option<i64>,
    /// How often the queue had been given up by then.
    pub(super) overflows: u64,
}

impl Versions {
    /// Nothing known. The queue takes that many bytes.
    pub(super) fn new(cluster: &str, node: &str, limit_bytes: usize) -> Self {
        Self {
            cluster: cluster.into(),
            node: node.into(),
            current: BTreeMap::new(),
            as_of_ns: None,
            complete: false,
            queue: VecDeque::new(),
            queue_bytes: 0,
            limit_bytes,
            overflows: 0,
            lost: 0,
        }
    }

    /// The cluster is like this since `now_ns`.
    pub(super) fn update(&mut self, state: &ClusterState, now_ns: i64) {
        let mut seen = manifests(state);
        let gone: Vec<Key> =
            self.current.keys().filter(|key| !seen.contains_key(*key)).cloned().collect();
        for key in gone {
            self.current.remove(&key);
            self.push(&key, now_ns, None);
        }
        seen.retain(|key, manifest| {
            self.current.get(key).is_none_or(|current| current.manifest != *manifest)
        });
        for (key, manifest) in seen {
            self.push(&key, now_ns, Some(&manifest));
            self.current.insert(key, Current { since_ns: now_ns, manifest });
        }
        self.as_of_ns = Some(now_ns);
        self.complete = state.problems.is_empty();
    }

    /// What a new stream begins with; none before the first state.
    pub(super) fn everything(&self) -> Option<Everything> {
        let as_of_ns = self.as_of_ns?;
        let now = self
            .current
            .iter()
            .map(|(key, current)| self.version(key, current.since_ns, Some(&current.manifest)));
        Some(Everything {
            versions: self.queue.iter().cloned().chain(now).collect(),
            queued: self.queue.len(),
            complete_at_ns: self.complete.then_some(as_of_ns),
            overflows: self.overflows,
        })
    }

    /// What waits, oldest first.
    pub(super) fn waiting(&self, at_most: usize) -> Vec<ObjectVersion> {
        self.queue.iter().take(at_most).cloned().collect()
    }

    /// The relay has the first `count` of what waits, unless they were given up meanwhile.
    pub(super) fn acknowledged(&mut self, count: usize, overflows: u64) {
        if overflows == self.overflows {
            for version in self.queue.drain(..count.min(self.queue.len())) {
                self.queue_bytes -= weight(&version);
            }
        }
    }

    /// How often the queue was given up: then a stream has to begin anew.
    pub(super) fn overflows(&self) -> u64 {
        self.overflows
    }

    /// Versions that were given up.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    fn push(&mut self, key: &Key, time_ns: i64, manifest: Option<&Arc<str>>) {
        let version = self.version(key, time_ns, manifest);
        self.queue_bytes += weight(&version);
        self.queue.push_back(version);
        if self.queue_bytes > self.limit_bytes {
            self.lost += self.queue.len() as u64;
            self.overflows += 1;
            self.queue.clear();
            self.queue_bytes = 0;
        }
    }

    fn version(&self, key: &Key, time_ns: i64, manifest: Option<&Arc<str>>) -> ObjectVersion {
        let (kind, namespace, name) = key.clone();
        ObjectVersion {
            time: TimestampNs(time_ns),
            cluster: self.cluster.clone(),
            node: self.node.clone(),
            kind,
            namespace,
            name,
            manifest: manifest.map(std::string::ToString::to_string),
        }
    }
}

/// Every object's manifest: of policies the text of their authors, of others what policies need.
fn manifests(state: &ClusterState) -> BTreeMap<Key, Arc<str>> {
    let cluster = &state.cluster;
    let key = |kind: &str, namespace: &str, name: &str| {
        (kind.to_owned(), namespace.to_owned(), name.to_owned())
    };
    let mut all: BTreeMap<Key, Arc<str>> =
        state.texts.iter().map(|(key, text)| (key.clone(), text.clone())).collect();
    all.extend(cluster.namespaces.iter().map(|namespace| {
        (key("Namespace", "", &namespace.name), manifest::write_namespace(namespace).into())
    }));
    all.extend(
        cluster
            .pods
            .iter()
            .map(|pod| (key("Pod", &pod.namespace, &pod.name), manifest::write_pod(pod).into())),
    );
    all.extend(cluster.services.iter().map(|service| {
        (key("Service", &service.namespace, &service.name), manifest::write_service(service).into())
    }));
    all.extend(
        cluster
            .nodes
            .iter()
            .map(|node| (key("Node", "", &node.name), manifest::write_node(node).into())),
    );
    all.retain(|(kind, namespace, name), manifest| {
        let names = [kind, namespace, name];
        let fits = names.iter().all(|name| name.len() <= MAX_NAME_BYTES)
            && manifest.len() <= MAX_MANIFEST_BYTES;
        if !fits {
            let name: String = name.chars().take(100).collect();
            tracing::warn!(kind, namespace, name, "too large to be explained later");
        }
        fits
    });
    all
}

fn weight(version: &ObjectVersion) -> usize {
    size_of::<ObjectVersion>()
        + version.name.len()
        + version.namespace.len()
        + version.manifest.as_ref().map_or(0, String::len)
}

#[cfg(test)]
mod tests {
    use weir_policy::Cluster;
    use weir_policy::model::Pod;

    use super::*;

    fn state(pods: &[(&str, &str)], policy: Option<&str>) -> ClusterState {
        let pod = |&(name, node): &(&str, &str)| Pod {
            namespace: "x".into(),
            name: name.into(),
            node: Some(node.into()),
            ..Pod::default()
        };
        let texts = policy.map(|text| {
            (("NetworkPolicy".to_owned(), "x".to_owned(), "p".to_owned()), Arc::from(text))
        });
        ClusterState {
            cluster: Arc::new(Cluster {
                pods: pods.iter().map(pod).collect(),
                ..Cluster::default()
            }),
            texts: Arc::new(texts.into_iter().collect()),
            problems: vec![],
        }
    }

    fn short(versions: &[ObjectVersion]) -> Vec<(i64, &str, bool)> {
        versions.iter().map(|v| (v.time.0, v.name.as_str(), v.manifest.is_some())).collect()
    }

    #[test]
    fn each_change_is_a_version() {
        let mut versions = Versions::new("lab", "n1", 1 << 20);
        assert!(versions.everything().is_none());
        versions.update(&state(&[("a", "n1"), ("b", "n1")], Some("one")), 10);
        versions.update(&state(&[("a", "n1"), ("b", "n1")], Some("one")), 20);
        versions.update(&state(&[("a", "n2")], Some("two")), 30);
        let waiting = versions.waiting(100);
        let expected = [
            (10, "p", true),
            (10, "a", true),
            (10, "b", true),
            (30, "b", false),
            (30, "p", true),
            (30, "a", true),
        ];
        assert_eq!(short(&waiting), expected);
        assert_eq!(waiting[4].manifest.as_deref(), Some("two"));
        let everything = versions.everything().unwrap();
        assert_eq!((everything.queued, everything.complete_at_ns), (6, Some(30)));
        assert_eq!(short(&everything.versions[6..]), [(30, "p", true), (30, "a", true)]);
        versions.acknowledged(5, 0);
        assert_eq!(short(&versions.waiting(100)), [(30, "a", true)]);
    }

    #[test]
    fn a_state_with_problems_is_not_complete() {
        let mut versions = Versions::new("lab", "n1", 1 << 20);
        let problems = vec!["a.yaml: cannot be read".into()];
        versions.update(&ClusterState { problems, ..state(&[("a", "n1")], None) }, 10);
        assert_eq!(versions.everything().unwrap().complete_at_ns, None);
    }

    #[test]
    fn a_full_queue_is_given_up_and_counted() {
        let mut versions = Versions::new("lab", "n1", 2_000);
        for time in 0..100 {
            let node = format!("n{time}");
            versions.update(&state(&[("a", &node)], None), time);
        }
        let everything = versions.everything().unwrap();
        assert!(versions.overflows() > 0 && versions.queue_bytes <= 2_000);
        assert_eq!(versions.lost() + everything.queued as u64, 100);
        let last = everything.versions.last().unwrap();
        assert!(last.time.0 == 99 && last.manifest.as_ref().unwrap().contains("n99"));
        // The answer to what was sent before does not take away what came since.
        versions.acknowledged(100, 0);
        assert_eq!(versions.waiting(100).len(), everything.queued);
    }
}
