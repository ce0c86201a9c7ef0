//! Drops a packet: reported if it is the first of its kind, or folded into the entry of it.

use aya_ebpf::{bindings::BPF_NOEXIST, helpers::bpf_ringbuf_submit};
use weir_abi::{
    Address,
    conntrack::{Deny, DenyKey, deny_class},
    endpoint::{AUDIT, READY},
    event::{REASON_DEFAULT_DENY, REASON_SPOOFED_SOURCE},
    stats,
};

use crate::{
    atomic,
    event::{fill, reserve, wakeup},
    first::may_be_adopted,
    judge::{epoch, identity},
    kinds::{Standing, look_up, note},
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
    scene.work_mut().kind.standing = Standing::NotAsked;
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
    look_up(scene, key.hash());
    if scene.work().kind.standing != Standing::HasEntry {
        return false;
    }
    let Some(deny) = DENIES.get_ptr_mut(key.as_key()) else {
        // It was silent for long, or gave way to another.
        scene.work_mut().kind.standing = Standing::First;
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
    if scene.work().kind.standing == Standing::NotAsked {
        look_up(scene, key.hash());
    }
    if scene.work().kind.standing == Standing::HasEntry {
        if let Some(deny) = DENIES.get_ptr_mut(key.as_key()) {
            fold(scene, deny);
            judged(scene, deny);
            return DROP;
        }
        scene.work_mut().kind.standing = Standing::First;
    }
    scene.now = precise_now();
    if scene.work().kind.standing == Standing::Reported && enter(scene, &key) {
        return DROP;
    }
    let event = reserve(&DENY_VERDICTS);
    if event.is_null() {
        if !enter(scene, &key) {
            scene.bump(stats::DENY_TABLE_FAILED);
        }
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
    note(scene, false);
    scene.bump(stats::DENY_SUBMITTED);
    DROP
}

/// Counts the packet in an entry of its own. False: there is no room, and it is not counted.
#[inline(never)]
fn enter(scene: &mut Scene, key: &Key) -> bool {
    let deny = Deny {
        count: 1,
        packets: u64::from(scene.packets),
        bytes: u64::from(scene.bytes),
        first_ns: scene.now,
        last_ns: scene.now,
        rule_set: scene.work().judgement.rule_set_identity,
        epoch: scene.work().epoch,
        source_port: scene.packet().source_port,
        tcp_flags: scene.packet().tcp_flags,
        reason: scene.work().judgement.reason,
        reserved: 0,
    };
    if DENIES.insert(key.as_key(), &deny, u64::from(BPF_NOEXIST)).is_ok() {
        let reported = scene.work().kind.standing == Standing::Reported;
        scene.bump(if reported { stats::DENY_FOLDED } else { stats::DENY_FAILED });
        scene.bump(stats::DENY_INSERTED);
    } else if let Some(deny) = DENIES.get_ptr_mut(key.as_key()) {
        // Its word was overwritten, or another CPU was first.
        fold(scene, deny);
        judged(scene, deny);
    } else {
        return false;
    }
    note(scene, true);
    true
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

    /// Spreads kinds evenly. Each word is multiplied for itself, which a processor does at once.
    #[inline(always)]
    fn hash(&self) -> u64 {
        // SAFETY: the same size, and eight bytes are aligned like them.
        let words: &[u64; 7] = unsafe { &*core::ptr::from_ref(self).cast() };
        let mut hash = 0_u64;
        for (word, factor) in words.iter().zip(FACTORS) {
            hash = hash.wrapping_add(word.wrapping_mul(factor));
        }
        hash ^= hash >> 32;
        hash = hash.wrapping_mul(FACTORS[0]);
        hash ^ hash >> 29
    }
}

/// Odd, and otherwise arbitrary: the fractional parts of the square roots of the first primes.
const FACTORS: [u64; 7] = [
    0x6a09_e667_f3bc_c909,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
    0x9b05_688c_2b3e_6c1f,
    0x1f83_d9ab_fb41_bd6b,
];

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
