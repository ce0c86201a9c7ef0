//! The closed sets of words that flow columns hold, and the small types they share.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Defines an enum whose variants are written as fixed words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The words of all of them.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word in the column.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// Direction of a connection as the enforced pod sees it.
    Direction {
        /// Into the pod.
        Ingress = "ingress",
        /// Out of the pod.
        Egress = "egress",
    }
}

words! {
    /// What was decided.
    Verdict {
        /// The packet passed.
        Allow = "allow",
        /// The packet was dropped.
        Deny = "deny",
        /// The packet passed and would have been denied.
        Audit = "audit",
    }
}

words! {
    /// Why it was decided.
    Reason {
        /// A rule allowed it.
        Policy = "policy",
        /// No policy isolates the pod in that direction.
        NoPolicy = "no_policy",
        /// Isolated, and no rule allowed it.
        DefaultDeny = "default_deny",
        /// A rule denied it.
        ExplicitDeny = "explicit_deny",
        /// The pod's own node is the peer.
        NodeTraffic = "node_traffic",
        /// The packet cannot be parsed.
        InvalidPacket = "invalid_packet",
        /// The pod sent from an address that is not its own.
        SpoofedSource = "spoofed_source",
        /// The pod's policy is not in the kernel yet.
        NotReady = "not_ready",
        /// An ICMP error about a tracked connection.
        Related = "related",
        /// A later fragment whose first one was not seen.
        Fragment = "fragment",
    }
}

words! {
    /// What an address belongs to.
    EndpointKind {
        /// A pod.
        Pod = "pod",
        /// A node.
        Node = "node",
        /// A Service's own address.
        Service = "service",
        /// Outside the cluster.
        World = "world",
        /// Not known.
        Unknown = "unknown",
    }
}

words! {
    /// Where a connection is in its life.
    State {
        /// The row of its first packet.
        Open = "open",
        /// Packets went on.
        Active = "active",
        /// It ended, or was idle for too long.
        Closed = "closed",
    }
}

/// The text of column `protocol`: the name where there is one, else the IANA number.
pub fn protocol_name(number: u8) -> std::borrow::Cow<'static, str> {
    match number {
        1 => "ICMP".into(),
        6 => "TCP".into(),
        17 => "UDP".into(),
        58 => "ICMPv6".into(),
        132 => "SCTP".into(),
        other => other.to_string().into(),
    }
}

/// The IANA number behind the text of column `protocol`; `None` if it is neither a name nor a
/// number.
pub fn protocol_number(name: &str) -> Option<u8> {
    match name {
        "ICMP" => Some(1),
        "TCP" => Some(6),
        "UDP" => Some(17),
        "ICMPv6" => Some(58),
        "SCTP" => Some(132),
        other => other.parse().ok(),
    }
}

/// A rule that took part in a decision.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PolicyRule {
    /// `NetworkPolicy` or one of its siblings.
    pub kind: String,
    /// Empty for policies without a namespace.
    pub namespace: String,
    /// The policy's name.
    pub name: String,
    /// Index in the policy's list of that direction; none where the policy as a whole decided.
    pub rule: Option<u32>,
}

impl PolicyRule {
    /// `namespace/name`, or the name alone.
    pub fn qualified_name(&self) -> String {
        if self.namespace.is_empty() {
            self.name.clone()
        } else {
            format!("{}/{}", self.namespace, self.name)
        }
    }
}

/// The text of column `policy`: each policy once, in order, joined by commas.
pub fn policy_text(rules: &[PolicyRule]) -> String {
    let mut names: Vec<String> = rules.iter().map(PolicyRule::qualified_name).collect();
    names.sort();
    names.dedup();
    names.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_round_trip() {
        for number in 0..=255 {
            assert_eq!(protocol_number(&protocol_name(number)), Some(number));
        }
        assert_eq!(protocol_number("tcp6"), None);
        assert_eq!(protocol_number("256"), None);
    }

    #[test]
    fn policy_text_names_each_policy_once() {
        let rule = |namespace: &str, name: &str, rule| PolicyRule {
            kind: "NetworkPolicy".into(),
            namespace: namespace.into(),
            name: name.into(),
            rule,
        };
        let rules = [rule("b", "x", Some(1)), rule("a", "x", None), rule("b", "x", Some(0))];
        assert_eq!(policy_text(&rules), "a/x,b/x");
        assert_eq!(policy_text(&[rule("", "cluster", None)]), "cluster");
        assert_eq!(policy_text(&[]), "");
    }
}
