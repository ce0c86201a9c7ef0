//! Settings of the query service.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use weir_store::Location;

use crate::access::{AccessSettings, TlsSettings};

/// Everything [`Query::bind`](crate::Query::bind) needs to know.
#[derive(Clone, Debug)]
pub struct QueryConfig {
    /// Where HTTP is served; port 0 picks a free one. Default: 127.0.0.1:8080.
    pub http: SocketAddr,
    /// Where gRPC is served; port 0 picks a free one. Default: 127.0.0.1:4245.
    pub grpc: SocketAddr,
    /// Where the Postgres wire is served; port 0 picks a free one. Default: 127.0.0.1:5433.
    pub postgres: SocketAddr,
    /// The certificate of all doors; without it they speak plain text.
    pub tls: Option<TlsSettings>,
    /// Who may come in. Without it everybody who reaches a door sees everything.
    pub access: Option<AccessSettings>,
    /// Whether doors that other machines reach may be without `access`. Default: false.
    pub open: bool,
    /// Where a line for each query is written.
    pub audit: Option<PathBuf>,
    /// A JSON list of `{"name","title","sql"}`: queries of one's own beside the ready ones.
    pub saved_queries: Option<PathBuf>,
    /// What everybody who looks at the web UI should know of this service: plain text, one line.
    pub notice: Option<String>,
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
            grpc: SocketAddr::from((Ipv4Addr::LOCALHOST, 4245)),
            postgres: SocketAddr::from((Ipv4Addr::LOCALHOST, 5433)),
            tls: None,
            access: None,
            open: false,
            audit: None,
            saved_queries: None,
            notice: None,
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
    /// Aggregates of files that queries leave for those after them; 0 keeps none. Default: 128 MiB.
    pub kept_bytes: usize,
    /// Threads that plan and run queries; 0 means one a core. Default: 0.
    pub threads: usize,
    /// Largest request body. Default: 1 MiB.
    pub request_bytes: usize,
    /// What one principal may use of that, while access is on.
    pub principal: PrincipalLimits,
}

/// What the queries of one principal may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrincipalLimits {
    /// Memory of all its running queries together. Default: 512 MiB.
    pub memory_bytes: usize,
    /// Temporary files of all its running queries together; 0 forbids them. Default: 2 GiB.
    pub spill_bytes: u64,
    /// Its queries that run at the same time. Default: 4.
    pub concurrent: usize,
    /// Its queries that wait for their turn; more are refused. Default: 16.
    pub queued: usize,
}

impl Default for PrincipalLimits {
    fn default() -> Self {
        Self { memory_bytes: 512 << 20, spill_bytes: 2 << 30, concurrent: 4, queued: 16 }
    }
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
            kept_bytes: 128 << 20,
            threads: 0,
            request_bytes: 1 << 20,
            principal: PrincipalLimits::default(),
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
