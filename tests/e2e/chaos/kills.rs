//! Collector and relay are killed at random moments.

use super::bed::{Bed, NODE, alone};
use crate::cluster::Options;
use crate::random::Random;

const KILLS: usize = 50;
/// Time between two kills: from the middle of a start to a while of work.
const LIFE_MS: std::ops::Range<u64> = 20..1_300;

#[test]
fn fifty_kills_of_collector_and_relay_lose_and_repeat_nothing() {
    alone(|directory| {
        let mut bed = Bed::start(directory, Options::default());
        bed.load(1_000, 500);
        let mut random = Random::new();
        let mut kills = 0;
        while kills < KILLS {
            random.wait(LIFE_MS);
            let (collector, relay) =
                [(true, false), (false, true), (true, true)][random.within(0..3) as usize];
            if relay {
                bed.cluster.kill_relay();
                kills += 1;
            }
            if collector {
                bed.cluster.kill_collectors();
                kills += 1;
            }
            // Sometimes one is gone for a while.
            random.wait(0..200);
            if relay {
                bed.cluster.launch_relay();
            }
            if collector {
                bed.cluster.start_collector(NODE);
            }
        }
        bed.settle_without_loss();
    });
}
