//! `weir policy test`: connectivity tables, for real or simulated.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use serde::Serialize;
use weir_lab::case::{CaseOptions, CaseReport, CaseRunError, run_cases};
use weir_lab::{Lab, Network};
use weir_policy::case::{Case, SimulateOptions, simulate};

use crate::output::say;

/// Largest case file.
const MAX_FILE_BYTES: u64 = 64 << 20;

#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Case files, or directories of them.
    #[arg(required = true, value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    /// Decide in the pure engine instead; needs no root.
    #[arg(long)]
    simulate: bool,
    /// Cases that run at the same time.
    #[arg(long, default_value = "4", value_name = "N")]
    jobs: NonZeroUsize,
    /// Also run probes from a pod to itself.
    #[arg(long)]
    loopback: bool,
    /// How pods hang on their nodes: by routes, or on a bridge in each node.
    #[arg(long, value_enum, default_value_t = NetworkSetting::Routed)]
    network: NetworkSetting,
    /// How the outcome is printed.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum NetworkSetting {
    Routed,
    Bridge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// What `--output json` prints.
#[derive(Debug, Default, Serialize)]
struct Summary {
    passed: usize,
    failed: usize,
    cases: Vec<CaseSummary>,
}

#[derive(Debug, Serialize)]
struct CaseSummary {
    file: String,
    name: String,
    passed: usize,
    failed: usize,
    /// One sentence for each wrong attempt.
    wrong: Vec<String>,
    /// Why the case could not be run.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Test {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let files = case_files(&self.paths)?;
        let cases = files.iter().map(|file| read_case(file)).collect::<anyhow::Result<Vec<_>>>()?;
        let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        let outcomes =
            if self.simulate { self.simulated(&cases) } else { self.for_real(&names, &cases)? };
        let mut summary = Summary::default();
        for (file, mut outcome) in names.into_iter().zip(outcomes) {
            outcome.file = file;
            summary.passed += outcome.passed;
            summary.failed += outcome.failed;
            summary.cases.push(outcome);
        }
        match self.output {
            Output::Json => say!("{}", serde_json::to_string_pretty(&summary)?),
            Output::Text => {
                if self.simulate {
                    summary.cases.iter().for_each(CaseSummary::print);
                }
                say!("{} passed, {} failed", summary.passed, summary.failed);
            }
        }
        Ok(if summary.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn simulated(&self, cases: &[Case]) -> Vec<CaseSummary> {
        let options = SimulateOptions { loopback: self.loopback };
        cases.iter().map(|case| CaseSummary::simulated(case, options)).collect()
    }

    fn for_real(&self, files: &[String], cases: &[Case]) -> anyhow::Result<Vec<CaseSummary>> {
        if !rustix::process::geteuid().is_root() {
            bail!(
                "running cases for real makes network namespaces and loads eBPF programs, which \
                 needs root: run it with sudo, or add --simulate"
            );
        }
        Lab::sweep()?;
        let network = match self.network {
            NetworkSetting::Routed => Network::Routed,
            NetworkSetting::Bridge => Network::Bridge,
        };
        let options = CaseOptions { loopback: self.loopback, network, ..CaseOptions::default() };
        let results = run_cases(cases, &options, self.jobs, |index, result| {
            if self.output == Output::Text {
                let mut outcome = CaseSummary::real(&cases[index], result);
                outcome.file.clone_from(&files[index]);
                outcome.print();
            }
        });
        Ok(cases
            .iter()
            .zip(&results)
            .map(|(case, result)| CaseSummary::real(case, result))
            .collect())
    }
}

impl CaseSummary {
    fn simulated(case: &Case, options: SimulateOptions) -> Self {
        let mut summary = Self::new(case);
        for result in simulate(case, options) {
            if result.is_right() {
                summary.passed += 1;
                continue;
            }
            summary.failed += 1;
            let probe = &case.steps[result.step].probes[result.probe];
            for wrong in &result.wrong {
                let word = |allowed| if allowed { "connected" } else { "no connection" };
                summary.wrong.push(format!(
                    "step {}: {probe} ({} to {}): expected {}, simulated: {}: {}",
                    result.step + 1,
                    wrong.attempt.source,
                    wrong.attempt.destination,
                    word(probe.expect),
                    word(wrong.allowed),
                    wrong.explanation,
                ));
            }
        }
        summary
    }

    fn real(case: &Case, result: &Result<CaseReport, CaseRunError>) -> Self {
        let mut summary = Self::new(case);
        match result {
            Ok(report) => {
                summary.passed = report.passed;
                summary.failed = report.failed;
                summary.wrong = report.wrong.iter().map(ToString::to_string).collect();
            }
            Err(error) => {
                // None of its probes has passed.
                summary.failed = case.steps.iter().map(|step| step.probes.len()).sum();
                summary.error = Some(error.to_string());
            }
        }
        summary
    }

    fn new(case: &Case) -> Self {
        Self {
            file: String::new(),
            name: case.name.clone(),
            passed: 0,
            failed: 0,
            wrong: Vec::new(),
            error: None,
        }
    }

    fn print(&self) {
        let mark = if self.failed == 0 { "ok  " } else { "FAIL" };
        say!(
            "{mark} {} ({}): {} passed, {} failed",
            self.file,
            self.name,
            self.passed,
            self.failed
        );
        for wrong in self.wrong.iter().chain(&self.error) {
            say!("     {wrong}");
        }
    }
}

/// The files, and the `*.json` files below the directories, in order.
fn case_files(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        let kind = std::fs::metadata(path)
            .with_context(|| format!("cannot read the case {}", path.display()))?;
        if kind.is_dir() {
            let before = files.len();
            collect(path, &mut files)?;
            if files.len() == before {
                bail!("there are no *.json case files below {}", path.display());
            }
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let unreadable = || format!("cannot read the directory {}", directory.display());
    let mut entries = std::fs::read_dir(directory)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(unreadable)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        // Links are not followed, so that a cycle cannot arise.
        if entry.file_type().with_context(unreadable)?.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    Ok(())
}

fn read_case(file: &Path) -> anyhow::Result<Case> {
    let cannot = || format!("cannot read the case {}", file.display());
    let size_bytes = std::fs::metadata(file).with_context(cannot)?.len();
    if size_bytes > MAX_FILE_BYTES {
        bail!("the case {} has more than {MAX_FILE_BYTES} bytes", file.display());
    }
    let text = std::fs::read_to_string(file).with_context(cannot)?;
    Case::parse(&text).with_context(|| format!("the case {} is wrong", file.display()))
}
