//! The made-up traffic: connections and the rows that report them.

use std::collections::BTreeMap;

use super::SyntheticOptions;
use super::clocks::{Clocks, whole_milliseconds};
use super::cluster::Cluster;
use super::random::Random;
use crate::values::{Direction, Reason, State, Verdict};

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
/// Connections alive at most: what a million rows an interval would need.
const MAX_LIVE: usize = 1 << 20;

/// What a row counts.
#[derive(Clone, Copy, Debug)]
struct Counted {
    requests: u64,
    packets: u64,
    bytes: u64,
    reply_packets: u64,
    reply_bytes: u64,
}

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
    /// First packet to first reply, at the source.
    rtt: u64,
    /// The same at the destination.
    response: u64,
    /// Requests in an interval.
    requests: u64,
    request: u64,
    answer: u64,
    /// Whether all requests are of one size, as probes and polls are.
    uniform: bool,
}

/// What a row tells of a connection.
#[derive(Clone, Copy, Debug)]
enum Report {
    /// Its first packet.
    First,
    /// All that came after the first packet, up to that moment.
    Rest(i64, State),
    /// What came in an interval.
    Interval(State),
}

#[derive(Debug)]
pub(super) struct Traffic {
    cluster: Cluster,
    random: Random,
    clocks: Clocks,
    denied_per_mille: u32,
    world_per_mille: u32,
    interval: i64,
    /// By the time of their next report, and numbered.
    live: BTreeMap<(i64, u64), Connection>,
    numbered: u64,
}

impl Traffic {
    pub(super) fn new(options: &SyntheticOptions, cluster: Cluster) -> Self {
        Self {
            cluster,
            random: Random::new(options.seed ^ 0xf10e),
            clocks: Clocks::new(options.seed ^ 0xc10c, options.interval_ns),
            denied_per_mille: options.denied_per_mille,
            world_per_mille: options.world_per_mille,
            interval: options.interval_ns.max(1),
            live: BTreeMap::new(),
            numbered: 0,
        }
    }

    pub(super) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// So many rows, in order of their ends.
    pub(super) fn rows(&mut self, rows: usize, start: i64, span: i64) -> Vec<Row> {
        let mut made = Vec::with_capacity(rows + 8);
        while made.len() < rows {
            let time = start + span / rows.max(1) as i64 * made.len() as i64;
            self.report_one(time, &mut made);
        }
        made.truncate(rows);
        made.sort_by_key(|row| row.end_time);
        made
    }

    /// The rows of one occurrence that is over by that time.
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

    /// A connection that goes on: the one whose report is due, else one more.
    fn long(&mut self, time: i64, made: &mut Vec<Row>) {
        let due = self.live.first_entry().filter(|first| first.key().0 <= time);
        let (connection, closes) = if let Some(due) = due {
            (due.remove(), self.random.per_mille(20))
        } else if self.live.len() < MAX_LIVE {
            // Most live since before anybody looked.
            let age = self.random.spread(1_000_000_000, 3_600_000_000_000) as i64;
            (self.connection(time - self.interval - age), false)
        } else {
            return;
        };
        let state = if closes { State::Closed } else { State::Active };
        self.report(&connection, time, Report::Interval(state), made);
        if !closes {
            let next = |end: usize| {
                let node = self.cluster.endpoints[end].node?;
                Some(self.clocks.reading(node, time).next + self.clocks.ahead(node))
            };
            let next = next(connection.source).max(next(connection.destination));
            self.numbered += 1;
            self.live.insert((next.unwrap_or(time + self.interval), self.numbered), connection);
        }
    }

    /// Request, answer, end: the row of its first packet and that of the rest, at both ends.
    fn short(&mut self, time: i64, made: &mut Vec<Row>) {
        let length = self.random.spread(20_000, 300_000_000) as i64;
        let mut connection = Connection { requests: 1, ..self.connection(time - length) };
        connection.began -= connection.rtt as i64;
        self.report(&connection, time, Report::First, made);
        self.report(&connection, time, Report::Rest(time, State::Closed), made);
    }

    fn dns(&mut self, time: i64, made: &mut Vec<Row>) {
        let dns = self.cluster.dns;
        let source = self.popular_pod();
        let mut connection = Connection {
            protocol: UDP,
            destination: self.pod_of(dns),
            destination_port: 53,
            service: Some(dns),
            requests: 1 + self.random.below(2) as u64,
            request: 40 + self.random.below(40) as u64,
            answer: 80 + self.random.below(200) as u64,
            ..self.connection_between(source, dns, time)
        };
        connection.began -= (connection.rtt * connection.requests) as i64;
        self.report(&connection, time, Report::First, made);
        self.report(&connection, time, Report::Rest(time, State::Active), made);
    }

    fn ping(&mut self, time: i64, made: &mut Vec<Row>) {
        let connection = Connection {
            protocol: ICMP,
            request: 56,
            answer: 56,
            requests: 5,
            uniform: true,
            ..self.connection(time - 2 * self.interval)
        };
        self.report(&connection, time, Report::Interval(State::Active), made);
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
        let port = if self.random.per_mille(700) {
            workload.port
        } else {
            self.random.range(1, 10_000) as u16
        };
        let node = self.cluster.endpoints[destination].node.unwrap_or_default();
        let (time, end_time) = if folded {
            let reading = self.clocks.reading(node, time);
            let age = self.random.range(0, (reading.at - reading.previous) as u64) as i64;
            let end_time = self.clocks.by_tick(node, reading.at - age);
            (reading.previous, end_time.max(reading.previous))
        } else {
            let time = self.clocks.local(node, time);
            (time, time)
        };
        made.push(Row {
            time,
            end_time,
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
    fn report(&mut self, connection: &Connection, time: i64, report: Report, made: &mut Vec<Row>) {
        let counted = self.count(connection, report);
        let source = self.cluster.workload_of(connection.source).map(|from| from.egress);
        let destination = self.cluster.workload_of(connection.destination).map(|to| to.ingress);
        if let Some(policies) = source {
            let row = self.row(connection, Direction::Egress, policies, time, report, counted);
            made.push(row);
        }
        if let Some(policies) = destination {
            // Readings of another moment count other packets.
            let counted = match report {
                Report::Interval(_) => self.count(connection, report),
                _ => counted,
            };
            let row = self.row(connection, Direction::Ingress, policies, time, report, counted);
            made.push(row);
        }
    }

    /// What a row counts.
    fn count(&mut self, connection: &Connection, report: Report) -> Counted {
        let per_packet = if connection.protocol == TCP { 66 } else { 42 };
        if matches!(report, Report::First) {
            let bytes = if connection.protocol == TCP { 74 } else { connection.request + 42 };
            return Counted { requests: 1, packets: 1, bytes, reply_packets: 0, reply_bytes: 0 };
        }
        // Polls come on the dot; the rest varies.
        let requests = match connection.requests {
            few @ ..4 => few,
            many => self.random.range(many / 2, many * 2),
        };
        let mut total = |each: u64| match requests * each {
            total if connection.uniform || requests < 4 => total,
            total => self.random.range(total - total / 8, total + total / 8 + 1),
        };
        let (sent, answered) = (total(connection.request), total(connection.answer));
        let packets = sent.div_ceil(1448).max(requests) + requests;
        let reply_packets = answered.div_ceil(1448).max(requests) + requests;
        Counted {
            requests,
            packets,
            bytes: sent + packets * per_packet,
            reply_packets,
            reply_bytes: answered + reply_packets * per_packet,
        }
    }

    fn row(
        &mut self,
        connection: &Connection,
        direction: Direction,
        policies: usize,
        time: i64,
        report: Report,
        counted: Counted,
    ) -> Row {
        let outgoing = direction == Direction::Egress;
        let end = if outgoing { connection.source } else { connection.destination };
        let node = self.cluster.endpoints[end].node.unwrap_or_default();
        let wire = if outgoing { 0 } else { (connection.rtt / 2) as i64 };
        let began = self.clocks.local(node, connection.began + wire);
        let delay = if outgoing { connection.rtt } else { connection.response };
        // The last packet is noted by the tick, and never before the first.
        let (time, last, state) = match report {
            Report::First => (began, began, State::Open),
            Report::Rest(until, state) => {
                // The first reply is timed exactly.
                let replied = whole_milliseconds(began + delay as i64);
                let last = self.clocks.by_tick(node, self.clocks.local(node, until));
                (began, last.max(replied).max(began), state)
            }
            Report::Interval(state) => {
                let reading = self.clocks.reading(node, time);
                let whole = (reading.at - reading.previous) as u64;
                let pause = match state {
                    State::Closed => whole,
                    _ => whole / counted.requests.max(1),
                };
                let last = reading.at - self.random.range(0, pause) as i64;
                let begins = reading.previous.max(began);
                (begins, self.clocks.by_tick(node, last).max(begins), state)
            }
        };
        let first = state == State::Open;
        let flags = match state {
            State::Open => 0x02,
            State::Active => 0x18,
            State::Closed => 0x1b,
        };
        Row {
            time,
            end_time: last,
            direction,
            verdict: Verdict::Allow,
            reason: if policies == 0 { Reason::NoPolicy } else { Reason::Policy },
            policies,
            protocol: connection.protocol,
            source: connection.source,
            source_port: (connection.protocol != ICMP).then_some(connection.source_port),
            destination: connection.destination,
            destination_port: (connection.protocol != ICMP).then_some(connection.destination_port),
            tcp_flags: (connection.protocol == TCP).then_some(flags),
            service: connection.service.filter(|_| outgoing),
            count: u64::from(first),
            packets: counted.packets,
            bytes: counted.bytes,
            reply_packets: counted.reply_packets,
            reply_bytes: counted.reply_bytes,
            duration: (!first).then(|| whole_milliseconds((last - began).max(0)) as u64),
            rtt: (!first).then(|| delay.next_multiple_of(1_000)),
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
        let uniform = self.random.per_mille(300);
        let vary = |random: &mut Random, bytes: u64| {
            if uniform { bytes } else { random.range(bytes / 2, bytes * 2) }
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
            response: self.random.spread(4_000, 60_000),
            requests: self.random.spread(1, 400),
            request: vary(&mut self.random, request),
            answer: vary(&mut self.random, answer),
            uniform,
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
