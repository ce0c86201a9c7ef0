//! The wall clock jumps under collector and relay, forth and back.
//!
//! It is the processes' own clock that jumps, by libfaketime, since other work on the machine needs
//! the true one; the monotonic clock, which the kernel programs use too, goes on as it does.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::bed::{Bed, NODE, alone};
use crate::cluster::Options;

const HOUR: i64 = 3_600;
/// How long the processes work between two jumps.
const WORK: Duration = Duration::from_secs(3);

fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap();
    let found = folders
        .map(|folder| folder.unwrap().path().join("faketime/libfaketimeMT.so.1"))
        .find(|path| path.exists());
    found.expect("Debian's package faketime is needed: scripts/setup test")
}

/// Sets the clock of the processes that much ahead.
fn set(file: &Path, ahead_s: i64) {
    let hidden = file.with_extension("new");
    std::fs::write(&hidden, format!("{ahead_s:+}\n")).unwrap();
    std::fs::rename(hidden, file).unwrap();
}

fn options(directory: &Path) -> (Options, PathBuf) {
    let file = directory.join("clock");
    set(&file, 0);
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let environment = vec![
        variable("LD_PRELOAD", library().to_str().unwrap()),
        variable("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap()),
        variable("FAKETIME_CACHE_DURATION", "1"),
        variable("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        variable("DONT_FAKE_MONOTONIC", "1"),
    ];
    (Options { environment, ..Options::default() }, file)
}

#[test]
fn a_clock_that_jumps_an_hour_either_way_loses_and_repeats_nothing() {
    alone(|directory| {
        let (options, clock) = options(directory);
        let mut bed = Bed::start(directory, options);
        bed.load(500, 250);
        std::thread::sleep(WORK);
        for ahead in [HOUR, 0, -HOUR] {
            set(&clock, ahead);
            std::thread::sleep(WORK);
            // Whoever starts now has only this clock.
            bed.cluster.kill_relay();
            bed.cluster.kill_collectors();
            bed.cluster.start_relay();
            bed.cluster.start_collector(NODE);
            std::thread::sleep(WORK);
        }
        bed.settle_without_loss();
        let spread = "select extract(epoch from max(end_time)) - extract(epoch from min(time)) as s \
                      from flows";
        let rows = bed.cluster.query.sql(spread);
        let seconds = rows[0]["s"].as_f64().unwrap();
        assert!(seconds > 1.9 * HOUR as f64, "the clock did jump: {seconds}");
    });
}
