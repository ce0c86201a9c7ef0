//! `weir policy`: work with policies.

mod check;
mod explain;
pub(super) mod manifests;
mod test;

use std::process::ExitCode;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// Say why a connection is allowed or denied, and the least change that would allow it.
    Explain(explain::Explain),
    /// Look for mistakes in manifests: what is refused, and what is suspicious.
    Check(check::Check),
    /// Run connectivity tables: for real, in network namespaces under the eBPF programs, or
    /// simulated.
    Test(test::Test),
}

impl Policy {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Explain(explain) => explain.run(),
            Self::Check(check) => check.run(),
            Self::Test(test) => test.run(),
        }
    }
}
