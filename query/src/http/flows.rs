//! `GET /api/v1/flows`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

use super::App;
use super::error::ApiError;
use super::reply::{format, reply};
use super::who::Who;
use crate::engine::{Caller, FlowsRequest, Order, Request};
use crate::filter;
use crate::metrics::Door;

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 10_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FlowsParameters {
    #[serde(default)]
    filter: Option<String>,
    #[serde(default)]
    since: Option<String>,
    #[serde(default)]
    until: Option<String>,
    #[serde(default)]
    limit: Option<String>,
    #[serde(default)]
    order: Option<String>,
    #[serde(default)]
    format: Option<String>,
}

pub(super) async fn flows(
    State(app): State<Arc<App>>,
    Who(principal): Who,
    headers: HeaderMap,
    parameters: Result<Query<FlowsParameters>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(parameters) = parameters.map_err(|rejection| {
        ApiError::invalid(format!(
            "{}: known are filter, since, until, limit, order and format",
            rejection.body_text()
        ))
    })?;
    let format = format(parameters.format.as_deref(), &headers)?;
    let request = parameters.request(SystemTime::now())?;
    let limit = request.limit;
    let caller = Caller::new(principal, Door::Flows, parameters.filter.unwrap_or_default());
    reply(&app, caller, Request::Flows(request), limit, format).await
}

impl FlowsParameters {
    fn request(&self, now: SystemTime) -> Result<FlowsRequest, ApiError> {
        let given = |text: &Option<String>, name| {
            text.as_deref().map(|text| time(name, text, now)).transpose()
        };
        let parsed = filter::parse(self.filter.as_deref().unwrap_or_default())?;
        Ok(FlowsRequest {
            filter: parsed.filter,
            warnings: parsed.warnings.iter().map(ToString::to_string).collect(),
            verdicts: false,
            since: given(&self.since, "since")?,
            until: given(&self.until, "until")?,
            order: order(self.order.as_deref())?,
            limit: limit(self.limit.as_deref())?,
            ..FlowsRequest::default()
        })
    }
}

fn order(text: Option<&str>) -> Result<Order, ApiError> {
    match text {
        None | Some("desc") => Ok(Order::Descending),
        Some("asc") => Ok(Order::Ascending),
        Some(other) => Err(ApiError::invalid(format!(
            "there is no order {other:?}: use asc (earliest first) or desc (latest first)"
        ))),
    }
}

pub(super) fn limit(text: Option<&str>) -> Result<usize, ApiError> {
    let Some(text) = text else { return Ok(DEFAULT_LIMIT) };
    match text.parse() {
        Ok(limit) if (1..=MAX_LIMIT).contains(&limit) => Ok(limit),
        _ => Err(ApiError::invalid(format!(
            "{text:?} is no limit: use a number from 1 to {MAX_LIMIT}, or POST /api/v1/sql for more"
        ))),
    }
}

/// A time as RFC 3339, or so long ago.
pub(super) fn time(name: &str, text: &str, now: SystemTime) -> Result<i64, ApiError> {
    let absolute = || {
        let time = text.parse::<jiff::Timestamp>().ok()?;
        i64::try_from(time.as_nanosecond()).ok()
    };
    let relative = || {
        let then = now.checked_sub(ago(text)?)?;
        i64::try_from(then.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_nanos()).ok()
    };
    relative().or_else(absolute).ok_or_else(|| {
        ApiError::invalid(format!(
            "{name}={text:?} is no time: use 30s, 10m, 2h, 7d or 2026-01-31T12:00:00Z"
        ))
    })
}

/// `10m`: how long ago.
fn ago(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        'w' => 7 * 24 * 60 * 60,
        _ => return None,
    };
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    Some(Duration::from_secs(number.checked_mul(seconds)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_absolute_or_so_long_ago() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let seconds = |text| time("since", text, now).map(|time| time / 1_000_000_000);
        assert_eq!(seconds("10m").unwrap(), 1_000_000 - 600);
        assert_eq!(seconds("1d").unwrap(), 1_000_000 - 86_400);
        assert_eq!(seconds("1970-01-01T00:00:05Z").unwrap(), 5);
        assert_eq!(seconds("1970-01-01T01:00:05+01:00").unwrap(), 5);
        for wrong in ["", "m", "10", "10x", "-5m", "99999999999999999999w", "yesterday", "10µ"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
