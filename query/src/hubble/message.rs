//! A row as Hubble's messages.

use std::net::IpAddr;

use prost_types::Timestamp;
use weir_flow::Flow;
use weir_flow::policy_action::Identity;
use weir_flow::schema::LabelMap;
use weir_flow::schema::loss::{LossRow, RETENTION};
use weir_flow::values::Reason;

use super::filter::{Event, Shown, TRACE_FROM, TRACE_TO, drop_code};
use super::identity;
use super::proto::flow::layer4::Protocol;
use super::proto::flow::{
    self as hubble, CiliumEventType, Emitter, Endpoint, FlowType, Icmp, Ip, IpVersion, Layer4,
    LostEvent, LostEventSource, Policy, Ports, Service, Tcp, TcpFlags, TraceObservationPoint,
    TraceReason, TrafficDirection, Verdict, Workload,
};
use super::proto::observer::GetFlowsResponse;
use super::proto::observer::get_flows_response::ResponseTypes;
use super::proto::relay::{NodeState, NodeStatusEvent};

/// One message a row.
pub(super) fn of_row(row: &Flow, shown: Shown) -> GetFlowsResponse {
    let node_name = node_name(&row.cluster, &row.node);
    let time = Some(time(row.time.0));
    GetFlowsResponse {
        response_types: Some(ResponseTypes::Flow(flow(row, shown, &node_name))),
        node_name,
        time,
    }
}

/// What was lost.
pub(super) fn of_loss(row: &LossRow) -> GetFlowsResponse {
    let source = match row.stage.as_str() {
        "kernel" | "conntrack" | "denies" => LostEventSource::PerfEventRingBuffer,
        "relay" | RETENTION => LostEventSource::HubbleRingBuffer,
        _ => LostEventSource::ObserverEventsQueue,
    };
    let lost = LostEvent {
        source: source.into(),
        num_events_lost: row.count,
        first: Some(time(row.time.0)),
        last: Some(time(row.end_time.0)),
    };
    GetFlowsResponse {
        response_types: Some(ResponseTypes::LostEvents(lost)),
        node_name: node_name(&row.cluster, &row.node),
        time: Some(time(row.time.0)),
    }
}

/// What a follower did not get, for it read too slowly.
pub(super) fn of_missed(rows: u64, now_ns: i64) -> GetFlowsResponse {
    let now = Some(time(now_ns));
    let lost = LostEvent {
        source: LostEventSource::HubbleRingBuffer.into(),
        num_events_lost: rows,
        first: now,
        last: now,
    };
    GetFlowsResponse {
        response_types: Some(ResponseTypes::LostEvents(lost)),
        node_name: String::new(),
        time: now,
    }
}

/// Something that the reader must know about the answer.
pub(super) fn of_trouble(message: String, now_ns: i64) -> GetFlowsResponse {
    let status =
        NodeStatusEvent { state_change: NodeState::NodeError.into(), node_names: vec![], message };
    GetFlowsResponse {
        response_types: Some(ResponseTypes::NodeStatus(status)),
        node_name: String::new(),
        time: Some(time(now_ns)),
    }
}

/// `cluster/node`, as Hubble names nodes of more than one cluster.
pub(super) fn node_name(cluster: &str, node: &str) -> String {
    if cluster.is_empty() { node.to_owned() } else { format!("{cluster}/{node}") }
}

fn time(nanoseconds: i64) -> Timestamp {
    Timestamp {
        seconds: nanoseconds.div_euclid(1_000_000_000),
        nanos: i32::try_from(nanoseconds.rem_euclid(1_000_000_000)).unwrap_or_default(),
    }
}

fn flow(row: &Flow, shown: Shown, node_name: &str) -> hubble::Flow {
    let deny = row.verdict == "deny";
    let ingress = row.direction == "ingress";
    let event = shown.event(deny, &row.reason, row.count);
    let code = if deny { drop_code(&row.reason) } else { 0 };
    let point = if ingress { TRACE_TO } else { TRACE_FROM };
    let sub_type = match event {
        Event::Verdict => 0,
        Event::Drop => code,
        Event::Trace => point,
    };
    let trace = event == Event::Trace;
    let (allowed, denied) = match row.verdict.as_str() {
        "allow" => (policies(row), vec![]),
        _ => (vec![], policies(row)),
    };
    let (ingress_allowed_by, egress_allowed_by) = on_side(ingress, allowed);
    let (ingress_denied_by, egress_denied_by) = on_side(ingress, denied);
    hubble::Flow {
        time: Some(time(row.time.0)),
        verdict: match row.verdict.as_str() {
            "deny" => Verdict::Dropped,
            "audit" => Verdict::Audit,
            _ => Verdict::Forwarded,
        }
        .into(),
        drop_reason: u32::try_from(code).unwrap_or_default(),
        drop_reason_desc: code,
        ip: Some(Ip {
            source: row.source_ip.clone(),
            destination: row.destination_ip.clone(),
            version: version(&row.source_ip).into(),
        }),
        l4: protocol(row).map(|protocol| Layer4 { protocol: Some(protocol) }),
        source: Some(source(row)),
        destination: Some(destination(row)),
        r#type: FlowType::L3L4.into(),
        node_name: node_name.to_owned(),
        source_names: row.source_names.clone(),
        destination_names: row.destination_names.clone(),
        event_type: Some(CiliumEventType { r#type: event.number(), sub_type }),
        destination_service: row.destination_service.as_deref().map(service),
        traffic_direction: if ingress {
            TrafficDirection::Ingress
        } else {
            TrafficDirection::Egress
        }
        .into(),
        trace_observation_point: match (trace, ingress) {
            (false, _) => TraceObservationPoint::UnknownPoint,
            (true, true) => TraceObservationPoint::ToEndpoint,
            (true, false) => TraceObservationPoint::FromEndpoint,
        }
        .into(),
        trace_reason: match (trace, row.count) {
            (false, _) => TraceReason::Unknown,
            _ if row.reason == Reason::Related.as_str() => TraceReason::Related,
            (true, 0) => TraceReason::Established,
            (true, _) => TraceReason::New,
        }
        .into(),
        // The source of every row is who began the connection.
        is_reply: Some(false),
        uuid: Identity::from(row).insert_id(),
        emitter: Some(Emitter { name: "Weir".into(), version: env!("CARGO_PKG_VERSION").into() }),
        egress_allowed_by,
        ingress_allowed_by,
        egress_denied_by,
        ingress_denied_by,
        summary: summary(row),
    }
}

/// Ingress, and egress.
fn on_side(ingress: bool, policies: Vec<Policy>) -> (Vec<Policy>, Vec<Policy>) {
    if ingress { (policies, vec![]) } else { (vec![], policies) }
}

/// Each policy once, whichever of its rules took part.
fn policies(row: &Flow) -> Vec<Policy> {
    let mut policies: Vec<Policy> = Vec::new();
    for rule in &row.policies {
        let policy = Policy {
            name: rule.name.clone(),
            namespace: rule.namespace.clone(),
            revision: row.policy_revision,
            kind: rule.kind.clone(),
        };
        if !policies.contains(&policy) {
            policies.push(policy);
        }
    }
    policies
}

/// What one end's columns say.
struct End<'a> {
    cluster: &'a str,
    kind: &'a str,
    same_node: bool,
    namespace: Option<&'a str>,
    pod: Option<&'a str>,
    workload: Option<(&'a str, &'a str)>,
    labels: &'a LabelMap,
}

fn source(row: &Flow) -> Endpoint {
    End {
        cluster: &row.cluster,
        kind: &row.source_kind,
        same_node: row.source_node.as_ref() == Some(&row.node),
        namespace: row.source_namespace.as_deref(),
        pod: row.source_pod.as_deref(),
        workload: row.source_workload_kind.as_deref().zip(row.source_workload.as_deref()),
        labels: &row.source_labels,
    }
    .endpoint()
}

fn destination(row: &Flow) -> Endpoint {
    End {
        cluster: &row.cluster,
        kind: &row.destination_kind,
        same_node: row.destination_node.as_ref() == Some(&row.node),
        namespace: row.destination_namespace.as_deref(),
        pod: row.destination_pod.as_deref(),
        workload: row.destination_workload_kind.as_deref().zip(row.destination_workload.as_deref()),
        labels: &row.destination_labels,
    }
    .endpoint()
}

impl End<'_> {
    fn endpoint(self) -> Endpoint {
        let (identity, labels) = if self.kind == "pod" {
            let namespace = self.namespace.unwrap_or_default();
            let labels = identity::labels(self.cluster, namespace, self.labels);
            (identity::of_pod(&labels), labels)
        } else {
            let (identity, label) = identity::reserved(self.kind, self.same_node);
            (identity, vec![label.to_owned()])
        };
        let inside = ["pod", "node", "service"].contains(&self.kind);
        let workload =
            |(kind, name): (&str, &str)| Workload { name: name.into(), kind: kind.into() };
        Endpoint {
            identity,
            namespace: self.namespace.unwrap_or_default().to_owned(),
            labels,
            pod_name: self.pod.unwrap_or_default().to_owned(),
            workloads: self.workload.map(workload).into_iter().collect(),
            cluster_name: if inside { self.cluster.to_owned() } else { String::new() },
        }
    }
}

fn service(text: &str) -> Service {
    let (namespace, name) = text.split_once('/').unwrap_or(("", text));
    Service { name: name.into(), namespace: namespace.into() }
}

fn version(address: &str) -> IpVersion {
    match address.parse() {
        Ok(IpAddr::V4(_)) => IpVersion::IPv4,
        Ok(IpAddr::V6(_)) => IpVersion::IPv6,
        Err(_) => IpVersion::IpNotUsed,
    }
}

fn protocol(row: &Flow) -> Option<Protocol> {
    let port = |port: Option<u16>| u32::from(port.unwrap_or(0));
    let (source_port, destination_port) = (port(row.source_port), port(row.destination_port));
    let ports = Ports { source_port, destination_port };
    let part = |part: Option<u8>| u32::from(part.unwrap_or(0));
    let icmp = Icmp { r#type: part(row.icmp_type), code: part(row.icmp_code) };
    Some(match row.protocol.as_str() {
        "TCP" => {
            let flags = row.tcp_flags.map(flags);
            Protocol::Tcp(Tcp { source_port, destination_port, flags })
        }
        "UDP" => Protocol::Udp(ports),
        "SCTP" => Protocol::Sctp(ports),
        "ICMP" => Protocol::IcmpV4(icmp),
        "ICMPv6" => Protocol::IcmpV6(icmp),
        _ => return None,
    })
}

/// From the bits of RFC 9293.
fn flags(bits: u8) -> TcpFlags {
    let set = |bit: u8| bits >> bit & 1 == 1;
    TcpFlags {
        fin: set(0),
        syn: set(1),
        rst: set(2),
        psh: set(3),
        ack: set(4),
        urg: set(5),
        ece: set(6),
        cwr: set(7),
        ns: false,
    }
}

/// The text in parentheses: what Hubble writes there, and what a row has folded in.
fn summary(row: &Flow) -> String {
    let what = match row.protocol.as_str() {
        "TCP" => {
            const NAMES: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
            let bits = row.tcp_flags.unwrap_or(0);
            let set = NAMES.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1);
            let set: Vec<&str> = set.map(|(_, name)| *name).collect();
            format!("TCP Flags: {}", set.join(", "))
        }
        "ICMP" | "ICMPv6" => {
            let name = if row.protocol == "ICMP" { "ICMPv4" } else { "ICMPv6" };
            let (kind, code) = (row.icmp_type.unwrap_or(0), row.icmp_code.unwrap_or(0));
            format!("{name} type {kind} code {code}")
        }
        "UDP" | "SCTP" => row.protocol.clone(),
        number => format!("IP protocol {number}"),
    };
    match (row.count, row.verdict.as_str()) {
        (1, _) => what,
        (0, _) => format!("{what}; {} packets, {} bytes more", row.packets, row.bytes),
        (count, "deny") => format!("{what}; {count} attempts"),
        (count, _) => format!("{what}; {count} connections"),
    }
}
