//! Being inside a namespace of the lab.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::LabError;
use crate::net::link::{self, LinkCounters, Offloads};
use crate::process::{Process, Spawner};
use crate::sweep::NETNS_DIR;

/// A node, pod or host: the inside of one network namespace. Cheap to clone; using it after the
/// lab is gone is an error, not a way back into the machine's own network.
#[derive(Clone, Debug)]
pub struct Place {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    label: String,
    namespace: String,
    spawner: Arc<Spawner>,
}

impl Place {
    pub(crate) fn new(label: String, namespace: String, spawner: Arc<Spawner>) -> Self {
        Self { inner: Arc::new(Inner { label, namespace, spawner }) }
    }

    /// Runs `body` inside, on a thread of its own, and waits for it. Sockets it makes stay in the
    /// namespace and may be used from any thread afterwards.
    pub fn enter<R: Send>(&self, body: impl FnOnce() -> R + Send) -> Result<R, LabError> {
        let namespace = &self.inner.namespace;
        thread::scope(|scope| {
            let handle = thread::Builder::new()
                .name(thread_name(&self.inner.label))
                .spawn_scoped(scope, || {
                    join_namespace(namespace)?;
                    Ok(body())
                })
                .map_err(LabError::io("cannot start a thread"))?;
            handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Starts a thread that stays inside.
    pub fn thread<R: Send + 'static>(
        &self,
        body: impl FnOnce() -> R + Send + 'static,
    ) -> Result<JoinHandle<R>, LabError> {
        let namespace = self.inner.namespace.clone();
        let (sender, entered) = std::sync::mpsc::sync_channel(1);
        let handle = thread::Builder::new()
            .name(thread_name(&self.inner.label))
            .spawn(move || {
                let outcome = join_namespace(&namespace);
                let inside = outcome.is_ok();
                // The caller waits for this.
                let _ = sender.send(outcome);
                if !inside {
                    // Ends the thread without a word: the caller has the error.
                    std::panic::resume_unwind(Box::new(()));
                }
                body()
            })
            .map_err(LabError::io("cannot start a thread"))?;
        match entered.recv() {
            Ok(outcome) => outcome.map(|()| handle),
            Err(_) => Err(LabError::Io {
                what: "a thread ended before it was inside".to_owned(),
                source: std::io::ErrorKind::BrokenPipe.into(),
            }),
        }
    }

    /// Starts a child process inside, in a process group of its own. It dies with this process,
    /// with the lab, and with the returned handle.
    pub fn spawn(&self, command: Command) -> Result<Process, LabError> {
        self.inner.spawner.spawn(&self.inner.namespace, command)
    }

    /// What the interfaces inside have counted.
    pub fn links(&self) -> Result<Vec<LinkCounters>, LabError> {
        link::counters(&self.inner.namespace)
    }

    /// What one interface inside has counted.
    pub fn link(&self, name: &str) -> Result<LinkCounters, LabError> {
        let links = self.links()?;
        let known = links.iter().map(|link| link.name.as_str()).collect::<Vec<_>>().join(", ");
        links.into_iter().find(|link| link.name == name).ok_or_else(|| LabError::Unknown {
            kind: "link",
            name: name.to_owned(),
            known,
        })
    }

    /// Switches segmentation and merging of packets on a link inside.
    pub fn set_offloads(&self, link: &str, offloads: Offloads) -> Result<(), LabError> {
        self.enter(|| link::set_offloads(link, offloads))?
    }

    /// What it is, for messages: `node n1`, `pod default/web`, `host internet`.
    pub fn label(&self) -> &str {
        &self.inner.label
    }

    /// Name of the network namespace, as `ip -n NAME` takes it.
    pub fn namespace(&self) -> &str {
        &self.inner.namespace
    }
}

/// Moves the calling thread into the namespace.
pub(crate) fn join_namespace(namespace: &str) -> Result<(), LabError> {
    let path: PathBuf = [NETNS_DIR, namespace].iter().collect();
    File::open(path)
        .and_then(|file| {
            Ok(move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?)
        })
        .map_err(|source| LabError::Enter { namespace: namespace.to_owned(), source })
}

/// The kernel keeps 15 bytes.
fn thread_name(label: &str) -> String {
    let name = label.rsplit([' ', '/']).next().unwrap_or(label);
    name.chars().filter(char::is_ascii).take(15).collect()
}
