//! What a row costs the collector.

use weir_collector::join::bench;

pub(super) fn run() -> anyhow::Result<()> {
    let report = bench::run()?;
    println!("### From event to row\n\n{report}");
    Ok(())
}
