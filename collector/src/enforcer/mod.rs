//! Keeps the kernel enforcing what the cluster's policies say about this node's pods.
//!
//! A cluster state is compiled, each local pod's interface is found, programs are attached, and
//! the maps are brought to the new revision without a gap. What the kernel will name in its events
//! is written into the directory before the kernel can name it.
//!
//! Where programs and maps outlive the process ([`Options::pins`]), the next process goes on where
//! this one was: what the numbers in the maps mean is written down before the maps learn them.

pub mod bench;
mod crossing;
mod host;
mod journal;
mod kernel;
mod options;
mod outcome;
mod pods;
mod resume;
mod state;
#[cfg(test)]
mod tests;
mod update;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_policy::Cluster;
use weir_policy::compile::{Compiled, Compiler};

use crate::directory::{DirectoryWriter, SharedDirectory};
use crate::intervals::Quiet;
use crate::kernel::{Datapath, KernelError};
pub use host::{Host, Network};
use journal::{Journal, Known};
pub use kernel::Kernel;
pub use options::{Established, Options, Startup};
pub use outcome::{Applied, EnforceError, Enforced, Unenforced};
use state::Contents;
use update::Applier;
pub use update::UpdateError;

/// One instance of a pod: a pod of the same name elsewhere is another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Instance {
    namespace: String,
    pod: String,
    addresses: Vec<IpAddr>,
    interface: u32,
}

/// Where each local pod is, in the order of [`Compiled::endpoints`].
type Places = Vec<Result<u32, String>>;

/// Enforces one node's policies.
///
/// It belongs to the network namespace of the thread that made it, and is used in that namespace.
#[derive(Debug)]
pub struct Enforcer<K = Datapath, N = Host> {
    options: Options,
    kernel: K,
    network: N,
    compiler: Compiler,
    applier: Applier,
    directory: DirectoryWriter,
    journal: Option<Journal>,
    /// Names of the maps in force, and of those that are to be or were.
    maps: Vec<String>,
    /// What was found at the start, in words.
    findings: Vec<String>,
    /// Interfaces with this process's programs.
    attached: HashSet<u32>,
    /// Interfaces with programs of a process before that use other maps.
    older: HashSet<u32>,
    instances: HashMap<Instance, u32>,
    last_endpoint: u32,
    last: Option<Last>,
    /// Whose connections make no row of their beginning, from the next update on.
    quiet: Quiet,
    /// Something could not be attached, detached or tidied up.
    unfinished: bool,
    /// Everything of a process before that is not wanted was removed.
    committed: bool,
    applied: Option<Applied>,
}

/// The last state put in force.
#[derive(Clone, Debug)]
struct Last {
    cluster: Arc<Cluster>,
    /// Addresses that this node has, whatever the cluster says of it.
    own_addresses: Vec<IpAddr>,
    compiled: Arc<Compiled>,
    places: Places,
    quiet: Quiet,
}

impl Enforcer {
    /// Loads the programs, and takes over what is pinned: it stays as it is in force until the
    /// first cluster state is [applied](Self::apply).
    ///
    /// # Errors
    /// Missing privileges, or a kernel without BPF, or what is pinned or written down cannot be
    /// read.
    pub fn new(options: Options) -> Result<Self, EnforceError> {
        let kernel = match &options.pins {
            Some(pins) => Datapath::load_pinned(&options.datapath, pins)?,
            None => Datapath::load(&options.datapath)?,
        };
        let mut enforcer = Self::with(options, kernel, Host::new()?);
        enforcer.resume()?;
        Ok(enforcer)
    }
}

impl<K: Kernel, N: Network> Enforcer<K, N> {
    /// An enforcer of another kernel and network.
    pub fn with(options: Options, kernel: K, network: N) -> Self {
        Self {
            options,
            kernel,
            network,
            compiler: Compiler::new(),
            applier: Applier::default(),
            directory: DirectoryWriter::default(),
            journal: None,
            maps: Vec::new(),
            findings: Vec::new(),
            attached: HashSet::new(),
            older: HashSet::new(),
            instances: HashMap::new(),
            last_endpoint: 0,
            last: None,
            quiet: Quiet::default(),
            unfinished: false,
            committed: false,
            applied: None,
        }
    }

    /// The kernel, for readers, scanners and figures.
    pub fn kernel(&mut self) -> &mut K {
        &mut self.kernel
    }

    /// Who is who in events.
    pub fn directory(&self) -> SharedDirectory {
        self.directory.shared()
    }

    /// What was wrong with what a process before has left, in words.
    pub fn findings(&self) -> &[String] {
        &self.findings
    }

    /// Takes the programs off every interface, unless they are to stay.
    pub(crate) fn release(&mut self) {
        if self.options.pins.is_none() {
            self.leave(&HashSet::new());
        }
    }

    /// Entries of each map that user space writes.
    pub(crate) fn map_entries(&self) -> [(&'static str, usize); 5] {
        let present = self.applier.present();
        let (cidrs_v4, cidrs_v6) = present.cidrs();
        [
            ("policy", present.policies()),
            ("cidrs_v4", cidrs_v4),
            ("cidrs_v6", cidrs_v6),
            ("identities", present.identities.len()),
            ("endpoints", present.endpoints.len()),
        ]
    }

    /// Whose connections make no row of their beginning, from the next [`apply`](Self::apply) or
    /// [`refresh`](Self::refresh) on.
    pub(crate) fn set_quiet(&mut self, quiet: Quiet) {
        self.quiet = quiet;
    }

    /// Puts a cluster state in force.
    ///
    /// # Errors
    /// The state before stays in force.
    pub fn apply(&mut self, cluster: &Cluster) -> Result<Applied, EnforceError> {
        self.apply_shared(&Arc::new(cluster.clone()))
    }

    /// The same, without a copy of the state.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn apply_shared(&mut self, cluster: &Arc<Cluster>) -> Result<Applied, EnforceError> {
        let own_addresses = self.network.addresses()?;
        let node = Some(self.options.node.as_str());
        let compiled = Arc::new(self.compiler.compile_with(cluster, node, &own_addresses));
        let places = self.places(&compiled)?;
        let (cluster, quiet) = (cluster.clone(), self.quiet.clone());
        self.install(Last { cluster, own_addresses, compiled, places, quiet })
    }

    /// Looks whether pods have moved, this node's addresses changed or other namespaces are quiet,
    /// and follows. Tries again
    /// what could not be attached or detached.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn refresh(&mut self) -> Result<Option<Applied>, EnforceError> {
        let Some(last) = self.last.clone() else { return Ok(None) };
        if self.network.addresses()? != last.own_addresses {
            return self.apply_shared(&last.cluster).map(Some);
        }
        let places = self.places(&last.compiled)?;
        let quiet = self.quiet.clone();
        if places == last.places && quiet == last.quiet && !self.unfinished {
            return Ok(None);
        }
        let before = self.applied.clone();
        let applied = self.install(Last { places, quiet, ..last })?;
        Ok((before.as_ref() != Some(&applied)).then_some(applied))
    }

    fn places(&mut self, compiled: &Compiled) -> Result<Places, EnforceError> {
        let pods: Vec<&[IpAddr]> =
            compiled.endpoints.iter().map(|endpoint| endpoint.addresses.as_slice()).collect();
        Ok(self.network.interfaces(&pods)?)
    }

    fn install(&mut self, next: Last) -> Result<Applied, EnforceError> {
        let revision = next.compiled.revision;
        let (mut chosen, mut unenforced) = self.choose(&next);
        let wanted: HashSet<u32> = chosen.keys().copied().collect();
        let (endpoints, news) = self.announce(&next, &chosen);
        if let Err(error) = self.write_down(news) {
            self.hold_back(&next, &chosen, &endpoints);
            return Err(error);
        }

        let mut target = Contents::of(&next.compiled);
        for (interface, index) in &chosen {
            let compiled = &next.compiled.endpoints[*index];
            let quiet = next.quiet.contains(&compiled.namespace);
            let id = endpoints[interface];
            let endpoint = state::endpoint(id, revision, compiled, &self.options, quiet);
            target.endpoints.insert(*interface, endpoint);
        }
        let updated = match self.applier.update(&mut self.kernel, target) {
            Ok(updated) => updated,
            Err(error) => {
                self.hold_back(&next, &chosen, &endpoints);
                return Err(error.into());
            }
        };
        self.unfinished = false;
        for (interface, error) in updated.refused {
            if let Some(index) = chosen.remove(&interface) {
                unenforced.push(pods::unenforced_pod(&next, index, error.to_string()));
            }
        }
        if let Some(error) = updated.leftovers {
            tracing::warn!(%error, "old entries could not be removed; the next update tries again");
            self.unfinished = true;
        }
        // Only now: a packet that meets the programs meets its pod's policy.
        chosen.retain(|interface, index| {
            let Err(error) = self.kernel_attach(*interface) else { return true };
            unenforced.push(pods::unenforced_pod(&next, *index, error.to_string()));
            self.unfinished = true;
            false
        });
        self.leave(&wanted);
        self.commit();
        let enforced = chosen
            .iter()
            .map(|(interface, index)| {
                let compiled = &next.compiled.endpoints[*index];
                Enforced {
                    namespace: compiled.namespace.clone(),
                    pod: compiled.pod.clone(),
                    interface: *interface,
                    endpoint: endpoints[interface],
                }
            })
            .collect();
        self.last = Some(next);
        let applied = Applied { revision, enforced, unenforced };
        self.applied = Some(applied.clone());
        Ok(applied)
    }

    fn kernel_attach(&mut self, interface: u32) -> Result<(), KernelError> {
        if !self.attached.contains(&interface) {
            self.kernel.attach(interface)?;
            self.attached.insert(interface);
            self.older.remove(&interface);
        }
        Ok(())
    }

    /// Removes what a process before has left and nobody wants, once all that is wanted is there.
    fn commit(&mut self) {
        if self.committed || self.unfinished {
            return;
        }
        match self.kernel.commit() {
            Ok(()) => {
                self.committed = true;
                // The last name is of the maps that are left.
                self.maps.drain(..self.maps.len().saturating_sub(1));
            }
            Err(error) => {
                tracing::warn!(%error, "what a collector before has left cannot be removed");
                self.unfinished = true;
            }
        }
    }

    /// After a failed update: pods that have no policy in force yet say so.
    fn hold_back(
        &mut self,
        next: &Last,
        chosen: &BTreeMap<u32, usize>,
        endpoints: &HashMap<u32, u32>,
    ) {
        for (interface, index) in chosen {
            let in_force = self.applier.present().endpoints.contains_key(interface);
            if in_force && self.attached.contains(interface) || self.older.contains(interface) {
                continue;
            }
            let endpoint = state::unready_endpoint(
                endpoints[interface],
                next.compiled.revision,
                &next.compiled.endpoints[*index].addresses,
                self.options.startup,
            );
            let set = if in_force {
                Ok(())
            } else {
                self.applier.set_endpoint(&mut self.kernel, *interface, endpoint)
            };
            if let Err(error) = set.and_then(|()| self.kernel_attach(*interface)) {
                tracing::error!(interface, %error, "a pod without policy cannot be marked as such");
            }
        }
    }

    /// Detaches from the interfaces of pods that are gone.
    fn leave(&mut self, wanted: &HashSet<u32>) {
        let all: Vec<u32> = self.attached.union(&self.older).copied().collect();
        for interface in all.into_iter().filter(|interface| !wanted.contains(interface)) {
            match self.kernel.detach(interface) {
                Ok(()) | Err(KernelError::NoInterface { .. }) => {
                    self.attached.remove(&interface);
                    self.older.remove(&interface);
                }
                // Without an endpoint the programs let everything pass.
                Err(error) => {
                    tracing::warn!(interface, %error, "programs stay attached for now");
                    self.unfinished = true;
                }
            }
        }
    }
}
