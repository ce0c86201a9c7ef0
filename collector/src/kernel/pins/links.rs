//! Pinned tcx links: what holds a program at an interface while no process does.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::{ffi::OsStrExt, net::UnixDatagram},
    },
    path::{Path, PathBuf},
};

use super::{KernelError, Program, files};
use crate::kernel::sys;

/// Begins the names of directories of links.
const PREFIX: &str = "links-";

/// The links of one network namespace.
#[derive(Debug)]
pub(super) struct Links(PathBuf);

impl Links {
    /// Those of this thread's namespace. Links of others, in which this node has been before, go,
    /// and so do those of interfaces that are gone.
    pub(super) fn open(directory: &Path) -> Result<Self, KernelError> {
        let cookie = namespace_cookie().map_err(|source| KernelError::Unsupported {
            action: "tell network namespaces apart",
            source,
        })?;
        let own = format!("{PREFIX}{cookie:x}");
        for name in files::names(directory)? {
            if name.starts_with(PREFIX) && name != own {
                remove_in(&directory.join(name))?;
            }
        }
        let links = Self(directory.join(own));
        files::make(&links.0)?;
        for (path, ifindex, _) in links.all()? {
            let holds = open(&path)?.is_some_and(|link| {
                sys::link_info(link.as_fd()).is_ok_and(|info| info.ifindex == ifindex)
            });
            if !holds {
                remove(&path)?;
            }
        }
        Ok(links)
    }

    pub(super) fn path(&self, ifindex: u32, program: Program) -> PathBuf {
        self.0.join(format!("{ifindex}-{}", program.name()))
    }

    pub(super) fn interfaces(&self) -> Result<Vec<u32>, KernelError> {
        let mut interfaces: Vec<u32> =
            self.all()?.into_iter().map(|(_, ifindex, _)| ifindex).collect();
        interfaces.dedup();
        Ok(interfaces)
    }

    pub(super) fn update(
        &self,
        ifindex: u32,
        program: Program,
        loaded: BorrowedFd<'_>,
    ) -> Result<bool, KernelError> {
        let path = self.path(ifindex, program);
        let Some(link) = open(&path)? else { return Ok(false) };
        let info = sys::link_info(link.as_fd()).map_err(files::error("ask about", &path))?;
        if info.ifindex != ifindex {
            return Ok(false);
        }
        match sys::update_link(link.as_fd(), loaded) {
            Ok(()) => Ok(true),
            Err(gone) if gone.raw_os_error() == Some(libc::ENOLINK) => Ok(false),
            Err(other) => Err(files::error("replace the program of", &path)(other)),
        }
    }

    pub(super) fn remove(&self, ifindex: u32, program: Program) -> Result<bool, KernelError> {
        remove(&self.path(ifindex, program))
    }

    /// Takes the programs of all namespaces' links off. Returns from how many interfaces.
    pub(super) fn remove_all(directory: &Path) -> Result<usize, KernelError> {
        let mut interfaces = 0;
        for name in files::names(directory)? {
            if name.starts_with(PREFIX) {
                interfaces += remove_in(&directory.join(name))?;
            }
        }
        Ok(interfaces)
    }

    /// Path, interface and program of each, by interface.
    fn all(&self) -> Result<Vec<(PathBuf, u32, Program)>, KernelError> {
        let mut all: Vec<_> = files::names(&self.0)?
            .into_iter()
            .filter_map(|name| {
                let (ifindex, program) = name.split_once('-')?;
                let program = Program::ATTACHED.into_iter().find(|p| p.name() == program)?;
                Some((self.0.join(&name), ifindex.parse().ok()?, program))
            })
            .collect();
        all.sort_by_key(|(_, ifindex, _)| *ifindex);
        Ok(all)
    }
}

/// Removes a directory of links. Returns how many interfaces they held programs at.
fn remove_in(directory: &Path) -> Result<usize, KernelError> {
    let mut interfaces = Vec::new();
    for name in files::names(directory)? {
        remove(&directory.join(&name))?;
        interfaces.extend(name.split_once('-').map(|(ifindex, _)| ifindex.to_owned()));
    }
    files::remove(directory)?;
    interfaces.sort_unstable();
    interfaces.dedup();
    Ok(interfaces.len())
}

/// False: there was none.
fn remove(path: &Path) -> Result<bool, KernelError> {
    let Some(link) = open(path)? else { return Ok(false) };
    // Removing the file alone would do so some time later.
    match sys::detach_link(link.as_fd()) {
        Ok(()) => {}
        Err(gone) if gone.raw_os_error() == Some(libc::ENOLINK) => {}
        Err(other) => return Err(files::error("detach", path)(other)),
    }
    files::remove(path).map(|()| true)
}

fn open(path: &Path) -> Result<Option<OwnedFd>, KernelError> {
    let name = CString::new(path.as_os_str().as_bytes())
        .map_err(|error| files::error("open", path)(error.into()))?;
    match sys::open_pinned(&name) {
        Ok(link) => Ok(Some(link)),
        Err(missing) if missing.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(other) => Err(files::error("open", path)(other)),
    }
}

/// A number of this thread's network namespace that no other has or will have until the node
/// starts anew, when pins are gone too.
fn namespace_cookie() -> io::Result<u64> {
    let socket = UnixDatagram::unbound()?;
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: an open socket, and room of the length given.
    let asked = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if asked < 0 { Err(io::Error::last_os_error()) } else { Ok(cookie) }
}
