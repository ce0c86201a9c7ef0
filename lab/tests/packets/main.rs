//! Crafted packets through real links and routers at a pod that lets in one port: whatever is odd
//! about them, what policy denies does not arrive, and what it allows does. Needs root.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests may panic and need no docs")]

#[path = "../../../collector/tests/kernel/frame.rs"]
#[allow(dead_code, reason = "the kernel's tests use more of it")]
mod frame;
mod items;
mod live;
mod raw;
mod shot;
mod stage;

use std::collections::BTreeMap;

use items::{Allowed, ITEMS};
use shot::Shot;
use stage::{A, From, OPEN, OUTSIDE, SHUT, Stage};

#[test]
fn no_crafted_packet_leaks_and_none_is_dropped_wrongly() {
    let mut stage = Stage::new(65_536);
    let mut sent: BTreeMap<(u8, bool), u64> = BTreeMap::new();
    let mut arrived: BTreeMap<(u8, bool), u64> = BTreeMap::new();
    let mut number = 0;
    for (item, packets) in (0..).zip(ITEMS) {
        for &from in packets.from {
            for port in [SHUT, OPEN] {
                number += 1;
                let source = if from == From::Pod { A } else { OUTSIDE };
                let shot = Shot { source, port, number, item };
                for packet in (packets.packets)(&shot) {
                    if stage.send(from, packets.tags, &packet) {
                        *sent.entry((item, port == OPEN)).or_default() += 1;
                    }
                }
            }
        }
        stage.arrivals(|frame| {
            if let Some(mark) = Shot::of_mark(frame) {
                *arrived.entry(mark).or_default() += 1;
            }
        });
    }
    let mut wrong = Vec::new();
    println!("| packets | denied: sent | arrived | allowed: sent | arrived | legal |");
    println!("|---|--:|--:|--:|--:|---|");
    for (item, packets) in (0..).zip(ITEMS) {
        let count = |counts: &BTreeMap<(u8, bool), u64>, open| {
            counts.get(&(item, open)).copied().unwrap_or(0)
        };
        let (denied, leaked) = (count(&sent, false), count(&arrived, false));
        let (allowed, came) = (count(&sent, true), count(&arrived, true));
        let name = packets.name;
        println!("| {name} | {denied} | {leaked} | {allowed} | {came} | {:?} |", packets.allowed);
        assert!(denied > 0, "{name}: nothing was sent");
        let right = match packets.allowed {
            Allowed::Arrive => came == allowed,
            Allowed::Whatever => came <= allowed,
            Allowed::Never => came == 0,
        };
        if leaked > 0 || !right {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    stage.scan();
}
