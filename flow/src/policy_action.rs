//! Records of decisions in the shape of GKE's `policy-action` log: the collector writes them to a
//! file, the query service serves them as log entries.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use sha1::{Digest as _, Sha1};

use crate::schema::{Flow, TimestampNs};
use crate::values::{PolicyRule, Verdict};

/// The log's name within a project.
pub const LOG_ID: &str = "policy-action";
/// Values of column `protocol` and what records call them.
pub const PROTOCOLS: [(&str, &str); 3] = [("TCP", "tcp"), ("UDP", "udp"), ("ICMP", "icmp")];
/// What records call all other protocols.
pub const OTHER_PROTOCOL: &str = "unknown";

/// The JSON of one record. What does not apply is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyAction {
    connection: Connection,
    disposition: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    policies: Vec<Policy>,
    src: Peer,
    dest: Peer,
    count: u64,
    node_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
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

impl PolicyAction {
    /// The payload of a log entry, which carries the time itself: every row has one, and every rule
    /// that allowed is named.
    pub fn payload(row: &Flow) -> Self {
        let record = if row.verdict == Verdict::Deny.as_str() {
            Self::deny(row)
        } else {
            Self::allow(row, row.policies.iter())
        };
        Self { count: row.count, timestamp: None, ..record }
    }

    /// One allowed connection, and the rules to name.
    pub fn allow<'a>(row: &Flow, rules: impl Iterator<Item = &'a PolicyRule>) -> Self {
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
    pub fn deny(row: &Flow) -> Self {
        Self { count: row.count, ..Self::of(row, "deny") }
    }

    fn of(row: &Flow, disposition: &'static str) -> Self {
        Self {
            connection: Connection {
                src_ip: row.source_ip.clone(),
                dest_ip: row.destination_ip.clone(),
                src_port: row.source_port.filter(|port| *port != 0),
                dest_port: row.destination_port.filter(|port| *port != 0),
                protocol: PROTOCOLS
                    .iter()
                    .find(|(protocol, _)| *protocol == row.protocol)
                    .map_or(OTHER_PROTOCOL, |(_, name)| name),
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
            timestamp: Some(timestamp(row.time)),
        }
    }

    /// The record as a line of the file.
    pub fn line(&self) -> String {
        let mut line = serde_json::to_string(self).expect("plain structs always serialise");
        line.push('\n');
        line
    }
}

/// What is never the same in two rows, whether they are hot or stored.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct Identity<'a> {
    pub time: TimestampNs,
    pub end_time: TimestampNs,
    pub cluster: &'a str,
    pub node: &'a str,
    pub direction: &'a str,
    pub verdict: &'a str,
    pub reason: &'a str,
    pub protocol: &'a str,
    pub source_ip: &'a str,
    pub source_port: Option<u16>,
    pub destination_ip: &'a str,
    pub destination_port: Option<u16>,
    pub icmp_type: Option<u8>,
    pub icmp_code: Option<u8>,
    pub state: &'a str,
    pub policy_revision: u64,
    pub count: u64,
    pub packets: u64,
    pub bytes: u64,
    pub reply_packets: u64,
}

impl Identity<'_> {
    /// The columns that it is made of.
    pub const COLUMNS: [&'static str; 20] = [
        "time",
        "end_time",
        "cluster",
        "node",
        "direction",
        "verdict",
        "reason",
        "protocol",
        "source_ip",
        "source_port",
        "destination_ip",
        "destination_port",
        "icmp_type",
        "icmp_code",
        "state",
        "policy_revision",
        "count",
        "packets",
        "bytes",
        "reply_packets",
    ];

    /// The `insertId` of the row's log entry: a digest, 27 characters.
    pub fn insert_id(&self) -> String {
        let mut digest = Sha1::new();
        let texts = [
            self.cluster,
            self.node,
            self.direction,
            self.verdict,
            self.reason,
            self.protocol,
            self.source_ip,
            self.destination_ip,
            self.state,
        ];
        for text in texts {
            digest.update((text.len() as u64).to_be_bytes());
            digest.update(text.as_bytes());
        }
        for time in [self.time, self.end_time] {
            digest.update(time.0.to_be_bytes());
        }
        for port in [self.source_port, self.destination_port] {
            digest.update(port.map_or(-1, i32::from).to_be_bytes());
        }
        for part in [self.icmp_type, self.icmp_code] {
            digest.update(part.map_or(-1, i32::from).to_be_bytes());
        }
        let numbers =
            [self.policy_revision, self.count, self.packets, self.bytes, self.reply_packets];
        for number in numbers {
            digest.update(number.to_be_bytes());
        }
        URL_SAFE_NO_PAD.encode(digest.finalize())
    }
}

impl<'a> From<&'a Flow> for Identity<'a> {
    fn from(row: &'a Flow) -> Self {
        Self {
            time: row.time,
            end_time: row.end_time,
            cluster: &row.cluster,
            node: &row.node,
            direction: &row.direction,
            verdict: &row.verdict,
            reason: &row.reason,
            protocol: &row.protocol,
            source_ip: &row.source_ip,
            source_port: row.source_port,
            destination_ip: &row.destination_ip,
            destination_port: row.destination_port,
            icmp_type: row.icmp_type,
            icmp_code: row.icmp_code,
            state: &row.state,
            policy_revision: row.policy_revision,
            count: row.count,
            packets: row.packets,
            bytes: row.bytes,
            reply_packets: row.reply_packets,
        }
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
