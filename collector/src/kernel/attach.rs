//! Programs at interfaces: as tcx links, or where the kernel has none as classic tc filters; with
//! the process, or pinned.

use std::{collections::BTreeSet, ffi::CStr, io, mem, os::fd::AsFd, path::Path};

use aya::programs::{
    Link as _, LinkOrder, ProgramError, SchedClassifier, TcAttachType,
    links::FdLink,
    tc::{
        NlOptions, SchedClassifierLink, SchedClassifierLinkId, TcAttachOptions, TcError, TcHandle,
        qdisc_add_clsact,
    },
};

use super::{
    Datapath, KernelError, Program,
    datapath::classifier,
    error::chain,
    pins::{self, Pins, Removed},
};

/// By this a classic filter that outlived its process is found again: "WEIR".
const HANDLE: TcHandle = TcHandle::new(0x5745, 0x4952);
/// Of classic filters that outlive the process: first of what the pod sends, last of what it gets.
const PRIORITY_FROM_POD: u16 = 7;
const PRIORITY_TO_POD: u16 = 65_000;

/// Another one at each start of the kernel.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Index of the loopback interface in every network namespace.
const LOOPBACK: u32 = 1;

impl Datapath {
    /// Attaches both programs to the host side of a pod's veth. Doing so again is no error. Where
    /// pinned ones are attached, these take their places in one step.
    pub fn attach(&mut self, ifindex: u32) -> Result<(), KernelError> {
        let interface = interface_name(ifindex)?;
        for program in Program::ATTACHED {
            if let Some(pins) = &self.pins {
                let loaded = classifier(&mut self.ebpf, program)?;
                let place = Place { ifindex, interface: &interface, program };
                if !self.classic && place.attach_link(pins, loaded)? {
                    continue;
                }
                place.attach_filter(loaded)?;
                pins.remove_link(ifindex, program)?;
                self.filtered.insert(ifindex);
                continue;
            }
            let Some(link) = self.attach_owned(program, ifindex, &interface)? else { continue };
            let links = self.links.entry(ifindex).or_default();
            // An older link of this program belongs to an interface that is gone.
            links.retain(|(other, _)| *other != program);
            links.push((program, link));
        }
        Ok(())
    }

    /// Takes the programs off an interface. It is no error if they, or it, are gone.
    pub fn detach(&mut self, ifindex: u32) -> Result<(), KernelError> {
        if let Some(pins) = &self.pins {
            for program in Program::ATTACHED {
                pins.remove_link(ifindex, program)?;
            }
            if let Ok(interface) = interface_name(ifindex) {
                remove_filters(ifindex, &interface)?;
            }
            self.filtered.remove(&ifindex);
            return Ok(());
        }
        for (program, link) in self.links.remove(&ifindex).unwrap_or_default() {
            let detached = classifier(&mut self.ebpf, program)?.detach(link);
            // A classic filter went with its interface.
            if let Err(error) = detached
                && interface_name(ifindex).is_ok()
            {
                return Err(attach_error(program, ifindex, &error));
            }
        }
        Ok(())
    }

    /// Whether the maps were pinned by a process before this one, and are in force.
    pub fn adopted(&self) -> bool {
        self.pins.as_ref().is_some_and(Pins::adopted)
    }

    /// What no other maps are called, before or after a restart of the node. None: they are not
    /// pinned.
    pub fn maps_name(&self) -> Result<Option<String>, KernelError> {
        if self.pins.is_none() {
            return Ok(None);
        }
        let boot = std::fs::read_to_string(BOOT_ID).map_err(|source| KernelError::Unsupported {
            action: "tell its starts apart",
            source,
        })?;
        let id = self.tables.policy.id()?;
        Ok(Some(format!("{}/{id}", boot.trim())))
    }

    /// Interfaces that have programs: this process's, or older ones that are pinned.
    pub fn attached(&self) -> Result<Vec<u32>, KernelError> {
        match &self.pins {
            Some(pins) => {
                let mut all: BTreeSet<u32> = pins.interfaces()?.into_iter().collect();
                all.extend(&self.filtered);
                Ok(all.into_iter().collect())
            }
            None => Ok(self.links.keys().copied().collect()),
        }
    }

    /// Puts these programs where older ones use the same maps.
    pub fn take_over(&mut self) -> Result<(), KernelError> {
        for ifindex in self.attached()? {
            self.attach(ifindex)?;
        }
        let endpoints: Vec<u32> = self.tables.endpoints.entries().map(|(i, _)| i).collect();
        for ifindex in endpoints {
            let Ok(interface) = interface_name(ifindex) else { continue };
            for program in Program::ATTACHED {
                let place = Place { ifindex, interface: &interface, program };
                if place.replace_filter(classifier(&mut self.ebpf, program)?)? {
                    self.filtered.insert(ifindex);
                }
            }
        }
        Ok(())
    }

    /// What this process put into maps and at interfaces is complete: older maps, and filters at
    /// interfaces without an endpoint, go. Nothing to do where nothing is pinned.
    pub fn commit(&mut self) -> Result<(), KernelError> {
        let Some(pins) = &mut self.pins else { return Ok(()) };
        pins.commit()?;
        for program in Program::ATTACHED {
            let path = pins.program(program)?;
            let pinned = classifier(&mut self.ebpf, program)?.pin(&path);
            pinned.map_err(|error| pin_error(&path, &error))?;
        }
        for (ifindex, interface) in interfaces() {
            if !self.filtered.contains(&ifindex) {
                remove_filters(ifindex, &interface)?;
            }
        }
        Ok(())
    }

    /// Digest of a program's instructions.
    pub(super) fn program_tag(&mut self, program: Program) -> Result<u64, KernelError> {
        let info = self.classifier(program)?.info();
        info.map(|info| info.tag()).map_err(|error| KernelError::Object(chain(&error)))
    }

    /// Whether the kernel has tcx links, and the options want them.
    pub(super) fn has_tcx(&mut self) -> Result<bool, KernelError> {
        if self.classic {
            return Ok(false);
        }
        let interface = interface_name(LOOPBACK)?;
        let place = Place { ifindex: LOOPBACK, interface: &interface, program: Program::Empty };
        let loaded = self.classifier(Program::Empty)?;
        match place.create_link(loaded) {
            // A link to a program that does nothing, gone at once.
            Ok(link) => drop(loaded.take_link(link)),
            Err(error) if has_no_tcx(&error) => return Ok(false),
            Err(error) => return Err(attach_error(Program::Empty, LOOPBACK, &error)),
        }
        Ok(true)
    }

    /// Attaches one program to the hook of another, as a link that goes with the process. For
    /// benchmarks.
    pub(super) fn attach_in_place_of(
        &mut self,
        other: Program,
        program: Program,
        ifindex: u32,
    ) -> Result<(), KernelError> {
        let interface = interface_name(ifindex)?;
        let place = Place { ifindex, interface: &interface, program: other };
        let link = place.create_link(self.classifier(program)?);
        let link = link.map_err(|error| attach_error(program, ifindex, &error))?;
        self.links.entry(ifindex).or_default().push((program, link));
        Ok(())
    }

    /// None: it is attached already.
    fn attach_owned(
        &mut self,
        program: Program,
        ifindex: u32,
        interface: &str,
    ) -> Result<Option<SchedClassifierLinkId>, KernelError> {
        if !self.classic {
            let place = Place { ifindex, interface, program };
            let attached = place.create_link(self.classifier(program)?);
            match attached {
                Ok(link) => return Ok(Some(link)),
                Err(error) if errno(&error) == Some(libc::EEXIST) => return Ok(None),
                Err(error) if has_no_tcx(&error) => {}
                Err(error) => return Err(attach_error(program, ifindex, &error)),
            }
        }
        let attached = self.links.get(&ifindex).into_iter().flatten();
        if attached.into_iter().any(|(other, _)| *other == program) {
            return Ok(None);
        }
        add_clsact(program, ifindex, interface)?;
        let options = TcAttachOptions::Netlink(NlOptions::default());
        self.classifier(program)?
            .attach_with_options(interface, direction(program), options)
            .map(Some)
            .map_err(|error| attach_error(program, ifindex, &error))
    }
}

/// Removes everything that pinned a node's programs: links, maps, and classic filters of the
/// calling thread's network namespace.
pub fn uninstall(directory: &Path) -> Result<Removed, KernelError> {
    let mut removed = pins::remove(directory)?;
    for (ifindex, interface) in interfaces() {
        removed.interfaces += usize::from(remove_filters(ifindex, &interface)?);
    }
    Ok(removed)
}

/// A hook of an interface.
struct Place<'a> {
    ifindex: u32,
    interface: &'a str,
    program: Program,
}

impl Place<'_> {
    /// Replaces the program of the pinned link that is there, or makes one. False: the kernel has
    /// none.
    fn attach_link(&self, pins: &Pins, loaded: &mut SchedClassifier) -> Result<bool, KernelError> {
        let failed = |error: &(dyn std::error::Error + 'static)| {
            attach_error(self.program, self.ifindex, error)
        };
        let descriptor = loaded.fd().map_err(|error| failed(&error))?;
        if pins.update_link(self.ifindex, self.program, descriptor.as_fd())? {
            return Ok(true);
        }
        let link = match self.create_link(loaded) {
            Ok(link) => link,
            Err(error) if has_no_tcx(&error) => return Ok(false),
            Err(error) => return Err(failed(&error)),
        };
        let link = loaded.take_link(link).map_err(|error| failed(&error))?;
        let link = FdLink::try_from(link).map_err(|error| failed(&error))?;
        let path = pins.link(self.ifindex, self.program)?;
        // The file keeps the link, whose descriptor goes here.
        link.pin(&path).map_err(|error| pin_error(&path, &error))?;
        Ok(true)
    }

    fn create_link(
        &self,
        loaded: &mut SchedClassifier,
    ) -> Result<SchedClassifierLinkId, ProgramError> {
        // Next to the pod on both ways: nothing redirects its packets before Weir has seen them,
        // or after.
        let order = match self.program {
            Program::FromPod => LinkOrder::first(),
            _ => LinkOrder::last(),
        };
        let options = TcAttachOptions::TcxOrder(order);
        loaded.attach_with_options(self.interface, direction(self.program), options)
    }

    /// A classic filter that outlives the process; takes the place of one that did.
    fn attach_filter(&self, loaded: &mut SchedClassifier) -> Result<(), KernelError> {
        add_clsact(self.program, self.ifindex, self.interface)?;
        if self.replace_filter(loaded)? {
            return Ok(());
        }
        let options = NlOptions { priority: priority(self.program), handle: HANDLE, classid: None };
        let options = TcAttachOptions::Netlink(options);
        let attached = loaded.attach_with_options(self.interface, direction(self.program), options);
        self.keep(loaded, attached)
    }

    /// False: there is none.
    fn replace_filter(&self, loaded: &mut SchedClassifier) -> Result<bool, KernelError> {
        let Ok(filter) = filter(self.program, self.interface) else { return Ok(false) };
        match loaded.attach_to_link(filter) {
            Err(error) if is_missing(&error) => Ok(false),
            replaced => self.keep(loaded, replaced).map(|()| true),
        }
    }

    /// Has aya forget a filter, which would go with the program.
    fn keep(
        &self,
        loaded: &mut SchedClassifier,
        attached: Result<SchedClassifierLinkId, ProgramError>,
    ) -> Result<(), KernelError> {
        let taken = attached.and_then(|link| loaded.take_link(link));
        taken.map(mem::forget).map_err(|error| attach_error(self.program, self.ifindex, &error))
    }
}

fn direction(program: Program) -> TcAttachType {
    match program {
        Program::FromPod => TcAttachType::Ingress,
        _ => TcAttachType::Egress,
    }
}

fn priority(program: Program) -> u16 {
    match program {
        Program::FromPod => PRIORITY_FROM_POD,
        _ => PRIORITY_TO_POD,
    }
}

/// A classic filter that outlived its process, if it did.
fn filter(program: Program, interface: &str) -> io::Result<SchedClassifierLink> {
    SchedClassifierLink::attached(interface, direction(program), priority(program), HANDLE, None)
}

/// Whether there were any.
fn remove_filters(ifindex: u32, interface: &str) -> Result<bool, KernelError> {
    let mut found = false;
    for program in Program::ATTACHED {
        let Ok(filter) = filter(program, interface) else { continue };
        match filter.detach() {
            Ok(()) => found = true,
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(attach_error(program, ifindex, &error)),
        }
    }
    Ok(found)
}

fn add_clsact(program: Program, ifindex: u32, interface: &str) -> Result<(), KernelError> {
    match qdisc_add_clsact(interface) {
        Ok(()) | Err(TcError::AlreadyAttached) => Ok(()),
        // Somebody else's does as well.
        Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        Err(error) => Err(attach_error(program, ifindex, &error)),
    }
}

fn attach_error(
    program: Program,
    ifindex: u32,
    error: &(dyn std::error::Error + 'static),
) -> KernelError {
    if let Some(error) = error.downcast_ref::<ProgramError>()
        && errno(error) == Some(libc::EPERM)
    {
        return KernelError::NotPermitted { action: "attach BPF programs" };
    }
    KernelError::Attach { program: program.name(), ifindex, reason: chain(error) }
}

fn pin_error(path: &Path, error: &(dyn std::error::Error + 'static)) -> KernelError {
    let source = io::Error::other(chain(error));
    KernelError::Pins { action: "pin to", path: path.to_owned(), source }
}

/// Before Linux 6.6.
fn has_no_tcx(error: &ProgramError) -> bool {
    matches!(errno(error), Some(libc::EINVAL | libc::EOPNOTSUPP))
}

/// No such filter, no such queueing discipline, no such interface.
fn is_missing(error: &ProgramError) -> bool {
    matches!(errno(error), Some(libc::ENOENT | libc::EINVAL | libc::ENODEV))
}

fn errno(error: &ProgramError) -> Option<i32> {
    match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        ProgramError::TcError(TcError::NetlinkError(error)) => error.raw_os_error(),
        ProgramError::NetlinkError(error) => error.raw_os_error(),
        _ => None,
    }
}

/// Interfaces of this thread's network namespace, with their names.
fn interfaces() -> Vec<(u32, String)> {
    // SAFETY: returns a list that ends with an index of 0, or null.
    let list = unsafe { libc::if_nameindex() };
    let mut interfaces = Vec::new();
    if list.is_null() {
        return interfaces;
    }
    let mut at = list;
    // SAFETY: the list ends with an index of 0; names end with a zero.
    unsafe {
        while (*at).if_index != 0 {
            let name = CStr::from_ptr((*at).if_name).to_string_lossy().into_owned();
            interfaces.push(((*at).if_index, name));
            at = at.add(1);
        }
        libc::if_freenameindex(list);
    }
    interfaces
}

fn interface_name(ifindex: u32) -> Result<String, KernelError> {
    let mut name = [0 as libc::c_char; libc::IF_NAMESIZE];
    // SAFETY: room for the longest name there is.
    if unsafe { libc::if_indextoname(ifindex, name.as_mut_ptr()) }.is_null() {
        return Err(KernelError::NoInterface { ifindex });
    }
    // SAFETY: the call above has ended it with a zero.
    Ok(unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned())
}
