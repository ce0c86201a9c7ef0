//! Asks the policy of an endpoint about a connection; [`weir_abi::policy`] defines the lookup.

use aya_ebpf::helpers::bpf_map_lookup_elem;
use weir_abi::{
    DIRECTION_EGRESS, DIRECTION_INGRESS,
    endpoint::{
        ANY_EGRESS, ANY_INGRESS, AUDIT, CIDR_EGRESS, CIDR_INGRESS, DENY_NOT_READY, Endpoint, READY,
        SubjectView,
    },
    event::{
        REASON_DEFAULT_DENY, REASON_EXPLICIT_DENY, REASON_NO_POLICY, REASON_NODE_TRAFFIC,
        REASON_NOT_READY, REASON_POLICY, REASON_RELATED, VERDICT_ALLOW, VERDICT_AUDIT,
        VERDICT_DENY,
    },
    policy::{
        ACTION_ALLOW, ACTION_DENY, ACTION_MASK, ANY_PROTOCOL_BIT, CIDR_PREFIX_BASE,
        IDENTITY_LOCAL_NODE, IDENTITY_WORLD, PEER_ANY, PolicyKey, PolicyValue, port_bit,
    },
};

use crate::{
    maps::{CIDRS_V4, CIDRS_V6, EPOCH, IDENTITIES, POLICY},
    packet::Words,
    scene::{Judgement, Scene, Work, isolation, tiers},
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
#[inline(always)]
pub fn judge(scene: &mut Scene) {
    let (work, endpoint): (*mut Work, *const Endpoint) = (scene.work_mut(), scene.endpoint());
    weir_judge(work, endpoint, scene.direction.into(), scene.related.into());
}

/// The verifier checks a global function once, whatever its callers know: all that it goes by is
/// in its arguments. The kernel wants them to be scalars or pointers that may be null, and a result.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_judge(
    work: *mut Work,
    endpoint: *const Endpoint,
    direction: u32,
    related: u32,
) -> u32 {
    // SAFETY: memory of maps, found for this very packet, or null.
    let (Some(work), Some(endpoint)) = (unsafe { (work.as_mut(), endpoint.as_ref()) }) else {
        return 0;
    };
    let outward = direction == u32::from(DIRECTION_EGRESS);
    let remote = if outward { work.packet.destination } else { work.packet.source };
    let identity = identity(remote);
    let flags = endpoint.flags;
    work.judgement = Judgement { identity, ..Judgement::ALLOW };
    if related != 0 {
        work.judgement.reason = REASON_RELATED;
        return 0;
    }
    if identity == IDENTITY_LOCAL_NODE {
        work.judgement.reason = REASON_NODE_TRAFFIC;
        return 0;
    }
    if flags & READY == 0 {
        work.judgement.reason = REASON_NOT_READY;
        if flags & DENY_NOT_READY != 0 {
            work.judgement.verdict = VERDICT_DENY;
        }
    } else {
        // What the policies in force deny stays denied, whatever the audited ones say.
        weir_ask(work, &raw const endpoint.enforced, direction);
        if work.judgement.verdict == VERDICT_ALLOW && endpoint.audited.subject != 0 {
            weir_ask(work, &raw const endpoint.audited, direction);
            if work.judgement.verdict == VERDICT_DENY {
                work.judgement.verdict = VERDICT_AUDIT;
            }
        }
    }
    if work.judgement.verdict == VERDICT_DENY && flags & AUDIT != 0 {
        work.judgement.verdict = VERDICT_AUDIT;
    }
    0
}

/// User space adds to it after each change to what [`judge`] goes by.
#[inline(always)]
pub fn epoch() -> u32 {
    // SAFETY: from the map lookup just made; read anew each time, before what follows.
    EPOCH.get_ptr(0).map_or(0, |epoch| unsafe { (&raw const (*epoch).number).read_volatile() })
}

/// Asks one view's policies: the admin tier, NetworkPolicies, the baseline tier.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_ask(work: *mut Work, view: *const SubjectView, direction: u32) -> u32 {
    // SAFETY: as in `weir_judge`.
    let (Some(work), Some(view)) = (unsafe { (work.as_mut(), view.as_ref()) }) else {
        return 0;
    };
    ask(work, view, direction as u8);
    0
}

#[inline(always)]
fn ask(work: &mut Work, view: &SubjectView, direction: u8) {
    let ingress = direction == DIRECTION_INGRESS;
    let remote = if ingress { work.packet.source } else { work.packet.destination };
    let (isolated_by, port_prefixes, ports) = if ingress {
        (view.isolated_by_ingress, view.port_prefixes_ingress, view.ports_ingress)
    } else {
        (view.isolated_by_egress, view.port_prefixes_egress, view.ports_egress)
    };
    let (cidrs, any) =
        if ingress { (CIDR_INGRESS, ANY_INGRESS) } else { (CIDR_EGRESS, ANY_EGRESS) };
    let flags = view.flags;
    let isolated = flags & isolation(direction) != 0;
    if !isolated && flags & tiers(direction) == 0 {
        work.judgement.reason = REASON_NO_POLICY;
        return;
    }
    // Without ports there is nothing to match but the protocol.
    let port_prefixes = if !work.packet.has_ports() {
        port_prefixes & (1 | (1 << ANY_PROTOCOL_BIT))
    } else if ports & port_bit(work.packet.destination_port) == 0 {
        port_prefixes & !(1 << PORT_BITS)
    } else {
        port_prefixes
    };
    let identity = work.judgement.identity;
    let (port, protocol) = (work.packet.destination_port, work.packet.protocol);
    let subject = view.subject;
    let cidr = if flags & cidrs != 0 {
        cidr_peer(remote, subject, u32::from(direction))
    } else {
        PEER_ANY
    };
    let search = &mut work.search;
    search.key.subject = subject;
    search.key.direction = direction;
    search.key.reserved = [0; 3];
    search.port_prefixes = port_prefixes;
    search.port = port;
    search.protocol = protocol;
    search.key.peer = identity;
    weir_find(search);
    let by_identity = search.found;
    search.key.peer = cidr;
    if cidr == PEER_ANY && flags & any == 0 {
        search.found = PolicyValue::NONE;
    } else {
        weir_find(search);
    }
    let by_cidr = search.found;

    let (admin, admin_rule_set) = first(
        (by_identity.admin, by_identity.admin_rule_set),
        (by_cidr.admin, by_cidr.admin_rule_set),
    );
    if decides(admin) {
        return settle(work, admin, admin_rule_set);
    }
    if isolated {
        work.judgement.rule_set_identity = by_identity.rule_set;
        work.judgement.rule_set_cidr = by_cidr.rule_set;
        work.judgement.reason = REASON_POLICY;
        if by_identity.rule_set | by_cidr.rule_set == 0 {
            work.judgement.rule_set_identity = isolated_by;
            work.judgement.verdict = VERDICT_DENY;
            work.judgement.reason = REASON_DEFAULT_DENY;
        }
        return;
    }
    let (baseline, baseline_rule_set) = first(
        (by_identity.baseline, by_identity.baseline_rule_set),
        (by_cidr.baseline, by_cidr.baseline_rule_set),
    );
    if decides(baseline) {
        return settle(work, baseline, baseline_rule_set);
    }
    work.judgement.reason = REASON_NO_POLICY;
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
fn settle(work: &mut Work, decision: u32, rule_set: u32) {
    work.judgement.rule_set_identity = rule_set;
    work.judgement.rule_set_cidr = 0;
    work.judgement.reason = REASON_POLICY;
    if decision & ACTION_MASK == ACTION_DENY {
        work.judgement.verdict = VERDICT_DENY;
        work.judgement.reason = REASON_EXPLICIT_DENY;
    }
}

/// Whose address it is.
#[inline(always)]
pub fn identity(address: Words) -> u32 {
    // SAFETY: the element is not preallocated, so what is read was a value of this key.
    unsafe { IDENTITIES.get(address.as_address()) }.copied().unwrap_or(IDENTITY_WORLD)
}

/// What is said of one peer: the entry of the longest port prefix.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_find(search: *mut Search) -> u32 {
    // SAFETY: as in `weir_judge`.
    if let Some(search) = unsafe { search.as_mut() } {
        find(search);
    }
    0
}

#[inline(always)]
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
