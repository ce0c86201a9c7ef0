//! The last thing that was written is not whole.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::bed::{Bed, NODE, alone};
use crate::cluster::Options;
use crate::random::Random;

const ROUNDS: usize = 4;
const WORK: Duration = Duration::from_secs(1);

/// The file of a kind that was written last.
fn newest(directory: &Path, is_one: fn(&str) -> bool) -> PathBuf {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| is_one(entry.file_name().to_str().unwrap()));
    let last = files.max_by_key(|file| file.metadata().unwrap().modified().unwrap());
    last.unwrap_or_else(|| panic!("nothing in {}", directory.display())).path()
}

/// As if a process had died while it wrote: the begin of a record that nobody was told of.
fn tear(file: &Path, random: &mut Random) {
    let before = file.metadata().unwrap().len();
    let len = random.within(1..4_000) as usize;
    let torn: Vec<u8> = match random.within(0..3) {
        // What a file system may leave.
        0 => vec![0; len],
        1 => (0..len).map(|_| random.within(0..256) as u8).collect(),
        // A length that could be, and less than that.
        _ => {
            let rest = (0..len).map(|_| random.within(0..256) as u8);
            (len as u32 + 1_000).to_le_bytes().into_iter().chain(rest).collect()
        }
    };
    println!("{} of {before} bytes: {} more", file.display(), torn.len());
    let mut file = std::fs::OpenOptions::new().append(true).open(file).unwrap();
    file.write_all(&torn).unwrap();
}

#[test]
fn a_torn_end_of_spool_and_log_loses_and_repeats_nothing() {
    alone(|directory| {
        let mut bed = Bed::start(directory, Options::default());
        bed.load(1_000, 500);
        let mut random = Random::new();
        let spool = bed.cluster.state(NODE).join("rows");
        for _ in 0..ROUNDS {
            std::thread::sleep(WORK);
            bed.cluster.kill_relay();
            // The spool has something in it then.
            std::thread::sleep(WORK / 2);
            bed.cluster.kill_collectors();
            tear(&newest(&spool, |name| name == "journal"), &mut random);
            tear(&newest(&spool, |name| name.starts_with("denies-")), &mut random);
            tear(&newest(&spool, |name| name.starts_with("allows-")), &mut random);
            let log = directory.join("store/.wal");
            tear(&newest(&log, |name| name.ends_with(".wal")), &mut random);
            bed.cluster.start_relay();
            bed.cluster.restart_collector(NODE);
        }
        bed.settle_without_loss();
    });
}
