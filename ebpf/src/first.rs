//! The first packet of a connection.

use weir_abi::{PROTOCOL_TCP, event::VERDICT_DENY};

use crate::{
    deny::{deny, fold_known},
    judge::judge,
    maps::EPOCH,
    packet::{LATER_FRAGMENT, OPENS},
    scene::Scene,
};

/// Whether policy lets it through. If not, it is dropped and reported.
#[inline(never)]
pub fn may_begin(scene: &mut Scene) -> bool {
    if fold_known(scene) {
        return false;
    }
    decide(scene);
    if scene.work().judgement.verdict == VERDICT_DENY {
        deny(scene);
        return false;
    }
    true
}

/// Judges it. A TCP packet from the middle of a connection that began before anything was tracked
/// here may be a reply: while the endpoint adopts such connections, it also passes if what it
/// replies to would have been allowed. No connection can be begun that way, for that takes a SYN.
#[inline(always)]
fn decide(scene: &mut Scene) {
    judge(scene);
    if scene.work().judgement.verdict != VERDICT_DENY || !may_be_adopted(scene) {
        return;
    }
    let own = scene.work().judgement;
    scene.reverse();
    judge(scene);
    if scene.work().judgement.verdict == VERDICT_DENY {
        scene.reverse();
        scene.work_mut().judgement = own;
    }
}

/// The packet may be one of a TCP connection that began before the endpoint's enforcement, or whose
/// entry has given way to another's.
#[inline(always)]
pub fn may_be_adopted(scene: &Scene) -> bool {
    scene.packet().protocol == PROTOCOL_TCP
        && !scene.packet().is(OPENS | LATER_FRAGMENT)
        && (scene.now < scene.entry().adopt_until_ns || scene.now < adopted_until())
}

#[inline(always)]
fn adopted_until() -> u64 {
    // SAFETY: from the map lookup just made.
    EPOCH
        .get_ptr(0)
        .map_or(0, |epoch| unsafe { (&raw const (*epoch).adopt_until_ns).read_volatile() })
}
