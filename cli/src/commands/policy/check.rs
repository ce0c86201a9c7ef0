//! `weir policy check`: refused manifests, then what is suspicious. Exit code 1 on errors.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::Serialize;
use weir_policy::lint::{Lint, Severity, lint};

use super::manifests::{Manifests, Refused};
use crate::output::say;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weir policy check deploy/
  weir policy check --strict policies.yaml pods.yaml
  kubectl get pods,svc,ns,netpol -A -o yaml > cluster.yaml && weir policy check cluster.yaml

Give pods and Services along with the policies: without pods, selectors and ports are not checked.
Exit code 1 on errors, and with --strict on warnings too.")]
pub(crate) struct Check {
    /// Manifest files, or directories of them.
    #[arg(required = true, value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    /// Fail on warnings too.
    #[arg(long)]
    strict: bool,
    /// How the outcome is printed.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// What `--output json` prints.
#[derive(Serialize)]
struct Report<'a> {
    policies: usize,
    errors: usize,
    warnings: usize,
    /// Objects that cannot be used.
    refused: &'a [Refused],
    /// What is suspicious about those that can.
    lints: Vec<Finding<'a>>,
}

#[derive(Serialize)]
struct Finding<'a> {
    file: Option<&'a str>,
    #[serde(flatten)]
    lint: &'a Lint,
}

impl Check {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let manifests = Manifests::read(&self.paths)?;
        let mut lints = manifests.lints.clone();
        lints.extend(lint(&manifests.cluster));
        lints.sort_by_key(|lint| (lint.severity, lint.namespace.clone(), lint.name.clone()));
        let count = |severity| lints.iter().filter(|lint| lint.severity == severity).count();
        let report = Report {
            policies: manifests.cluster.policies.len() + manifests.cluster.tier_policies.len(),
            errors: manifests.refused.len() + count(Severity::Error),
            warnings: count(Severity::Warning),
            refused: &manifests.refused,
            lints: lints.iter().map(|lint| Finding { file: manifests.file(lint), lint }).collect(),
        };
        match self.output {
            Output::Json => say!("{}", serde_json::to_string_pretty(&report)?),
            Output::Text => report.print(),
        }
        let is_good = report.errors == 0 && !(self.strict && report.warnings > 0);
        Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Report<'_> {
    fn print(&self) {
        for refused in self.refused {
            say!("error: {}", refused.text());
        }
        for Finding { file, lint } in &self.lints {
            let slash = if lint.namespace.is_empty() { "" } else { "/" };
            say!(
                "{}: {}: {} {}{slash}{}: {}: {} ({})\n  fix: {}",
                lint.severity.as_str(),
                file.unwrap_or("unknown file"),
                lint.kind,
                lint.namespace,
                lint.name,
                lint.field,
                lint.sentence,
                lint.id,
                lint.fix
            );
        }
        say!("{} policies, {} errors, {} warnings", self.policies, self.errors, self.warnings);
    }
}
