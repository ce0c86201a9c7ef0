//! What can go wrong between the collector and the kernel.

use std::{io, path::PathBuf};

use aya::{EbpfError, maps::MapError, programs::ProgramError};

/// An error of the data path. The message says what to do where there is something to do.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The kernel refused for want of privileges.
    #[error(
        "the kernel does not let this process {action}: run as root, or with CAP_BPF, \
         CAP_NET_ADMIN and CAP_PERFMON"
    )]
    NotPermitted {
        /// What was tried.
        action: &'static str,
    },
    /// The kernel has no `bpf(2)` or not what the programs need of it.
    #[error("this kernel cannot {action} ({source}): Weir needs Linux 5.15 or newer with BPF")]
    Unsupported {
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The object that was built into this binary is not usable.
    #[error("the built-in eBPF object is broken: {0}")]
    Object(String),
    /// The verifier rejected a program.
    #[error("the kernel's verifier rejects program {program}: {source}\n{log}")]
    Verifier {
        /// The program.
        program: &'static str,
        /// What the kernel said.
        source: io::Error,
        /// The last lines of the verifier's log.
        log: String,
    },
    /// Attaching to an interface did not work.
    #[error("cannot attach program {program} to interface {ifindex}: {reason}")]
    Attach {
        /// The program.
        program: &'static str,
        /// The interface.
        ifindex: u32,
        /// Why.
        reason: String,
    },
    /// There is no such interface in this thread's network namespace.
    #[error("there is no interface {ifindex} in this network namespace")]
    NoInterface {
        /// The interface.
        ifindex: u32,
    },
    /// A map has no room for another entry.
    #[error("map {map} is full: raise its size in the collector's settings")]
    MapFull {
        /// The map.
        map: &'static str,
    },
    /// A map operation did not work.
    #[error("map {map}: {operation}: {source}")]
    Map {
        /// The map.
        map: &'static str,
        /// What was tried.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The programs do not do on this kernel what they should.
    #[error(
        "the self-test failed, so Weir does not claim to enforce anything on this node: {what}. \
         Please report this with the kernel's version"
    )]
    SelfTest {
        /// What was seen.
        what: String,
    },
    /// What is pinned cannot be used.
    #[error("cannot {action} {}: {source}", .path.display())]
    Pins {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another collector uses these pins.
    #[error(
        "a collector of this node runs already: it holds {}; stop that one, or choose another \
         --node or --pins",
        .path.display()
    )]
    PinsInUse {
        /// The directory.
        path: PathBuf,
    },
    /// The directory for pins is on another kind of file system.
    #[error(
        "{} is not on a BPF file system: mount one there (mount -t bpf bpf DIR), choose a \
         directory on one with --pins, or do without: --pins none",
        .path.display()
    )]
    NoBpfFileSystem {
        /// The directory.
        path: PathBuf,
    },
    /// Reader or scanner was asked for twice.
    #[error("the {0} of this data path is already taken")]
    Taken(&'static str),
    /// Running a program on a packet made up for it did not work.
    #[error("running program {program} on a packet: {source}")]
    TestRun {
        /// The program.
        program: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// How much of the verifier's log helps.
const LOG_LINES: usize = 20;

impl KernelError {
    pub(super) fn from_load(error: EbpfError) -> Self {
        match error {
            EbpfError::MapError(MapError::CreateError { name, io_error }) => {
                match io_error.raw_os_error() {
                    Some(libc::EPERM) => Self::NotPermitted { action: "create BPF maps" },
                    Some(libc::ENOSYS) => Self::Unsupported { action: "run BPF", source: io_error },
                    _ => Self::Object(format!("map {name} cannot be created: {io_error}")),
                }
            }
            other => Self::Object(chain(&other)),
        }
    }

    pub(super) fn from_program(program: &'static str, error: ProgramError) -> Self {
        match error {
            ProgramError::LoadError { io_error, verifier_log } => {
                let log = verifier_log.to_string();
                if io_error.raw_os_error() == Some(libc::EPERM) && log.trim().is_empty() {
                    return Self::NotPermitted { action: "load BPF programs" };
                }
                let lines: Vec<&str> = log.lines().collect();
                let log = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
                Self::Verifier { program, source: io_error, log }
            }
            other => Self::Object(chain(&other)),
        }
    }
}

/// An error with its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
