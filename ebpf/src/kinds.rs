//! Which kinds of denied attempts there were lately, a word each: the first attempt of a kind is
//! reported by its event and leaves a word here, the second one gets an entry in `DENIES`. So a
//! scan, whose attempts are all of different kinds, neither pays for entries nor takes others'.
//!
//! Nothing is counted here. A word that is overwritten, or that two kinds share, decides only
//! whether an attempt goes into an event or into an entry: each goes into exactly one.

use weir_abi::conntrack::DENY_IDLE_NS;

use crate::{
    maps::KINDS,
    scene::{Scene, Work},
};

/// Words in a set, half a cache line.
const WAYS: usize = 4;
/// As many kinds as `DENIES` has room for.
pub const SETS: u32 = 4_096;

/// Words whose hashes are alike in the bits that tell sets apart.
pub type Set = [u64; WAYS];

/// The upper bits of a word are the hash of its kind.
const TAG: u64 = !0 << TAG_SHIFT;
const TAG_SHIFT: u32 = 24;
/// The kind has an entry in `DENIES`, or had one.
const HAS_ENTRY: u64 = 1;
/// Between: when its event was, in units of 2³⁰ ns, as far as there is room.
const TIME: u64 = !TAG & !HAS_ENTRY;
const TIME_SHIFT: u32 = 29;
const FRESH_FOR: u64 = (DENY_IDLE_NS >> TIME_SHIFT) & TIME;

/// What is known of a packet's kind.
#[repr(C)]
pub struct Kind {
    /// The word for it, with the time of now.
    word: u64,
    set: u32,
    /// Where its word is, or may go.
    way: u32,
    pub standing: Standing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Standing {
    /// It was not looked for.
    NotAsked = 0,
    /// It is the first attempt, or the first after a silence.
    First = 1,
    /// One was reported by an event, not long ago.
    Reported = 2,
    /// It should have an entry.
    HasEntry = 3,
}

/// Looks the kind with this hash up.
#[inline(always)]
pub fn look_up(scene: &mut Scene, hash: u64) {
    let time = (scene.now >> TIME_SHIFT) & TIME;
    let work = scene.work_mut();
    work.kind.word = hash & TAG | time;
    // Of the bits that are no tag.
    work.kind.set = (hash as u32 >> 3) & (SETS - 1);
    work.kind.way = hash as u32 & (WAYS as u32 - 1);
    weir_kind(work);
}

/// A global function, see `weir_judge`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_kind(work: *mut Work) -> u32 {
    // SAFETY: memory of a map, found for this very packet, or null.
    let Some(work) = (unsafe { work.as_mut() }) else { return 0 };
    let kind = &mut work.kind;
    kind.standing = Standing::First;
    let Some(set) = KINDS.get_ptr(kind.set) else { return 0 };
    for way in 0..WAYS {
        // SAFETY: from the map lookup just made. Other CPUs write whole words.
        let word = unsafe { (*set)[way] };
        if (word ^ kind.word) & TAG == 0 {
            kind.way = way as u32;
            if word & HAS_ENTRY != 0 {
                kind.standing = Standing::HasEntry;
            } else if kind.word.wrapping_sub(word) & TIME <= FRESH_FOR {
                kind.standing = Standing::Reported;
            }
            return 0;
        }
    }
    // Those that fold keep their word as long as there is another.
    for way in 0..WAYS as u32 {
        // SAFETY: as above; the index is masked.
        if unsafe { (*set)[kind.way as usize & (WAYS - 1)] } & HAS_ENTRY == 0 {
            break;
        }
        kind.way = way;
    }
    0
}

/// Notes what has become of the attempt.
#[inline(always)]
pub fn note(scene: &mut Scene, has_entry: bool) {
    let kind = &scene.work().kind;
    let Some(set) = KINDS.get_ptr_mut(kind.set) else { return };
    let word = if has_entry { kind.word | HAS_ENTRY } else { kind.word };
    // SAFETY: from the map lookup just made; the index is masked.
    unsafe { (*set)[kind.way as usize & (WAYS - 1)] = word };
}
