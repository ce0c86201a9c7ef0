//! What the kernel programs cost a packet.

use anyhow::Context as _;
use weir_collector::kernel::bench;

pub(super) fn run() -> anyhow::Result<()> {
    let report = bench::run().context("the kernel programs cannot be measured")?;
    println!("### Kernel programs, by BPF_PROG_TEST_RUN\n\n{report}");
    Ok(())
}
