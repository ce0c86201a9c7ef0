//! How often it is reported what the connections of each namespace's pods did: what the cluster
//! asks for now, laid over the collector's own setting.
//!
//! The enforcer's thread puts a plan in force; the scanner follows it, and the kernel's endpoints
//! get [`Quiet`] from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use weir_flow::wire::{IntervalStatus, MAX_LISTED};
use weir_policy::Cluster;
use weir_policy::model::{ANNOUNCED, Interval, IntervalInForce, IntervalPlan, IntervalSource};

use crate::directory::Directory;
use crate::kernel::Hold;

/// The tables are read at least this often, whatever is reported of them: what is over has to make
/// room.
const LONGEST_SCAN: Duration = Duration::from_secs(5);

/// Most namespaces in one sentence.
const MAX_TOLD: usize = 5;

/// The intervals in force at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Intervals {
    /// Of namespaces that are not in `namespaces`.
    others: Duration,
    namespaces: BTreeMap<String, Duration>,
    plan: Option<IntervalPlan>,
}

/// Namespaces whose pods' connections make no row of their beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quiet {
    others: bool,
    /// Those that differ.
    except: BTreeSet<String>,
}

impl Intervals {
    /// One for all.
    pub(crate) fn new(own: Duration) -> Self {
        Self { others: own, namespaces: BTreeMap::new(), plan: None }
    }

    /// What `cluster` asks for at `now_ns`, nanoseconds since 1970, over the collector's `own`.
    pub(crate) fn of(cluster: &Cluster, own: Duration, now_ns: u64) -> Self {
        let plan = IntervalPlan::of(cluster, now_ns);
        let length = |in_force: &IntervalInForce| in_force.interval.map_or(own, Interval::duration);
        let namespaces = plan.namespaces.iter();
        Self {
            others: length(&plan.cluster),
            namespaces: namespaces.map(|(name, it)| (name.clone(), length(it))).collect(),
            plan: Some(plan),
        }
    }

    /// Time from `now_ns` on until other intervals are due, if nothing else changes.
    pub(crate) fn time_left(&self, now_ns: u64) -> Option<Duration> {
        let until_ns = self.plan.as_ref()?.until_ns?;
        Some(Duration::from_nanos(until_ns.saturating_sub(now_ns)))
    }

    /// Time between two looks at the tables: the shortest interval, or a whole part of it.
    pub(crate) fn every(&self) -> Duration {
        let shortest = self.namespaces.values().copied().fold(self.others, Duration::min);
        let parts = shortest.as_nanos().div_ceil(LONGEST_SCAN.as_nanos()).max(1);
        shortest / u32::try_from(parts).unwrap_or(u32::MAX)
    }

    /// How long news of each endpoint may be held back by scans that come
    /// [`every`](Self::every) so often.
    pub(crate) fn hold(&self, directory: &Directory) -> Hold {
        let every = self.every();
        let hold_ns = |interval: Duration| {
            // The nearest scan will do, which may come a little early.
            let hold = if interval <= every { Duration::ZERO } else { interval - every / 2 };
            u64::try_from(hold.as_nanos()).unwrap_or(u64::MAX)
        };
        let mut hold = Hold::all(hold_ns(self.others));
        for (endpoint, info) in directory.endpoints() {
            let Some(info) = info else {
                // There is nothing to wait for.
                hold.set(endpoint, 0);
                continue;
            };
            let own = info.namespace.as_ref().and_then(|name| self.namespaces.get(name));
            if let Some(interval) = own {
                hold.set(endpoint, hold_ns(*interval));
            }
        }
        hold
    }

    /// Whose connections make no row of their beginning.
    pub(crate) fn quiet(&self) -> Quiet {
        let others = self.others > ANNOUNCED;
        let differ =
            self.namespaces.iter().filter(|(_, interval)| (**interval > ANNOUNCED) != others);
        Quiet { others, except: differ.map(|(name, _)| name.clone()).collect() }
    }

    /// In the words of the status: the cluster's first, then namespaces, as far as the list goes.
    pub(crate) fn status(&self) -> Vec<IntervalStatus> {
        let status = |namespace: &str, interval: Duration, in_force: Option<&IntervalInForce>| {
            let source = in_force.map_or(IntervalSource::Collector, |it| it.source);
            IntervalStatus {
                namespace: namespace.to_owned(),
                interval_ms: u64::try_from(interval.as_millis()).unwrap_or(u64::MAX),
                until_ns: in_force.and_then(|it| it.until_ns),
                source: source.as_str().to_owned(),
            }
        };
        let plan = self.plan.as_ref();
        let cluster = status("", self.others, plan.map(|plan| &plan.cluster));
        let namespaces = self.namespaces.iter().map(|(name, interval)| {
            status(name, *interval, plan.and_then(|plan| plan.namespaces.get(name)))
        });
        std::iter::once(cluster).chain(namespaces).take(MAX_LISTED).collect()
    }
}

impl fmt::Display for Intervals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.others)?;
        let mut namespaces = self.namespaces.iter();
        for (name, interval) in namespaces.by_ref().take(MAX_TOLD) {
            write!(f, ", in {name} every {interval:?}")?;
        }
        match namespaces.count() {
            0 => Ok(()),
            more => write!(f, ", and others in {more} more namespaces"),
        }
    }
}

impl Quiet {
    /// Whether the namespace is one.
    pub(crate) fn contains(&self, namespace: &str) -> bool {
        self.others != self.except.contains(namespace)
    }
}

/// The intervals in force, for the thread that follows them.
#[derive(Clone, Debug)]
pub(crate) struct SharedIntervals(Arc<ArcSwap<Intervals>>);

impl SharedIntervals {
    /// These at first.
    pub(crate) fn new(intervals: Intervals) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(intervals)))
    }

    /// Those in force.
    pub(crate) fn load(&self) -> Arc<Intervals> {
        self.0.load_full()
    }

    /// Puts others in force.
    pub(crate) fn store(&self, intervals: Intervals) {
        self.0.store(Arc::new(intervals));
    }
}

#[cfg(test)]
mod tests {
    use weir_policy::model::{FlowLogging, IntervalOverride, Pod};

    use super::*;
    use crate::directory::DirectoryWriter;

    const MINUTE_NS: u64 = 60_000_000_000;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn interval(word: &str) -> Interval {
        Interval::from_word(word).unwrap()
    }

    /// 5 s for shop for 15 minutes, 5 minutes for the others.
    fn cluster() -> Cluster {
        let over = IntervalOverride {
            interval: interval("5s"),
            until_ns: 15 * MINUTE_NS,
            namespaces: ["shop".to_owned()].into(),
        };
        let logging = FlowLogging {
            interval: Some(interval("5m")),
            overrides: vec![over],
            ..FlowLogging::default()
        };
        Cluster { flow_logging: Some(logging), ..Cluster::default() }
    }

    #[test]
    fn the_tables_are_read_by_the_shortest_interval_in_equal_parts() {
        let every = |own| Intervals::new(own).every();
        assert_eq!(every(Duration::from_millis(200)), Duration::from_millis(200));
        assert_eq!(every(seconds(5)), seconds(5));
        assert_eq!(every(seconds(7)), Duration::from_millis(3_500));
        assert_eq!(every(seconds(900)), seconds(5));
        assert_eq!(every(seconds(3_600)), seconds(5));
        assert_eq!(Intervals::of(&cluster(), seconds(900), 0).every(), seconds(5));
    }

    #[test]
    fn a_namespace_is_switched_and_falls_back() {
        let mut writer = DirectoryWriter::default();
        for (endpoint, namespace) in [(1, "shop"), (2, "web"), (3, "web")] {
            let pod = Pod { namespace: namespace.into(), name: "p".into(), ..Pod::default() };
            writer.set_endpoint(endpoint, &pod, 0);
        }
        writer.remove_endpoint(3, 0);
        writer.publish();
        let directory = writer.shared().load();
        let now = Intervals::of(&cluster(), seconds(1), 0);
        assert_eq!(now.time_left(5 * MINUTE_NS), Some(seconds(600)));
        assert_eq!((now.quiet().contains("shop"), now.quiet().contains("web")), (false, true));
        let mut hold = Hold::all(297_500_000_000);
        hold.set(1, 0);
        hold.set(3, 0);
        assert_eq!(now.hold(&directory), hold);
        let words = |intervals: &Intervals| -> Vec<String> {
            let status = intervals.status();
            let word = |s: &IntervalStatus| {
                format!("{} {} {} {:?}", s.namespace, s.interval_ms, s.source, s.until_ns)
            };
            status.iter().map(word).collect()
        };
        let expected = [" 300000 cluster None", "shop 5000 override Some(900000000000)"];
        assert_eq!(words(&now), expected);

        let later = Intervals::of(&cluster(), seconds(1), 15 * MINUTE_NS);
        assert_eq!(later.time_left(0), None);
        assert!(later.quiet().contains("shop"));
        let mut hold = Hold::all(297_500_000_000);
        hold.set(3, 0);
        assert_eq!(later.hold(&directory), hold);
        assert_eq!(words(&later), expected[..1]);
        // Without anything in the cluster it is the collector's own.
        let own = Intervals::of(&Cluster::default(), seconds(1), 0);
        let mut hold = Hold::default();
        hold.set(3, 0);
        assert_eq!(own.hold(&directory), hold);
        assert_eq!(words(&own), [" 1000 collector None"]);
        assert!(!own.quiet().contains("shop"));
    }
}
