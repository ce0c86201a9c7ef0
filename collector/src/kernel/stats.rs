//! What the programs counted, see [`weir_abi::stats`] for what must balance.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use weir_abi::stats;

use super::epoch::Epoch;

macro_rules! stats {
    ($($(#[$doc:meta])* $field:ident = $index:ident),+ $(,)?) => {
        /// The counters since loading, of all CPUs together.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Stats {
            $($(#[$doc])* pub $field: u64,)+
            /// Connections that gave way to newer ones; what they counted since the last scan is
            /// lost. As of the last scan.
            pub evicted: u64,
            /// Kinds of denies that gave way to others, likewise.
            pub denies_evicted: u64,
        }

        impl Stats {
            pub(super) fn new<'a>(
                cpus: impl Iterator<Item = &'a [u64; stats::STATS_LEN as usize]>,
                removals: &Removals,
            ) -> Self {
                let mut sum = Self {
                    evicted: removals.evicted.load(Ordering::Relaxed),
                    denies_evicted: removals.denies_evicted.load(Ordering::Relaxed),
                    ..Self::default()
                };
                for counters in cpus {
                    $(sum.$field += counters[stats::$index as usize];)+
                }
                sum
            }

            /// Name and value of each counter.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [
                    $((stringify!($field), self.$field),)+
                    ("evicted", self.evicted),
                    ("denies_evicted", self.denies_evicted),
                ]
                .into_iter()
            }
        }
    };
}

stats! {
    /// Packets seen.
    packets = PACKETS,
    /// Of no IP protocol.
    not_ip = NOT_IP,
    /// On interfaces without an endpoint.
    no_endpoint = NO_ENDPOINT,
    /// Of tracked connections.
    established = ESTABLISHED,
    /// First packets of allowed connections.
    allowed = ALLOWED,
    /// Dropped packets.
    denied = DENIED,
    /// Allow events in the ring.
    allow_submitted = ALLOW_SUBMITTED,
    /// Allowed without an event, as the endpoint wants none; the table reports them.
    allow_unannounced = ALLOW_UNANNOUNCED,
    /// Allow events without room; the table reports them.
    allow_failed = ALLOW_FAILED,
    /// Allow events with room nowhere.
    allow_lost = ALLOW_LOST,
    /// Deny events in the ring.
    deny_submitted = DENY_SUBMITTED,
    /// Deny events without room; the table reports them.
    deny_failed = DENY_FAILED,
    /// Denied packets counted in the table.
    deny_folded = DENY_FOLDED,
    /// Denied packets with room nowhere.
    deny_table_failed = DENY_TABLE_FAILED,
    /// Connections the table had no room for.
    conntrack_failed = CONNTRACK_FAILED,
    /// Connections put into the table.
    conntrack_inserted = CONNTRACK_INSERTED,
    /// Connections that replaced another one.
    reopened = REOPENED,
    /// Kinds of denies put into the table.
    deny_inserted = DENY_INSERTED,
    /// ICMP errors about tracked connections.
    related = RELATED,
    /// Fragments whose first one was not seen.
    fragment_unknown = FRAGMENT_UNKNOWN,
    /// Passed without a verdict.
    exempt = EXEMPT,
}

impl Stats {
    /// What does not add up, if anything: packets in no class or in two, verdicts with no way out
    /// or with two. Only for counters at rest; CPUs at work are between two counters.
    pub fn imbalance(&self) -> Option<String> {
        let classes = self.not_ip
            + self.no_endpoint
            + self.exempt
            + self.established
            + self.allowed
            + self.denied;
        let allows =
            self.allow_submitted + self.allow_unannounced + self.allow_failed + self.allow_lost;
        let denies =
            self.deny_submitted + self.deny_failed + self.deny_folded + self.deny_table_failed;
        [
            ("packets", self.packets, classes),
            ("allowed", self.allowed, allows),
            ("denied", self.denied, denies),
        ]
        .into_iter()
        .find(|(_, whole, parts)| whole != parts)
        .map(|(name, whole, parts)| format!("{name}: {whole} in all, {parts} accounted for"))
    }
}

/// What the scanner knows of the tables that the programs cannot count.
#[derive(Debug, Default)]
pub(crate) struct Removals {
    pub(crate) evicted: AtomicU64,
    pub(crate) denies_evicted: AtomicU64,
    /// Of the programs, where there are some.
    epoch: Option<Arc<Epoch>>,
}

impl Removals {
    pub(super) fn new(epoch: Arc<Epoch>) -> Self {
        Self { epoch: Some(epoch), ..Self::default() }
    }

    /// So many connections have given way to others so far.
    pub(super) fn evicted(&self, connections: u64) {
        if self.evicted.fetch_max(connections, Ordering::Relaxed) < connections
            && let Some(epoch) = &self.epoch
        {
            epoch.adopt();
        }
    }
}
