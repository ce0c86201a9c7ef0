//! Ports as prefixes, and what a peer may reach as a table of them.

use rustc_hash::FxHashMap;

use super::keys::{ANY_PROTOCOL_BIT, PolicyEntry, PolicyKey, port_bit};
use super::rule_sets::{RuleName, RuleSets};
use super::rules::Part;
use crate::model::{Direction, Protocol};

/// A port that a pod declares: name, protocol, number.
pub(super) type NamedPort = (String, Protocol, u16);

/// A set of ports that is one entry, but for its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PortMatch {
    /// Every port of every protocol.
    Any,
    /// A prefix of one protocol's ports.
    Prefix(PortPrefix),
    /// What the destination calls so.
    Named(String, Protocol),
}

impl PortMatch {
    /// As what it is in a table on a destination with these named ports.
    pub(super) fn resolve<'a>(
        &'a self,
        named: &'a [NamedPort],
    ) -> impl Iterator<Item = PortPrefix> + 'a {
        let fixed = match self {
            Self::Any => Some(PortPrefix::ANY),
            Self::Prefix(prefix) => Some(*prefix),
            Self::Named(..) => None,
        };
        let resolved = named.iter().filter_map(move |(name, protocol, number)| match self {
            Self::Named(wanted, of) if wanted == name && of == protocol => {
                Some(PortPrefix { protocol: protocol.number(), port: *number, length: 16 })
            }
            _ => None,
        });
        fixed.into_iter().chain(resolved)
    }

    /// The bit of the endpoint's port prefixes.
    pub(super) fn bit(&self) -> u32 {
        match self {
            Self::Any => 1 << ANY_PROTOCOL_BIT,
            Self::Prefix(prefix) => 1 << prefix.length,
            Self::Named(..) => 1 << 16,
        }
    }

    /// The bits of the endpoint's single ports. A name may be any.
    pub(super) fn port_bits(&self) -> u64 {
        match self {
            Self::Prefix(PortPrefix { port, length: 16, .. }) => port_bit(*port),
            Self::Any | Self::Prefix(_) => 0,
            Self::Named(..) => u64::MAX,
        }
    }
}

/// The leading bits of a port of one protocol, or everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct PortPrefix {
    pub(super) protocol: u8,
    pub(super) port: u16,
    pub(super) length: u8,
}

impl PortPrefix {
    /// Every port of every protocol.
    pub(super) const ANY: Self = Self { protocol: 0, port: 0, length: 0 };

    /// The same with fewer bits.
    fn shortened(self, length: u8) -> Self {
        let mask = u16::MAX.checked_shl(16 - u32::from(length)).unwrap_or(0);
        Self { protocol: self.protocol, port: self.port & mask, length }
    }
}

/// The fewest prefixes that together are a range of ports.
pub(super) fn prefixes(protocol: Protocol, first: u16, last: u16) -> Vec<PortPrefix> {
    let mut prefixes = Vec::new();
    let (mut next, last) = (u32::from(first), u32::from(last));
    while next <= last {
        let mut bits = next.trailing_zeros().min(16);
        while next + (1 << bits) - 1 > last {
            bits -= 1;
        }
        prefixes.push(PortPrefix {
            protocol: protocol.number(),
            port: next as u16,
            length: 16 - bits as u8,
        });
        next += 1 << bits;
    }
    prefixes
}

/// What rules say about one peer: for each prefix those of the shorter prefixes included, so that the
/// first prefix found is the whole answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PortTable(Vec<(PortPrefix, PolicyEntry)>);

impl PortTable {
    /// The table of rules that cover these prefixes.
    pub(super) fn new(
        covered: impl IntoIterator<Item = (PortPrefix, Part, RuleName)>,
        rule_sets: &mut RuleSets,
    ) -> Self {
        let mut rules: FxHashMap<PortPrefix, Vec<(Part, RuleName)>> = FxHashMap::default();
        for (prefix, part, name) in covered {
            rules.entry(prefix).or_default().push((part, name));
        }
        let mut entries: Vec<(PortPrefix, PolicyEntry)> = rules
            .keys()
            .map(|&prefix| {
                let shorter = (0..=prefix.length).map(|length| prefix.shortened(length));
                let any = (prefix != PortPrefix::ANY).then_some(PortPrefix::ANY);
                let all = shorter.chain(any).filter_map(|prefix| rules.get(&prefix));
                (prefix, entry(all.flatten(), rule_sets))
            })
            .collect();
        entries.sort_unstable_by_key(|(prefix, _)| *prefix);
        Self(entries)
    }

    /// It says nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes the table for one subject's peer.
    pub(super) fn insert_entries(
        &self,
        subject: u32,
        peer: u32,
        direction: Direction,
        entries: &mut FxHashMap<PolicyKey, PolicyEntry>,
    ) {
        for &(PortPrefix { protocol, port, length }, entry) in &self.0 {
            let key = PolicyKey { subject, peer, direction, protocol, port, port_prefix: length };
            entries.insert(key, entry);
        }
    }
}

/// What some rules say together: all of the NetworkPolicies', the first of each tier's.
fn entry<'a>(
    rules: impl Iterator<Item = &'a (Part, RuleName)>,
    rule_sets: &mut RuleSets,
) -> PolicyEntry {
    let mut entry = PolicyEntry::NONE;
    let mut allowing = Vec::new();
    let (mut admin, mut baseline) = (None, None);
    for &(part, name) in rules {
        match part {
            Part::Network => allowing.push(name),
            Part::Admin(decision) if decision < entry.admin => {
                (entry.admin, admin) = (decision, Some(name));
            }
            Part::Baseline(decision) if decision < entry.baseline => {
                (entry.baseline, baseline) = (decision, Some(name));
            }
            Part::Admin(_) | Part::Baseline(_) => {}
        }
    }
    entry.rule_set = rule_sets.intern(allowing);
    entry.admin_rule_set = rule_sets.intern(admin.into_iter().collect());
    entry.baseline_rule_set = rule_sets.intern(baseline.into_iter().collect());
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_cover_exactly_the_range() {
        let ranges =
            [(1, 65535), (80, 80), (0, 65535), (1, 1), (65535, 65535), (1000, 2000), (8080, 8090)];
        for (first, last) in ranges {
            let prefixes = prefixes(Protocol::Tcp, first, last);
            for port in 0..=u16::MAX {
                let probe = PortPrefix { protocol: 6, port, length: 16 };
                let hits = prefixes.iter().filter(|p| probe.shortened(p.length) == **p).count();
                assert_eq!(hits, usize::from((first..=last).contains(&port)), "{port}");
            }
        }
    }
}
