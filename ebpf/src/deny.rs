//! Drops a packet: folded into the entry of its kind, or reported if it is the first of it.

use aya_ebpf::{
    bindings::{BPF_NOEXIST, BPF_RB_NO_WAKEUP},
    helpers::{bpf_ringbuf_discard, bpf_ringbuf_submit},
};
use weir_abi::{
    Address,
    conntrack::{Deny, DenyKey, EVENT_SUBMITTED},
    event::REASON_SPOOFED_SOURCE,
    stats,
};

use crate::{
    atomic,
    event::{fill, reserve, wakeup},
    judge::identity,
    maps::{DENIES, DENY_VERDICTS},
    packet::Words,
    scene::{DROP, Scene, precise_now},
};

#[inline(never)]
pub fn deny(scene: &mut Scene) -> i32 {
    scene.bump(stats::DENIED);
    let key = key(scene);
    if let Some(deny) = DENIES.get_ptr_mut(key.as_key()) {
        fold(scene, deny);
        return DROP;
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
        rule_set: scene.judgement.rule_set_identity,
        flags: if event.is_null() { 0 } else { EVENT_SUBMITTED },
        event_packets: scene.packets,
        event_bytes: scene.bytes,
        source_port: scene.packet().source_port,
        tcp_flags: scene.packet().tcp_flags,
        reserved: [0; 5],
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
        if scene.judgement.identity == 0 {
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

/// [`DenyKey`] in words.
#[repr(C)]
struct Key {
    remote: Words,
    revision: u64,
    endpoint: u32,
    destination_port: u16,
    protocol: u8,
    direction: u8,
    reason: u8,
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
fn key(scene: &Scene) -> Key {
    let packet = scene.packet();
    Key {
        remote: scene.remote(),
        revision: scene.endpoint().revision,
        endpoint: scene.endpoint().endpoint,
        destination_port: packet.destination_port,
        protocol: packet.protocol,
        direction: scene.direction,
        reason: scene.judgement.reason,
        icmp_type: packet.icmp_type,
        icmp_code: packet.icmp_code,
        reserved: [0; 5],
        claimed: if scene.judgement.reason == REASON_SPOOFED_SOURCE {
            packet.source
        } else {
            Words::ZERO
        },
    }
}
