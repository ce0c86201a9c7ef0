//! Asks the policy of an endpoint about a connection; [`weir_abi::policy`] defines the lookup.

use aya_ebpf::helpers::bpf_map_lookup_elem;
use weir_abi::{
    DIRECTION_INGRESS,
    endpoint::{AUDIT, CIDR_EGRESS, CIDR_INGRESS, DENY_NOT_READY, READY},
    event::{
        REASON_DEFAULT_DENY, REASON_EXPLICIT_DENY, REASON_NO_POLICY, REASON_NODE_TRAFFIC,
        REASON_NOT_READY, REASON_POLICY, REASON_RELATED, VERDICT_ALLOW, VERDICT_AUDIT,
        VERDICT_DENY,
    },
    policy::{
        ACTION_ALLOW, ACTION_DENY, ACTION_MASK, ANY_PROTOCOL_BIT, CIDR_PREFIX_BASE,
        IDENTITY_LOCAL_NODE, IDENTITY_WORLD, PEER_ANY, PolicyKey, PolicyValue,
    },
};

use crate::{
    maps::{CIDRS_V4, CIDRS_V6, EPOCH, IDENTITIES, POLICY},
    packet::Words,
    scene::{Judgement, Scene, isolation, tiers},
};

/// Longest port prefix.
const PORT_BITS: u32 = 16;

/// One peer's entries for a packet, and the one that was found.
#[repr(C)]
pub struct Search {
    key: PolicyKey,
    found: PolicyValue,
    port_prefixes: u32,
    port: u16,
    protocol: u8,
}

/// Fills in the judgement for the connection as `scene.direction` has it.
#[inline(never)]
pub fn judge(scene: &mut Scene) {
    let identity = identity(scene.remote());
    let flags = scene.endpoint().flags;
    scene.work_mut().judgement = Judgement { identity, ..Judgement::ALLOW };
    if scene.related {
        scene.work_mut().judgement.reason = REASON_RELATED;
        return;
    }
    if identity == IDENTITY_LOCAL_NODE {
        scene.work_mut().judgement.reason = REASON_NODE_TRAFFIC;
        return;
    }
    if flags & READY == 0 {
        scene.work_mut().judgement.reason = REASON_NOT_READY;
        if flags & DENY_NOT_READY != 0 {
            scene.work_mut().judgement.verdict = VERDICT_DENY;
        }
    } else {
        // What the policies in force deny stays denied, whatever the audited ones say.
        ask(scene, false);
        if scene.work().judgement.verdict == VERDICT_ALLOW && scene.endpoint().audited.subject != 0
        {
            ask(scene, true);
            if scene.work().judgement.verdict == VERDICT_DENY {
                scene.work_mut().judgement.verdict = VERDICT_AUDIT;
            }
        }
    }
    if scene.work().judgement.verdict == VERDICT_DENY && flags & AUDIT != 0 {
        scene.work_mut().judgement.verdict = VERDICT_AUDIT;
    }
}

/// User space adds to it after each change to what [`judge`] goes by.
#[inline(always)]
pub fn epoch() -> u32 {
    // SAFETY: from the map lookup just made; read anew each time, before what follows.
    EPOCH.get_ptr(0).map_or(0, |epoch| unsafe { (&raw const (*epoch).number).read_volatile() })
}

/// Asks one view's policies: the admin tier, NetworkPolicies, the baseline tier.
#[inline(never)]
fn ask(scene: &mut Scene, audited: bool) {
    let endpoint = scene.endpoint();
    let view = if audited { &endpoint.audited } else { &endpoint.enforced };
    let (isolated_by, port_prefixes, cidrs) = if scene.direction == DIRECTION_INGRESS {
        (view.isolated_by_ingress, view.port_prefixes_ingress, CIDR_INGRESS)
    } else {
        (view.isolated_by_egress, view.port_prefixes_egress, CIDR_EGRESS)
    };
    let flags = view.flags;
    let isolated = flags & isolation(scene.direction) != 0;
    if !isolated && flags & tiers(scene.direction) == 0 {
        scene.work_mut().judgement.reason = REASON_NO_POLICY;
        return;
    }
    // Without ports there is nothing to match but the protocol.
    let port_prefixes = if scene.packet().has_ports() {
        port_prefixes
    } else {
        port_prefixes & (1 | (1 << ANY_PROTOCOL_BIT))
    };
    let (identity, direction) = (scene.work().judgement.identity, scene.direction);
    let (port, protocol) = (scene.packet().destination_port, scene.packet().protocol);
    let subject = view.subject;
    let cidr = if flags & cidrs != 0 {
        cidr_peer(scene.remote(), subject, u32::from(direction))
    } else {
        PEER_ANY
    };
    let search = &mut scene.work_mut().search;
    search.key.subject = subject;
    search.key.direction = direction;
    search.key.reserved = [0; 3];
    search.port_prefixes = port_prefixes;
    search.port = port;
    search.protocol = protocol;
    search.key.peer = identity;
    find(search);
    let by_identity = search.found;
    search.key.peer = cidr;
    find(search);
    let by_cidr = search.found;

    let (admin, admin_rule_set) = first(
        (by_identity.admin, by_identity.admin_rule_set),
        (by_cidr.admin, by_cidr.admin_rule_set),
    );
    if decides(admin) {
        return settle(scene, admin, admin_rule_set);
    }
    if isolated {
        scene.work_mut().judgement.rule_set_identity = by_identity.rule_set;
        scene.work_mut().judgement.rule_set_cidr = by_cidr.rule_set;
        scene.work_mut().judgement.reason = REASON_POLICY;
        if by_identity.rule_set | by_cidr.rule_set == 0 {
            scene.work_mut().judgement.rule_set_identity = isolated_by;
            scene.work_mut().judgement.verdict = VERDICT_DENY;
            scene.work_mut().judgement.reason = REASON_DEFAULT_DENY;
        }
        return;
    }
    let (baseline, baseline_rule_set) = first(
        (by_identity.baseline, by_identity.baseline_rule_set),
        (by_cidr.baseline, by_cidr.baseline_rule_set),
    );
    if decides(baseline) {
        return settle(scene, baseline, baseline_rule_set);
    }
    scene.work_mut().judgement.reason = REASON_NO_POLICY;
}

/// Of two rules of a tier the one that comes first, with what names it.
#[inline(always)]
fn first(one: (u32, u32), other: (u32, u32)) -> (u32, u32) {
    if one.0 <= other.0 { one } else { other }
}

/// Whether a tier leaves nothing to the next one.
#[inline(always)]
fn decides(decision: u32) -> bool {
    matches!(decision & ACTION_MASK, ACTION_ALLOW | ACTION_DENY)
}

/// A rule of a tier decides.
#[inline(always)]
fn settle(scene: &mut Scene, decision: u32, rule_set: u32) {
    scene.work_mut().judgement.rule_set_identity = rule_set;
    scene.work_mut().judgement.rule_set_cidr = 0;
    scene.work_mut().judgement.reason = REASON_POLICY;
    if decision & ACTION_MASK == ACTION_DENY {
        scene.work_mut().judgement.verdict = VERDICT_DENY;
        scene.work_mut().judgement.reason = REASON_EXPLICIT_DENY;
    }
}

/// Whose address it is.
#[inline(always)]
pub fn identity(address: Words) -> u32 {
    // SAFETY: the element is not preallocated, so what is read was a value of this key.
    unsafe { IDENTITIES.get(address.as_address()) }.copied().unwrap_or(IDENTITY_WORLD)
}

/// What is said of one peer: the entry of the longest port prefix.
#[inline(never)]
fn find(search: &mut Search) {
    search.key.protocol = search.protocol;
    for length in (0..=PORT_BITS).rev() {
        if search.port_prefixes & (1 << length) == 0 {
            continue;
        }
        search.key.port_prefix = length as u8;
        search.key.port = search.port & ((0xffff_u32 << (PORT_BITS - length)) as u16);
        if look_up(search) {
            return;
        }
    }
    if search.port_prefixes & (1 << ANY_PROTOCOL_BIT) != 0 {
        search.key.protocol = 0;
        search.key.port_prefix = 0;
        search.key.port = 0;
        if look_up(search) {
            return;
        }
    }
    search.found = PolicyValue::NONE;
}

#[inline(always)]
fn look_up(search: &mut Search) -> bool {
    // SAFETY: as for `identity`.
    let Some(value) = (unsafe { POLICY.get(&search.key) }) else { return false };
    search.found = *value;
    true
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
