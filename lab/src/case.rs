//! Connectivity tables (the files of `weir policy test`) for real: a lab with the case's pods, the
//! eBPF programs in each node, and a probe for each line of the table.

mod enforcement;
mod stage;

use std::collections::HashSet;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use weir_collector::enforcer::EnforceError;
use weir_policy::case::{Case, Step};
use weir_policy::evaluate::{Attempt, decide};
use weir_policy::explain::sentence;

use crate::probe::{self, Outcome, ProbeOptions, Prober};
use crate::{LabError, Network};
use enforcement::Enforcement;
use stage::Stage;

/// How to run cases.
#[derive(Clone, Copy, Debug)]
pub struct CaseOptions {
    /// How patient probes are.
    pub probes: ProbeOptions,
    /// Also probe pods from themselves.
    pub loopback: bool,
    /// How pods hang on their nodes.
    pub network: Network,
    /// Load the programs. Without them everything is reachable: a check of the lab itself.
    pub enforce: bool,
}

impl Default for CaseOptions {
    fn default() -> Self {
        Self {
            probes: ProbeOptions::default(),
            loopback: false,
            network: Network::default(),
            enforce: true,
        }
    }
}

/// How a case went.
#[derive(Clone, Debug)]
pub struct CaseReport {
    /// What it is about.
    pub name: String,
    /// Probes that went as expected.
    pub passed: usize,
    /// Attempts that did not.
    pub wrong: Vec<WrongProbe>,
    /// Probes that were wrong; one may be so in two address families.
    pub failed: usize,
    /// Loopback probes that were left out.
    pub skipped: usize,
    /// Attempts that connected only the second time.
    pub retried: usize,
    /// How long it took, the lab included.
    pub elapsed: Duration,
}

/// An attempt that did not go as expected.
#[derive(Clone, Debug)]
pub struct WrongProbe {
    /// Index of its step.
    pub step: usize,
    /// Index in the step's probes.
    pub probe: usize,
    /// The probe in words: `x/a -> y/b TCP 80`.
    pub text: String,
    /// Whether it should have connected.
    pub expect: bool,
    /// What was tried.
    pub attempt: Attempt,
    /// What came of it.
    pub outcome: Outcome,
    /// Whether the policies, read by the book, allow it.
    pub allowed: bool,
    /// Why, in one sentence.
    pub explanation: String,
}

impl fmt::Display for WrongProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expected = if self.expect { "connected" } else { "no connection" };
        let Attempt { source, destination, .. } = self.attempt;
        write!(
            f,
            "step {}: {} ({source} to {destination}): expected {expected}, observed: {}",
            self.step + 1,
            self.text,
            self.outcome.observed,
        )?;
        if let Some(first) = &self.outcome.retried_after {
            write!(f, " (first try: {first})")?;
        }
        let verdict = if self.allowed { "allow" } else { "deny" };
        write!(f, "; the policies {verdict} it: {}", self.explanation)
    }
}

/// Why a case could not be run.
#[derive(Debug, thiserror::Error)]
pub enum CaseRunError {
    /// The lab.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// A node's programs.
    #[error("node {node}: {source}")]
    Enforce {
        /// Which node.
        node: String,
        /// Why.
        source: EnforceError,
    },
    /// A pod that policies should apply to.
    #[error("node {node}: pod {pod} is not under enforcement: {why}")]
    Unenforced {
        /// Its node.
        node: String,
        /// `namespace/name`.
        pod: String,
        /// Why.
        why: String,
    },
    /// A node's enforcement ended by a panic, which was reported when it happened.
    #[error("node {node}: enforcement ended unexpectedly")]
    EnforcementEnded {
        /// Which node.
        node: String,
    },
    /// Before any policy was in force, the lab itself did not let a probe through.
    #[error("the lab is broken: without any policy, {text}: {observed}")]
    Broken {
        /// The probe in words.
        text: String,
        /// What came of it.
        observed: probe::Observed,
    },
    /// An address of the case that nothing in the lab has.
    #[error("step {step}: nothing has the address {address}")]
    NoSuchAddress {
        /// Number of the step, from 1.
        step: usize,
        /// The address.
        address: std::net::IpAddr,
    },
}

/// Runs a case.
pub fn run_case(case: &Case, options: &CaseOptions) -> Result<CaseReport, CaseRunError> {
    let begun = Instant::now();
    let mut report = CaseReport {
        name: case.name.clone(),
        passed: 0,
        wrong: Vec::new(),
        failed: 0,
        skipped: 0,
        retried: 0,
        elapsed: Duration::ZERO,
    };
    let prober = Prober::new(options.probes);
    let mut stage = Stage::new(case, options.network)?;
    // Dropped before the stage, whose nodes it works in.
    let mut enforcement = Enforcement::default();
    for (index, step) in case.steps.iter().enumerate() {
        if stage.needs_new_nodes(step) {
            enforcement = Enforcement::default();
        }
        stage.set(step)?;
        let table = Table::new(&stage, step, index, options)?;
        if options.enforce {
            if enforcement.is_empty() {
                table.check_lab(&prober)?;
            }
            enforcement.apply(&stage, &step.cluster)?;
        }
        table.run(&prober, index, &mut report)?;
    }
    drop(enforcement);
    drop(stage);
    report.elapsed = begun.elapsed();
    Ok(report)
}

/// Runs cases, `jobs` of them at a time, each in a lab of its own. The results are in the same
/// order; `done` is called with each as it comes.
pub fn run_cases(
    cases: &[Case],
    options: &CaseOptions,
    jobs: NonZeroUsize,
    done: impl Fn(usize, &Result<CaseReport, CaseRunError>) + Sync,
) -> Vec<Result<CaseReport, CaseRunError>> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(cases.len()));
    thread::scope(|scope| {
        for _ in 0..jobs.get().min(cases.len()) {
            scope.spawn(|| {
                while let Some((index, case)) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    cases.get(index).map(|case| (index, case))
                } {
                    let result = run_case(case, options);
                    done(index, &result);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// A step's probes, ready to run.
struct Table<'a> {
    step: &'a Step,
    /// Index of the probe, and which of its attempts.
    attempts: Vec<(usize, &'a Attempt)>,
    probes: Vec<probe::Probe>,
    skipped: usize,
}

impl<'a> Table<'a> {
    fn new(
        stage: &Stage,
        step: &'a Step,
        index: usize,
        options: &CaseOptions,
    ) -> Result<Self, CaseRunError> {
        let mut table = Self { step, attempts: Vec::new(), probes: Vec::new(), skipped: 0 };
        let place = |address| {
            stage
                .place_of(address)
                .cloned()
                .ok_or(CaseRunError::NoSuchAddress { step: index + 1, address })
        };
        for (number, probe) in step.probes.iter().enumerate() {
            if probe.loopback && !options.loopback {
                table.skipped += 1;
                continue;
            }
            for attempt in &probe.attempts {
                table.attempts.push((number, attempt));
                table.probes.push(probe::Probe {
                    from: place(attempt.source)?,
                    source: attempt.source,
                    to: place(attempt.destination)?,
                    destination: SocketAddr::new(attempt.destination, attempt.destination_port),
                    protocol: stage::protocol(probe.protocol),
                    expect: probe.expect,
                });
            }
        }
        Ok(table)
    }

    /// Shows that every way is open while no programs are loaded, so that a connection that does
    /// not come about later is the programs' doing.
    fn check_lab(&self, prober: &Prober) -> Result<(), CaseRunError> {
        let probes: Vec<probe::Probe> = self
            .probes
            .iter()
            .map(|probe| probe::Probe { expect: true, ..probe.clone() })
            .collect();
        let outcomes = prober.run(&probes)?;
        for ((number, _), outcome) in self.attempts.iter().zip(outcomes) {
            if !outcome.is_as_expected(true) {
                let text = self.step.probes[*number].to_string();
                return Err(CaseRunError::Broken { text, observed: outcome.observed });
            }
        }
        Ok(())
    }

    fn run(
        &self,
        prober: &Prober,
        index: usize,
        report: &mut CaseReport,
    ) -> Result<(), CaseRunError> {
        let Self { step, attempts, probes, skipped } = self;
        let outcomes = prober.run(probes)?;
        let mut failed = HashSet::new();
        for ((number, attempt), outcome) in attempts.iter().zip(outcomes) {
            let probe = &step.probes[*number];
            if outcome.is_as_expected(probe.expect) {
                report.retried += usize::from(outcome.retried_after.is_some());
                continue;
            }
            failed.insert(*number);
            report.wrong.push(WrongProbe {
                step: index,
                probe: *number,
                text: probe.to_string(),
                expect: probe.expect,
                attempt: **attempt,
                allowed: decide(&step.cluster, attempt).is_allowed(),
                explanation: sentence(&step.cluster, attempt),
                outcome,
            });
        }
        let ran: HashSet<usize> = attempts.iter().map(|(number, _)| *number).collect();
        report.passed += ran.len() - failed.len();
        report.failed += failed.len();
        report.skipped += skipped;
        Ok(())
    }
}
