//! The query service under test, a few rows for it to answer from, and what has to hold whatever it was sent.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use weir_flow::synthetic::{Synthetic, SyntheticOptions};

use super::CASES;
use crate::made_up;
use crate::random::{Random, seed};
use crate::weir::{PATIENCE, Service, wait_for};

/// Clients at the same time.
const CLIENTS: u64 = 6;
/// Rows in files, and rows that the relay holds.
const ROWS: [usize; 2] = [30, 20];
/// What running queries may use together.
const QUERY_BYTES: u64 = 64 << 20;
/// What doors and caches may take beside, at the worst moment: over what the process has before the first case.
const DOOR_BYTES: u64 = 256 << 20;
/// What may be there longer once all clients have gone.
const KEPT_BYTES: u64 = 128 << 20;
/// 2026-01-01T00:00:00Z, where the rows begin.
const BEGIN_NS: i64 = 1_767_225_600_000_000_000;
/// Most kinds and cases that are shown.
const SHOWN: usize = 40;
/// Shortest message that says something.
const WORDS: usize = 10;

/// How a case ended.
#[derive(Clone, Debug)]
pub(super) enum Told {
    /// With what was asked for.
    Answered,
    /// With words.
    Refused(String),
    /// The connection was closed without: what came was no message of the door's protocol.
    Closed,
}

/// A relay and a query service with 50 rows.
pub(super) struct Bed {
    pub(super) query: Service,
    _relay: Service,
    runtime: Runtime,
    before: Usage,
    _directory: tempfile::TempDir,
}

/// What the process has of the machine.
#[derive(Clone, Copy, Debug)]
struct Usage {
    sockets: usize,
    resident_bytes: u64,
}

impl Bed {
    /// Queries end after two seconds here.
    pub(super) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("store");
        let store = store.to_str().unwrap();
        let flush = format!("--flush-rows={}", ROWS[0]);
        let relay = Service::start(
            directory.path(),
            "relay",
            &["relay", "--ingest=127.0.0.1:0", "--store", store, &flush, "--flush-interval=1h"],
        );
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(feed(relay.door("ingest")));
        let url = format!("http://{}", relay.door("ingest"));
        let state = directory.path().join("state");
        let memory = format!("--memory-bytes={QUERY_BYTES}");
        let query = Service::start(
            directory.path(),
            "query",
            &[
                "query",
                "--http=127.0.0.1:0",
                "--grpc=127.0.0.1:0",
                "--postgres=127.0.0.1:0",
                "--relay",
                &url,
                "--store",
                store,
                "--state",
                state.to_str().unwrap(),
                &memory,
                "--timeout=2s",
            ],
        );
        let rows = || query.try_sql("select count(*) as n from flows").ok();
        wait_for("the rows", || (rows()?[0]["n"] == ROWS.iter().sum::<usize>()).then_some(()));
        // What every process keeps once it has been asked is no growth.
        for _ in 0..20 {
            query.sql("select verdict, count(*) as n, max(time) from flows a where source_pod like '%a%' group by 1");
        }
        let before = Usage::of(query.pid());
        Self { query, _relay: relay, runtime, before, _directory: directory }
    }

    /// Sends the cases of a run by some clients at once. Then all has to be as before.
    pub(super) fn send<C: Client>(&self, client: impl Fn() -> C) -> Counts {
        let (begun, seed) = (Instant::now(), seed());
        let counts = Arc::<Mutex<Counts>>::default();
        self.runtime.block_on(async {
            let mut clients = JoinSet::new();
            for first in 0..CLIENTS {
                let (mut client, counts) = (client(), counts.clone());
                clients.spawn(async move {
                    for case in (first..CASES).step_by(CLIENTS as usize) {
                        let asked = client.ask(Random::of(seed, case));
                        let Ok((sent, told)) = tokio::time::timeout(PATIENCE, asked).await else {
                            panic!("case {case}: no answer");
                        };
                        counts.lock().unwrap().add(&format!("case {case}"), &sent, told);
                    }
                });
            }
            while let Some(client) = clients.join_next().await {
                client.unwrap();
            }
        });
        let counts = std::mem::take(&mut *counts.lock().unwrap());
        println!("{CASES} cases in {:.1} s: {counts:#?}", begun.elapsed().as_secs_f64());
        counts.check();
        self.settle();
        counts
    }

    /// Runs something that asks.
    pub(super) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// What has to hold whatever was sent.
    pub(super) fn settle(&self) {
        assert!(!self.query.log().contains("panicked at"), "{}", self.query.log());
        let rows = self.query.sql("select count(*) as n from flows");
        assert_eq!(rows[0]["n"], ROWS.iter().sum::<usize>(), "it answers as before");
        wait_for("queries and followers to end", || {
            let (_, list) = self.query.request("GET", "/api/v1/queries", None);
            let list: Value = serde_json::from_str(&list).ok()?;
            let (_, metrics) = self.query.request("GET", "/metrics", None);
            let idle = ["\nweir_query_running 0\n", "\nweir_query_followers 0\n"];
            let idle = idle.iter().all(|line| metrics.contains(line));
            (list["queries"].as_array()?.is_empty() && idle).then_some(())
        });
        let pid = self.query.pid();
        wait_for("connections to be closed", || {
            (Usage::of(pid).sockets <= self.before.sockets).then_some(())
        });
        let peak_bytes = status_bytes(pid, "VmHWM");
        let peak_grown = peak_bytes.saturating_sub(self.before.resident_bytes);
        let grown = || Usage::of(pid).resident_bytes.saturating_sub(self.before.resident_bytes);
        println!("grown by {} MiB, at the worst {}", grown() >> 20, peak_grown >> 20);
        assert!(peak_grown <= QUERY_BYTES + DOOR_BYTES, "grown by {peak_grown} bytes");
        // The allocator gives back what has been free for a while.
        wait_for("memory to be given back", || (grown() <= KEPT_BYTES).then_some(()));
    }
}

/// Sends cases to a door, one after another.
pub(super) trait Client: Send + 'static {
    /// Makes a case of these numbers and sends it; what it was, and how it ended.
    fn ask(&mut self, random: Random) -> impl Future<Output = (String, Told)> + Send;
}

/// How the cases of a run ended.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) answered: u64,
    pub(super) refused: u64,
    pub(super) closed: u64,
    /// How often refusals that begin alike came.
    kinds: BTreeMap<String, u64>,
    /// Those that say nothing, or of a defect.
    useless: Vec<String>,
}

impl Counts {
    /// Counts a case.
    pub(super) fn add(&mut self, case: &str, sent: &str, told: Told) {
        match told {
            Told::Answered => self.answered += 1,
            Told::Closed => self.closed += 1,
            Told::Refused(message) => {
                self.refused += 1;
                let useful = message.len() >= WORDS && !message.contains("internal error");
                if !useful && self.useless.len() < SHOWN {
                    self.useless.push(format!("{case}: {sent} is told {message:?}"));
                }
                let kind: String = message.chars().take(24).collect();
                if self.kinds.len() < SHOWN || self.kinds.contains_key(&kind) {
                    *self.kinds.entry(kind).or_default() += 1;
                }
            }
        }
    }

    /// A refusal has to say something.
    pub(super) fn check(&self) {
        assert!(self.useless.is_empty(), "{}", self.useless.join("\n"));
    }
}

impl Usage {
    fn of(pid: u32) -> Self {
        let links = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let targets = links.filter_map(|link| std::fs::read_link(link.ok()?.path()).ok());
        let sockets = targets.filter(|target| is_socket(target)).count();
        Self { sockets, resident_bytes: status_bytes(pid, "VmRSS") }
    }
}

fn is_socket(target: &Path) -> bool {
    target.to_str().is_some_and(|target| target.starts_with("socket:"))
}

fn status_bytes(pid: u32, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Brings rows to the relay as a collector does: those that it stores first, then those that it holds.
async fn feed(ingest: &str) {
    let options = SyntheticOptions {
        nodes: 3,
        namespaces: 3,
        workloads: 5,
        pods: 8,
        denied_per_mille: 300,
        ..SyntheticOptions::default()
    };
    let mut synthetic = Synthetic::new(&options);
    let batches = ROWS.map(|rows| synthetic.batch(rows, BEGIN_NS, 60_000_000_000));
    made_up::bring(ingest, batches.into_iter()).await;
}
