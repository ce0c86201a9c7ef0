//! `weir interval`: how often it is reported what connections did, what that costs, and switching
//! it for a while.

mod file;
mod preview;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::bail;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use weir_policy::model::{FlowLogging, Interval, IntervalOverride};
use weir_service::settings::Period;

use file::Place;

use crate::output::say;

#[derive(Debug, Subcommand)]
pub(crate) enum IntervalCommand {
    /// Say how many rows and bytes each interval would make, from flows that are stored.
    Preview(preview::Preview),
    /// Say which intervals manifests ask for now, and until when.
    Show(show::Show),
    /// Write another interval into the manifests, for good or for a while; collectors that read
    /// them follow at once.
    #[command(after_help = "\
Examples:
  weir interval set --manifests /etc/weir/manifests 1m
  weir interval set --manifests /etc/weir/manifests --namespace shop 5s --for 15m")]
    Set(Set),
    /// Take what `set` wrote out of the manifests again.
    Clear(Clear),
}

/// Of what the interval is.
#[derive(Debug, Args)]
struct Scope {
    /// The directory of manifests that the collectors read.
    #[arg(long, value_name = "DIR")]
    manifests: PathBuf,
    /// Of the pods of this namespace; of the whole cluster without.
    #[arg(long, short, value_name = "NAMESPACE")]
    namespace: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// 5s, 30s, 1m, 5m, 10m or 15m.
    #[arg(value_name = "INTERVAL")]
    interval: String,
    /// How long it holds; then what was in force before comes back [default: for good].
    #[arg(long = "for", value_name = "TIME")]
    period: Option<Period>,
    #[command(flatten)]
    scope: Scope,
}

#[derive(Debug, Args)]
pub(crate) struct Clear {
    #[command(flatten)]
    scope: Scope,
}

impl IntervalCommand {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Preview(preview) => preview.run().await,
            Self::Show(show) => show.run(),
            Self::Set(set) => set.run(),
            Self::Clear(clear) => clear.run(),
        }
    }
}

impl Set {
    fn run(self) -> anyhow::Result<ExitCode> {
        let Some(interval) = Interval::from_word(&self.interval) else {
            bail!("{:?} is no interval: write {}", self.interval, Interval::WORDS);
        };
        let now_ns = now_ns();
        let until_ns = self.period.map(|Period(period)| {
            now_ns.saturating_add(u64::try_from(period.as_nanos()).unwrap_or(u64::MAX))
        });
        if until_ns.is_some_and(|until_ns| until_ns <= now_ns) {
            bail!("--for is no time at all: give it a length such as 15m");
        }
        let Scope { manifests, namespace } = self.scope;
        let mut place = Place::find(&manifests)?;
        set(&mut place.logging, namespace.as_deref(), interval, until_ns, now_ns);
        place.write()?;
        let until = until_ns.map(|until_ns| format!(" until {}", moment(until_ns)));
        say!(
            "{}: {interval}{} ({})",
            namespace.as_deref().unwrap_or("cluster"),
            until.unwrap_or_default(),
            place.path.display()
        );
        Ok(ExitCode::SUCCESS)
    }
}

impl Clear {
    fn run(self) -> anyhow::Result<ExitCode> {
        let Scope { manifests, namespace } = self.scope;
        let mut place = Place::find(&manifests)?;
        let before = place.logging.clone();
        clear(&mut place.logging, namespace.as_deref(), now_ns());
        let whose = namespace.as_deref().unwrap_or("cluster");
        if place.logging == before {
            say!("{whose}: no FlowLogging below {} says anything", manifests.display());
        } else {
            place.write()?;
            say!("{whose}: taken back ({})", place.path.display());
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Puts an interval in the place of all that the object says of the scope.
fn set(
    logging: &mut FlowLogging,
    namespace: Option<&str>,
    interval: Interval,
    until_ns: Option<u64>,
    now_ns: u64,
) {
    match (namespace, until_ns) {
        (_, Some(until_ns)) => {
            take_overrides(logging, namespace, now_ns);
            let namespaces = namespace.into_iter().map(str::to_owned).collect();
            logging.overrides.insert(0, IntervalOverride { interval, until_ns, namespaces });
        }
        (Some(namespace), None) => {
            clear(logging, Some(namespace), now_ns);
            logging.namespaces.insert(namespace.to_owned(), interval);
        }
        (None, None) => {
            clear(logging, None, now_ns);
            logging.interval = Some(interval);
        }
    }
}

fn clear(logging: &mut FlowLogging, namespace: Option<&str>, now_ns: u64) {
    take_overrides(logging, namespace, now_ns);
    match namespace {
        Some(namespace) => drop(logging.namespaces.remove(namespace)),
        None => logging.interval = None,
    }
}

/// Takes out the overrides of the scope, and those that are over.
fn take_overrides(logging: &mut FlowLogging, namespace: Option<&str>, now_ns: u64) {
    logging.overrides.retain_mut(|over| {
        let named = !over.namespaces.is_empty();
        if let Some(namespace) = namespace {
            over.namespaces.remove(namespace);
        }
        let is_of_scope = if named { over.namespaces.is_empty() } else { namespace.is_none() };
        now_ns < over.until_ns && !is_of_scope
    });
}

/// Nanoseconds since 1970.
fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

/// To the second, UTC.
pub(super) fn moment(ns: u64) -> String {
    let seconds = i64::try_from(ns / 1_000_000_000).ok();
    let moment = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    moment.unwrap_or(Timestamp::MAX).to_string()
}

#[cfg(test)]
mod tests {
    use weir_policy::manifest::write_flow_logging;

    use super::*;

    fn interval(word: &str) -> Interval {
        Interval::from_word(word).unwrap()
    }

    fn text(logging: &FlowLogging) -> String {
        let text = write_flow_logging(logging);
        text.split_once("spec:\n").unwrap().1.to_owned()
    }

    #[test]
    fn a_scope_has_one_override_and_a_lasting_interval_takes_its_place() {
        let logging = &mut FlowLogging::default();
        set(logging, None, interval("5m"), None, 0);
        set(logging, Some("shop"), interval("1m"), None, 0);
        set(logging, None, interval("30s"), Some(1_000_000_000), 0);
        set(logging, Some("shop"), interval("10m"), Some(3_000_000_000), 0);
        set(logging, Some("shop"), interval("5s"), Some(2_000_000_000), 0);
        let shop =
            "  - interval: 5s\n    until: \"1970-01-01T00:00:02Z\"\n    namespaces: [\"shop\"]\n";
        let all = "  - interval: 30s\n    until: \"1970-01-01T00:00:01Z\"\n";
        let lasting = "  interval: 5m\n  namespaces:\n    \"shop\": 1m\n";
        assert_eq!(text(logging), format!("{lasting}  overrides:\n{shop}{all}"));
        // What is over goes with the next change.
        set(logging, Some("web"), interval("15m"), None, 1_000_000_000);
        let lasting = format!("{lasting}    \"web\": 15m\n");
        assert_eq!(text(logging), format!("{lasting}  overrides:\n{shop}"));
        set(logging, Some("shop"), interval("30s"), None, 1_000_000_000);
        assert_eq!(text(logging), lasting.replace("\"shop\": 1m", "\"shop\": 30s"));
        for scope in [Some("shop"), Some("web"), None] {
            clear(logging, scope, 1_000_000_000);
        }
        assert_eq!(*logging, FlowLogging::default());
    }

    #[test]
    fn an_override_of_several_namespaces_stays_for_the_others() {
        let logging = &mut FlowLogging {
            overrides: vec![IntervalOverride {
                interval: interval("5s"),
                until_ns: 5,
                namespaces: ["a".to_owned(), "b".to_owned()].into(),
            }],
            ..FlowLogging::default()
        };
        clear(logging, Some("a"), 0);
        assert_eq!(logging.overrides[0].namespaces, ["b".to_owned()].into());
        clear(logging, None, 0);
        assert_eq!(logging.overrides.len(), 1);
        clear(logging, Some("b"), 0);
        assert!(logging.overrides.is_empty());
    }
}
