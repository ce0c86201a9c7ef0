//! The `weir` command.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests may panic"))]

mod client;
mod commands;
mod feed;

use std::process::ExitCode;

use clap::Parser;

use commands::Command;

/// Enforces Kubernetes NetworkPolicy with eBPF, and reports every decision with the policy that
/// made it.
#[derive(Debug, Parser)]
#[command(name = "weir", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    match Arguments::parse().command.run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("weir: {error:#}");
            ExitCode::FAILURE
        }
    }
}
