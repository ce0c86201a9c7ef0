//! Child processes inside a namespace, which never outlive the lab.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, set_parent_process_death_signal};

use crate::LabError;
use crate::place::join_namespace;

/// How often a waiting caller looks.
const POLL: Duration = Duration::from_millis(5);

/// Starts child processes from one thread that lives as long as the lab: a child's death signal
/// comes when the *thread* that started it ends.
#[derive(Debug)]
pub(crate) struct Spawner {
    requests: SyncSender<Request>,
}

struct Request {
    namespace: String,
    command: Command,
    reply: SyncSender<Result<Child, LabError>>,
}

impl Spawner {
    pub(crate) fn start() -> Result<Self, LabError> {
        // Whoever asks waits for the answer, so there is nothing to queue.
        let (requests, receiver) = sync_channel(0);
        thread::Builder::new()
            .name("lab-spawner".to_owned())
            .spawn(move || serve(&receiver))
            .map_err(LabError::io("cannot start a thread"))?;
        Ok(Self { requests })
    }

    pub(crate) fn spawn(&self, namespace: &str, command: Command) -> Result<Process, LabError> {
        let program = command.get_program().to_string_lossy().into_owned();
        let gone = || LabError::Spawn {
            program: program.clone(),
            namespace: namespace.to_owned(),
            source: io::ErrorKind::BrokenPipe.into(),
        };
        let (reply, answer) = sync_channel(1);
        let request = Request { namespace: namespace.to_owned(), command, reply };
        self.requests.send(request).map_err(|_| gone())?;
        let child = answer.recv().map_err(|_| gone())??;
        Ok(Process { child, program })
    }
}

fn serve(requests: &Receiver<Request>) {
    while let Ok(Request { namespace, mut command, reply }) = requests.recv() {
        let outcome = join_namespace(&namespace).and_then(|()| {
            command.process_group(0);
            // SAFETY: between fork and exec only async-signal-safe calls are allowed; the closure
            // makes one system call and neither allocates nor locks.
            unsafe {
                command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
            }
            command.spawn().map_err(|source| LabError::Spawn {
                program: command.get_program().to_string_lossy().into_owned(),
                namespace: namespace.clone(),
                source,
            })
        });
        // A caller that went away lets its child go with the answer.
        let _ = reply.send(outcome);
    }
}

/// A child process inside a namespace. Dropping it kills it and its process group.
#[derive(Debug)]
pub struct Process {
    child: Child,
    program: String,
}

impl Process {
    /// Its process id, which is its process group's too.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The child's pipes, as the command asked for them.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// How it ended, if it did.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>, LabError> {
        self.child.try_wait().map_err(LabError::io(format!("cannot wait for {}", self.program)))
    }

    /// Waits until it ends, at most this long.
    pub fn wait(&mut self, at_most: Duration) -> Result<Option<ExitStatus>, LabError> {
        let deadline = Instant::now() + at_most;
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            thread::sleep(POLL);
        }
    }

    /// Asks it to end (SIGTERM), and kills it when it has not within `grace`.
    pub fn terminate(&mut self, grace: Duration) -> Result<ExitStatus, LabError> {
        self.signal(Signal::TERM);
        if let Some(status) = self.wait(grace)? {
            return Ok(status);
        }
        self.kill()
    }

    /// Kills it and its process group.
    pub fn kill(&mut self) -> Result<ExitStatus, LabError> {
        self.signal(Signal::KILL);
        self.child.wait().map_err(LabError::io(format!("cannot wait for {}", self.program)))
    }

    /// Sends a signal to its process group, if it has not ended.
    pub fn signal(&mut self, signal: Signal) {
        // An id that was waited for may be another process's by now.
        if let Ok(None) = self.child.try_wait()
            && let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
        {
            // Only a process that ended this moment can fail here.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        match self.kill() {
            Ok(status) if status.signal().is_none() && !status.success() => {
                tracing::debug!(program = %self.program, %status, "lab process had ended");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "lab process not waited for"),
        }
    }
}
