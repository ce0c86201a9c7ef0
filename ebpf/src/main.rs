//! Weir's kernel programs: two classifiers on the host side of each pod's veth.
//!
//! `from_pod` (tcx ingress) sees what the pod sends, `to_pod` (tcx egress) what it gets. Both
//! decide each connection, count each packet and report each verdict; [`classify`] tells the
//! story. `empty` and `fresh` are for benchmarks: what a program costs that does nothing, and
//! `from_pod` on a packet that is another connection's each time.
//!
//! A packet that may pass leaves with `TC_ACT_UNSPEC`, so that other programs on the same hook
//! still see it.

#![no_std]
#![no_main]
#![allow(internal_features, reason = "atomic additions have no stable form for this target")]
#![feature(core_intrinsics)]

mod atomic;
mod classify;
mod conntrack;
mod deny;
mod event;
mod first;
mod fragment;
mod judge;
mod kinds;
mod maps;
mod packet;
mod parse;
mod parse_slow;
mod related;
mod scene;
mod stats;

use aya_ebpf::{macros::classifier, programs::TcContext};
use weir_abi::{DIRECTION_EGRESS, DIRECTION_INGRESS};

#[classifier]
pub fn from_pod(context: TcContext) -> i32 {
    classify::classify(context.skb.skb, DIRECTION_EGRESS)
}

#[classifier]
pub fn to_pod(context: TcContext) -> i32 {
    classify::classify(context.skb.skb, DIRECTION_INGRESS)
}

#[classifier]
pub fn empty(_context: TcContext) -> i32 {
    scene::PASS
}

/// Adds one to the port at offset `mark` before judging the packet.
#[classifier]
pub fn fresh(context: TcContext) -> i32 {
    let skb = context.skb.skb;
    // SAFETY: the context of this very program; the verifier checks the access.
    unsafe {
        let (data, end) = ((*skb).data as usize, (*skb).data_end as usize);
        let offset = (*skb).mark as usize & 0x3f;
        if data + offset + 2 > end {
            return scene::PASS;
        }
        let port = (data + offset) as *mut u16;
        *port = u16::from_be(*port).wrapping_add(1).to_be();
    }
    classify::classify(skb, DIRECTION_EGRESS)
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
