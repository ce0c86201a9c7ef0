//! Hubble's `FlowFilter`s as one expression over table `flows`, which every other door could run too.
//!
//! A row passes if it passes any filter of the whitelist, or that is empty, and none of the blacklist.
//! It passes a filter if it passes every field, and a field if it passes any of its values. What cannot
//! be obeyed is an error ([`wire`]). Bounded: [`MAX_FILTERS`], [`MAX_VALUES`], [`MAX_VALUE_BYTES`].

mod end;
mod event;
mod network;
mod pattern;
mod selector;
#[cfg(test)]
mod tests;
mod wire;

use datafusion::logical_expr::{Expr, col, lit};

pub(super) use event::{Event, Shown, TRACE_FROM, TRACE_TO, drop_code};

use crate::functions::entry;
use crate::hubble::proto::flow::{FlowFilter, TrafficDirection, Verdict};
use end::End;

/// Filters of both lists. The `hubble` command makes two of `--pod` and of `--port`, four of both.
const MAX_FILTERS: usize = 128;
/// Values of all of them.
const MAX_VALUES: usize = 1_000;
/// Of one value.
const MAX_VALUE_BYTES: usize = 1_000;

/// What is wrong with a filter; for whoever sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct FilterError(String);

impl FilterError {
    fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// What the lists say.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Selection {
    /// Which rows; `None` for all.
    pub(super) expr: Option<Expr>,
    /// As which events they are shown.
    pub(super) shown: Shown,
}

/// Lowers a request's lists.
pub(super) fn lower(
    whitelist: &[Vec<u8>],
    blacklist: &[Vec<u8>],
) -> Result<Selection, FilterError> {
    let filters = whitelist.len() + blacklist.len();
    if filters > MAX_FILTERS {
        return Err(FilterError::new(format!(
            "the request has {filters} filters, {MAX_FILTERS} are allowed: put values into one filter"
        )));
    }
    let (whitelist, blacklist) = (decode(whitelist)?, decode(blacklist)?);
    check_size(whitelist.iter().chain(&blacklist))?;
    let shown = Shown::of(&whitelist);
    let wanted = whitelist.iter().map(|filter| one(filter, None)).collect::<Result<Vec<_>, _>>()?;
    let unwanted =
        blacklist.iter().map(|filter| one(filter, Some(shown))).collect::<Result<Vec<_>, _>>()?;
    let wanted = (!wanted.is_empty()).then(|| any(wanted));
    // What is not known of a row does not exclude it.
    let unwanted = (!unwanted.is_empty()).then(|| any(unwanted).is_not_true());
    let expr = wanted.into_iter().chain(unwanted).reduce(Expr::and);
    Ok(Selection { expr, shown })
}

fn decode(list: &[Vec<u8>]) -> Result<Vec<FlowFilter>, FilterError> {
    list.iter().map(|bytes| wire::decode(bytes)).collect()
}

/// One filter; `shown` if it excludes, and then events count as they are shown.
fn one(filter: &FlowFilter, shown: Option<Shown>) -> Result<Expr, FilterError> {
    let mut fields = Vec::new();
    let (source, destination) = (End::SOURCE, End::DESTINATION);
    add(&mut fields, &filter.source_ip, |text| network::address(source, text))?;
    add(&mut fields, &filter.destination_ip, |text| network::address(destination, text))?;
    add(&mut fields, &filter.source_pod, |text| Ok(source.pod(text)))?;
    add(&mut fields, &filter.destination_pod, |text| Ok(destination.pod(text)))?;
    add(&mut fields, &filter.source_fqdn, |text| source.name(text))?;
    add(&mut fields, &filter.destination_fqdn, |text| destination.name(text))?;
    add(&mut fields, &filter.source_label, |text| selector::lower(source, text))?;
    add(&mut fields, &filter.destination_label, |text| selector::lower(destination, text))?;
    // The flow's source is who began it, never a Service.
    add(&mut fields, &filter.source_service, |_| Ok(lit(false)))?;
    add(&mut fields, &filter.destination_service, |text| Ok(end::service(text)))?;
    add(&mut fields, &filter.source_workload, |workload| Ok(source.workload(workload)))?;
    add(&mut fields, &filter.destination_workload, |workload| Ok(destination.workload(workload)))?;
    add(&mut fields, &filter.source_cluster_name, |text| Ok(source.cluster(text)))?;
    add(&mut fields, &filter.destination_cluster_name, |text| Ok(destination.cluster(text)))?;
    add(&mut fields, &filter.source_identity, |identity| source.identity(*identity))?;
    add(&mut fields, &filter.destination_identity, |identity| destination.identity(*identity))?;
    add(&mut fields, &filter.source_port, |text| network::port("source_port", text))?;
    add(&mut fields, &filter.destination_port, |text| network::port("destination_port", text))?;
    add(&mut fields, &filter.protocol, |text| network::protocol(text))?;
    add(&mut fields, &filter.ip_version, |version| network::version(*version))?;
    add(&mut fields, &filter.tcp_flags, |flags| Ok(network::tcp_flags(flags)))?;
    // The source of every row is who began the connection.
    add(&mut fields, &filter.reply, |reply| Ok(lit(!reply)))?;
    add(&mut fields, &filter.traffic_direction, |number| direction(*number))?;
    add(&mut fields, &filter.verdict, |number| verdict(*number))?;
    add(&mut fields, &filter.drop_reason_desc, |code| event::drop_reason(*code))?;
    add(&mut fields, &filter.node_name, |text| pattern::node(text))?;
    add(&mut fields, &filter.uuid, |text| Ok(entry::of_row().eq(lit(text.as_str()))))?;
    if !filter.event_type.is_empty() {
        fields.push(event::lower(&filter.event_type, shown)?);
    }
    Ok(all(fields))
}

/// Adds a field's values, if it has any.
fn add<T>(
    fields: &mut Vec<Expr>,
    values: &[T],
    lower: impl Fn(&T) -> Result<Expr, FilterError>,
) -> Result<(), FilterError> {
    if !values.is_empty() {
        fields.push(any(values.iter().map(lower).collect::<Result<_, _>>()?));
    }
    Ok(())
}

fn direction(number: i32) -> Result<Expr, FilterError> {
    let word = match TrafficDirection::try_from(number) {
        Ok(TrafficDirection::Unknown) => return Ok(lit(false)),
        Ok(TrafficDirection::Ingress) => "ingress",
        Ok(TrafficDirection::Egress) => "egress",
        Err(_) => {
            return Err(FilterError::new(format!("there is no traffic_direction {number}")));
        }
    };
    Ok(col("direction").eq(lit(word)))
}

fn verdict(number: i32) -> Result<Expr, FilterError> {
    let word = match Verdict::try_from(number) {
        Ok(Verdict::Forwarded) => "allow",
        Ok(Verdict::Dropped) => "deny",
        Ok(Verdict::Audit) => "audit",
        // No row has another one.
        Ok(_) => return Ok(lit(false)),
        Err(_) => return Err(FilterError::new(format!("there is no verdict {number}"))),
    };
    Ok(col("verdict").eq(lit(word)))
}

/// Values count one by one, and long ones are refused.
fn check_size<'a>(filters: impl Iterator<Item = &'a FlowFilter>) -> Result<(), FilterError> {
    let mut values = 0;
    for filter in filters {
        let texts = [
            &filter.source_ip,
            &filter.source_pod,
            &filter.destination_ip,
            &filter.destination_pod,
            &filter.source_fqdn,
            &filter.destination_fqdn,
            &filter.source_label,
            &filter.destination_label,
            &filter.protocol,
            &filter.source_port,
            &filter.destination_port,
            &filter.source_service,
            &filter.destination_service,
            &filter.node_name,
            &filter.uuid,
            &filter.source_cluster_name,
            &filter.destination_cluster_name,
        ];
        let workloads = || filter.source_workload.iter().chain(&filter.destination_workload);
        let workload_texts = workloads().flat_map(|workload| [&workload.name, &workload.kind]);
        let mut texts = texts.into_iter().flatten().chain(workload_texts).inspect(|_| values += 1);
        if let Some(long) = texts.find(|text| text.len() > MAX_VALUE_BYTES) {
            return Err(FilterError::new(format!(
                "a value of a filter has {} bytes, {MAX_VALUE_BYTES} are allowed",
                long.len()
            )));
        }
        drop(texts);
        values += filter.event_type.len()
            + filter.tcp_flags.len()
            + filter.reply.len()
            + filter.verdict.len()
            + filter.ip_version.len()
            + filter.traffic_direction.len()
            + filter.drop_reason_desc.len()
            + filter.source_identity.len()
            + filter.destination_identity.len();
    }
    if values > MAX_VALUES {
        return Err(FilterError::new(format!(
            "the filters have {values} values, {MAX_VALUES} are allowed: ask for less at once"
        )));
    }
    Ok(())
}

/// Whether any is true.
fn any(exprs: Vec<Expr>) -> Expr {
    joined(exprs, Expr::or).unwrap_or_else(|| lit(false))
}

/// Whether all are true.
fn all(exprs: Vec<Expr>) -> Expr {
    joined(exprs, Expr::and).unwrap_or_else(|| lit(true))
}

/// As a tree of little depth, however many there are.
fn joined(mut exprs: Vec<Expr>, join: fn(Expr, Expr) -> Expr) -> Option<Expr> {
    while exprs.len() > 1 {
        let mut pairs = exprs.into_iter();
        let mut next = Vec::new();
        while let Some(left) = pairs.next() {
            next.push(match pairs.next() {
                Some(right) => join(left, right),
                None => left,
            });
        }
        exprs = next;
    }
    exprs.pop()
}
