//! Events, and when they wake their reader.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::bpf_ringbuf_reserve,
    maps::RingBuf,
};
use weir_abi::{Address, event::VerdictEvent};

use crate::{packet::Words, scene::Scene};

/// An event with the ring's own header.
const RECORD: u64 = size_of::<VerdictEvent>() as u64 + 8;
/// The reader is woken for the first event after it has given back everything, and for each such
/// amount of data, about 680 events; for what is between it looks by itself every few milliseconds.
/// Waking it for each event costs more than judging the packet.
const WAKEUP_EVERY: u64 = 64 << 10;

/// Room for an event, or null.
#[inline(always)]
pub fn reserve(ring: &'static RingBuf) -> *mut VerdictEvent {
    let ring = core::ptr::from_ref(ring).cast_mut().cast();
    // SAFETY: a ring buffer map; each caller submits or discards what it gets.
    unsafe { bpf_ringbuf_reserve(ring, size_of::<VerdictEvent>() as u64, 0).cast() }
}

/// How to submit an event that was just reserved.
#[inline(always)]
pub fn wakeup(ring: &RingBuf) -> u64 {
    let waiting = ring.query(u64::from(BPF_RB_AVAIL_DATA));
    u64::from(if waiting % WAKEUP_EVERY <= RECORD { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP })
}

/// Writes down what happened.
///
/// # Safety
/// `event` was reserved and is not null.
#[inline(always)]
pub unsafe fn fill(event: *mut VerdictEvent, scene: &Scene) {
    let packet = scene.packet();
    let judgement = &scene.work().judgement;
    // SAFETY: per this function's contract. Field by field, since the whole would be built on the
    // stack first.
    unsafe {
        (*event).time_ns = scene.now;
        (*event).revision = scene.endpoint().revision;
        store(&raw mut (*event).source, packet.source);
        store(&raw mut (*event).destination, packet.destination);
        (*event).endpoint = scene.endpoint().endpoint;
        (*event).remote_identity = judgement.identity;
        (*event).rule_set_identity = judgement.rule_set_identity;
        (*event).rule_set_cidr = judgement.rule_set_cidr;
        (*event).bytes = scene.bytes;
        (*event).packets = scene.packets;
        (*event).source_port = packet.source_port;
        (*event).destination_port = packet.destination_port;
        (*event).protocol = packet.protocol;
        (*event).verdict = judgement.verdict;
        (*event).reason = judgement.reason;
        (*event).direction = scene.direction;
        (*event).tcp_flags = packet.tcp_flags;
        (*event).icmp_type = packet.icmp_type;
        (*event).icmp_code = packet.icmp_code;
        (*event).reserved = [0; 5];
    }
}

/// # Safety
/// `to` is an address within an event, on a multiple of eight.
#[inline(always)]
unsafe fn store(to: *mut Address, words: Words) {
    // SAFETY: per this function's contract.
    unsafe { *to.cast() = words };
}
