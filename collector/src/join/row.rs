//! One row before it has names, from each kind of report.

use weir_abi::event::{REASON_FRAGMENT, VERDICT_ALLOW, VERDICT_AUDIT, VERDICT_DENY, VerdictEvent};
use weir_abi::{Address, DIRECTION_EGRESS, DIRECTION_INGRESS};
use weir_flow::values::State;

use super::side::End;
use crate::directory::Directory;
use crate::kernel::{ConnectionDelta, ConnectionState, DenyDelta};

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;

/// One row. Times are the kernel's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) time_ns: u64,
    pub(super) end_ns: u64,
    /// The kernel noted the last packet by the tick, which is some milliseconds.
    pub(super) end_by_tick: bool,
    /// Of this moment the names are.
    pub(super) named_ns: u64,
    pub(super) direction: u8,
    pub(super) verdict: u8,
    pub(super) reason: u8,
    pub(super) rule_sets: (u32, u32),
    pub(super) revision: u64,
    pub(super) protocol: u8,
    pub(super) source: End,
    pub(super) source_port: u16,
    pub(super) destination: End,
    pub(super) destination_port: u16,
    pub(super) tcp_flags: u8,
    pub(super) icmp_type: u8,
    pub(super) icmp_code: u8,
    pub(super) count: u64,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) reply_packets: u64,
    pub(super) reply_bytes: u64,
    pub(super) duration_ns: Option<u64>,
    /// 0 if unknown.
    pub(super) rtt_ns: u64,
    pub(super) state: State,
}

impl Row {
    /// The row of a verdict; none if it has numbers of another version.
    pub(super) fn of_event(event: &VerdictEvent) -> Option<Self> {
        known(event.direction, event.verdict, event.reason)?;
        // A packet out of the pod comes from the pod, also where it claims another source.
        let local = |own| if own { event.endpoint } else { 0 };
        let from_pod = event.direction == DIRECTION_EGRESS;
        Some(Self {
            time_ns: event.time_ns,
            end_ns: event.time_ns,
            end_by_tick: false,
            named_ns: event.time_ns,
            direction: event.direction,
            verdict: event.verdict,
            reason: event.reason,
            rule_sets: (event.rule_set_identity, event.rule_set_cidr),
            revision: event.revision,
            protocol: event.protocol,
            source: End { address: event.source, endpoint: local(from_pod) },
            source_port: event.source_port,
            destination: End { address: event.destination, endpoint: local(!from_pod) },
            destination_port: event.destination_port,
            tcp_flags: event.tcp_flags,
            icmp_type: event.icmp_type,
            icmp_code: event.icmp_code,
            count: 1,
            packets: u64::from(event.packets),
            bytes: u64::from(event.bytes),
            reply_packets: 0,
            reply_bytes: 0,
            duration_ns: None,
            rtt_ns: 0,
            state: State::Open,
        })
    }

    /// The row of what a connection did since it was last reported.
    pub(super) fn of_connection(delta: &ConnectionDelta, directory: &Directory) -> Option<Self> {
        let (key, value) = (&delta.key, &delta.value);
        known(value.direction, value.verdict, value.reason)?;
        let ends = Ends {
            local: End {
                address: directory.endpoint_address(key.endpoint, &key.remote),
                endpoint: key.endpoint,
            },
            local_port: key.local_port,
            remote: End { address: key.remote, endpoint: 0 },
            remote_port: key.remote_port,
        };
        let (source, source_port, destination, destination_port) = ends.of(value.direction);
        Some(Self {
            time_ns: delta.since_ns,
            end_ns: value.last_ns.max(delta.since_ns),
            end_by_tick: true,
            named_ns: value.first_ns,
            direction: value.direction,
            verdict: value.verdict,
            reason: value.reason,
            rule_sets: (value.rule_set_identity, value.rule_set_cidr),
            revision: value.revision,
            protocol: key.protocol,
            source,
            source_port,
            destination,
            destination_port,
            tcp_flags: value.tcp_flags,
            icmp_type: value.icmp_type,
            icmp_code: value.icmp_code,
            count: delta.count,
            packets: delta.packets,
            bytes: delta.bytes,
            reply_packets: delta.reply_packets,
            reply_bytes: delta.reply_bytes,
            duration_ns: Some(whole(value.last_ns.saturating_sub(value.first_ns), MILLISECOND)),
            // How long the programs took to run is in there too: finer digits mean nothing.
            rtt_ns: value.reply_delay_ns.next_multiple_of(MICROSECOND),
            state: match delta.state {
                ConnectionState::Active => State::Active,
                ConnectionState::Closed => State::Closed,
            },
        })
    }

    /// The row of denied attempts since they were last reported.
    pub(super) fn of_deny(delta: &DenyDelta, directory: &Directory) -> Option<Self> {
        let (key, value) = (&delta.key, &delta.value);
        known(key.direction, VERDICT_DENY, value.reason)?;
        let local = if key.claimed == Address::default() {
            directory.endpoint_address(key.endpoint, &key.remote)
        } else {
            key.claimed
        };
        let local = End { address: local, endpoint: key.endpoint };
        let remote = End { address: key.remote, endpoint: 0 };
        let (source, destination) =
            if key.direction == DIRECTION_EGRESS { (local, remote) } else { (remote, local) };
        Some(Self {
            time_ns: delta.since_ns,
            end_ns: value.last_ns.max(delta.since_ns),
            end_by_tick: true,
            named_ns: delta.since_ns,
            direction: key.direction,
            verdict: VERDICT_DENY,
            reason: value.reason,
            rule_sets: (value.rule_set, 0),
            revision: key.revision,
            protocol: key.protocol,
            source,
            source_port: value.source_port,
            destination,
            destination_port: key.destination_port,
            tcp_flags: value.tcp_flags,
            icmp_type: key.icmp_type,
            icmp_code: key.icmp_code,
            count: delta.count,
            packets: delta.packets,
            bytes: delta.bytes,
            reply_packets: 0,
            reply_bytes: 0,
            duration_ns: None,
            rtt_ns: 0,
            state: State::Active,
        })
    }
}

/// Both ends as the endpoint sees them.
struct Ends {
    local: End,
    local_port: u16,
    remote: End,
    remote_port: u16,
}

impl Ends {
    /// Source and destination, each with its port.
    fn of(self, direction: u8) -> (End, u16, End, u16) {
        if direction == DIRECTION_EGRESS {
            (self.local, self.local_port, self.remote, self.remote_port)
        } else {
            (self.remote, self.remote_port, self.local, self.local_port)
        }
    }
}

/// Rounded down.
fn whole(ns: u64, unit: u64) -> u64 {
    ns - ns % unit
}

/// Whether there are words for these numbers.
fn known(direction: u8, verdict: u8, reason: u8) -> Option<()> {
    let known = matches!(direction, DIRECTION_INGRESS | DIRECTION_EGRESS)
        && matches!(verdict, VERDICT_ALLOW | VERDICT_DENY | VERDICT_AUDIT)
        && reason <= REASON_FRAGMENT;
    known.then_some(())
}
