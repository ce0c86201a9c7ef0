//! Programs, links and maps that outlive the process: pinned in a directory of a BPF file system.
//!
//! | path under the node's directory | what it is |
//! |---|---|
//! | `v1-DIGEST/maps/NAME` | the maps in force; the digest is of all that is known of their shape |
//! | `v1-DIGEST/programs/NAME` | the programs in force, to look at |
//! | `next/…` | the same, not in force yet: left by a collector that was killed before, it is nothing |
//! | `links-NAMESPACE/INTERFACE-PROGRAM` | what holds a program at an interface, by network namespace |
//!
//! Links stay when maps of another shape come: each gets its new program in one step.

mod files;
mod links;
mod mount;
mod shape;

use std::{
    fs::File,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
};

use aya::EbpfLoader;

use super::{KernelError, Program};
pub use files::safe_name;
use links::Links;
use shape::Shape;

/// Where pins are if nobody says otherwise; a directory for each node.
pub const DEFAULT_PINS: &str = "/sys/fs/bpf/weir";

/// A node's pins.
#[derive(Debug)]
pub(super) struct Pins {
    directory: PathBuf,
    links: Links,
    generation: String,
    adopted: bool,
    /// Held as long as this process uses them.
    _lock: File,
}

/// What was removed from a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Interfaces whose programs were taken off.
    pub interfaces: usize,
    /// Sets of maps, by the names of their directories.
    pub generations: Vec<String>,
}

impl Pins {
    /// Opens a node's directory, mounting a BPF file system if need be, and finds out whether the
    /// maps that are pinned are of the shape that `object` wants with `sizes`.
    pub(super) fn open(
        directory: &Path,
        object: &[u8],
        sizes: &[(&'static str, u32)],
    ) -> Result<(Self, Shape), KernelError> {
        mount::ensure(directory)?;
        files::make(directory)?;
        let lock = files::lock(directory)?;
        let shape = Shape::of(object, sizes)?;
        let links = Links::open(directory)?;
        files::remove(&directory.join(NEXT))?;
        let generation = shape.name();
        let complete = shape.maps().all(|map| {
            let path = directory.join(&generation).join(MAPS).join(map);
            path.exists()
        });
        let directory = directory.to_owned();
        let pins = Self { directory, links, generation, adopted: complete, _lock: lock };
        files::make(&pins.current().join(MAPS))?;
        files::make(&pins.current().join(PROGRAMS))?;
        Ok((pins, shape))
    }

    /// Whether maps of the right shape were pinned already.
    pub(super) fn adopted(&self) -> bool {
        self.adopted
    }

    /// Whether maps of other shapes are pinned, which [`commit`](Self::commit) removes.
    pub(super) fn replaces(&self) -> Result<bool, KernelError> {
        Ok(generations(&self.directory)?.iter().any(|name| *name != self.generation))
    }

    /// Has the loader take pinned maps, and pin those that it makes.
    pub(super) fn use_for<'a>(&self, loader: &mut EbpfLoader<'a>, shape: &'a Shape) {
        for map in shape.maps() {
            loader.map_pin_path(map, self.current().join(MAPS).join(map));
        }
    }

    /// Where a program is to be pinned; nothing is there.
    pub(super) fn program(&self, program: Program) -> Result<PathBuf, KernelError> {
        let path = self.current().join(PROGRAMS).join(program.name());
        files::remove(&path)?;
        Ok(path)
    }

    /// Interfaces with programs.
    pub(super) fn interfaces(&self) -> Result<Vec<u32>, KernelError> {
        self.links.interfaces()
    }

    /// Where a new link is to be pinned; nothing is there.
    pub(super) fn link(&self, ifindex: u32, program: Program) -> Result<PathBuf, KernelError> {
        self.links.remove(ifindex, program)?;
        Ok(self.links.path(ifindex, program))
    }

    /// Gives a pinned link another program in one step. False: there is no such link, or its
    /// interface is gone.
    pub(super) fn update_link(
        &self,
        ifindex: u32,
        program: Program,
        loaded: BorrowedFd<'_>,
    ) -> Result<bool, KernelError> {
        self.links.update(ifindex, program, loaded)
    }

    /// Takes a program off an interface. False: there is no such link.
    pub(super) fn remove_link(&self, ifindex: u32, program: Program) -> Result<bool, KernelError> {
        self.links.remove(ifindex, program)
    }

    /// The maps that were made are in force now; those of other shapes go.
    pub(super) fn commit(&mut self) -> Result<(), KernelError> {
        let wanted = self.directory.join(&self.generation);
        if !self.adopted {
            files::remove(&wanted)?;
            let from = self.current();
            std::fs::rename(&from, &wanted).map_err(files::error("rename", &from))?;
            self.adopted = true;
        }
        for name in generations(&self.directory)? {
            if name != self.generation {
                files::remove(&self.directory.join(&name))?;
                tracing::info!(
                    maps = name,
                    "removed pinned maps of another shape; what they had counted and was not \
                     reported is lost"
                );
            }
        }
        Ok(())
    }

    fn current(&self) -> PathBuf {
        self.directory.join(if self.adopted { &self.generation } else { NEXT })
    }
}

/// Removes a node's pins. Programs go off the interfaces of this thread's network namespace at
/// once, and off those of others.
pub(super) fn remove(directory: &Path) -> Result<Removed, KernelError> {
    if !directory.exists() || !mount::is_bpf(directory) {
        return Ok(Removed::default());
    }
    let _lock = files::lock(directory)?;
    let interfaces = Links::remove_all(directory)?;
    let generations = generations(directory)?;
    files::remove(directory)?;
    if let Some(parent) = directory.parent() {
        // Not empty while other nodes are there.
        let _ = std::fs::remove_dir(parent);
    }
    Ok(Removed { interfaces, generations })
}

const MAPS: &str = "maps";
const PROGRAMS: &str = "programs";
/// Maps that are being made.
const NEXT: &str = "next";

/// Sets of maps that are or were in force.
fn generations(directory: &Path) -> Result<Vec<String>, KernelError> {
    let names = files::names(directory)?;
    Ok(names.into_iter().filter(|name| name.starts_with('v')).collect())
}
