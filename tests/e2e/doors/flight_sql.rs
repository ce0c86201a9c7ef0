//! Flight SQL: statements, handles and values that were right once, and commands of every kind.

use super::bed::{Bed, Client, Told};
use super::grpc::{Answer, Channel, framed};
use super::mutate::mutate;
use super::protobuf::{bytes, find, nested, number};
use super::words;
use crate::random::Random;

const SERVICE: &str = "/arrow.flight.protocol.FlightService";
/// Commands without a statement.
const COMMANDS: [&str; 12] = [
    "CommandGetCatalogs",
    "CommandGetDbSchemas",
    "CommandGetTables",
    "CommandGetTableTypes",
    "CommandGetSqlInfo",
    "CommandGetXdbcTypeInfo",
    "CommandGetPrimaryKeys",
    "CommandGetExportedKeys",
    "CommandGetImportedKeys",
    "CommandGetCrossReference",
    "CommandStatementUpdate",
    "CommandNothing",
];
const ACTIONS: [&str; 10] = [
    "CreatePreparedStatement",
    "ClosePreparedStatement",
    "CancelQuery",
    "CancelFlightInfo",
    "BeginTransaction",
    "EndTransaction",
    "BeginSavepoint",
    "CreatePreparedSubstraitPlan",
    "RenewFlightEndpoint",
    "Nothing",
];

/// A client that knows what is right.
pub(super) struct FlightSql {
    channel: Channel,
    samples: Samples,
}

/// What a well-behaved client got from the door, and sent to it.
#[derive(Clone, Default)]
struct Samples {
    /// The ticket of a statement.
    ticket: Vec<u8>,
    /// The handle of a prepared statement, and the same with values.
    handles: Vec<Vec<u8>>,
    /// Messages of a schema and of a row.
    row: Vec<Vec<u8>>,
}

impl FlightSql {
    fn new(address: &str, samples: Samples) -> Self {
        Self { channel: Channel::new(address), samples }
    }

    pub(super) fn plain(bed: &Bed) -> Self {
        Self::new(bed.query.door("grpc"), Samples::default())
    }

    /// Asks for a statement's columns, then for its rows.
    pub(super) async fn statement(&mut self, sql: &str) -> Told {
        let command = any("CommandStatementQuery", bytes(1, sql));
        let body = framed(&descriptor(&command));
        let answer = self.channel.call(&format!("{SERVICE}/GetFlightInfo"), body).await.unwrap();
        if answer.status != Some(0) {
            return answer.told();
        }
        let ticket = ticket_in(&answer.body[5..]).unwrap();
        let body = framed(&bytes(1, ticket));
        self.channel.call(&format!("{SERVICE}/DoGet"), body).await.unwrap().told()
    }
}

impl Samples {
    /// What the door itself gives.
    async fn of(address: &str) -> Self {
        let mut channel = Channel::new(address);
        let mut call = async |method: &str, body: Vec<u8>| {
            let answer = channel.call(&format!("{SERVICE}/{method}"), body).await.unwrap();
            assert_eq!(answer.status, Some(0), "{method}: {answer:?}");
            split(&answer.body)
        };
        let sql = "select $1 + packets as n, $2 as name, time from flows";
        let plain = any("CommandStatementQuery", bytes(1, "select 7 as \"$1\", 'a' as \"$2\""));
        let info = call("GetFlightInfo", framed(&descriptor(&plain))).await;
        let ticket = ticket_in(&info[0]).unwrap();
        let row = call("DoGet", framed(&bytes(1, &ticket))).await;
        let create = any("ActionCreatePreparedStatementRequest", bytes(1, sql));
        let create = [bytes(1, "CreatePreparedStatement"), bytes(2, create)].concat();
        let created = call("DoAction", framed(&create)).await;
        let created = find(&created[0], 1).and_then(|any| find(&any, 2)).unwrap();
        let handle = find(&created, 1).unwrap();
        let put = call("DoPut", with_values(&handle, &row)).await;
        let bound = find(&put[0], 1).and_then(|result| find(&result, 1)).unwrap();
        Self { ticket, handles: vec![handle, bound], row }
    }
}

impl Client for FlightSql {
    async fn ask(&mut self, mut random: Random) -> (String, Told) {
        let (method, body) = request(&mut random, &self.samples);
        let path = format!("{SERVICE}/{method}");
        let sent = format!("{path} {}", body.escape_ascii());
        let told = self.channel.call(&path, body).await.map_or(Told::Closed, Answer::told);
        (sent, told)
    }
}

/// A method and the frames of its request.
fn request(random: &mut Random, samples: &Samples) -> (&'static str, Vec<u8>) {
    let broken = |random: &mut Random, mut bytes: Vec<u8>| {
        if random.below(4) > 0 {
            mutate(random, &mut bytes);
        }
        bytes
    };
    let handle = samples.handles[random.below(2)].clone();
    let (method, mut message) = match random.below(12) {
        0 | 1 => {
            let command = any("CommandStatementQuery", bytes(1, words::sql(random)));
            (random.pick(&["GetFlightInfo", "GetSchema"]), descriptor(&command))
        }
        2 => {
            let (name, handle) = (random.pick(&COMMANDS), broken(random, handle));
            let command = any(name, bytes(1, handle));
            (random.pick(&["GetFlightInfo", "GetSchema"]), descriptor(&broken(random, command)))
        }
        3 => ("DoGet", bytes(1, any(random.pick(&COMMANDS), number(1, random.within(0..3))))),
        4 | 5 => ("DoGet", bytes(1, broken(random, samples.ticket.clone()))),
        6 | 7 => {
            let handle = broken(random, handle);
            ("DoGet", bytes(1, any("CommandPreparedStatementQuery", bytes(1, handle))))
        }
        8 => {
            let (action, name) = (random.pick(&ACTIONS), random.pick(&COMMANDS));
            let body = broken(random, any(&format!("Action{action}Request"), bytes(1, name)));
            ("DoAction", [bytes(1, action), bytes(2, body)].concat())
        }
        9 | 10 => {
            // Values: headers, lengths and buffers of Arrow.
            let mut row = samples.row.clone();
            let at = random.below(row.len());
            let part = [2, 1000][random.below(2)];
            let mut inner = find(&row[at], part).unwrap_or_default();
            mutate(random, &mut inner);
            let other = if part == 2 { 1000 } else { 2 };
            let kept = find(&row[at], other).unwrap_or_default();
            row[at] = [bytes(part, inner), bytes(other, kept)].concat();
            let handle = if random.below(8) == 0 { broken(random, handle) } else { handle };
            return ("DoPut", with_values(&handle, &row));
        }
        _ => (
            random.pick(&["ListFlights", "ListActions", "PollFlightInfo", "Handshake"]),
            nested(1, random.below(200)),
        ),
    };
    if random.below(4) == 0 {
        mutate(random, &mut message);
    }
    let mut body = framed(&message);
    if random.below(10) == 0 {
        mutate(random, &mut body);
    }
    (method, body)
}

/// `google.protobuf.Any` of a message of Flight SQL.
fn any(name: &str, message: impl AsRef<[u8]>) -> Vec<u8> {
    [bytes(1, format!("type.googleapis.com/arrow.flight.protocol.sql.{name}")), bytes(2, message)]
        .concat()
}

/// A descriptor of kind `CMD`.
fn descriptor(command: &[u8]) -> Vec<u8> {
    [number(1, 2), bytes(2, command)].concat()
}

/// The first ticket of a `FlightInfo`.
fn ticket_in(info: &[u8]) -> Option<Vec<u8>> {
    find(&find(&find(info, 3)?, 1)?, 1)
}

/// Frames that put values to a prepared statement.
fn with_values(handle: &[u8], row: &[Vec<u8>]) -> Vec<u8> {
    let descriptor = descriptor(&any("CommandPreparedStatementQuery", bytes(1, handle)));
    let first = [bytes(1, descriptor), row[0].clone()].concat();
    let rest = row[1..].iter().flat_map(|message| framed(message));
    framed(&first).into_iter().chain(rest).collect()
}

/// The messages in frames.
fn split(mut body: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while let Some((head, rest)) = body.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let (message, rest) = rest.split_at(length);
        messages.push(message.to_vec());
        body = rest;
    }
    messages
}

#[test]
fn random_requests_get_an_answer() {
    let bed = Bed::start();
    let address = bed.query.door("grpc");
    let samples = bed.run(Samples::of(address));
    let counts = bed.send(|| FlightSql::new(address, samples.clone()));
    assert!(counts.answered > 1_000 && counts.refused > 2_000, "{counts:?}");
}
