//! What the clusters were like at any time, from the versions of their objects.
//!
//! Immutable once made: whoever holds one has one consistent view. Bounded by what the store may
//! hold of objects; see [`super::objects`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use weir_flow::schema::TimestampNs;
use weir_flow::schema::objects::{EndpointRow, NodeRow, ObjectVersion, PolicyRow};
use weir_policy::Cluster;
use weir_policy::explain::Original;
use weir_policy::manifest::{self, Object};
use weir_policy::model::{Node, Phase, Pod};

/// States kept in the form that explanations need.
const CACHED: usize = 4;

/// Every version of every object.
#[derive(Debug, Default)]
pub(crate) struct History {
    clusters: BTreeMap<String, Objects>,
    cache: Mutex<Vec<Arc<ClusterAt>>>,
}

/// Of one cluster, by kind, namespace and name.
type Objects = BTreeMap<(String, String, String), Vec<Version>>;

#[derive(Clone, Debug)]
struct Version {
    from_ns: i64,
    /// `None`: it is gone.
    manifest: Option<Arc<str>>,
}

/// One cluster at one time.
#[derive(Debug)]
pub(crate) struct ClusterAt {
    name: String,
    /// When the last change before that time was seen; a time before everything if there is none.
    since_ns: i64,
    /// What decided then.
    pub(crate) cluster: Cluster,
    /// The policies as their authors wrote them.
    pub(crate) originals: Vec<Original>,
    /// What cannot be read of it.
    pub(crate) problems: Vec<String>,
}

/// Something that happened to a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Change {
    pub(crate) time: TimestampNs,
    pub(crate) cluster: String,
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) what: What,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    /// It is new, or was seen for the first time.
    Added,
    Changed,
    Removed,
}

/// A version while it was valid.
struct Valid<'a> {
    cluster: &'a str,
    kind: &'a str,
    namespace: &'a str,
    name: &'a str,
    from: TimestampNs,
    to: Option<TimestampNs>,
    manifest: &'a str,
}

impl History {
    /// This history and further versions.
    pub(crate) fn with(&self, versions: impl IntoIterator<Item = ObjectVersion>) -> Self {
        let mut clusters = self.clusters.clone();
        for version in versions {
            let key = (version.kind, version.namespace, version.name);
            clusters.entry(version.cluster).or_default().entry(key).or_default().push(Version {
                from_ns: version.time.0,
                manifest: version.manifest.map(Arc::from),
            });
        }
        for versions in clusters.values_mut().flat_map(BTreeMap::values_mut) {
            versions.sort_by_key(|version| version.from_ns);
            versions.dedup_by(|next, last| next.manifest == last.manifest);
        }
        Self { clusters, cache: Mutex::default() }
    }

    /// The names of the clusters.
    pub(crate) fn clusters(&self) -> impl Iterator<Item = &str> {
        self.clusters.keys().map(String::as_str)
    }

    /// When the first object of a cluster was seen.
    pub(crate) fn begin_ns(&self, cluster: &str) -> Option<i64> {
        let objects = self.clusters.get(cluster)?;
        objects.values().filter_map(|versions| versions.first()).map(|first| first.from_ns).min()
    }

    /// When a cluster changed within `from_ns..=to_ns`, latest first, each time once.
    pub(crate) fn changes(&self, cluster: &str, from_ns: i64, to_ns: i64) -> Vec<i64> {
        let objects = self.clusters.get(cluster);
        let versions = objects.into_iter().flat_map(BTreeMap::values).flatten();
        let mut times: Vec<i64> = versions
            .map(|version| version.from_ns)
            .filter(|time| (from_ns..=to_ns).contains(time))
            .collect();
        times.sort_unstable_by(|a, b| b.cmp(a));
        times.dedup();
        times
    }

    /// What happened to policies in `from_ns..until_ns`, in order of time.
    pub(crate) fn policy_changes(&self, from_ns: i64, until_ns: i64) -> Vec<Change> {
        let mut changes = Vec::new();
        for (cluster, objects) in &self.clusters {
            let policies = objects.iter().filter(|((kind, ..), _)| manifest::is_policy(kind));
            for ((kind, namespace, name), versions) in policies {
                let mut was_there = false;
                for version in versions {
                    let what = match (was_there, version.manifest.is_some()) {
                        (false, true) => What::Added,
                        (true, true) => What::Changed,
                        (true, false) => What::Removed,
                        (false, false) => continue,
                    };
                    was_there = version.manifest.is_some();
                    if (from_ns..until_ns).contains(&version.from_ns) {
                        changes.push(Change {
                            time: TimestampNs(version.from_ns),
                            cluster: cluster.clone(),
                            kind: kind.clone(),
                            namespace: namespace.clone(),
                            name: name.clone(),
                            what,
                        });
                    }
                }
            }
        }
        changes.sort_by_key(|change| change.time);
        changes
    }

    /// A cluster at a time. Of a cluster that is not known, nothing.
    pub(crate) fn at(&self, cluster: &str, at_ns: i64) -> Arc<ClusterAt> {
        let since_ns = self.changes(cluster, i64::MIN, at_ns).first().copied().unwrap_or(i64::MIN);
        let lock = || self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |at: &&Arc<ClusterAt>| at.name == cluster && at.since_ns == since_ns;
        if let Some(known) = lock().iter().find(known) {
            return known.clone();
        }
        let made = Arc::new(self.assemble(cluster, since_ns));
        let mut cache = lock();
        if cache.len() >= CACHED {
            cache.remove(0);
        }
        cache.push(made.clone());
        made
    }

    /// Versions of policies; those that are valid at a time if one is given.
    pub(crate) fn policies(&self, at_ns: Option<i64>) -> impl Iterator<Item = PolicyRow> {
        self.valid(at_ns).filter(|valid| manifest::is_policy(valid.kind)).map(|valid| PolicyRow {
            cluster: valid.cluster.into(),
            kind: valid.kind.into(),
            namespace: valid.namespace.into(),
            name: valid.name.into(),
            valid_from: valid.from,
            valid_to: valid.to,
            manifest: valid.manifest.into(),
        })
    }

    /// Versions of pods.
    pub(crate) fn endpoints(&self, at_ns: Option<i64>) -> impl Iterator<Item = EndpointRow> {
        self.valid(at_ns).filter(|valid| valid.kind == "Pod").filter_map(|valid| {
            let Some(Object::Pod(pod)) = read(valid.manifest) else { return None };
            let Pod { namespace, name, labels, addresses, node, phase, workload, .. } = pod;
            let (workload_kind, workload) = workload.map(|w| (w.kind, w.name)).unzip();
            Some(EndpointRow {
                cluster: valid.cluster.into(),
                namespace,
                name,
                addresses: addresses.iter().map(ToString::to_string).collect(),
                labels: labels.into_iter().collect(),
                workload_kind,
                workload,
                node,
                phase: phase_text(phase).into(),
                valid_from: valid.from,
                valid_to: valid.to,
            })
        })
    }

    /// Versions of nodes.
    pub(crate) fn nodes(&self, at_ns: Option<i64>) -> impl Iterator<Item = NodeRow> {
        self.valid(at_ns).filter(|valid| valid.kind == "Node").filter_map(|valid| {
            let Some(Object::Node(Node { name, labels, addresses })) = read(valid.manifest) else {
                return None;
            };
            Some(NodeRow {
                cluster: valid.cluster.into(),
                name,
                addresses: addresses.iter().map(ToString::to_string).collect(),
                labels: labels.into_iter().collect(),
                valid_from: valid.from,
                valid_to: valid.to,
            })
        })
    }

    fn valid(&self, at_ns: Option<i64>) -> impl Iterator<Item = Valid<'_>> {
        let objects = self.clusters.iter().flat_map(|(cluster, objects)| {
            objects.iter().map(move |(key, versions)| (cluster, key, versions))
        });
        let all = objects.flat_map(|(cluster, (kind, namespace, name), versions)| {
            versions.iter().enumerate().filter_map(move |(index, version)| {
                Some(Valid {
                    cluster,
                    kind,
                    namespace,
                    name,
                    from: TimestampNs(version.from_ns),
                    to: versions.get(index + 1).map(|next| TimestampNs(next.from_ns)),
                    manifest: version.manifest.as_deref()?,
                })
            })
        });
        all.filter(move |valid| {
            at_ns.is_none_or(|at| valid.from.0 <= at && valid.to.is_none_or(|to| to.0 > at))
        })
    }

    fn assemble(&self, name: &str, at_ns: i64) -> ClusterAt {
        let mut at = ClusterAt {
            name: name.into(),
            since_ns: at_ns,
            cluster: Cluster::default(),
            originals: Vec::new(),
            problems: Vec::new(),
        };
        for valid in self.valid(Some(at_ns)).filter(|valid| valid.cluster == name) {
            let slash = if valid.namespace.is_empty() { "" } else { "/" };
            let label = format!("{}{slash}{}", valid.namespace, valid.name);
            let Some(object) = read(valid.manifest) else {
                at.problems.push(format!(
                    "{} {label} cannot be read by this version and is left out",
                    valid.kind
                ));
                continue;
            };
            if manifest::is_policy(valid.kind) {
                let path = format!("{label}.yaml");
                at.originals.push(Original { path, text: valid.manifest.into() });
            }
            match object {
                Object::Namespace(namespace) => at.cluster.namespaces.push(namespace),
                Object::Pod(pod) => at.cluster.pods.push(pod),
                Object::NetworkPolicy(policy) => at.cluster.policies.push(policy),
                Object::TierPolicy(policy) => at.cluster.tier_policies.push(policy),
                Object::Service(service) => at.cluster.services.push(service),
                Object::Node(node) => at.cluster.nodes.push(node),
                Object::NetworkLogging(_) | Object::FlowLogging(_) | Object::Ignored { .. } => {}
            }
        }
        at
    }
}

/// The one object of a manifest.
fn read(text: &str) -> Option<Object> {
    manifest::parse(text).into_iter().next()?.ok()
}

fn phase_text(phase: Phase) -> &'static str {
    match phase {
        Phase::Running => "Running",
        Phase::Pending => "Pending",
        Phase::Unknown => "Unknown",
        Phase::Succeeded => "Succeeded",
        Phase::Failed => "Failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(time: i64, kind: &str, name: &str, manifest: Option<&str>) -> ObjectVersion {
        ObjectVersion {
            time: TimestampNs(time),
            cluster: "lab".into(),
            node: "n1".into(),
            kind: kind.into(),
            namespace: "x".into(),
            name: name.into(),
            manifest: manifest.map(str::to_owned),
        }
    }

    fn policy(selector: &str) -> String {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: x}}\n\
             spec: {{podSelector: {selector}}}\n"
        )
    }

    #[test]
    fn a_cluster_is_as_it_was() {
        let pod = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","namespace":"x"}}"#;
        let (one, two) = (policy("{}"), policy("{matchLabels: {app: a}}"));
        let early = History::default().with([
            version(20, "NetworkPolicy", "p", Some(&two)),
            version(10, "NetworkPolicy", "p", Some(&one)),
            version(15, "Pod", "a", Some(pod)),
        ]);
        // A version that was in a file already, and later ones.
        let history = early.with([
            version(20, "NetworkPolicy", "p", Some(&two)),
            version(30, "NetworkPolicy", "p", None),
            version(40, "NetworkPolicy", "p", Some("kind: [")),
        ]);
        let selectors = |at| {
            let at = history.at("lab", at);
            (at.cluster.policies.len(), at.cluster.pods.len(), at.originals.first().cloned())
        };
        assert_eq!(selectors(9), (0, 0, None));
        let original = |text: &str| Some(Original { path: "x/p.yaml".into(), text: text.into() });
        assert_eq!(selectors(10), (1, 0, original(&one)));
        assert_eq!(selectors(19), (1, 1, original(&one)));
        assert_eq!(selectors(20), (1, 1, original(&two)));
        assert_eq!(selectors(35), (0, 1, None));
        assert_eq!(history.at("lab", 50).problems.len(), 1);
        assert_eq!(history.at("elsewhere", 50).cluster, Cluster::default());
        assert_eq!(history.begin_ns("lab"), Some(10));
        assert_eq!(history.changes("lab", 11, 30), [30, 20, 15]);
        // The same state is made once.
        assert!(Arc::ptr_eq(&history.at("lab", 16), &history.at("lab", 18)));

        let rows: Vec<PolicyRow> = history.policies(None).collect();
        let times: Vec<_> =
            rows.iter().map(|row| (row.valid_from.0, row.valid_to.map(|to| to.0))).collect();
        assert_eq!(times, [(10, Some(20)), (20, Some(30)), (40, None)]);
        assert_eq!(rows[0].manifest, one);
        assert_eq!(history.policies(Some(25)).count(), 1);
        assert_eq!(history.endpoints(Some(25)).next().unwrap().name, "a");
        assert_eq!(history.endpoints(Some(14)).count(), 0);
    }
}
