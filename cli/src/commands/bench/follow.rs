//! From a denied packet in a pod to whoever follows.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::mpsc;
use weir_lab::traffic::crafted::Crafted;

use super::node::{CLOSED, Node, Others, SERVER};
use super::samples::Samples;
use crate::events::Events;

/// Packets a second, and how many of them are denied.
const RATES: [(u64, u64); 3] = [(1, 1), (100, 10), (10_000, 100)];
/// Where connections are from; after so many the next port is dialled.
const SOURCES: u64 = 60_000;
const FIRST_SOURCE: u16 = 1_024;
const OPEN: std::ops::Range<u16> = 9_000..9_020;
const EVERY: Duration = Duration::from_millis(5);
/// How long a row may be on its way when no more is sent.
const LATE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(crate) struct Follow {
    /// Seconds at each rate but one packet a second.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Seconds at one packet a second, and so the samples; 100 are what a percentile of 99 needs.
    #[arg(long, default_value_t = 100)]
    slow_seconds: u64,
}

/// What is read of a row.
#[derive(Debug, Deserialize)]
struct Row {
    time: Timestamp,
    state: String,
}

impl Follow {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let node = Node::start(&Others::default()).await?;
        let _open = node.open(OPEN)?;
        let mut events = Events::new(self.tail(&node).await?);
        let (seen, mut arrivals) = mpsc::channel(1 << 16);
        let reading = tokio::spawn(async move {
            while let Some(event) = events.next().await? {
                let now = Timestamp::now();
                if event.data.is_empty() {
                    continue;
                }
                ensure!(
                    event.kind.is_empty(),
                    "the follower was told {}: {}",
                    event.kind,
                    event.data
                );
                let row: Row = serde_json::from_str(&event.data)?;
                // Its time is the packet's: the first of its kind.
                if row.state == "open" && seen.send(now.duration_since(row.time)).await.is_err() {
                    break;
                }
            }
            anyhow::Ok(())
        });
        println!("### From a denied packet to whoever follows\n");
        println!("| flows/s | denied of them | measured | p50, ms | p99, ms | most, ms |");
        println!("|--:|--:|--:|--:|--:|--:|");
        let mut kinds = 0;
        for (rate, denied) in RATES {
            let seconds = if rate == 1 { self.slow_seconds } else { self.seconds };
            let load = Load::start(&node, rate - denied, denied, kinds)?;
            let mut latencies = Vec::new();
            let until = Instant::now() + Duration::from_secs(seconds);
            while let Some(left) = until.checked_duration_since(Instant::now()) {
                match tokio::time::timeout(left, arrivals.recv()).await {
                    Ok(Some(latency)) => latencies.push(Duration::try_from(latency)?),
                    Ok(None) => break,
                    Err(_) => {}
                }
            }
            let (sent, attempts) = load.stop()?;
            kinds += attempts;
            while latencies.len() < attempts as usize {
                let late = tokio::time::timeout(LATE, arrivals.recv()).await;
                let Ok(Some(latency)) = late else { break };
                latencies.push(Duration::try_from(latency)?);
            }
            if reading.is_finished() {
                return reading.await?.and_then(|()| anyhow::bail!("the stream has ended"));
            }
            let (arrived, seconds) = (latencies.len(), seconds as f64);
            ensure!(arrived == attempts as usize, "{arrived} rows came of {attempts} denies");
            let samples = Samples::new(latencies);
            println!(
                "| {:.0} | {:.0} | {} | {} | {} | {} |",
                (sent + attempts) as f64 / seconds,
                attempts as f64 / seconds,
                samples.len(),
                samples.ms(50),
                samples.ms(99),
                samples.ms(100),
            );
        }
        Ok(())
    }

    async fn tail(&self, node: &Node) -> anyhow::Result<reqwest::Response> {
        let filter = [("filter", "verdict=\"deny\"")];
        node.client.send(node.client.get("/api/v1/flows/tail").query(&filter)).await
    }
}

/// Packets at a steady rate.
struct Load {
    over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<anyhow::Result<(u64, u64)>>,
}

impl Load {
    /// So many allowed and denied ones a second. `kinds` of denies were there before.
    fn start(node: &Node, allowed: u64, denied: u64, kinds: u64) -> anyhow::Result<Self> {
        let (open, shut) = (node.sender(SERVER)?, node.sender(CLOSED)?);
        let over = Arc::new(AtomicBool::new(false));
        let thread = {
            let over = over.clone();
            std::thread::spawn(move || {
                let begun = Instant::now();
                let (mut sent, mut attempts) = (0, 0);
                while !over.load(Ordering::Relaxed) {
                    let elapsed = begun.elapsed().as_millis() as u64;
                    while sent < elapsed * allowed / 1_000 {
                        dial(&open, sent)?;
                        sent += 1;
                    }
                    while attempts < elapsed * denied / 1_000 {
                        let kind = u16::try_from(kinds + attempts + 1).context("too many kinds")?;
                        shut.send(FIRST_SOURCE, SocketAddrV4::new(CLOSED, kind))?;
                        attempts += 1;
                    }
                    std::thread::sleep(EVERY);
                }
                Ok((sent, attempts))
            })
        };
        Ok(Self { over, thread })
    }

    /// Ends it; how many were sent.
    fn stop(self) -> anyhow::Result<(u64, u64)> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the sender panicked"))?
    }
}

/// Begins a connection that is like no other.
fn dial(open: &Crafted, number: u64) -> anyhow::Result<()> {
    let ports = u64::from(OPEN.end - OPEN.start);
    let port = OPEN.start + (number / SOURCES % ports) as u16;
    open.send(FIRST_SOURCE + (number % SOURCES) as u16, SocketAddrV4::new(SERVER, port))?;
    Ok(())
}
