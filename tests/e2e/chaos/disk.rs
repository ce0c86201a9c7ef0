//! A disk is full, and then there is room again.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::bed::{Account, Bed, NODE, Verdicts, alone};
use crate::cluster::Options;

/// Large enough for what is on it while there is room.
const DISK_BYTES: u64 = 256 << 20;
const WORK: Duration = Duration::from_secs(2);
/// How long the disk is full.
const FULL: Duration = Duration::from_secs(5);

/// A disk of its own at a directory, which only this thread and its children see.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: PathBuf) -> Self {
        std::fs::create_dir_all(&at).unwrap();
        let path = std::ffi::CString::new(at.to_str().unwrap()).unwrap();
        let options = std::ffi::CString::new(format!("size={DISK_BYTES}")).unwrap();
        // SAFETY: strings that end with a zero.
        let mounted = unsafe {
            let kind = c"tmpfs".as_ptr();
            libc::mount(kind, path.as_ptr(), kind, 0, options.as_ptr().cast())
        };
        assert_eq!(mounted, 0, "{}", std::io::Error::last_os_error());
        Self(at)
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Takes all the room there is.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.ballast()).unwrap();
        let block = vec![1; 64 << 10];
        while file.write_all(&block).is_ok() {}
        while file.write_all(&[1]).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let path = std::ffi::CString::new(self.0.to_str().unwrap()).unwrap();
        // SAFETY: a string that ends with a zero.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    }
}

/// A disk below the processes' files is full for a while, and `meanwhile` happens. What is lost then
/// is in the ledger.
fn full_for_a_while(at: fn(&Path) -> PathBuf, meanwhile: fn(&mut Bed)) -> Account {
    let (tell, told) = std::sync::mpsc::channel();
    alone(move |directory| {
        let disk = Disk::mount(at(directory));
        let mut bed = Bed::start(directory, Options::default());
        bed.load(1_000, 500);
        std::thread::sleep(WORK);
        disk.fill();
        std::thread::sleep(FULL);
        meanwhile(&mut bed);
        disk.free();
        std::thread::sleep(WORK);
        tell.send(bed.settle()).unwrap();
    });
    told.recv().unwrap()
}

fn nothing_is_lost(account: &Account) {
    assert_eq!((account.lost, account.other.len()), (Verdicts::default(), 0), "{account:?}");
}

#[test]
fn a_full_disk_of_the_collector_loses_no_deny_and_counts_what_it_loses() {
    let state = |directory: &Path| directory.join(format!("state-{NODE}"));
    let account = full_for_a_while(state, |_| {});
    assert_eq!((account.lost.deny, account.other.len()), (0, 0), "{account:?}");
}

#[test]
fn a_full_disk_of_the_collector_while_the_relay_is_gone_loses_no_deny() {
    let state = |directory: &Path| directory.join(format!("state-{NODE}"));
    let account = full_for_a_while(state, |bed| {
        bed.cluster.kill_relay();
        std::thread::sleep(WORK);
        bed.cluster.start_relay();
    });
    assert_eq!((account.lost.deny, account.other.len()), (0, 0), "{account:?}");
}

#[test]
fn a_full_disk_of_the_relay_delays_and_loses_nothing() {
    nothing_is_lost(&full_for_a_while(|directory| directory.join("store"), |_| {}));
}

#[test]
fn a_relay_killed_while_its_disk_is_full_loses_nothing() {
    let account = full_for_a_while(
        |directory| directory.join("store"),
        |bed| {
            bed.cluster.kill_relay();
            bed.cluster.launch_relay();
            std::thread::sleep(WORK);
        },
    );
    nothing_is_lost(&account);
}
