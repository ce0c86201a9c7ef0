//! One log record.

use serde::Serialize;
use weir_flow::values::PolicyRule;
use weir_flow::{Flow, schema::TimestampNs};

/// The JSON of one record. What does not apply is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Record {
    connection: Connection,
    disposition: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    policies: Vec<Policy>,
    src: Peer,
    dest: Peer,
    count: u64,
    node_name: String,
    timestamp: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Connection {
    src_ip: String,
    dest_ip: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    src_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dest_port: Option<u16>,
    protocol: &'static str,
    direction: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Policy {
    kind: String,
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Peer {
    #[serde(skip_serializing_if = "Option::is_none")]
    pod_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod_namespace: Option<String>,
    /// The same again.
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workload_kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workload_name: Option<String>,
    /// The address of who is no known pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
}

impl Record {
    /// One allowed connection, and the rules to name.
    pub(super) fn allow<'a>(row: &Flow, rules: impl Iterator<Item = &'a PolicyRule>) -> Self {
        let mut policies: Vec<Policy> = Vec::new();
        for rule in rules {
            let policy = Policy {
                kind: rule.kind.clone(),
                name: rule.name.clone(),
                namespace: rule.namespace.clone(),
            };
            if !policies.contains(&policy) {
                policies.push(policy);
            }
        }
        Self { policies, count: 1, ..Self::of(row, "allow") }
    }

    /// Denied attempts. The shape has no policies for them.
    pub(super) fn deny(row: &Flow) -> Self {
        Self { count: row.count, ..Self::of(row, "deny") }
    }

    fn of(row: &Flow, disposition: &'static str) -> Self {
        Self {
            connection: Connection {
                src_ip: row.source_ip.clone(),
                dest_ip: row.destination_ip.clone(),
                src_port: row.source_port.filter(|port| *port != 0),
                dest_port: row.destination_port.filter(|port| *port != 0),
                protocol: match row.protocol.as_str() {
                    "TCP" => "tcp",
                    "UDP" => "udp",
                    "ICMP" => "icmp",
                    _ => "unknown",
                },
                direction: row.direction.clone(),
            },
            disposition,
            policies: Vec::new(),
            src: peer(
                &row.source_ip,
                row.source_pod.as_ref(),
                row.source_namespace.as_ref(),
                (row.source_workload_kind.as_ref(), row.source_workload.as_ref()),
            ),
            dest: peer(
                &row.destination_ip,
                row.destination_pod.as_ref(),
                row.destination_namespace.as_ref(),
                (row.destination_workload_kind.as_ref(), row.destination_workload.as_ref()),
            ),
            count: row.count,
            node_name: row.node.clone(),
            timestamp: timestamp(row.time),
        }
    }

    /// The record as a line of the file.
    pub(super) fn line(&self) -> String {
        let mut line = serde_json::to_string(self).expect("plain structs always serialise");
        line.push('\n');
        line
    }
}

fn peer(
    address: &str,
    pod: Option<&String>,
    namespace: Option<&String>,
    (workload_kind, workload): (Option<&String>, Option<&String>),
) -> Peer {
    let Some(pod) = pod else {
        return Peer { instance: Some(address.to_owned()), ..Peer::default() };
    };
    // A pod that nobody owns has no workload in the records.
    let owned = workload_kind.is_some_and(|kind| kind != "Pod");
    Peer {
        pod_name: Some(pod.clone()),
        pod_namespace: namespace.cloned(),
        namespace: namespace.cloned(),
        workload_kind: workload_kind.filter(|_| owned).cloned(),
        workload_name: workload.filter(|_| owned).cloned(),
        instance: None,
    }
}

/// RFC 3339 in UTC with all nine digits.
fn timestamp(time: TimestampNs) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(time.0));
    time.map_or_else(|_| String::new(), |time| format!("{time:.9}"))
}
