//! `weir interval show`: what manifests ask for now.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::json;
use weir_policy::Cluster;
use weir_policy::model::{IntervalInForce, IntervalPlan};

use super::file::Place;
use super::{moment, now_ns};
use crate::output::say;

/// Exit code: 1 if something cannot be read, since collectors then go by what they read before.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The directory of manifests that the collectors read.
    #[arg(long, value_name = "DIR")]
    manifests: PathBuf,
    /// How it is printed.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

impl Show {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Place { logging, namespaces, problems, .. } = Place::find(&self.manifests)?;
        let cluster = Cluster { namespaces, flow_logging: Some(logging), ..Cluster::default() };
        let plan = IntervalPlan::of(&cluster, now_ns());
        let all = std::iter::once(("", &plan.cluster))
            .chain(plan.namespaces.iter().map(|(name, in_force)| (name.as_str(), in_force)));
        if self.output == Output::Json {
            let intervals: Vec<_> = all.map(|(name, in_force)| value(name, in_force)).collect();
            let answer = json!({"intervals": intervals, "problems": problems});
            say!("{}", serde_json::to_string_pretty(&answer)?);
        } else {
            all.for_each(|(name, in_force)| say!("{}", line(name, in_force)));
            problems.iter().for_each(|problem| say!("!! {problem}"));
        }
        Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn value(namespace: &str, in_force: &IntervalInForce) -> serde_json::Value {
    json!({
        "namespace": namespace,
        "interval": in_force.interval.map(|interval| interval.to_string()),
        "until": in_force.until_ns.map(moment),
        "source": in_force.source.as_str(),
    })
}

fn line(namespace: &str, in_force: &IntervalInForce) -> String {
    let whose = if namespace.is_empty() { "cluster" } else { namespace };
    let Some(interval) = in_force.interval else {
        return format!("{whose}: as each collector is set (5s unless it is told otherwise)");
    };
    let until = in_force.until_ns.map(|ns| format!(" until {}", moment(ns)));
    format!("{whose}: {interval}{} ({})", until.unwrap_or_default(), in_force.source.as_str())
}
