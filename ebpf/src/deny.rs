//! Drops a packet: folded into the entry of its kind, or reported if it is the first of it.

use aya_ebpf::{
    bindings::{BPF_NOEXIST, BPF_RB_NO_WAKEUP},
    helpers::{bpf_ringbuf_discard, bpf_ringbuf_submit},
};
use weir_abi::{
    Address,
    conntrack::{Deny, DenyKey, EVENT_SUBMITTED, deny_class},
    endpoint::{AUDIT, READY},
    event::{REASON_DEFAULT_DENY, REASON_SPOOFED_SOURCE},
    stats,
};

use crate::{
    atomic,
    event::{fill, reserve, wakeup},
    first::may_be_adopted,
    judge::{epoch, identity},
    maps::{DENIES, DENY_VERDICTS},
    packet::Words,
    scene::{DROP, Scene, isolation, precise_now, tiers},
};

/// Folds a packet that policy would deny for all that is known, without asking it again. False:
/// policy has to be asked.
///
/// Within a revision its answer depends on nothing but what is in the key and in the maps that
/// `EPOCH` watches, unless the packet may be one of a connection that began before the endpoint's
/// enforcement, or belongs to another one.
#[inline(never)]
pub fn fold_known(scene: &mut Scene) -> bool {
    scene.work_mut().epoch = epoch();
    scene.work_mut().is_first_deny = false;
    let endpoint = scene.endpoint();
    let decides = isolation(scene.direction) | tiers(scene.direction);
    if endpoint.flags & (READY | AUDIT) != READY
        || endpoint.enforced.flags & decides == 0
        || scene.related
        || may_be_adopted(scene)
    {
        return false;
    }
    let key = key(scene, REASON_DEFAULT_DENY);
    let Some(deny) = DENIES.get_ptr_mut(key.as_key()) else {
        scene.work_mut().is_first_deny = true;
        return false;
    };
    // SAFETY: from the map lookup just made.
    if unsafe { (*deny).epoch } != scene.work().epoch {
        return false;
    }
    scene.bump(stats::DENIED);
    fold(scene, deny);
    true
}

/// Drops a packet that was judged.
#[inline(never)]
pub fn deny(scene: &mut Scene) -> i32 {
    scene.bump(stats::DENIED);
    let key = key(scene, deny_class(scene.work().judgement.reason));
    if !scene.work().is_first_deny {
        if let Some(deny) = DENIES.get_ptr_mut(key.as_key()) {
            fold(scene, deny);
            judged(scene, deny);
            return DROP;
        }
    }
    scene.now = precise_now();
    // The event is reserved first, because the entry must say whether there is one.
    let event = reserve(&DENY_VERDICTS);
    let deny = Deny {
        count: 1,
        packets: u64::from(scene.packets),
        bytes: u64::from(scene.bytes),
        first_ns: scene.now,
        last_ns: scene.now,
        rule_set: scene.work().judgement.rule_set_identity,
        flags: if event.is_null() { 0 } else { EVENT_SUBMITTED },
        event_packets: scene.packets,
        event_bytes: scene.bytes,
        source_port: scene.packet().source_port,
        tcp_flags: scene.packet().tcp_flags,
        reason: scene.work().judgement.reason,
        epoch: scene.work().epoch,
    };
    let inserted = DENIES.insert(key.as_key(), &deny, u64::from(BPF_NOEXIST)).is_ok();
    if !inserted {
        if let Some(deny) = DENIES.get_ptr_mut(key.as_key()) {
            // Another CPU was first.
            if !event.is_null() {
                // SAFETY: reserved above, given back once.
                unsafe { bpf_ringbuf_discard(event.cast(), u64::from(BPF_RB_NO_WAKEUP)) };
            }
            fold(scene, deny);
            judged(scene, deny);
            return DROP;
        }
    } else {
        scene.bump(stats::DENY_INSERTED);
    }
    if event.is_null() {
        scene.bump(if inserted { stats::DENY_FAILED } else { stats::DENY_TABLE_FAILED });
        return DROP;
    }
    // SAFETY: reserved above and not null.
    unsafe {
        fill(event, scene);
        if scene.work().judgement.identity == 0 {
            (*event).remote_identity = identity(scene.remote());
        }
    }
    let wakeup = wakeup(&DENY_VERDICTS);
    // SAFETY: as above, given back once.
    unsafe { bpf_ringbuf_submit(event.cast(), wakeup) };
    scene.bump(stats::DENY_SUBMITTED);
    DROP
}

#[inline(always)]
fn fold(scene: &Scene, deny: *mut Deny) {
    // SAFETY: from a map lookup of this very packet; so in all of this function.
    let deny = unsafe { &mut *deny };
    // SAFETY: as above.
    unsafe {
        atomic::add(&raw mut deny.count, 1);
        atomic::add(&raw mut deny.packets, u64::from(scene.packets));
        atomic::add(&raw mut deny.bytes, u64::from(scene.bytes));
    }
    if scene.now > deny.last_ns {
        deny.last_ns = scene.now;
    }
    deny.tcp_flags |= scene.packet().tcp_flags;
    scene.bump(stats::DENY_FOLDED);
}

/// Notes what policy says now of a kind that it was asked about before.
#[inline(always)]
fn judged(scene: &Scene, deny: *mut Deny) {
    // SAFETY: from a map lookup of this very packet. CPUs that race here write what policy said
    // about the same time, and the epoch last: an answer is never older than it claims.
    unsafe {
        (*deny).rule_set = scene.work().judgement.rule_set_identity;
        (*deny).reason = scene.work().judgement.reason;
        (&raw mut (*deny).epoch).write_volatile(scene.work().epoch);
    }
}

/// [`DenyKey`] in words.
#[repr(C)]
struct Key {
    remote: Words,
    revision: u64,
    endpoint: u32,
    destination_port: u16,
    protocol: u8,
    direction: u8,
    class: u8,
    icmp_type: u8,
    icmp_code: u8,
    reserved: [u8; 5],
    claimed: Words,
}

const _: () = assert!(size_of::<Key>() == size_of::<DenyKey>());
const _: () = assert!(size_of::<Words>() == size_of::<Address>());

impl Key {
    #[inline(always)]
    fn as_key(&self) -> &DenyKey {
        // SAFETY: the same layout, and every bit pattern is valid.
        unsafe { &*core::ptr::from_ref(self).cast() }
    }
}

#[inline(always)]
fn key(scene: &Scene, class: u8) -> Key {
    let packet = scene.packet();
    Key {
        remote: scene.remote(),
        revision: scene.endpoint().revision,
        endpoint: scene.endpoint().endpoint,
        destination_port: packet.destination_port,
        protocol: packet.protocol,
        direction: scene.direction,
        class,
        icmp_type: packet.icmp_type,
        icmp_code: packet.icmp_code,
        reserved: [0; 5],
        claimed: if class == REASON_SPOOFED_SOURCE { packet.source } else { Words::ZERO },
    }
}
