//! What the enforcer's thread tells of its work: to the status, and what is new of it to the log.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use weir_flow::wire::{Modes, PodStatus};
use weir_policy::Cluster;

use super::CollectorConfig;
use crate::enforcer::{Applied, EnforceError, Established, Startup, Unenforced};
use crate::health::Health;
use crate::intervals::Intervals;
use crate::logging::Logger;
use crate::netlink::Netlink;
use crate::source::ClusterState;

/// What was told already.
pub(super) struct Report {
    modes: Modes,
    /// The state that is, or is about to be, in force.
    cluster: Arc<Cluster>,
    logger: Option<Arc<Logger>>,
    /// Namespaces whose pods are audited.
    audited: HashSet<String>,
    unenforced: Vec<Unenforced>,
    error: String,
    /// The collector's own interval, and what is in force.
    interval: Duration,
    intervals: Option<Intervals>,
    interfaces: HashMap<u32, String>,
}

impl Report {
    /// Nothing told yet.
    pub(super) fn new(config: &CollectorConfig, logger: Option<Arc<Logger>>) -> Self {
        let modes = Modes {
            established: match config.established {
                Established::Keep => "keep".to_owned(),
                Established::Cut => "cut".to_owned(),
            },
            startup: match config.startup {
                Startup::Open => "open".to_owned(),
                Startup::Closed => "closed".to_owned(),
            },
            audit: config.audit,
            ..Modes::default()
        };
        Self {
            modes,
            cluster: Arc::default(),
            logger,
            audited: HashSet::new(),
            unenforced: Vec::new(),
            error: String::new(),
            interval: config.interval,
            intervals: None,
            interfaces: HashMap::new(),
        }
    }

    /// A cluster state is about to be put in force.
    pub(super) fn state(&mut self, health: &Health, state: &ClusterState) {
        let cluster = &state.cluster;
        let logs = |cluster: &Cluster| cluster.logging.is_some_and(|l| l.allow.log || l.deny.log);
        if self.logger.is_none() && logs(cluster) && !logs(&self.cluster) {
            tracing::warn!(
                "the NetworkLogging object asks for log records: set log_file to get them"
            );
        }
        self.cluster = cluster.clone();
        self.audited = audited_namespaces(cluster);
        let audited = cluster.policies.iter().filter(|policy| policy.audit).count()
            + cluster.tier_policies.iter().filter(|policy| policy.audit).count();
        let modes = Modes {
            audited_namespaces: self.audited.len() as u64,
            audited_policies: audited as u64,
            ..self.modes.clone()
        };
        health.set_policies(cluster.policies.len() + cluster.tier_policies.len(), modes);
        health.set_problems("manifests", state.problems.clone());
    }

    /// The intervals that are about to be in force, at `now_ns`, nanoseconds since 1970.
    pub(super) fn intervals(
        &mut self,
        health: &Health,
        state: &ClusterState,
        now_ns: u64,
    ) -> Intervals {
        let intervals = Intervals::of(&state.cluster, self.interval, now_ns);
        if self.intervals.as_ref() != Some(&intervals) {
            tracing::info!("connections are reported every {intervals}");
            health.set_intervals(intervals.status());
            self.intervals = Some(intervals.clone());
        }
        intervals
    }

    /// What came of it.
    pub(super) fn applied(
        &mut self,
        health: &Health,
        applied: Result<Option<Applied>, EnforceError>,
    ) {
        match applied {
            Ok(None) => {}
            Ok(Some(applied)) => {
                let known = &self.unenforced;
                for pod in applied.unenforced.iter().filter(|pod| !known.contains(pod)) {
                    tracing::warn!("not enforced: {pod}");
                }
                let enforced = applied.enforced.len();
                tracing::info!(revision = applied.revision, pods = enforced, "policy is in force");
                if let Some(logger) = &self.logger {
                    logger.select(applied.revision, &self.cluster);
                }
                health.set_enforcement(applied.revision, self.pods(&applied));
                health.set_problems("enforcer", Vec::new());
                health.set_behind(false);
                health.updated("applied");
                (self.unenforced, self.error) = (applied.unenforced, String::new());
            }
            Err(error) => {
                let error = error.to_string();
                if error != self.error {
                    tracing::error!("{error}");
                }
                health.set_problems("enforcer", vec![error.clone()]);
                health.set_behind(true);
                health.updated("failed");
                self.error = error;
            }
        }
    }

    /// Whether pods that should be enforced are not.
    pub(super) fn misses_pods(&self) -> bool {
        !self.unenforced.is_empty()
    }

    fn pods(&mut self, applied: &Applied) -> Vec<PodStatus> {
        self.name(applied.enforced.iter().map(|pod| pod.interface));
        let enforced = applied.enforced.iter().map(|pod| PodStatus {
            namespace: pod.namespace.clone(),
            name: pod.pod.clone(),
            enforced: true,
            revision: applied.revision,
            interface: self
                .interfaces
                .get(&pod.interface)
                .map_or_else(|| format!("#{}", pod.interface), Clone::clone),
            audit: self.modes.audit || self.audited.contains(&pod.namespace),
            why: String::new(),
        });
        let unenforced = applied.unenforced.iter().map(|pod| PodStatus {
            namespace: pod.namespace.clone(),
            name: pod.pod.clone(),
            why: pod.why.clone(),
            ..PodStatus::default()
        });
        enforced.chain(unenforced).collect()
    }

    /// Looks up the names of interfaces where one of these is unknown.
    fn name(&mut self, mut interfaces: impl Iterator<Item = u32>) {
        if interfaces.all(|interface| self.interfaces.contains_key(&interface)) {
            return;
        }
        // Without names the numbers do.
        if let Ok(links) = Netlink::open().and_then(|mut netlink| netlink.links()) {
            self.interfaces = links.into_iter().map(|(index, link)| (index, link.name)).collect();
        }
    }
}

fn audited_namespaces(cluster: &Cluster) -> HashSet<String> {
    let audited = cluster.namespaces.iter().filter(|namespace| namespace.audit);
    audited.map(|namespace| namespace.name.clone()).collect()
}
