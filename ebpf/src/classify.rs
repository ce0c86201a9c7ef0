//! The way of one packet: parse, endpoint, tracked connection, and only for the first packet of a
//! connection the policy.

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_ktime_get_coarse_ns};
use weir_abi::{
    DIRECTION_EGRESS,
    conntrack::ICMP_RELATED,
    endpoint::{EndpointEntry, SLOT_COPIES, SLOT_PROBES, slot_index},
    event::{REASON_FRAGMENT, REASON_INVALID_PACKET, REASON_SPOOFED_SOURCE, VERDICT_DENY},
    stats,
};

use crate::{
    conntrack::{Meeting, admit, judge_again, meet},
    deny::deny,
    first::may_begin,
    fragment,
    kinds::Standing,
    maps::{CONNTRACK, ENDPOINTS, STATS, WORK},
    packet::{FIRST_FRAGMENT, ICMP_ERROR, LATER_FRAGMENT, NEIGHBOUR, OPENS},
    parse::{INVALID, NOT_IP, parse},
    related::is_related,
    scene::{DROP, Judgement, Key, PASS, Scene},
    stats::bump,
};

#[inline(always)]
pub fn classify(skb: *mut __sk_buff, direction: u8) -> i32 {
    let Some(counters) = STATS.get_ptr_mut(0) else { return PASS };
    bump(counters, stats::PACKETS);
    let Some(work) = WORK.get_ptr_mut(0) else { return PASS };
    // SAFETY: from the map lookup just made; no other packet is at hand on this CPU.
    let parsed = parse(skb, unsafe { &mut (*work).packet });
    if parsed == NOT_IP {
        bump(counters, stats::NOT_IP);
        return PASS;
    }
    // SAFETY: the context of this very program.
    let ifindex = unsafe { (*skb).ifindex };
    let Some(entry) = endpoint(ifindex) else {
        bump(counters, stats::NO_ENDPOINT);
        return PASS;
    };
    let mut scene = Scene::new(work, entry, counters, direction);
    // A tick's precision, at half the price, does for all but what is reported at once.
    // SAFETY: a helper without preconditions.
    scene.now = unsafe { bpf_ktime_get_coarse_ns() };
    measure(skb, &mut scene);
    if parsed == INVALID {
        if scene.is_isolated() {
            return refuse(&mut scene, REASON_INVALID_PACKET);
        }
        scene.bump(stats::EXEMPT);
        return PASS;
    }
    if scene.packet().is(NEIGHBOUR) {
        scene.bump(stats::EXEMPT);
        return PASS;
    }
    if direction == DIRECTION_EGRESS
        && !scene.owns(scene.packet().source)
        && !scene.packet().source.is_unspecified_or_link_local()
    {
        return refuse(&mut scene, REASON_SPOOFED_SOURCE);
    }
    if scene.packet().is(FIRST_FRAGMENT | LATER_FRAGMENT) && !fragment::resolve(scene.packet_mut())
    {
        scene.bump(stats::FRAGMENT_UNKNOWN);
        if scene.is_isolated() {
            return refuse(&mut scene, REASON_FRAGMENT);
        }
    }
    scene.key = Key::new(scene.endpoint().endpoint, scene.packet(), direction);
    if scene.packet().is(ICMP_ERROR) && is_related(skb, &scene) {
        scene.related = true;
        scene.key.set_icmp(ICMP_RELATED);
        scene.bump(stats::RELATED);
    }
    // Nobody but policy lets a connection begin, so most attempts that are denied need not be looked
    // for among the tracked ones.
    let opens = scene.packet().is(OPENS);
    if opens && !may_begin(&mut scene) {
        return DROP;
    }
    let meeting = match CONNTRACK.get_ptr_mut(scene.key.as_key()) {
        Some(connection) => meet(&scene, connection),
        None => Meeting::New,
    };
    match meeting {
        Meeting::Counted => {
            scene.bump(stats::ESTABLISHED);
            PASS
        }
        Meeting::JudgeAgain => {
            if judge_again(&mut scene) {
                PASS
            } else {
                deny(&mut scene)
            }
        }
        Meeting::New | Meeting::Another => {
            if !opens && !may_begin(&mut scene) {
                return DROP;
            }
            admit(&mut scene, matches!(meeting, Meeting::Another));
            PASS
        }
    }
}

/// Who sits behind an interface.
#[inline(always)]
fn endpoint(ifindex: u32) -> Option<*const EndpointEntry> {
    for probe in 0..SLOT_PROBES {
        let slot = ENDPOINTS.get_ptr(slot_index(ifindex, probe))?;
        // SAFETY: from the map lookup just made; `current` is masked to the copies there are.
        unsafe {
            if (*slot).ifindex == ifindex {
                let copy = ((*slot).current & (SLOT_COPIES - 1)) as usize;
                return Some((&raw const (*slot).copies).cast::<EndpointEntry>().add(copy));
            }
        }
    }
    None
}

/// Packets and bytes as they are, or will be, on the wire: a GSO packet is the segments it is
/// cut into, each with a copy of the headers.
#[inline(always)]
fn measure(skb: *mut __sk_buff, scene: &mut Scene) {
    // SAFETY: the context of this very program.
    let (length, size) = unsafe { ((*skb).len, (*skb).gso_size) };
    scene.bytes = length;
    if size == 0 {
        return;
    }
    // SAFETY: as above.
    let mut segments = unsafe { (*skb).gso_segs };
    let header = scene.packet().header_length;
    if segments == 0 && length > header {
        segments = (length - header).div_ceil(size);
    }
    if segments > 1 {
        scene.packets = segments;
        scene.bytes = length + (segments - 1) * header;
    }
}

/// Drops a packet that no policy is asked about.
#[inline(always)]
fn refuse(scene: &mut Scene, reason: u8) -> i32 {
    scene.work_mut().kind.standing = Standing::NotAsked;
    scene.work_mut().judgement = Judgement { verdict: VERDICT_DENY, reason, ..Judgement::ALLOW };
    deny(scene)
}
