//! The Cloud Logging API, version 2, over gRPC: entries, and log-based metrics.

use std::sync::Arc;

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Timestamp, Value};
use tonic::{Code, Request, Response, Status};
use weir_flow::Flow;

use super::entry::{entry, log_name};
use super::list::list;
use super::metrics::LogMetric;
use super::proto;
use super::proto::logging_service_v2_server::LoggingServiceV2;
use super::proto::metrics_service_v2_server::MetricsServiceV2;
use super::request::{ListRequest, projects};
use super::tail::{self, Tail};
use crate::filter::Names;
use crate::filter::entry::RESOURCE_TYPE;
use crate::grpc::who;
use crate::http::App;
use crate::http::error::ApiError;

/// Why nothing is written.
pub(crate) const READ_ONLY: &str = "entries are the flows of the store, which is read-only here: \
                                    collectors alone write them";

/// Both services.
#[derive(Clone)]
pub(crate) struct CloudLogging(pub(crate) Arc<App>);

#[tonic::async_trait]
impl LoggingServiceV2 for CloudLogging {
    type TailLogEntriesStream = Tail;

    async fn list_log_entries(
        &self,
        request: Request<proto::ListLogEntriesRequest>,
    ) -> Result<Response<proto::ListLogEntriesResponse>, Status> {
        let principal = who(&request)?;
        let request = request.into_inner();
        let request = ListRequest {
            resource_names: request.resource_names,
            filter: request.filter,
            order_by: request.order_by,
            page_size: request.page_size.into(),
            page_token: request.page_token,
            ..ListRequest::default()
        };
        let page = list(&self.0.engine, &principal, &request).await.map_err(status)?;
        Ok(Response::new(proto::ListLogEntriesResponse {
            entries: page.rows.iter().map(|row| message(row, &page.names)).collect(),
            next_page_token: page.next.unwrap_or_default(),
        }))
    }

    async fn tail_log_entries(
        &self,
        request: Request<tonic::Streaming<proto::TailLogEntriesRequest>>,
    ) -> Result<Response<Self::TailLogEntriesStream>, Status> {
        let principal = who(&request)?;
        tail::tail(self.0.clone(), &principal, request.into_inner()).await.map(Response::new)
    }

    async fn list_logs(
        &self,
        request: Request<proto::ListLogsRequest>,
    ) -> Result<Response<proto::ListLogsResponse>, Status> {
        let request = request.into_inner();
        let mut resources = request.resource_names;
        if !request.parent.is_empty() {
            resources.push(request.parent);
        }
        let project = projects(&resources).map_err(status)?;
        let log_names = vec![log_name(&Names { project, location: None })];
        Ok(Response::new(proto::ListLogsResponse { log_names, next_page_token: String::new() }))
    }

    async fn list_monitored_resource_descriptors(
        &self,
        _: Request<proto::ListMonitoredResourceDescriptorsRequest>,
    ) -> Result<Response<proto::ListMonitoredResourceDescriptorsResponse>, Status> {
        let labels = ["project_id", "location", "cluster_name", "node_name"];
        let labels = labels.map(|key| proto::LabelDescriptor { key: key.into() });
        let descriptor = proto::MonitoredResourceDescriptor {
            r#type: RESOURCE_TYPE.into(),
            display_name: "Kubernetes Node".into(),
            description: "The node that decided.".into(),
            labels: labels.into(),
        };
        Ok(Response::new(proto::ListMonitoredResourceDescriptorsResponse {
            resource_descriptors: vec![descriptor],
        }))
    }

    async fn write_log_entries(
        &self,
        _: Request<proto::WriteLogEntriesRequest>,
    ) -> Result<Response<proto::WriteLogEntriesResponse>, Status> {
        Err(Status::permission_denied(READ_ONLY))
    }

    async fn delete_log(
        &self,
        _: Request<proto::DeleteLogRequest>,
    ) -> Result<Response<()>, Status> {
        Err(Status::permission_denied(READ_ONLY))
    }
}

#[tonic::async_trait]
impl MetricsServiceV2 for CloudLogging {
    async fn list_log_metrics(
        &self,
        request: Request<proto::ListLogMetricsRequest>,
    ) -> Result<Response<proto::ListLogMetricsResponse>, Status> {
        projects(&[request.into_inner().parent]).map_err(status)?;
        let metrics = self.0.log_metrics.list().into_iter().map(metric_message).collect();
        let next_page_token = String::new();
        Ok(Response::new(proto::ListLogMetricsResponse { metrics, next_page_token }))
    }

    async fn get_log_metric(
        &self,
        request: Request<proto::GetLogMetricRequest>,
    ) -> Result<Response<proto::LogMetric>, Status> {
        let name = metric_name(&request.get_ref().metric_name)?;
        answer(self.0.log_metrics.get(name))
    }

    async fn create_log_metric(
        &self,
        request: Request<proto::CreateLogMetricRequest>,
    ) -> Result<Response<proto::LogMetric>, Status> {
        let principal = who(&request)?;
        let metric = metric_of(request.into_inner().metric)?;
        answer(self.0.log_metrics.create(&principal, metric))
    }

    async fn update_log_metric(
        &self,
        request: Request<proto::UpdateLogMetricRequest>,
    ) -> Result<Response<proto::LogMetric>, Status> {
        let principal = who(&request)?;
        let request = request.into_inner();
        let metric = metric_of(request.metric)?;
        answer(self.0.log_metrics.update(&principal, metric_name(&request.metric_name)?, metric))
    }

    async fn delete_log_metric(
        &self,
        request: Request<proto::DeleteLogMetricRequest>,
    ) -> Result<Response<()>, Status> {
        let principal = who(&request)?;
        let name = metric_name(&request.get_ref().metric_name)?;
        self.0.log_metrics.delete(&principal, name).map(Response::new).map_err(status)
    }
}

/// The error as gRPC tells it.
pub(crate) fn status(error: ApiError) -> Status {
    let code = match error.status() {
        "INVALID_ARGUMENT" => Code::InvalidArgument,
        "PERMISSION_DENIED" => Code::PermissionDenied,
        "NOT_FOUND" => Code::NotFound,
        "ALREADY_EXISTS" => Code::AlreadyExists,
        "RESOURCE_EXHAUSTED" => Code::ResourceExhausted,
        "DEADLINE_EXCEEDED" => Code::DeadlineExceeded,
        "UNAVAILABLE" => Code::Unavailable,
        _ => Code::Internal,
    };
    Status::new(code, error.into_message())
}

/// The entry of a row.
pub(super) fn message(row: &Flow, names: &Names) -> proto::LogEntry {
    let entry = entry(row, names);
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let texts = |value: &serde_json::Value| {
        let fields = value.as_object().into_iter().flatten();
        fields.map(|(key, value)| (key.clone(), text(value))).collect()
    };
    proto::LogEntry {
        insert_id: text(&entry["insertId"]),
        json_payload: entry["jsonPayload"].as_object().map(structure),
        resource: Some(proto::MonitoredResource {
            r#type: text(&entry["resource"]["type"]),
            labels: texts(&entry["resource"]["labels"]),
        }),
        timestamp: Some(Timestamp {
            seconds: row.time.0.div_euclid(1_000_000_000),
            nanos: i32::try_from(row.time.0.rem_euclid(1_000_000_000)).unwrap_or_default(),
        }),
        labels: texts(&entry["labels"]),
        log_name: text(&entry["logName"]),
    }
}

fn structure(object: &serde_json::Map<String, serde_json::Value>) -> Struct {
    let fields = object.iter().map(|(key, value)| (key.clone(), value_of(value)));
    Struct { fields: fields.collect() }
}

fn value_of(value: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    let kind = match value {
        Json::Null => Kind::NullValue(0),
        Json::Bool(truth) => Kind::BoolValue(*truth),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Json::String(text) => Kind::StringValue(text.clone()),
        Json::Array(members) => {
            Kind::ListValue(ListValue { values: members.iter().map(value_of).collect() })
        }
        Json::Object(object) => Kind::StructValue(structure(object)),
    };
    Value { kind: Some(kind) }
}

fn answer(metric: Result<LogMetric, ApiError>) -> Result<Response<proto::LogMetric>, Status> {
    metric.map(|metric| Response::new(metric_message(metric))).map_err(status)
}

/// The last part of `projects/P/metrics/NAME`.
fn metric_name(path: &str) -> Result<&str, Status> {
    let parts = path.strip_prefix("projects/").and_then(|rest| rest.split_once("/metrics/"));
    match parts {
        Some((project, name)) if !project.is_empty() && !name.is_empty() => Ok(name),
        _ => Err(Status::invalid_argument(format!(
            "{path:?} is no name of a metric: write it like projects/demo/metrics/denies"
        ))),
    }
}

fn metric_of(metric: Option<proto::LogMetric>) -> Result<LogMetric, Status> {
    let metric = metric.ok_or_else(|| Status::invalid_argument("the metric is missing"))?;
    if !metric.value_extractor.is_empty() || !metric.label_extractors.is_empty() {
        return Err(Status::invalid_argument(super::metrics::COUNTERS_ONLY));
    }
    let disabled = metric.disabled;
    Ok(LogMetric::new(metric.name, metric.description, metric.filter, disabled))
}

fn metric_message(metric: LogMetric) -> proto::LogMetric {
    let time = |text: &str| {
        let time = text.parse::<jiff::Timestamp>().ok()?;
        Some(Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() })
    };
    proto::LogMetric {
        create_time: time(&metric.create_time),
        update_time: time(&metric.update_time),
        name: metric.name,
        description: metric.description,
        filter: metric.filter,
        disabled: metric.disabled,
        value_extractor: String::new(),
        label_extractors: Default::default(),
    }
}
