//! Settings of the query service.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use weir_store::Location;

/// Everything [`Query::bind`](crate::Query::bind) needs to know.
#[derive(Clone, Debug)]
pub struct QueryConfig {
    /// Where HTTP is served; port 0 picks a free one. Default: 127.0.0.1:8080.
    pub http: SocketAddr,
    /// Every relay that writes the store: `http://host:port` or `unix:///path`. Default:
    /// <http://127.0.0.1:4246> alone.
    pub relays: Vec<String>,
    /// The store that the relays write. Default: directory `data`.
    pub store: Location,
    /// Whether aggregates over `flows` are answered from roll-ups where these say the same. Default:
    /// true.
    pub roll_ups: bool,
    /// Where what clients define is kept. Default: nowhere, so that they cannot define anything.
    pub state: Option<PathBuf>,
    /// What queries may use.
    pub limits: Limits,
}

impl Default for QueryConfig {
    fn default() -> Self {
        Self {
            http: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            relays: vec!["http://127.0.0.1:4246".into()],
            store: "data".into(),
            roll_ups: true,
            state: None,
            limits: Limits::default(),
        }
    }
}

/// What queries may use. Whatever goes beyond ends with an error that names the limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory of all running queries together. Default: 1 GiB.
    pub memory_bytes: usize,
    /// Temporary files of all running queries together; 0 forbids them. Default: 4 GiB.
    pub spill_bytes: u64,
    /// From the start of a query to its last row. Default: 60 s.
    pub timeout: Duration,
    /// Rows of one answer; the rest is cut off and the answer says so. Default: 100,000.
    pub max_rows: usize,
    /// Queries that run at the same time. Default: 8.
    pub concurrent: usize,
    /// Queries that wait for their turn; more are refused. Default: 64.
    pub queued: usize,
    /// How long a query waits for its turn. Default: 10 s.
    pub queue_wait: Duration,
    /// Hot rows of a relay kept here, as bytes on the wire. Default: 1 GiB.
    pub hot_bytes: usize,
    /// Threads that plan and run queries; 0 means one a core. Default: 0.
    pub threads: usize,
    /// Largest request body. Default: 1 MiB.
    pub request_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 1 << 30,
            spill_bytes: 4 << 30,
            timeout: Duration::from_secs(60),
            max_rows: 100_000,
            concurrent: 8,
            queued: 64,
            queue_wait: Duration::from_secs(10),
            hot_bytes: 1 << 30,
            threads: 0,
            request_bytes: 1 << 20,
        }
    }
}

impl Limits {
    /// Threads that plan and run queries.
    pub(crate) fn worker_threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(2, usize::from),
            threads => threads,
        }
    }
}
