//! What a change of policy costs until it is in force.

use anyhow::Context as _;
use weir_collector::enforcer::bench;

pub(super) fn run() -> anyhow::Result<()> {
    let report = bench::run().context("policy cannot be put in force")?;
    println!("### From policy to the kernel's maps\n\n{report}");
    Ok(())
}
