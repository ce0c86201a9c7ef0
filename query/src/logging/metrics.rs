//! Log-based metrics: filters whose entries are counted as they come, kept in a file of the state
//! directory.
//!
//! What is counted is in `/metrics`: `weir_query_log_metric_entries_total` and
//! `weir_query_log_metric_verdicts_total`, which sums the attempts that an entry stands for. Counters begin
//! at 0 when the metric is made, and when the service starts.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

use crate::access::Principal;
use crate::error::StartError;
use crate::filter;
use crate::http::error::ApiError;

/// Most metrics.
const MAX_METRICS: usize = 100;
const MAX_NAME: usize = 100;
const MAX_DESCRIPTION: usize = 8_000;
/// Why other metrics are refused.
pub(super) const COUNTERS_ONLY: &str = "metrics here count entries: valueExtractor, labelExtractors, \
                                         bucketOptions and distributions are not possible; use POST \
                                         /api/v1/sql for these";
const FILE: &str = "log-metrics.json";

/// The `LogMetric` message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct LogMetric {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) description: String,
    pub(crate) filter: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) disabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    metric_descriptor: Option<Value>,
    #[serde(skip_serializing_if = "String::is_empty")]
    value_extractor: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    label_extractors: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bucket_options: Option<Value>,
    pub(crate) create_time: String,
    pub(crate) update_time: String,
}

impl LogMetric {
    /// One that counts entries.
    pub(super) fn new(name: String, description: String, filter: String, disabled: bool) -> Self {
        Self { name, description, filter, disabled, ..Self::default() }
    }
}

/// All metrics, by name.
pub(crate) type LogMetrics = BTreeMap<String, LogMetric>;

/// The metrics and their file.
#[derive(Debug)]
pub(crate) struct MetricStore {
    path: Option<PathBuf>,
    /// Held while the file is written.
    writing: Mutex<()>,
    metrics: watch::Sender<LogMetrics>,
}

impl MetricStore {
    /// Reads the file; without a directory there are no metrics and none can be made.
    pub(crate) fn open(state: Option<&Path>) -> Result<Self, StartError> {
        let path = state.map(|state| state.join(FILE));
        let mut metrics = LogMetrics::new();
        if let (Some(state), Some(path)) = (state, &path) {
            let failed = |cause: String| StartError::State { path: path.clone(), cause };
            std::fs::create_dir_all(state).map_err(|error| failed(error.to_string()))?;
            match std::fs::read(path) {
                Ok(bytes) => {
                    metrics = serde_json::from_slice(&bytes)
                        .map_err(|error| failed(error.to_string()))?;
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error.to_string())),
            }
        }
        Ok(Self { path, writing: Mutex::default(), metrics: watch::Sender::new(metrics) })
    }

    /// All there are, now and whenever they change.
    pub(crate) fn watch(&self) -> watch::Receiver<LogMetrics> {
        self.metrics.subscribe()
    }

    pub(crate) fn list(&self) -> Vec<LogMetric> {
        self.metrics.borrow().values().cloned().collect()
    }

    pub(crate) fn get(&self, name: &str) -> Result<LogMetric, ApiError> {
        let found = self.metrics.borrow().get(name).cloned();
        found.ok_or_else(|| missing(name))
    }

    /// Makes a metric that is not there yet.
    pub(crate) fn create(
        &self,
        principal: &Principal,
        metric: LogMetric,
    ) -> Result<LogMetric, ApiError> {
        self.change(principal, |metrics| {
            if metrics.contains_key(&metric.name) {
                return Err(ApiError::conflict(format!(
                    "there is a metric {:?} already: update it, or choose another name",
                    metric.name
                )));
            }
            if metrics.len() == MAX_METRICS {
                return Err(ApiError::invalid(format!(
                    "there are {MAX_METRICS} metrics already: delete one that is not needed"
                )));
            }
            put(metrics, metric, None)
        })
    }

    /// Changes a metric, or makes it.
    pub(crate) fn update(
        &self,
        principal: &Principal,
        name: &str,
        mut metric: LogMetric,
    ) -> Result<LogMetric, ApiError> {
        // Clients send the whole path, the last part of it, or nothing.
        let own = metric.name.rsplit_once("/metrics/").map_or(metric.name.as_str(), |(_, own)| own);
        if own.is_empty() || own == name {
            name.clone_into(&mut metric.name);
        }
        if metric.name != name {
            return Err(ApiError::invalid("a metric cannot be renamed: make another one"));
        }
        self.change(principal, |metrics| {
            let before = metrics.get(name).map(|metric| metric.create_time.clone());
            if before.is_none() && metrics.len() == MAX_METRICS {
                return Err(ApiError::invalid(format!(
                    "there are {MAX_METRICS} metrics already: delete one that is not needed"
                )));
            }
            put(metrics, metric, before)
        })
    }

    pub(crate) fn delete(&self, principal: &Principal, name: &str) -> Result<(), ApiError> {
        self.change(principal, |metrics| {
            metrics.remove(name).map(|_| ()).ok_or_else(|| missing(name))
        })
    }

    /// A change counts once it is on disk.
    fn change<T>(
        &self,
        principal: &Principal,
        change: impl FnOnce(&mut LogMetrics) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        // What a metric counts everybody reads, of whatever namespace.
        if !principal.admin || !principal.namespaces.is_all() {
            return Err(ApiError::forbidden(
                "metrics are for admins who see every namespace: ask one of them",
            ));
        }
        let Some(path) = &self.path else {
            return Err(ApiError::invalid(
                "metrics are kept in the state directory, and there is none: start the query \
                 service with --state DIR",
            ));
        };
        let _alone = self.alone();
        let mut metrics = self.metrics.borrow().clone();
        let changed = change(&mut metrics)?;
        write(path, &metrics).map_err(|error| {
            ApiError::unavailable(format!("{} cannot be written: {error}", path.display()))
        })?;
        self.metrics.send_replace(metrics);
        Ok(changed)
    }

    fn alone(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn missing(name: &str) -> ApiError {
    ApiError::not_found(format!("there is no metric {name:?}"))
}

fn put(
    metrics: &mut LogMetrics,
    mut metric: LogMetric,
    created: Option<String>,
) -> Result<LogMetric, ApiError> {
    check(&metric)?;
    let now = jiff::Timestamp::now().to_string();
    metric.create_time = created.unwrap_or_else(|| now.clone());
    metric.update_time = now;
    metrics.insert(metric.name.clone(), metric.clone());
    Ok(metric)
}

fn check(metric: &LogMetric) -> Result<(), ApiError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.,+!*',()%/".contains(c);
    let name = &metric.name;
    if name.is_empty()
        || name.len() > MAX_NAME
        || !name.chars().all(allowed)
        || name.starts_with('/')
    {
        return Err(ApiError::invalid(format!(
            "{name:?} is no name of a metric: use up to {MAX_NAME} letters, digits and _-.,+!*',()%/"
        )));
    }
    if metric.description.len() > MAX_DESCRIPTION {
        return Err(ApiError::invalid(format!(
            "the description has more than {MAX_DESCRIPTION} bytes: shorten it"
        )));
    }
    if metric.filter.trim().is_empty() {
        return Err(ApiError::invalid("a metric needs a filter, like verdict=\"deny\""));
    }
    filter::parse(&metric.filter)?;
    let distribution = metric
        .metric_descriptor
        .as_ref()
        .and_then(|descriptor| descriptor.get("valueType")?.as_str())
        .is_some_and(|kind| kind != "INT64");
    let extracts = !metric.value_extractor.is_empty() || !metric.label_extractors.is_empty();
    if extracts || metric.bucket_options.is_some() || distribution {
        return Err(ApiError::invalid(COUNTERS_ONLY));
    }
    Ok(())
}

/// Either the file is the new one or it stays the old one.
fn write(path: &Path, metrics: &LogMetrics) -> std::io::Result<()> {
    let next = path.with_extension("json.new");
    let mut file = std::fs::File::create(&next)?;
    file.write_all(&serde_json::to_vec_pretty(metrics)?)?;
    file.sync_all()?;
    std::fs::rename(&next, path)?;
    if let Some(directory) = path.parent() {
        std::fs::File::open(directory)?.sync_all()?;
    }
    Ok(())
}
