//! What somebody sees of what collectors say of themselves: numbers, and of names those in namespaces that it is granted.

use weir_flow::wire::{CollectorStatus, RelayStatus};

use crate::access::Namespaces;

/// Leaves out what is about other namespaces, and words that may name them. Numbers stay.
pub(super) fn leave_out(relay: &mut RelayStatus, seen: &Namespaces) {
    if seen.is_all() {
        return;
    }
    for status in relay.collectors.iter_mut().filter_map(|seen| seen.status.as_mut()) {
        // An older collector sends only the lists.
        status.unenforced_count = status.unenforced_count.max(status.unenforced_pods.len() as u64);
        status.problem_count = status.problem_count.max(status.problems.len() as u64);
        let CollectorStatus { intervals, unenforced_pods, pods, problems, .. } = status;
        // An interval without a namespace is that of all others.
        intervals.retain(|interval| interval.namespace.is_empty() || seen.has(&interval.namespace));
        unenforced_pods
            .retain(|pod| pod.split_once('/').is_some_and(|(namespace, _)| seen.has(namespace)));
        pods.retain(|pod| seen.has(&pod.namespace));
        problems.clear();
    }
}
