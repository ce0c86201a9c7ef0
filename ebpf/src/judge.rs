//! Asks the policy of an endpoint about a connection; [`weir_abi::policy`] defines the lookup.

use aya_ebpf::helpers::bpf_map_lookup_elem;
use weir_abi::{
    DIRECTION_INGRESS,
    endpoint::{AUDIT, CIDR_EGRESS, CIDR_INGRESS, DENY_NOT_READY, READY},
    event::{
        REASON_DEFAULT_DENY, REASON_NO_POLICY, REASON_NODE_TRAFFIC, REASON_NOT_READY,
        REASON_POLICY, REASON_RELATED, VERDICT_ALLOW, VERDICT_AUDIT, VERDICT_DENY,
    },
    policy::{
        ANY_PROTOCOL_BIT, CIDR_PREFIX_BASE, IDENTITY_LOCAL_NODE, IDENTITY_WORLD, PEER_ANY,
        PolicyKey,
    },
};

use crate::{
    maps::{CIDRS_V4, CIDRS_V6, IDENTITIES, POLICY},
    packet::Words,
    scene::{Scene, isolation},
};

/// Longest port prefix.
const PORT_BITS: u32 = 16;

/// Fills in `scene.judgement` for the connection as `scene.direction` has it.
#[inline(never)]
pub fn judge(scene: &mut Scene) {
    let remote = scene.remote();
    let identity = identity(remote);
    let endpoint = scene.endpoint();
    let (flags, view) = (endpoint.flags, &endpoint.enforced);
    let subject = view.subject;
    let ingress = scene.direction == DIRECTION_INGRESS;
    let (isolated_by, port_prefixes, cidr_flag) = if ingress {
        (view.isolated_by_ingress, view.port_prefixes_ingress, CIDR_INGRESS)
    } else {
        (view.isolated_by_egress, view.port_prefixes_egress, CIDR_EGRESS)
    };
    let mut rule_set_identity = 0;
    let mut rule_set_cidr = 0;
    let mut verdict = VERDICT_ALLOW;
    let reason = if scene.related {
        REASON_RELATED
    } else if identity == IDENTITY_LOCAL_NODE {
        REASON_NODE_TRAFFIC
    } else if flags & READY == 0 {
        if flags & DENY_NOT_READY != 0 {
            verdict = VERDICT_DENY;
        }
        REASON_NOT_READY
    } else if view.flags & isolation(scene.direction) == 0 {
        REASON_NO_POLICY
    } else {
        let mut search = Search {
            key: PolicyKey {
                subject,
                peer: identity,
                port: 0,
                direction: scene.direction,
                protocol: 0,
                port_prefix: 0,
                reserved: [0; 3],
            },
            port: scene.packet().destination_port,
            protocol: scene.packet().protocol,
            // Without ports there is nothing to match but the protocol.
            port_prefixes: if scene.packet().has_ports() {
                port_prefixes
            } else {
                port_prefixes & (1 | (1 << ANY_PROTOCOL_BIT))
            },
        };
        rule_set_identity = find(&mut search);
        search.key.peer = if view.flags & cidr_flag != 0 {
            cidr_peer(remote, subject, u32::from(scene.direction))
        } else {
            PEER_ANY
        };
        rule_set_cidr = find(&mut search);
        if rule_set_identity | rule_set_cidr != 0 {
            REASON_POLICY
        } else {
            verdict = VERDICT_DENY;
            rule_set_identity = isolated_by;
            REASON_DEFAULT_DENY
        }
    };
    if verdict == VERDICT_DENY && flags & AUDIT != 0 {
        verdict = VERDICT_AUDIT;
    }
    scene.judgement.identity = identity;
    scene.judgement.rule_set_identity = rule_set_identity;
    scene.judgement.rule_set_cidr = rule_set_cidr;
    scene.judgement.verdict = verdict;
    scene.judgement.reason = reason;
}

/// Whose address it is.
#[inline(always)]
pub fn identity(address: Words) -> u32 {
    // SAFETY: the element is not preallocated, so what is read was a value of this key.
    unsafe { IDENTITIES.get(address.as_address()) }.copied().unwrap_or(IDENTITY_WORLD)
}

struct Search {
    key: PolicyKey,
    port: u16,
    protocol: u8,
    port_prefixes: u32,
}

/// The rule set that allows one peer, longest port prefix first; 0 if none does.
#[inline(never)]
fn find(search: &mut Search) -> u32 {
    search.key.protocol = search.protocol;
    for length in (0..=PORT_BITS).rev() {
        if search.port_prefixes & (1 << length) == 0 {
            continue;
        }
        search.key.port_prefix = length as u8;
        search.key.port = search.port & ((0xffff_u32 << (PORT_BITS - length)) as u16);
        if let Some(rule_set) = allowed(&search.key) {
            return rule_set;
        }
    }
    if search.port_prefixes & (1 << ANY_PROTOCOL_BIT) == 0 {
        return 0;
    }
    search.key.protocol = 0;
    search.key.port_prefix = 0;
    search.key.port = 0;
    allowed(&search.key).unwrap_or(0)
}

#[inline(always)]
fn allowed(key: &PolicyKey) -> Option<u32> {
    // SAFETY: as for `identity`.
    unsafe { POLICY.get(key) }.map(|value| value.rule_set)
}

#[repr(C)]
struct KeyV4 {
    prefix_len: u32,
    subject: u32,
    direction: u32,
    address: u32,
}

#[repr(C)]
struct KeyV6 {
    prefix_len: u32,
    subject: u32,
    direction: u32,
    address: [u32; 4],
}

/// The peer that stands for the longest of the subject's blocks around an address.
#[inline(never)]
fn cidr_peer(address: Words, subject: u32, direction: u32) -> u32 {
    let found = if address.is_v4() {
        let address = address.to_v4();
        let key = KeyV4 { prefix_len: CIDR_PREFIX_BASE + 32, subject, direction, address };
        // SAFETY: `KeyV4` is laid out as the trie's key.
        unsafe {
            bpf_map_lookup_elem((&raw const CIDRS_V4).cast_mut().cast(), (&raw const key).cast())
        }
    } else {
        let [high, low] = address.0;
        let address = [high as u32, (high >> 32) as u32, low as u32, (low >> 32) as u32];
        let key = KeyV6 { prefix_len: CIDR_PREFIX_BASE + 128, subject, direction, address };
        // SAFETY: `KeyV6` is laid out as the trie's key.
        unsafe {
            bpf_map_lookup_elem((&raw const CIDRS_V6).cast_mut().cast(), (&raw const key).cast())
        }
    };
    let found = found.cast::<u32>();
    if found.is_null() {
        PEER_ANY
    } else {
        // SAFETY: not null, and the map's values are `u32`.
        unsafe { *found }
    }
}
