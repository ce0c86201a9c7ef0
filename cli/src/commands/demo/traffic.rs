//! What goes on after the tutorial: a three-tier application with DNS and the outside world, a
//! metrics scraper that policies hinder, and a rogue that scans ports slowly.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use weir_lab::traffic::background::{Background, repeat};
use weir_lab::traffic::server::Server;
use weir_lab::traffic::{dns, http, redis};
use weir_lab::{Lab, Place};

use super::cluster::{Cluster, INTERNET, PAYMENTS, TELEMETRY};

const HTTP_PORT: u16 = 8080;
const POSTGRES_PORT: u16 = 5432;
const REDIS_PORT: u16 = 6379;
const TLS_PORT: u16 = 443;
const DNS_PORT: u16 = 53;

const WEB: [&str; 2] = ["web/web-7d4b9c6f5-x2x9k", "web/web-7d4b9c6f5-m8q4z"];
const API: [&str; 2] = ["api/api-5f6c8d9b7-k5jw2", "api/api-5f6c8d9b7-tt7hc"];
const DB: &str = "db/postgres-0";
const DNS: &str = "kube-system/coredns-6f6b679f8f-9ggzn";
const SCRAPER: &str = "monitoring/prometheus-0";

/// How long an allowed exchange may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a client that will be denied waits: less than a second, so that one attempt is one
/// SYN.
const IMPATIENCE: Duration = Duration::from_millis(800);

/// Servers and clients. Dropping it ends them all.
#[derive(Debug)]
pub(super) struct Traffic {
    // Clients end before the servers they talk to.
    _clients: Vec<Background>,
    _servers: Vec<Server>,
    _dns: dns::DnsServer,
}

impl Traffic {
    pub(super) fn start(cluster: &Cluster, lab: &Lab) -> anyhow::Result<Self> {
        let at = |pod: &str, port| cluster.address(pod).map(|ip| SocketAddr::new(ip, port));
        let outside = |address: &str, port| -> anyhow::Result<SocketAddr> {
            Ok(SocketAddr::new(address.parse()?, port))
        };
        let resolver = at(DNS, DNS_PORT)?;
        let payments = outside(PAYMENTS, TLS_PORT)?;
        let telemetry = outside(TELEMETRY, TLS_PORT)?;
        let database = at(DB, POSTGRES_PORT)?;
        let internet = lab.host(INTERNET)?;

        let names: HashMap<String, IpAddr> = HashMap::from([
            ("api.api.svc.cluster.local".to_owned(), cluster.address(API[0])?),
            ("postgres.db.svc.cluster.local".to_owned(), cluster.address(DB)?),
            ("pay.example.com".to_owned(), payments.ip()),
            ("telemetry.example.com".to_owned(), telemetry.ip()),
        ]);
        let dns_server = dns::dns_like(lab.pod(DNS)?, resolver, names)?;

        let mut servers = vec![
            // Anything that answers a line serves for a database here.
            redis::redis_like(lab.pod(DB)?, database)?,
            http::http_like(internet, payments, 600, || {})?,
            http::http_like(internet, telemetry, 20, || {})?,
        ];
        for (index, pod) in API.iter().enumerate() {
            let place = lab.pod(pod)?.clone();
            let query = move || ask_database(&place, resolver, database);
            let size = 1500 + 900 * index;
            servers.push(http::http_like(lab.pod(pod)?, at(pod, HTTP_PORT)?, size, query)?);
        }
        let api = [at(API[0], HTTP_PORT)?, at(API[1], HTTP_PORT)?];
        for (index, pod) in WEB.iter().enumerate() {
            let place = lab.pod(pod)?.clone();
            let ask = move || ask_api(&place, resolver, api[index % api.len()]);
            servers.push(http::http_like(lab.pod(pod)?, at(pod, HTTP_PORT)?, 24_000, ask)?);
        }

        let web = [at(WEB[0], HTTP_PORT)?, at(WEB[1], HTTP_PORT)?];
        let scraped = [web[0], api[0], database];
        let redis_address = at("default/redis-cluster-0", REDIS_PORT)?;
        let scan = Scan::of(&[database.ip(), api[0].ip(), redis_address.ip()]);
        let clients = vec![
            turns(internet, 350, web.to_vec(), |to| {
                let _ = http::get(to, "/shop", PATIENCE);
            })?,
            turns(lab.pod("default/backend")?, 700, vec![redis_address], |to| {
                let _ = redis::ping(to, PATIENCE);
            })?,
            turns(lab.pod("default/rogue")?, 3_000, vec![redis_address], |to| {
                let _ = redis::ping(to, IMPATIENCE);
            })?,
            turns(lab.pod(API[1])?, 1_900, vec![payments], move |to| {
                let _ = dns::query(resolver, "pay.example.com", PATIENCE);
                let _ = http::get(to, "/charge", PATIENCE);
            })?,
            turns(lab.pod(WEB[0])?, 4_000, vec![telemetry], move |to| {
                let _ = dns::query(resolver, "telemetry.example.com", PATIENCE);
                let _ = http::get(to, "/hello", IMPATIENCE);
            })?,
            turns(lab.pod(SCRAPER)?, 2_500, scraped.to_vec(), |to| {
                let _ = http::get(to, "/metrics", IMPATIENCE);
            })?,
            scan.start(lab.pod("default/rogue")?)?,
        ];
        Ok(Self { _clients: clients, _servers: servers, _dns: dns_server })
    }
}

/// Turns to each of the addresses in order, over and over.
fn turns(
    place: &Place,
    pause_ms: u64,
    addresses: Vec<SocketAddr>,
    visit: impl Fn(SocketAddr) + Send + 'static,
) -> anyhow::Result<Background> {
    let mut addresses = addresses.into_iter().cycle();
    Ok(repeat(place, Duration::from_millis(pause_ms), move || {
        if let Some(address) = addresses.next() {
            visit(address);
        }
    })?)
}

fn ask_database(place: &Place, resolver: SocketAddr, database: SocketAddr) {
    // A refused exchange shows in the flows; the client only goes on.
    let _ = place.enter(|| {
        let _ = dns::query(resolver, "postgres.db.svc.cluster.local", PATIENCE);
        redis::ping(database, PATIENCE)
    });
}

fn ask_api(place: &Place, resolver: SocketAddr, api: SocketAddr) {
    let _ = place.enter(|| {
        let _ = dns::query(resolver, "api.api.svc.cluster.local", PATIENCE);
        http::get(api, "/items", PATIENCE)
    });
}

/// A slow port scan.
struct Scan(Vec<SocketAddr>);

impl Scan {
    /// Ports that scanners try first.
    const PORTS: [u16; 12] = [21, 22, 23, 25, 80, 110, 139, 143, 443, 445, 993, 995];
    const PAUSE_MS: u64 = 900;

    fn of(victims: &[IpAddr]) -> Self {
        let targets = Self::PORTS
            .iter()
            .flat_map(|port| victims.iter().map(|victim| SocketAddr::new(*victim, *port)));
        Self(targets.collect())
    }

    fn start(self, place: &Place) -> anyhow::Result<Background> {
        turns(place, Self::PAUSE_MS, self.0, |to| {
            let _ = TcpStream::connect_timeout(&to, IMPATIENCE);
        })
    }
}
