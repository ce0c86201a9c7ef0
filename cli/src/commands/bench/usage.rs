//! What a process takes of the machine, from `/proc`.

use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Pid;

/// `USER_HZ`: what `/proc` counts a second in, on every architecture that eBPF runs on.
const TICKS_A_SECOND: f64 = 100.0;

/// A process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage(pub(super) Pid);

/// Resident memory in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Resident {
    pub(super) now: u64,
    /// The most so far.
    pub(super) most: u64,
    /// Of `now`, what no file backs: the rest is mostly the program itself.
    pub(super) anonymous: u64,
}

impl Usage {
    /// Processor time so far, of all threads.
    pub(super) fn cpu_time(self) -> anyhow::Result<Duration> {
        cpu_time(&self.read("stat")?)
    }

    /// It has ended, and nobody has waited for it.
    pub(super) fn has_ended(self) -> anyhow::Result<bool> {
        Ok(fields(&self.read("stat")?)?.next() == Some("Z"))
    }

    pub(super) fn resident(self) -> anyhow::Result<Resident> {
        let text = self.read("status")?;
        let field = |name: &str| -> anyhow::Result<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            let kib: u64 = number.with_context(|| format!("/proc tells no {name}"))?;
            Ok(kib << 10)
        };
        Ok(Resident { now: field("VmRSS")?, most: field("VmHWM")?, anonymous: field("RssAnon")? })
    }

    fn read(self, file: &str) -> anyhow::Result<String> {
        let path = format!("/proc/{}/{file}", self.0.as_raw_nonzero());
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    }
}

/// From the state on, the third field of `/proc/PID/stat` (proc_pid_stat(5)).
fn fields(stat: &str) -> anyhow::Result<std::str::SplitWhitespace<'_>> {
    let (_, after_name) = stat.rsplit_once(')').context("/proc tells no state")?;
    Ok(after_name.split_whitespace())
}

/// User and system time: fields 14 and 15.
fn cpu_time(stat: &str) -> anyhow::Result<Duration> {
    let mut fields = fields(stat)?.skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let ticks = ticks().zip(ticks()).context("/proc tells no processor time")?;
    Ok(Duration::from_secs_f64((ticks.0 + ticks.1) as f64 / TICKS_A_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a) b (c) Z 1 7 7 0 -1 4 10 0 0 0 150 25 0 0 20 0 1 0 5 0 0";
        assert_eq!(fields(stat).unwrap().next(), Some("Z"));
        assert_eq!(cpu_time(stat).unwrap(), Duration::from_millis(1750));
        assert!(cpu_time("7 a Z 1").is_err());
    }
}
