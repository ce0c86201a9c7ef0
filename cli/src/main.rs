//! The `weir` command.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests may panic"))]

mod allocator;
mod client;
mod commands;
mod completeness;
mod events;
mod feed;
mod output;

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
            eprintln!("weir: {}", message(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, each said once: most errors name their cause themselves.
fn message(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    #[test]
    fn a_cause_is_said_once() {
        let error = anyhow!("no disk").context("cannot write: no disk").context("stopping");
        assert_eq!(super::message(&error), "stopping: cannot write: no disk");
        let error = anyhow!("no disk").context("cannot write");
        assert_eq!(super::message(&error), "cannot write: no disk");
    }
}
