//! The demo without root and without eBPF: generated flows through the same relay and query.

use std::time::Duration;

use jiff::Timestamp;
use weir_flow::synthetic::{Synthetic, SyntheticOptions};

use super::stage::{CLUSTER, Doors};
use crate::feed::Feed;

/// How often a batch is made.
const EVERY: Duration = Duration::from_millis(500);
/// Rows of a batch: 400 a second.
const ROWS: usize = 200;
/// What the demo begins with, spread over the time before.
const PAST_ROWS: usize = 20_000;
const PAST: Duration = Duration::from_secs(600);

pub(super) fn say_what_to_try(doors: &Doors) {
    let url = format!("http://{}", doors.http);
    println!("Generated flows, no lab and no eBPF: nothing is enforced here.");
    println!("{url} is the query service. Try, in another terminal:\n");
    let weir = super::program();
    println!("  {weir} observe --url {url} --verdict deny --last 20");
    println!(
        "  {weir} sql --url {url} \"select source_workload, destination_workload, policy, \
         sum(count) as n from flows where verdict='deny' group by all order by n desc limit 10\""
    );
    println!("  curl {url}/api/v1/schema");
    println!("\nCtrl-C ends the demo.");
}

/// Feeds rows until it is dropped.
pub(super) async fn feed(doors: &Doors) -> anyhow::Result<()> {
    let feed = Feed::start(doors.ingest, CLUSTER, "synthetic")?;
    let options = SyntheticOptions { cluster: CLUSTER.into(), ..SyntheticOptions::default() };
    let mut synthetic = Synthetic::new(&options);
    let (past_ns, span_ns) = (nanoseconds(PAST)?, nanoseconds(EVERY)?);
    feed.push(synthetic.batch(PAST_ROWS, now_ns()? - past_ns, past_ns)).await?;
    let mut clock = tokio::time::interval(EVERY);
    loop {
        clock.tick().await;
        feed.push(synthetic.batch(ROWS, now_ns()? - span_ns, span_ns)).await?;
    }
}

fn now_ns() -> anyhow::Result<i64> {
    Ok(i64::try_from(Timestamp::now().as_nanosecond())?)
}

fn nanoseconds(duration: Duration) -> anyhow::Result<i64> {
    Ok(i64::try_from(duration.as_nanos())?)
}
