//! Tracked connections: counting their packets, and telling when a packet begins another one.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    helpers::{bpf_ringbuf_discard, bpf_ringbuf_submit},
};
use weir_abi::{
    PROTOCOL_TCP,
    conntrack::{
        ClosedKey, Connection, EVENT_SUBMITTED, FIN_FORWARD, FIN_REPLY, HANDSHAKE, MID_STREAM,
        REPLIED, RESET, TIMEOUT_TCP_CLOSED_NS, is_closed, timeout_ns,
    },
    endpoint::{CUT_ESTABLISHED, NO_ALLOW_EVENTS},
    event::VERDICT_DENY,
    stats,
};

use crate::{
    atomic,
    event::{fill, reserve, wakeup},
    judge::{epoch, judge},
    kinds::Standing,
    maps::{CLOSED, CONNTRACK, VERDICTS},
    packet::{FIN, OPENS, RST, SYN},
    scene::{Scene, precise_now},
};

/// What a packet is to the entry found under its key.
pub enum Meeting {
    /// One of its packets, and counted.
    Counted,
    /// There is no entry.
    New,
    /// The first packet of another connection.
    Another,
    /// One of its packets, but policy has changed.
    JudgeAgain,
}

/// No connection expires within this.
const SHORTEST_TIMEOUT_NS: i64 = TIMEOUT_TCP_CLOSED_NS as i64;

#[inline(always)]
pub fn meet(scene: &Scene, entry: *mut Connection) -> Meeting {
    // SAFETY: from the map lookup of this very packet.
    let connection = unsafe { &*entry };
    let forward = connection.direction == scene.direction;
    // Another CPU may have been here since this one looked at the clock.
    let silence = scene.now.wrapping_sub(connection.last_ns) as i64;
    if silence > SHORTEST_TIMEOUT_NS
        && silence > timeout_ns(scene.packet().protocol, connection.flags) as i64
    {
        return Meeting::Another;
    }
    // A SYN from the other side never belongs to this connection; one from the initiator is a
    // repetition only as long as it has sent nothing else.
    if scene.packet().is(OPENS)
        && (!forward || connection.flags & HANDSHAKE != 0 || is_closed(connection.flags))
    {
        return Meeting::Another;
    }
    let endpoint = scene.endpoint();
    if endpoint.flags & CUT_ESTABLISHED != 0 && endpoint.revision != connection.revision {
        return Meeting::JudgeAgain;
    }
    count(scene, entry, forward);
    Meeting::Counted
}

/// Adds the packet to the entry's counters and its flags to the entry's.
#[inline(always)]
fn count(scene: &Scene, entry: *mut Connection, forward: bool) {
    // SAFETY: `entry` is from a map lookup of this very packet; so in all of this function.
    let connection = unsafe { &mut *entry };
    let (packets, bytes) = if forward {
        (&raw mut connection.packets, &raw mut connection.bytes)
    } else {
        (&raw mut connection.reply_packets, &raw mut connection.reply_bytes)
    };
    // SAFETY: as above.
    unsafe {
        atomic::add(packets, u64::from(scene.packets));
        atomic::add(bytes, u64::from(scene.bytes));
    }
    let mut now = scene.now;
    let mut flags = 0;
    if !forward {
        flags = REPLIED;
        if connection.flags & REPLIED == 0 {
            now = precise_now();
            connection.reply_delay_ns = now.saturating_sub(connection.first_ns);
        }
    }
    touch(connection, now);
    if scene.packet().protocol == PROTOCOL_TCP {
        let tcp_flags = scene.packet().tcp_flags;
        flags |= tcp_state(tcp_flags, forward);
        if tcp_flags & !connection.tcp_flags != 0 {
            // SAFETY: the aligned word whose last byte is `tcp_flags`.
            unsafe { atomic::or(word(entry, 80), u64::from(tcp_flags) << 56) };
        }
    }
    if flags & !connection.flags != 0 {
        // SAFETY: the aligned word whose first half is `flags`.
        unsafe { atomic::or(word(entry, 72), u64::from(flags)) };
    }
}

const _: () = assert!(core::mem::offset_of!(Connection, flags) == 72);
const _: () = assert!(core::mem::offset_of!(Connection, tcp_flags) == 87);

/// Notes the time of a packet. It may be a tick old, and the entry's not, or another CPU's.
#[inline(always)]
fn touch(connection: &mut Connection, now: u64) {
    if now > connection.last_ns {
        connection.last_ns = now;
    }
}

#[inline(always)]
fn word(entry: *mut Connection, offset: usize) -> *mut u64 {
    // SAFETY: within the entry.
    unsafe { entry.cast::<u8>().add(offset).cast() }
}

#[inline(always)]
fn tcp_state(tcp_flags: u8, forward: bool) -> u32 {
    let mut state = 0;
    if tcp_flags & FIN != 0 {
        state |= if forward { FIN_FORWARD } else { FIN_REPLY };
    }
    if tcp_flags & RST != 0 {
        state |= RESET;
    }
    // A later fragment has no flags at all.
    if forward && tcp_flags & SYN == 0 && tcp_flags != 0 {
        state |= HANDSHAKE;
    }
    state
}

/// Asks the policy of now about a connection that an earlier one allowed. True: it may go on.
#[inline(never)]
pub fn judge_again(scene: &mut Scene) -> bool {
    let Some(entry) = CONNTRACK.get_ptr_mut(scene.key.as_key()) else { return true };
    // SAFETY: from the map lookup just made; so in all of this function.
    let direction = unsafe { (*entry).direction };
    if direction != scene.direction {
        scene.reverse();
    }
    scene.work_mut().epoch = epoch();
    scene.work_mut().kind.standing = Standing::NotAsked;
    judge(scene);
    if scene.work().judgement.verdict == VERDICT_DENY {
        // The entry stays, so that the packets of this connection are known for what they are and
        // not taken for the first ones of another.
        // SAFETY: as above.
        touch(unsafe { &mut *entry }, scene.now);
        return false;
    }
    let revision = scene.endpoint().revision;
    // SAFETY: as above. CPUs that race here write the same.
    unsafe {
        (*entry).rule_set_identity = scene.work().judgement.rule_set_identity;
        (*entry).rule_set_cidr = scene.work().judgement.rule_set_cidr;
        (*entry).reason = scene.work().judgement.reason;
        (*entry).verdict = scene.work().judgement.verdict;
        (*entry).revision = revision;
    }
    count(scene, entry, !scene.reply);
    scene.bump(stats::ESTABLISHED);
    true
}

/// Tracks a connection that is allowed, and reports it. `another`: an entry is in its place.
#[inline(never)]
pub fn admit(scene: &mut Scene, another: bool) {
    scene.now = precise_now();
    if another {
        retire(scene);
    }
    let announced = scene.endpoint().flags & NO_ALLOW_EVENTS == 0;
    // The event is reserved first, because the entry must say whether there is one.
    let event = if announced { reserve(&VERDICTS) } else { core::ptr::null_mut() };
    let flags = if event.is_null() { 0 } else { EVENT_SUBMITTED };
    let connection = begin(scene, flags);
    let flag = if another { BPF_ANY } else { BPF_NOEXIST };
    let inserted = CONNTRACK.insert(scene.key.as_key(), &connection, u64::from(flag)).is_ok();
    if !inserted && !another {
        if let Some(entry) = CONNTRACK.get_ptr_mut(scene.key.as_key()) {
            // Another CPU was first; its connection is this one.
            if !event.is_null() {
                // SAFETY: reserved above, given back once.
                unsafe {
                    bpf_ringbuf_discard(
                        event.cast(),
                        u64::from(aya_ebpf::bindings::BPF_RB_NO_WAKEUP),
                    )
                };
            }
            count(scene, entry, !scene.reply);
            scene.bump(stats::ESTABLISHED);
            return;
        }
    }
    scene.bump(stats::ALLOWED);
    scene.bump(if inserted { stats::CONNTRACK_INSERTED } else { stats::CONNTRACK_FAILED });
    if event.is_null() {
        scene.bump(if !inserted {
            stats::ALLOW_LOST
        } else if announced {
            stats::ALLOW_FAILED
        } else {
            stats::ALLOW_UNANNOUNCED
        });
        return;
    }
    // SAFETY: reserved above and not null.
    unsafe { fill(event, scene) };
    if scene.reply {
        // The event's counters are the initiator's.
        // SAFETY: as above.
        unsafe {
            (*event).packets = 0;
            (*event).bytes = 0;
        }
    }
    let wakeup = wakeup(&VERDICTS);
    // SAFETY: as above, given back once.
    unsafe { bpf_ringbuf_submit(event.cast(), wakeup) };
    scene.bump(stats::ALLOW_SUBMITTED);
}

/// The entry of a connection whose first seen packet this is.
#[inline(always)]
fn begin(scene: &Scene, event: u32) -> Connection {
    let packet = scene.packet();
    let mut flags = event;
    if packet.protocol == PROTOCOL_TCP {
        flags |= tcp_state(packet.tcp_flags, !scene.reply);
        if !packet.is(OPENS) {
            flags |= HANDSHAKE | MID_STREAM;
        }
    }
    let (packets, bytes) = (u64::from(scene.packets), u64::from(scene.bytes));
    let mut connection = Connection {
        packets,
        bytes,
        reply_packets: 0,
        reply_bytes: 0,
        first_ns: scene.now,
        last_ns: scene.now,
        reply_delay_ns: 0,
        revision: scene.endpoint().revision,
        rule_set_identity: scene.work().judgement.rule_set_identity,
        rule_set_cidr: scene.work().judgement.rule_set_cidr,
        flags,
        event_packets: scene.packets,
        event_bytes: scene.bytes,
        reason: scene.work().judgement.reason,
        verdict: scene.work().judgement.verdict,
        direction: scene.direction,
        tcp_flags: packet.tcp_flags,
        icmp_type: packet.icmp_type,
        icmp_code: packet.icmp_code,
        reserved: [0; 6],
    };
    if scene.reply {
        connection.packets = 0;
        connection.bytes = 0;
        connection.reply_packets = packets;
        connection.reply_bytes = bytes;
        connection.event_packets = 0;
        connection.event_bytes = 0;
        connection.flags |= REPLIED;
    }
    connection
}

/// Moves the entry that is to be replaced to where its counters are still reported from.
#[inline(always)]
fn retire(scene: &Scene) {
    let Some(entry) = CONNTRACK.get_ptr_mut(scene.key.as_key()) else { return };
    // SAFETY: from the map lookup just made.
    let old = unsafe { &*entry };
    let key = ClosedKey { connection: *scene.key.as_key(), first_ns: old.first_ns };
    // Without room it counts among the connections that gave way.
    let _ = CLOSED.insert(&key, old, u64::from(BPF_ANY));
    scene.bump(stats::REOPENED);
}
