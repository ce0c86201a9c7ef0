//! A steady rate from many collectors: how long acknowledgements take, and what the relay holds.

use std::collections::VecDeque;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use weir_flow::synthetic::{Synthetic, SyntheticOptions};

use crate::commands::bench::generated::last_hour_ns;
use crate::commands::bench::relay::{Relay, Stored};
use crate::commands::bench::samples::Samples;
use crate::commands::bench::usage::Resident;
use crate::feed::{Feed, Waiting};

/// A collector hands over its rows that often.
const EVERY: Duration = Duration::from_millis(100);
/// How exactly acknowledgements are timed.
const LOOK: Duration = Duration::from_micros(200);

/// What to bring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Rows a second, of all collectors together.
    pub(super) rate: usize,
    pub(super) seconds: u64,
    pub(super) collectors: usize,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Figures {
    rate: f64,
    batch_rows: usize,
    latency: Samples,
    relay_cpu: Duration,
    wall: Duration,
    resident: Resident,
    stored: Stored,
}

pub(super) async fn measure(directory: &Path, load: Load) -> anyhow::Result<Figures> {
    let relay = Relay::start(directory).await?;
    let collectors = load.collectors.max(1);
    let feeds = (0..collectors)
        .map(|number| relay.feed(&format!("node-{number}")))
        .collect::<anyhow::Result<Vec<Feed>>>()?;
    let batch_rows = (load.rate / 10).div_ceil(collectors);
    // Enough of them that compression sees other rows each time.
    let mut synthetic = Synthetic::new(&SyntheticOptions::default());
    let step_ns = i64::try_from(EVERY.as_nanos())? / collectors as i64;
    let rounds = load.seconds as usize * 10;
    let begin_ns = last_hour_ns()?;
    let watch = Watch::start(feeds.iter().map(Feed::waiting).collect());
    let cpu = relay.service.usage().cpu_time()?;
    let begun = Instant::now();
    for round in 0..rounds {
        for (number, feed) in feeds.iter().enumerate() {
            let step = round * collectors + number;
            let due = begun + EVERY * round as u32 + EVERY * number as u32 / collectors as u32;
            let start_ns = begin_ns + step as i64 * step_ns;
            let batch = synthetic.batch(batch_rows, start_ns, step_ns);
            tokio::time::sleep_until(due.into()).await;
            feed.push(batch).await?;
        }
    }
    let rate = (rounds * collectors * batch_rows) as f64 / begun.elapsed().as_secs_f64();
    let resident = relay.service.usage().resident()?;
    for feed in feeds {
        feed.finish().await?;
    }
    let wall = begun.elapsed();
    let latency = Samples::new(watch.stop());
    let (all, store) = relay.stop().await?;
    let stored = store.stored()?;
    let rows = (rounds * collectors * batch_rows) as u64;
    anyhow::ensure!(stored.rows == rows, "{} rows are stored of {rows}", stored.rows);
    anyhow::ensure!(latency.len() > 0, "no acknowledgement was seen");
    let relay_cpu = all.saturating_sub(cpu);
    Ok(Figures { rate, batch_rows, latency, relay_cpu, wall, resident, stored })
}

/// Looks for acknowledgements on a thread of its own.
struct Watch {
    over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Vec<Duration>>,
}

impl Watch {
    fn start(waiting: Vec<Waiting>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let thread = {
            let over = over.clone();
            std::thread::spawn(move || {
                let mut latencies = Vec::new();
                let mut seen = vec![Seen::default(); waiting.len()];
                while !over.load(Ordering::Relaxed) {
                    let now = Instant::now();
                    for (waiting, seen) in waiting.iter().zip(&mut seen) {
                        seen.look(waiting, now, &mut latencies);
                    }
                    std::thread::sleep(LOOK);
                }
                latencies
            })
        };
        Self { over, thread }
    }

    fn stop(self) -> Vec<Duration> {
        self.over.store(true, Ordering::Relaxed);
        // A panic was reported when it happened.
        self.thread.join().unwrap_or_default()
    }
}

/// Batches of one collector that are not acknowledged: up to which row, and since when.
#[derive(Clone, Debug, Default)]
struct Seen {
    waiting: VecDeque<(u64, Instant)>,
}

impl Seen {
    fn look(&mut self, feed: &Waiting, now: Instant, latencies: &mut Vec<Duration>) {
        self.waiting.extend(feed.pushed());
        let acknowledged = feed.acknowledged_rows();
        while let Some((rows, since)) = self.waiting.front()
            && *rows <= acknowledged
        {
            latencies.push(now.saturating_duration_since(*since));
            self.waiting.pop_front();
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        writeln!(
            f,
            "| flows/s | rows a batch | acknowledged after, p50 ms | p99 ms | relay's cores | \
             resident, MiB | at most | bytes a flow |"
        )?;
        writeln!(f, "|--:|--:|--:|--:|--:|--:|--:|--:|")?;
        writeln!(
            f,
            "| {:.0} | {} | {} | {} | {:.2} | {:.0} | {:.0} | {:.2} |",
            self.rate,
            self.batch_rows,
            self.latency.ms(50),
            self.latency.ms(99),
            self.relay_cpu.as_secs_f64() / self.wall.as_secs_f64(),
            mib(self.resident.now),
            mib(self.resident.most),
            self.stored.bytes_a_row(),
        )
    }
}
