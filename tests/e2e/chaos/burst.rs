//! More verdicts at once than anybody can take.

use std::time::{Duration, Instant};

use super::bed::{Bed, Verdicts, alone};
use super::load::Aim;
use crate::cluster::Options;

/// Verdicts back to back.
const BURST: u64 = 65_536;
/// How long more comes than is read.
const FLOOD: Duration = Duration::from_secs(5);
/// Packets of one kind before the next, and how often at most: a machine that is fast enough is
/// done before.
const TURN: u64 = 512;
const TURNS: u64 = 300;

#[test]
fn no_deny_of_a_burst_is_lost_and_all_else_is_counted() {
    alone(|directory| {
        let mut bed = Bed::start(directory, Options::default());
        // 65,535 kinds, then one that folds.
        bed.sender(Aim::ShutAndNew).send(BURST - 1);
        bed.sender(Aim::Shut).send(1);
        bed.sender(Aim::Open).send(BURST);
        let account = bed.settle();
        assert!(account.rows.deny >= BURST, "{account:?}");
        assert_eq!(account.lost.deny, 0, "{account:?}");
    });
}

#[test]
fn no_deny_of_a_flood_is_lost_and_all_else_is_counted() {
    alone(|directory| {
        let mut bed = Bed::start(directory, Options::default());
        let (mut open, mut shut) = (bed.sender(Aim::Open), bed.sender(Aim::Shut));
        let begun = Instant::now();
        for _ in 0..TURNS {
            open.send(TURN);
            shut.send(TURN);
            if begun.elapsed() > FLOOD {
                break;
            }
        }
        let Verdicts { allow, deny } = bed.generated();
        let a_second = (allow + deny) as f64 / begun.elapsed().as_secs_f64();
        println!("{a_second:.0} verdicts a second");
        let account = bed.settle();
        assert_eq!(account.lost.deny, 0, "{account:?}");
    });
}
