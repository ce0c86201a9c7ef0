//! How often it is reported what connections did.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::Cluster;

/// Time between two reports of what a connection did; one of [`Interval::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Interval(u16);

/// Up to this interval a connection is reported at once when it begins. Beyond it, its beginning is
/// in the row of its first interval, so that a short connection is one row.
pub const ANNOUNCED: Duration = Duration::from_secs(5);

impl Interval {
    /// Every interval there is, the shortest first.
    pub const ALL: [Self; 6] =
        [Self(5), Self(30), Self(60), Self(5 * 60), Self(10 * 60), Self(15 * 60)];
    /// What to write.
    pub const WORDS: &str = "5s, 30s, 1m, 5m, 10m or 15m";

    /// Its length.
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0 as u64)
    }

    /// The interval behind the word that manifests use.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|interval| interval.to_string() == word)
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 60 { write!(f, "{}s", self.0) } else { write!(f, "{}m", self.0 / 60) }
    }
}

/// An interval and how long it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Term {
    /// The interval.
    pub interval: Interval,
    /// The first moment of which it does not hold, nanoseconds since 1970; none if it has no end.
    pub until_ns: Option<u64>,
}

impl Term {
    fn holds(&self, now_ns: u64) -> bool {
        self.until_ns.is_none_or(|until| now_ns < until)
    }
}

/// A `weir.io/v1alpha1` FlowLogging.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowLogging {
    /// Of the whole cluster.
    pub interval: Option<Interval>,
    /// Of all pods of a namespace.
    pub namespaces: BTreeMap<String, Interval>,
    /// Come before everything else while they hold; the first that covers a namespace counts,
    /// those that name it before those that name none.
    pub overrides: Vec<IntervalOverride>,
}

/// Another interval for a while.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IntervalOverride {
    /// The interval.
    pub interval: Interval,
    /// The first moment of which it does not hold, nanoseconds since 1970.
    pub until_ns: u64,
    /// Namespaces that it covers; all if it names none.
    pub namespaces: BTreeSet<String>,
}

/// What said which interval is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IntervalSource {
    /// Nothing in the cluster: each collector's own setting counts.
    Collector,
    /// `spec.interval`.
    Cluster,
    /// The namespace's annotation.
    Annotation,
    /// `spec.namespaces`.
    Namespace,
    /// `spec.overrides`.
    Override,
}

impl IntervalSource {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Collector => "collector",
            Self::Cluster => "cluster",
            Self::Annotation => "annotation",
            Self::Namespace => "namespace",
            Self::Override => "override",
        }
    }
}

/// The interval of something at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IntervalInForce {
    /// The interval; none if the cluster leaves it to the collectors.
    pub interval: Option<Interval>,
    /// Until when, nanoseconds since 1970, if it has an end.
    pub until_ns: Option<u64>,
    /// What said so.
    pub source: IntervalSource,
}

/// The intervals of all namespaces at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntervalPlan {
    /// Of namespaces that are not in `namespaces`.
    pub cluster: IntervalInForce,
    /// Of namespaces for which something of their own holds.
    pub namespaces: BTreeMap<String, IntervalInForce>,
    /// When the next of what holds now ends, nanoseconds since 1970.
    pub until_ns: Option<u64>,
}

impl IntervalPlan {
    /// What `cluster` asks for at `now_ns`, nanoseconds since 1970.
    pub fn of(cluster: &Cluster, now_ns: u64) -> Self {
        let none = FlowLogging::default();
        let logging = cluster.flow_logging.as_ref().unwrap_or(&none);
        let mut plan = Self {
            cluster: in_force(logging.interval, None, IntervalSource::Cluster),
            namespaces: BTreeMap::new(),
            until_ns: None,
        };
        // What comes first is written last.
        for namespace in &cluster.namespaces {
            if let Some(term) = namespace.interval.filter(|term| term.holds(now_ns)) {
                let in_force =
                    in_force(Some(term.interval), term.until_ns, IntervalSource::Annotation);
                plan.namespaces.insert(namespace.name.clone(), in_force);
                plan.ends(term.until_ns);
            }
        }
        for (namespace, interval) in &logging.namespaces {
            let in_force = in_force(Some(*interval), None, IntervalSource::Namespace);
            plan.namespaces.insert(namespace.clone(), in_force);
        }
        let holding = || logging.overrides.iter().rev().filter(|over| now_ns < over.until_ns);
        for over in holding().filter(|over| over.namespaces.is_empty()) {
            plan.cluster =
                in_force(Some(over.interval), Some(over.until_ns), IntervalSource::Override);
            plan.namespaces.clear();
            plan.ends(Some(over.until_ns));
        }
        for over in holding() {
            for namespace in &over.namespaces {
                let in_force =
                    in_force(Some(over.interval), Some(over.until_ns), IntervalSource::Override);
                plan.namespaces.insert(namespace.clone(), in_force);
            }
            plan.ends(Some(over.until_ns));
        }
        plan
    }

    /// That of a namespace.
    pub fn namespace(&self, name: &str) -> IntervalInForce {
        self.namespaces.get(name).copied().unwrap_or(self.cluster)
    }

    fn ends(&mut self, until_ns: Option<u64>) {
        self.until_ns = self.until_ns.into_iter().chain(until_ns).min();
    }
}

fn in_force(
    interval: Option<Interval>,
    until_ns: Option<u64>,
    source: IntervalSource,
) -> IntervalInForce {
    let source = if interval.is_some() { source } else { IntervalSource::Collector };
    IntervalInForce { interval, until_ns, source }
}

#[cfg(test)]
mod tests {
    use super::super::Namespace;
    use super::*;

    const MINUTE_NS: u64 = 60_000_000_000;

    fn interval(word: &str) -> Interval {
        Interval::from_word(word).unwrap()
    }

    fn at(cluster: &Cluster, minute: u64) -> (IntervalPlan, String) {
        let plan = IntervalPlan::of(cluster, minute * MINUTE_NS);
        let word = |name: &str| {
            let in_force = plan.namespace(name);
            let interval = in_force.interval.map_or("-".into(), |i| i.to_string());
            format!("{interval} {}", in_force.source.as_str())
        };
        let words = format!("{}, {}, {}", word("a"), word("b"), word("c"));
        (plan, words)
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        let words = Interval::ALL.map(|interval| interval.to_string());
        assert_eq!(words, ["5s", "30s", "1m", "5m", "10m", "15m"]);
        for interval in Interval::ALL {
            assert_eq!(Interval::from_word(&interval.to_string()), Some(interval));
        }
        for wrong in ["", "5", "60s", "1h", "5S", "2m", "05s"] {
            assert_eq!(Interval::from_word(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn without_an_object_it_is_left_to_the_collectors() {
        let (plan, words) = at(&Cluster::default(), 0);
        assert_eq!(words, "- collector, - collector, - collector");
        assert_eq!(plan.until_ns, None);
    }

    /// Each layer lies over the one before, and what ends falls back to what is under it.
    #[test]
    fn what_is_nearer_comes_first_until_it_ends() {
        let minutes = |minutes: u64| minutes * MINUTE_NS;
        let mut a = Namespace::new("a", Default::default());
        a.interval = Some(Term { interval: interval("30s"), until_ns: Some(minutes(40)) });
        let mut b = Namespace::new("b", Default::default());
        b.interval = Some(Term { interval: interval("10m"), until_ns: None });
        let over = |word: &str, until: u64, namespaces: &[&str]| IntervalOverride {
            interval: interval(word),
            until_ns: minutes(until),
            namespaces: namespaces.iter().map(|name| (*name).into()).collect(),
        };
        let logging = FlowLogging {
            interval: Some(interval("1m")),
            namespaces: [("b".into(), interval("5m"))].into(),
            overrides: vec![
                over("15m", 10, &["a"]),
                over("10m", 20, &["a"]),
                over("5s", 30, &[]),
                over("30s", 35, &[]),
            ],
        };
        let cluster =
            Cluster { namespaces: vec![a, b], flow_logging: Some(logging), ..Cluster::default() };
        for (minute, expected, ends) in [
            (0, "15m override, 5s override, 5s override", Some(10)),
            (10, "10m override, 5s override, 5s override", Some(20)),
            (20, "5s override, 5s override, 5s override", Some(30)),
            (30, "30s override, 30s override, 30s override", Some(35)),
            (35, "30s annotation, 5m namespace, 1m cluster", Some(40)),
            (40, "1m cluster, 5m namespace, 1m cluster", None),
        ] {
            let (plan, words) = at(&cluster, minute);
            assert_eq!(words, expected, "minute {minute}");
            assert_eq!(plan.until_ns, ends.map(minutes), "minute {minute}");
        }
    }
}
