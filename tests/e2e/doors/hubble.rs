//! Hubble's observer API: filters of any values, fields that nobody knows, and bytes that were requests once.

use super::bed::{Bed, Client, Told};
use super::grpc::{Answer, Channel, framed};
use super::mutate::mutate;
use super::protobuf::{bytes, nested, number};
use crate::random::Random;

/// Fields of a filter that are texts (`flow.FlowFilter`), and one that nobody knows.
const TEXTS: [u32; 20] = [1, 2, 3, 4, 7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 18, 24, 29, 34, 37, 60];
/// Those that are numbers.
const NUMBERS: [u32; 10] = [5, 15, 19, 20, 25, 30, 33, 39, 40, 61];
/// Those that are messages: of an event's type, of flags, of a workload.
const MESSAGES: [u32; 3] = [6, 23, 26];
/// What stands in texts.
const WORDS: [&str; 26] = [
    "default/",
    "a",
    "/",
    "ns-1/web",
    "app=web",
    "k8s:app",
    "reserved:world",
    "(",
    ")",
    ",",
    "!",
    "=",
    "!=",
    " in (a, b)",
    " notin ",
    "*",
    "**",
    "10.0.0.0/8",
    "fe80::1/129",
    "tcp",
    "http",
    "80",
    "65536",
    "-1",
    "ä\0",
    "%'\\",
];

struct Hubble(Channel);

impl Client for Hubble {
    async fn ask(&mut self, mut random: Random) -> (String, Told) {
        let (method, mut message) = match random.below(12) {
            0 => (random.pick(&["GetNodes", "GetNamespaces", "ServerStatus"]), Vec::new()),
            1 => (random.pick(&["GetAgentEvents", "GetDebugEvents", "Nothing"]), number(1, 1)),
            _ => ("GetFlows", get_flows(&mut random)),
        };
        if random.below(2) == 0 {
            mutate(&mut random, &mut message);
        }
        let mut body = framed(&message);
        if random.below(6) == 0 {
            mutate(&mut random, &mut body);
        }
        let path = format!("/observer.Observer/{method}");
        let sent = format!("{path} {}", body.escape_ascii());
        let told = self.0.call(&path, body).await.map_or(Told::Closed, Answer::told);
        (sent, told)
    }
}

fn get_flows(random: &mut Random) -> Vec<u8> {
    let mut message = number(1, [0, 1, 5, u64::MAX][random.below(4)]);
    for _ in 0..random.below(3) {
        message.extend(bytes([5, 6][random.below(2)], filter(random)));
    }
    if random.below(5) == 0 {
        message.extend(number([9, 3, 12][random.below(3)], random.within(0..3)));
    }
    if random.below(5) == 0 {
        let seconds = [0, 1_767_225_600, u64::MAX, 1 << 62][random.below(4)];
        let time = [number(1, seconds), number(2, random.within(0..2_000_000_000))].concat();
        message.extend(bytes(7 + random.below(2) as u32, time));
    }
    if random.below(20) == 0 {
        message.extend(nested(5, random.below(200)));
    }
    message
}

fn filter(random: &mut Random) -> Vec<u8> {
    let mut filter = Vec::new();
    for _ in 0..random.below(4) {
        let text: String = (0..=random.below(3)).map(|_| random.pick(&WORDS)).collect();
        let value = [0, 1, 2, 5, 255, u64::MAX][random.below(6)];
        filter.extend(match random.below(6) {
            0 | 1 => number(NUMBERS[random.below(NUMBERS.len())], value),
            2 => {
                let inner =
                    [number(1, value), number(2, value), bytes(1, &text)][random.below(3)].clone();
                bytes(MESSAGES[random.below(MESSAGES.len())], inner)
            }
            _ => bytes(TEXTS[random.below(TEXTS.len())], text),
        });
    }
    filter
}

#[test]
fn random_requests_get_an_answer() {
    let bed = Bed::start();
    let counts = bed.send(|| Hubble(Channel::new(bed.query.door("grpc"))));
    assert!(counts.answered > 1_000 && counts.refused > 1_000, "{counts:?}");
}
