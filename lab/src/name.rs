//! Names of a lab's namespaces. They carry the owner's process id and start time, so that any
//! process can tell whose they are and whether the owner still lives.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::LabError;

const PREFIX: &str = "weir";
/// Enough to recognise a pod in `ip netns list`.
const LABEL_LEN_MAX: usize = 40;

/// A process: its id and when it started, in clock ticks since boot, as ids are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) pid: u32,
    pub(crate) start: u64,
}

impl Owner {
    pub(crate) fn this_process() -> Result<Self, LabError> {
        let pid = std::process::id();
        let start =
            start_time(pid).map_err(LabError::io("cannot read this process's start time"))?;
        Ok(Self { pid, start })
    }

    /// Only a process that is surely gone is dead.
    pub(crate) fn is_dead(self) -> bool {
        match start_time(self.pid) {
            Ok(start) => start != self.start,
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        }
    }
}

/// Gives out the names of one lab.
#[derive(Debug)]
pub(crate) struct Names {
    owner: Owner,
    lab: u32,
    next: u32,
}

impl Names {
    pub(crate) fn new() -> Result<Self, LabError> {
        static LABS: AtomicU32 = AtomicU32::new(0);
        let lab = LABS.fetch_add(1, Ordering::Relaxed);
        Ok(Self { owner: Owner::this_process()?, lab, next: 0 })
    }

    /// A new name; `label` is for the human eye.
    pub(crate) fn namespace(&mut self, label: &str) -> String {
        let Owner { pid, start } = self.owner;
        let (lab, number) = (self.lab, self.next);
        self.next += 1;
        let label: String = label
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '.' })
            .take(LABEL_LEN_MAX)
            .collect();
        format!("{PREFIX}-{pid}-{start}-{lab}-{number}-{label}")
    }
}

/// Who made the namespace of this name; `None` for names that are not a lab's.
pub(crate) fn owner(namespace: &str) -> Option<Owner> {
    let mut parts = namespace.splitn(6, '-');
    if parts.next()? != PREFIX {
        return None;
    }
    let pid = parts.next()?.parse().ok()?;
    let start = parts.next()?.parse().ok()?;
    let _lab: u32 = parts.next()?.parse().ok()?;
    let _number: u32 = parts.next()?.parse().ok()?;
    parts.next().map(|_label| Owner { pid, start })
}

/// Field 22 of `/proc/PID/stat`. The command's name before it may hold spaces and parentheses.
fn start_time(pid: u32) -> std::io::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    stat.rsplit_once(')')
        .and_then(|(_, rest)| rest.split_whitespace().nth(19))
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| std::io::Error::other(format!("/proc/{pid}/stat has no start time")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_their_owner() {
        let mut names = Names::new().unwrap();
        let name = names.namespace("default/redis-0 (odd)");
        assert!(name.ends_with("-0-default.redis.0..odd."), "{name}");
        assert_eq!(owner(&name), Some(Owner::this_process().unwrap()));
        assert_ne!(names.namespace("x"), names.namespace("x"));
        for foreign in ["weir", "weir-1", "weir-a-1-1-1-x", "cni-1-2-3-4-x", "weir-1-2-3-4"] {
            assert_eq!(owner(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_reused_process_id_is_another_owner() {
        let owner = Owner::this_process().unwrap();
        assert!(!owner.is_dead());
        assert!(Owner { start: owner.start - 1, ..owner }.is_dead());
        assert!(Owner { pid: 4_194_304 + 1, start: 1 }.is_dead());
    }
}
