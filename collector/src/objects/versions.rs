//! What the cluster's objects are now, and what became of them that the relay does not know yet. No
//! I/O, no clock.
//!
//! What is now is the cluster state that others hold as well; its texts are written only when they are
//! told. What was, waits in a queue bounded in bytes. When it is full all of it is given up and
//! counted, and the relay is told the whole state again: it then misses what was between, and nothing
//! of what is now.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use weir_flow::schema::TimestampNs;
use weir_flow::schema::objects::ObjectVersion;

use super::object::{self, Key, Object};
use crate::source::ClusterState;

/// Objects of one cluster as one collector sees them.
#[derive(Debug)]
pub(super) struct Versions {
    teller: Teller,
    now: Now,
    /// When that state was read, nanoseconds since 1970; none before the first.
    as_of_ns: Option<i64>,
    /// It was told, or waits.
    told: bool,
    queue: VecDeque<ObjectVersion>,
    queue_bytes: usize,
    limit_bytes: usize,
    /// How often the queue was given up.
    overflows: u64,
    lost: u64,
}

/// Who tells it, in every version.
#[derive(Clone, Debug)]
struct Teller {
    cluster: String,
    node: String,
}

/// A state, and since when each of its [objects](object::of) is like this.
#[derive(Clone, Debug, Default)]
struct Now {
    state: ClusterState,
    since_ns: Arc<[i64]>,
}

/// Everything that a new stream begins with.
#[derive(Debug)]
pub(super) struct Everything {
    teller: Teller,
    now: Now,
    /// What waits.
    queue: Vec<ObjectVersion>,
    /// What is not among them is not there, as of this time; none if that is not certain.
    pub(super) complete_at_ns: Option<i64>,
    /// How often the queue had been given up by then.
    pub(super) overflows: u64,
}

impl Everything {
    /// What waits, then what is now.
    pub(super) fn versions(&self) -> impl Iterator<Item = ObjectVersion> {
        self.queue.iter().cloned().chain(self.now.versions(&self.teller))
    }
}

impl Versions {
    /// Nothing known. The queue takes that many bytes.
    pub(super) fn new(cluster: &str, node: &str, limit_bytes: usize) -> Self {
        Self {
            teller: Teller { cluster: cluster.into(), node: node.into() },
            now: Now::default(),
            as_of_ns: None,
            told: false,
            queue: VecDeque::new(),
            queue_bytes: 0,
            limit_bytes,
            overflows: 0,
            lost: 0,
        }
    }

    /// The cluster is like this since `now_ns`.
    pub(super) fn update(&mut self, state: &ClusterState, now_ns: i64) {
        let before = std::mem::take(&mut self.now);
        let mut known: HashMap<Key<'_>, (Object<'_>, i64)> = object::of(&before.state)
            .zip(before.since_ns.iter())
            .map(|((key, object), since_ns)| (key, (object, *since_ns)))
            .collect();
        let mut changed = Vec::new();
        let since_ns = object::of(state).map(|(key, object)| match known.remove(&key) {
            Some((before, since_ns)) if before == object => since_ns,
            _ => {
                changed.push((key, object));
                now_ns
            }
        });
        let since_ns = since_ns.collect();
        let is_first = self.as_of_ns.is_none();
        if !(is_first || changed.is_empty() && known.is_empty()) {
            if !self.told {
                // Some of it is not there any more when the relay is told what is now.
                before.versions(&self.teller.clone()).for_each(|version| self.push(version));
                self.told = true;
            }
            // In an order of their own, so that whoever looks finds the same each time.
            let gone = object::of(&before.state).filter(|(key, _)| known.contains_key(key));
            for (key, _) in gone {
                self.push(self.teller.version(key, now_ns, None));
            }
            for (key, object) in changed {
                if let Some(manifest) = object.manifest(key) {
                    self.push(self.teller.version(key, now_ns, Some(manifest)));
                }
            }
        }
        self.now = Now { state: state.clone(), since_ns };
        self.as_of_ns = Some(now_ns);
    }

    /// What a new stream begins with; none before the first state.
    pub(super) fn everything(&self) -> Option<Everything> {
        let as_of_ns = self.as_of_ns?;
        Some(Everything {
            teller: self.teller.clone(),
            now: self.now.clone(),
            queue: self.queue.iter().cloned().collect(),
            complete_at_ns: self.now.state.problems.is_empty().then_some(as_of_ns),
            overflows: self.overflows,
        })
    }

    /// The relay has everything that a stream began with.
    pub(super) fn everything_acknowledged(&mut self, everything: &Everything) {
        self.told = true;
        self.acknowledged(everything.queue.len(), everything.overflows);
    }

    /// What waits, oldest first.
    pub(super) fn waiting(&self) -> impl Iterator<Item = ObjectVersion> {
        self.queue.iter().cloned()
    }

    /// The relay has the first `count` of what waits, unless they were given up meanwhile.
    pub(super) fn acknowledged(&mut self, count: usize, overflows: u64) {
        if overflows == self.overflows {
            for version in self.queue.drain(..count.min(self.queue.len())) {
                self.queue_bytes -= weight(&version);
            }
            if self.queue.is_empty() {
                self.queue.shrink_to_fit();
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

    fn push(&mut self, version: ObjectVersion) {
        self.queue_bytes += weight(&version);
        self.queue.push_back(version);
        if self.queue_bytes > self.limit_bytes {
            self.lost += self.queue.len() as u64;
            self.overflows += 1;
            self.queue = VecDeque::new();
            self.queue_bytes = 0;
        }
    }
}

impl Now {
    fn versions(&self, teller: &Teller) -> impl Iterator<Item = ObjectVersion> {
        let objects = object::of(&self.state).zip(self.since_ns.iter());
        objects.filter_map(|((key, object), since_ns)| {
            Some(teller.version(key, *since_ns, Some(object.manifest(key)?)))
        })
    }
}

impl Teller {
    fn version(&self, key: Key<'_>, time_ns: i64, manifest: Option<String>) -> ObjectVersion {
        let (kind, namespace, name) = key;
        ObjectVersion {
            time: TimestampNs(time_ns),
            cluster: self.cluster.clone(),
            node: self.node.clone(),
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            manifest,
        }
    }
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
        let waiting: Vec<_> = versions.waiting().collect();
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
        assert_eq!((everything.queue.len(), everything.complete_at_ns), (6, Some(30)));
        let all: Vec<_> = everything.versions().collect();
        assert_eq!(all[..6], waiting);
        assert_eq!(short(&all[6..]), [(30, "p", true), (30, "a", true)]);
        versions.acknowledged(5, 0);
        assert_eq!(short(&versions.waiting().collect::<Vec<_>>()), [(30, "a", true)]);
    }

    #[test]
    fn what_is_now_does_not_wait_beside_itself() {
        let mut versions = Versions::new("lab", "n1", 1 << 20);
        versions.update(&state(&[("a", "n1"), ("b", "n1")], Some("one")), 10);
        assert_eq!(versions.waiting().count(), 0);
        let everything = versions.everything().unwrap();
        let all: Vec<_> = everything.versions().collect();
        assert_eq!(short(&all), [(10, "p", true), (10, "a", true), (10, "b", true)]);
        assert_eq!(all[0].manifest.as_deref(), Some("one"));
        // Once it is told only what changes waits.
        versions.everything_acknowledged(&everything);
        versions.update(&state(&[("a", "n2"), ("b", "n1")], Some("one")), 20);
        assert_eq!(short(&versions.waiting().collect::<Vec<_>>()), [(20, "a", true)]);
        let now: Vec<_> = versions.everything().unwrap().versions().skip(1).collect();
        assert_eq!(short(&now), [(10, "p", true), (20, "a", true), (10, "b", true)]);
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
        assert_eq!(versions.lost() + everything.queue.len() as u64, 100);
        let last = everything.versions().last().unwrap();
        assert!(last.time.0 == 99 && last.manifest.as_ref().unwrap().contains("n99"));
        // The answer to what was sent before does not take away what came since.
        versions.acknowledged(100, 0);
        assert_eq!(versions.waiting().count(), everything.queue.len());
    }
}
