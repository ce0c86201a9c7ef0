//! From a pod's owner to the workload that people know.

use serde::Deserialize;

use crate::model::{Labels, Workload};

#[derive(Deserialize)]
pub(super) struct OwnerReference {
    kind: String,
    name: String,
    controller: Option<bool>,
}

/// The workload behind a pod. Deployments and CronJobs own pods through a ReplicaSet or a Job that
/// they name after themselves, so the name tells them without reading those objects.
pub(super) fn workload(owners: &[OwnerReference], labels: &Labels) -> Option<Workload> {
    let owner =
        owners.iter().find(|owner| owner.controller == Some(true)).or_else(|| owners.first())?;
    let (kind, name) = match owner.kind.as_str() {
        "ReplicaSet" => labels
            .get("pod-template-hash")
            .and_then(|hash| owner.name.strip_suffix(hash.as_str())?.strip_suffix('-'))
            .map_or(("ReplicaSet", owner.name.as_str()), |name| ("Deployment", name)),
        "Job" => owner
            .name
            .rsplit_once('-')
            .filter(|(_, minutes)| is_scheduled_minute(minutes))
            .map_or(("Job", owner.name.as_str()), |(name, _)| ("CronJob", name)),
        kind => (kind, owner.name.as_str()),
    };
    Some(Workload { kind: kind.to_owned(), name: name.to_owned() })
}

/// A CronJob's jobs end in the scheduled time in minutes since 1970: eight digits until 2160.
fn is_scheduled_minute(text: &str) -> bool {
    text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit())
}
