//! The made-up traffic: connections and the rows that report them.

use super::SyntheticOptions;
use super::cluster::Cluster;
use super::random::Random;
use crate::values::{Direction, Reason, State, Verdict};

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
/// Connections alive at most: what a million rows an interval would need.
const MAX_LIVE: usize = 1 << 20;

/// A row before its names are looked up.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) time: i64,
    pub(super) end_time: i64,
    pub(super) direction: Direction,
    pub(super) verdict: Verdict,
    pub(super) reason: Reason,
    pub(super) policies: usize,
    pub(super) protocol: u8,
    pub(super) source: usize,
    pub(super) source_port: Option<u16>,
    pub(super) destination: usize,
    pub(super) destination_port: Option<u16>,
    pub(super) tcp_flags: Option<u8>,
    /// Index of the workload whose Service was dialled.
    pub(super) service: Option<usize>,
    pub(super) count: u64,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) reply_packets: u64,
    pub(super) reply_bytes: u64,
    pub(super) duration: Option<u64>,
    pub(super) rtt: Option<u64>,
    pub(super) state: State,
}

/// What does not change while a connection lives.
#[derive(Clone, Debug)]
struct Connection {
    source: usize,
    destination: usize,
    protocol: u8,
    source_port: u16,
    destination_port: u16,
    service: Option<usize>,
    began: i64,
    rtt: u64,
    reported: i64,
    /// Requests in an interval.
    requests: u64,
    request: u64,
    answer: u64,
}

#[derive(Debug)]
pub(super) struct Traffic {
    cluster: Cluster,
    random: Random,
    denied_per_mille: u32,
    world_per_mille: u32,
    interval: i64,
    /// In the order of their next report.
    live: std::collections::VecDeque<Connection>,
}

impl Traffic {
    pub(super) fn new(options: &SyntheticOptions, cluster: Cluster) -> Self {
        Self {
            cluster,
            random: Random::new(options.seed ^ 0xf10e),
            denied_per_mille: options.denied_per_mille,
            world_per_mille: options.world_per_mille,
            interval: options.interval_ns.max(1),
            live: std::collections::VecDeque::new(),
        }
    }

    pub(super) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// So many rows, in order of time.
    pub(super) fn rows(&mut self, rows: usize, start: i64, span: i64) -> Vec<Row> {
        let mut made = Vec::with_capacity(rows + 8);
        while made.len() < rows {
            let time = start + span / rows.max(1) as i64 * made.len() as i64;
            self.report_one(time, &mut made);
        }
        made.truncate(rows);
        // What a connection reports later in its life falls into the span too.
        let last = start + span - 1;
        for row in &mut made {
            let late = (row.time - last).max(0);
            row.time -= late;
            row.end_time = (row.end_time - late).max(row.time);
        }
        made.sort_by_key(|row| row.time);
        made
    }

    /// The rows of one occurrence at that time.
    fn report_one(&mut self, time: i64, made: &mut Vec<Row>) {
        // Long lives are half of all rows; other occurrences have two to four rows each, a deny
        // one, so their chances are weighed by rows.
        let denied = self.denied_per_mille * 3;
        match self.random.below(1000) as u32 {
            chance if chance < denied => self.denied(time, made),
            chance if chance < denied + 300 => self.short(time, made),
            chance if chance < denied + 400 => self.dns(time, made),
            chance if chance < denied + 405 => self.ping(time, made),
            _ => self.long(time, made),
        }
    }

    /// A connection that goes on: the oldest report is renewed if it is due, else one begins.
    fn long(&mut self, time: i64, made: &mut Vec<Row>) {
        let due = self.live.front().is_some_and(|oldest| oldest.reported + self.interval <= time);
        if !due && self.live.len() < MAX_LIVE {
            let mut connection = self.connection(time);
            // Most live since before anybody looked.
            let age = self.random.spread(1_000_000_000, 3_600_000_000_000) as i64;
            connection.began = time - age;
            self.report(&connection, time, State::Active, made);
            connection.reported = time;
            self.live.push_back(connection);
            return;
        }
        let Some(mut connection) = self.live.pop_front() else { return };
        let closes = self.random.per_mille(20);
        self.report(&connection, time, if closes { State::Closed } else { State::Active }, made);
        connection.reported = time;
        if !closes {
            self.live.push_back(connection);
        }
    }

    /// Request, answer, end: the row of its first packet and that of the rest, at both ends.
    fn short(&mut self, time: i64, made: &mut Vec<Row>) {
        let connection = Connection { requests: 1, ..self.connection(time) };
        self.report(&connection, time, State::Open, made);
        self.report(&connection, time, State::Closed, made);
    }

    fn dns(&mut self, time: i64, made: &mut Vec<Row>) {
        let dns = self.cluster.dns;
        let source = self.popular_pod();
        let connection = Connection {
            protocol: UDP,
            destination: self.pod_of(dns),
            destination_port: 53,
            service: Some(dns),
            requests: 1 + self.random.below(2) as u64,
            request: 40 + self.random.below(40) as u64,
            answer: 80 + self.random.below(200) as u64,
            ..self.connection_between(source, dns, time)
        };
        self.report(&connection, time, State::Open, made);
        self.report(&connection, time, State::Closed, made);
    }

    fn ping(&mut self, time: i64, made: &mut Vec<Row>) {
        let connection = Connection {
            protocol: ICMP,
            request: 56,
            answer: 56,
            requests: 5,
            ..self.connection(time)
        };
        self.report(&connection, time, State::Active, made);
    }

    /// An attempt that the destination's policies deny; further ones fold.
    fn denied(&mut self, time: i64, made: &mut Vec<Row>) {
        let outside = self.random.per_mille(self.world_per_mille);
        let source = if outside { self.outsider() } else { self.popular_pod() };
        let target = self.random.popular(self.cluster.workloads.len());
        let destination = self.pod_of(target);
        let workload = &self.cluster.workloads[target];
        let policies = workload.isolation;
        let folded = self.random.per_mille(400);
        let count = if folded { self.random.spread(1, 40) } else { 1 };
        let length = if folded { self.random.range(1_000_000, self.interval as u64) } else { 0 };
        let port = if self.random.per_mille(700) {
            workload.port
        } else {
            self.random.range(1, 10_000) as u16
        };
        made.push(Row {
            time,
            end_time: time + length as i64,
            direction: Direction::Ingress,
            verdict: Verdict::Deny,
            reason: Reason::DefaultDeny,
            policies,
            protocol: TCP,
            source,
            source_port: Some(self.ephemeral()),
            destination,
            destination_port: Some(port),
            tcp_flags: Some(2),
            service: None,
            count,
            packets: count,
            bytes: count * 74,
            reply_packets: 0,
            reply_bytes: 0,
            duration: None,
            rtt: None,
            state: if folded { State::Active } else { State::Open },
        });
    }

    /// The rows of both ends, or of the one that is a pod.
    fn report(&mut self, connection: &Connection, time: i64, state: State, made: &mut Vec<Row>) {
        let row = self.row(connection, time, state);
        let wire = (connection.rtt / 2) as i64;
        let source = self.cluster.workload_of(connection.source).map(|from| from.egress);
        let destination = self.cluster.workload_of(connection.destination).map(|to| to.ingress);
        let revision = |policies| if policies == 0 { Reason::NoPolicy } else { Reason::Policy };
        if let Some(policies) = source {
            made.push(Row {
                direction: Direction::Egress,
                policies,
                reason: revision(policies),
                ..row.clone()
            });
        }
        if let Some(policies) = destination {
            made.push(Row {
                time: row.time + wire,
                end_time: row.end_time + wire,
                direction: Direction::Ingress,
                policies,
                reason: revision(policies),
                service: None,
                rtt: row.rtt.map(|rtt| rtt / 3),
                ..row
            });
        }
    }

    fn row(&mut self, connection: &Connection, time: i64, state: State) -> Row {
        let first = state == State::Open;
        let per_packet = if connection.protocol == TCP { 66 } else { 42 };
        let segments = |bytes: u64| bytes.div_ceil(1448).max(1);
        let requests = match state {
            State::Open => 1,
            // Probes and polls come on the dot; the rest varies.
            _ if connection.requests < 4 => connection.requests,
            _ => self.random.range(connection.requests / 2, connection.requests * 2),
        };
        let (packets, bytes, reply_packets, reply_bytes) = if first {
            (1, if connection.protocol == TCP { 74 } else { connection.request + 42 }, 0, 0)
        } else {
            let packets = requests * (segments(connection.request) + 1);
            let reply_packets = requests * (segments(connection.answer) + 1);
            (
                packets,
                requests * connection.request + packets * per_packet,
                reply_packets,
                requests * connection.answer + reply_packets * per_packet,
            )
        };
        let length = match state {
            State::Open => 0,
            State::Active => self.interval - self.random.spread(1_000, 2_000_000_000) as i64,
            State::Closed => connection.rtt as i64 + self.random.spread(20_000, 300_000_000) as i64,
        }
        .clamp(0, self.interval);
        let flags = match state {
            State::Open => 0x02,
            State::Active => 0x18,
            State::Closed => 0x1b,
        };
        Row {
            time,
            end_time: time + length,
            direction: Direction::Egress,
            verdict: Verdict::Allow,
            reason: Reason::Policy,
            policies: 0,
            protocol: connection.protocol,
            source: connection.source,
            source_port: (connection.protocol != ICMP).then_some(connection.source_port),
            destination: connection.destination,
            destination_port: (connection.protocol != ICMP).then_some(connection.destination_port),
            tcp_flags: (connection.protocol == TCP).then_some(flags),
            service: connection.service,
            count: u64::from(first),
            packets,
            bytes,
            reply_packets,
            reply_bytes,
            duration: (!first).then(|| (time + length - connection.began).max(0) as u64),
            rtt: (!first).then_some(connection.rtt),
            state,
        }
    }

    /// A new connection along one of the cluster's calls, or with the world.
    fn connection(&mut self, time: i64) -> Connection {
        if self.random.per_mille(self.world_per_mille * 3 / 2) {
            return self.connection_with_world(time);
        }
        let source = self.popular_pod();
        let from = self.cluster.workload_of(source);
        let calls = from.map_or(&[][..], |from| &from.calls);
        let to = calls.get(self.random.below(calls.len().max(1))).copied();
        self.connection_between(source, to.unwrap_or(self.cluster.entrance), time)
    }

    fn connection_between(&mut self, source: usize, to: usize, time: i64) -> Connection {
        let destination = self.pod_of(to);
        let workload = &self.cluster.workloads[to];
        let (request, answer, port) = (workload.request, workload.answer, workload.port);
        let vary = |random: &mut Random, bytes: u64| {
            if random.per_mille(300) { bytes } else { random.range(bytes / 2, bytes * 2) }
        };
        Connection {
            source,
            destination,
            protocol: TCP,
            source_port: self.ephemeral(),
            destination_port: port,
            service: self.random.per_mille(700).then_some(to),
            began: time,
            rtt: self.random.spread(40_000, 900_000),
            reported: time,
            requests: self.random.spread(1, 400),
            request: vary(&mut self.random, request),
            answer: vary(&mut self.random, answer),
        }
    }

    /// Half come in, half go out.
    fn connection_with_world(&mut self, time: i64) -> Connection {
        let outsider = self.outsider();
        let rtt = self.random.spread(2_000_000, 90_000_000);
        if self.random.per_mille(500) {
            let entrance = self.cluster.entrance;
            let connection = self.connection_between(outsider, entrance, time);
            Connection { rtt, service: None, ..connection }
        } else {
            let source = self.popular_pod();
            let connection = self.connection_between(source, self.cluster.entrance, time);
            Connection {
                destination: outsider,
                destination_port: 443,
                service: None,
                rtt,
                ..connection
            }
        }
    }

    fn popular_pod(&mut self) -> usize {
        let workload = self.random.popular(self.cluster.workloads.len());
        self.pod_of(workload)
    }

    fn pod_of(&mut self, workload: usize) -> usize {
        let pods = self.cluster.workloads[workload].pods.clone();
        pods.start + self.random.below(pods.len())
    }

    fn outsider(&mut self) -> usize {
        let world = self.cluster.world();
        world.start + self.random.popular(world.len())
    }

    fn ephemeral(&mut self) -> u16 {
        self.random.range(32_768, 60_999) as u16
    }
}
