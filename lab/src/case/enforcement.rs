//! An enforcer in each node, on a thread that stays inside it.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use weir_collector::Enforcer;
use weir_collector::enforcer::{Applied, EnforceError, Options};
use weir_collector::kernel::DatapathOptions;
use weir_policy::Cluster;

use super::CaseRunError;
use super::stage::Stage;
use crate::Place;

/// Enforcers by node.
#[derive(Default)]
pub(super) struct Enforcement(BTreeMap<String, Worker>);

impl Enforcement {
    /// Whether no programs are loaded yet.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Brings all nodes with pods to this state, and returns when it is in force.
    pub(super) fn apply(&mut self, stage: &Stage, cluster: &Cluster) -> Result<(), CaseRunError> {
        for (node, place) in stage.nodes() {
            if stage.has_pods(node) && !self.0.contains_key(node) {
                self.0.insert(node.to_owned(), Worker::start(node, place)?);
            }
        }
        // All at once, then wait for all.
        for (node, worker) in &self.0 {
            worker.send(cluster).ok_or_else(|| ended(node))?;
        }
        for (node, worker) in &self.0 {
            let applied = worker.answers.recv().map_err(|_| ended(node))?;
            let applied =
                applied.map_err(|source| CaseRunError::Enforce { node: node.clone(), source })?;
            let unenforced = applied
                .unenforced
                .into_iter()
                .map(|pod| (format!("{}/{}", pod.namespace, pod.pod), pod.why))
                .find(|(pod, _)| stage.has_pod(pod));
            if let Some((pod, why)) = unenforced {
                return Err(CaseRunError::Unenforced { node: node.clone(), pod, why });
            }
        }
        Ok(())
    }
}

fn ended(node: &str) -> CaseRunError {
    CaseRunError::EnforcementEnded { node: node.to_owned() }
}

/// A thread with an enforcer. Dropping it takes the programs off.
struct Worker {
    /// `None` only while being dropped.
    clusters: Option<Sender<Cluster>>,
    answers: Receiver<Result<Applied, EnforceError>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    fn start(node: &str, place: &Place) -> Result<Self, CaseRunError> {
        let (clusters, received) = channel();
        let (answer, answers) = channel();
        let options = Options { node: node.to_owned(), datapath: datapath(), ..Options::default() };
        let thread = place.thread(move || work(options, &received, &answer))?;
        Ok(Self { clusters: Some(clusters), answers, thread: Some(thread) })
    }

    fn send(&self, cluster: &Cluster) -> Option<()> {
        self.clusters.as_ref()?.send(cluster.clone()).ok()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.clusters = None;
        if let Some(thread) = self.thread.take() {
            // A panic was reported when it happened.
            let _ = thread.join();
        }
    }
}

fn work(
    options: Options,
    clusters: &Receiver<Cluster>,
    answer: &Sender<Result<Applied, EnforceError>>,
) {
    let mut enforcer = match Enforcer::new(options) {
        Ok(enforcer) => enforcer,
        Err(error) => {
            let _ = answer.send(Err(error));
            return;
        }
    };
    while let Ok(cluster) = clusters.recv() {
        if answer.send(enforcer.apply(&cluster)).is_err() {
            return;
        }
    }
}

/// Maps are made whole when they are loaded; a case needs little of them.
fn datapath() -> DatapathOptions {
    DatapathOptions {
        connections: 16_384,
        denies: 4_096,
        policies: 65_536,
        cidrs: 8_192,
        identities: 8_192,
        ring_bytes: 1 << 20,
        deny_ring_bytes: 1 << 20,
        ..DatapathOptions::default()
    }
}
