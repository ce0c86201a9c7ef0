//! Removal of namespaces: at a lab's end, and of those whose owner died before it could.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::LabError;
use crate::name;
use crate::net::ip::ip_batch;

/// Where named namespaces are.
pub(crate) const NETNS_DIR: &str = "/run/netns";

/// How long killed processes may take to be gone.
const KILL_WAIT: Duration = Duration::from_secs(3);

/// Removes the namespaces of processes that are dead, and the processes left inside.
pub(crate) fn sweep() -> Result<Vec<String>, LabError> {
    let entries = match fs::read_dir(NETNS_DIR) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(LabError::io(format!("cannot list {NETNS_DIR}"))(error)),
    };
    let stale: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name::owner(name).is_some_and(name::Owner::is_dead))
        .collect();
    remove(&stale)?;
    Ok(stale)
}

/// Kills what runs in these namespaces and removes them. Missing ones are no error.
pub(crate) fn remove(namespaces: &[String]) -> Result<(), LabError> {
    let present: Vec<&String> =
        namespaces.iter().filter(|name| Path::new(NETNS_DIR).join(name).exists()).collect();
    if present.is_empty() {
        return Ok(());
    }
    kill_inside(&present);
    let commands: Vec<String> = present.iter().map(|name| format!("netns del {name}")).collect();
    match ip_batch(None, &commands) {
        // Another sweep at the same time may have been quicker.
        Err(LabError::Ip { .. })
            if present.iter().all(|name| !Path::new(NETNS_DIR).join(name).exists()) =>
        {
            Ok(())
        }
        other => other,
    }
}

fn kill_inside(namespaces: &[&String]) {
    // The inode number of the namespace, as /proc/PID/ns/net shows it.
    let inodes: HashSet<u64> = namespaces
        .iter()
        .filter_map(|name| fs::metadata(Path::new(NETNS_DIR).join(name)).ok())
        .map(|metadata| metadata.ino())
        .collect();
    let deadline = Instant::now() + KILL_WAIT;
    loop {
        let inside = processes_in(&inodes);
        if inside.is_empty() {
            return;
        }
        for pid in &inside {
            // Gone already is what is wanted.
            let _ = kill_process(*pid, Signal::KILL);
        }
        if Instant::now() > deadline {
            tracing::warn!(processes = ?inside, "processes in a removed namespace do not die");
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Living processes (not zombies, whose namespace cannot be read) in any of the namespaces.
fn processes_in(inodes: &HashSet<u64>) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| u32::try_from(*pid).is_ok_and(|pid| pid != std::process::id()))
        .filter(|pid| {
            fs::metadata(format!("/proc/{pid}/ns/net"))
                .is_ok_and(|metadata| inodes.contains(&metadata.ino()))
        })
        .filter_map(Pid::from_raw)
        .collect()
}
