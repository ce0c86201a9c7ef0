//! The Cloud Logging API over gRPC: requests with any filter, and bytes that were requests once.

use super::bed::{Bed, Client, Told};
use super::grpc::{Answer, Channel, framed};
use super::mutate::mutate;
use super::protobuf::{bytes, nested, number};
use super::words;
use crate::random::Random;

const LOGGING: &str = "/google.logging.v2.LoggingServiceV2";
const METRICS: &str = "/google.logging.v2.MetricsServiceV2";

struct Logging(Channel);

impl Client for Logging {
    async fn ask(&mut self, mut random: Random) -> (String, Told) {
        let (path, mut message) = request(&mut random);
        if random.below(2) == 0 {
            mutate(&mut random, &mut message);
        }
        let mut body = framed(&message);
        if random.below(6) == 0 {
            mutate(&mut random, &mut body);
        }
        let sent = format!("{path} {}", body.escape_ascii());
        let told = self.0.call(&path, body).await.map_or(Told::Closed, Answer::told);
        (sent, told)
    }
}

/// A method, and a request that it takes.
fn request(random: &mut Random) -> (String, Vec<u8>) {
    let filter = words::filter(random);
    let names = bytes(8, "projects/p");
    let (service, method, message) = match random.below(10) {
        0..5 => {
            let order = random.pick(&["timestamp desc", "timestamp asc", "", "size"]);
            let token = random.pick(&["", "", "a", "AAAA"]);
            let page = random.within(0..5);
            let fields =
                [names, bytes(2, filter), bytes(3, order), number(4, page), bytes(5, token)];
            (LOGGING, "ListLogEntries", fields.concat())
        }
        5 => {
            let window = bytes(3, number(1, random.within(0..100)));
            (LOGGING, "TailLogEntries", [bytes(1, "projects/p"), bytes(2, filter), window].concat())
        }
        6 => (LOGGING, "ListLogs", bytes(1, "projects/p")),
        7 => {
            let metric = [bytes(1, random.pick(&["a", "a/b", "", "ä"])), bytes(3, filter)].concat();
            let message = [bytes(1, "projects/p"), bytes(2, metric)].concat();
            (METRICS, "CreateLogMetric", message)
        }
        8 => {
            let method = random.pick(&["ListLogMetrics", "GetLogMetric", "DeleteLogMetric"]);
            (METRICS, method, bytes(1, "projects/p/metrics/a"))
        }
        _ => (LOGGING, "WriteLogEntries", nested(2, random.below(300))),
    };
    (format!("{service}/{method}"), message)
}

#[test]
fn random_requests_get_an_answer() {
    let bed = Bed::start();
    let counts = bed.send(|| Logging(Channel::new(bed.query.door("grpc"))));
    assert!(counts.answered > 500 && counts.refused > 1_000, "{counts:?}");
}
