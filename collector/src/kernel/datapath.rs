//! Loads the programs and attaches them.

use std::{
    collections::HashMap,
    ffi::CStr,
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Map, MapData, PerCpuArray, RingBuf},
    programs::{
        LinkOrder, ProgramError, SchedClassifier, TcAttachType,
        tc::{NlOptions, SchedClassifierLinkId, TcAttachOptions, TcError, qdisc_add_clsact},
    },
};
use weir_abi::{
    Address,
    conntrack::{ClosedKey, Connection, ConnectionKey, Deny, DenyKey},
    policy::{CidrV4, CidrV6, PolicyKey, PolicyValue},
    stats::STATS_LEN,
};

use super::{
    KernelError, Program, RingReader, Stats, TableScanner,
    endpoints::Endpoints,
    error::chain,
    sizes::{MapSize, map_size},
    stats::Removals,
    table::{Table, TrieKey},
};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/weir.o"));

/// Sizes of the maps, and how the programs behave.
#[derive(Clone, Debug)]
pub struct DatapathOptions {
    /// Connections tracked at once; the oldest give way.
    pub connections: u32,
    /// Kinds of denied attempts counted at once; the oldest give way.
    pub denies: u32,
    /// Rules, of all pods together.
    pub policies: u32,
    /// CIDR blocks, of all pods together, for each family.
    pub cidrs: u32,
    /// Addresses with an identity.
    pub identities: u32,
    /// Bytes of the ring for allowed connections; a power of two.
    pub ring_bytes: u32,
    /// Bytes of the ring for denies; a power of two.
    pub deny_ring_bytes: u32,
    /// For how long after an endpoint is first set the replies of older TCP connections pass, see
    /// [`adopt_until_ns`](weir_abi::endpoint::EndpointEntry::adopt_until_ns).
    pub adopt_for: Duration,
    /// Attach as classic tc filters even where the kernel has tcx, for use beside software that
    /// knows only those.
    pub classic: bool,
}

impl Default for DatapathOptions {
    fn default() -> Self {
        Self {
            connections: 262_144,
            denies: 16_384,
            policies: 524_288,
            cidrs: 65_536,
            identities: 131_072,
            ring_bytes: 8 << 20,
            deny_ring_bytes: 2 << 20,
            adopt_for: Duration::from_secs(600),
            classic: false,
        }
    }
}

/// The loaded programs, their maps, and the interfaces they are attached to.
///
/// Belongs to the network namespace of the thread that calls [`Datapath::attach`]. Dropping it
/// takes the programs off.
pub struct Datapath {
    ebpf: Ebpf,
    pub(super) tables: Tables,
    pub(super) adopt_for: Duration,
    classic: bool,
    /// By interface: which endpoint, and until when it adopts.
    pub(super) adopting: HashMap<u32, (u32, u64)>,
    links: HashMap<u32, Vec<(Program, SchedClassifierLinkId)>>,
    counters: PerCpuArray<MapData, [u64; STATS_LEN as usize]>,
    rings: Option<(RingBuf<MapData>, RingBuf<MapData>)>,
    scanned: Option<TableScanner>,
    removals: Arc<Removals>,
}

/// The maps that user space works on.
pub(super) struct Tables {
    pub(super) endpoints: Endpoints,
    pub(super) identities: Table<Address, u32>,
    pub(super) cidrs_v4: Table<TrieKey<CidrV4>, u32>,
    pub(super) cidrs_v6: Table<TrieKey<CidrV6>, u32>,
    pub(super) policy: Table<PolicyKey, PolicyValue>,
}

impl Datapath {
    /// Loads programs and maps into the kernel.
    pub fn load(options: &DatapathOptions) -> Result<Self, KernelError> {
        allow_locked_memory();
        let mut ebpf = EbpfLoader::new()
            .map_max_entries("CONNTRACK", options.connections)
            .map_max_entries("DENIES", options.denies)
            .map_max_entries("POLICY", options.policies)
            .map_max_entries("CIDRS_V4", options.cidrs)
            .map_max_entries("CIDRS_V6", options.cidrs)
            .map_max_entries("IDENTITIES", options.identities)
            .map_max_entries("VERDICTS", options.ring_bytes)
            .map_max_entries("DENY_VERDICTS", options.deny_ring_bytes)
            .load(OBJECT)
            .map_err(KernelError::from_load)?;
        for program in Program::ATTACHED {
            classifier(&mut ebpf, program)?;
        }
        let tables = Tables {
            endpoints: Endpoints::new(&descriptor(&ebpf, "ENDPOINTS")?)?,
            identities: Table::new("IDENTITIES", descriptor(&ebpf, "IDENTITIES")?),
            cidrs_v4: Table::new("CIDRS_V4", descriptor(&ebpf, "CIDRS_V4")?),
            cidrs_v6: Table::new("CIDRS_V6", descriptor(&ebpf, "CIDRS_V6")?),
            policy: Table::new("POLICY", descriptor(&ebpf, "POLICY")?),
        };
        let conntrack =
            Table::<ConnectionKey, Connection>::new("CONNTRACK", descriptor(&ebpf, "CONNTRACK")?);
        let closed = Table::<ClosedKey, Connection>::new("CLOSED", descriptor(&ebpf, "CLOSED")?);
        let denies = Table::<DenyKey, Deny>::new("DENIES", descriptor(&ebpf, "DENIES")?);
        let counters = PerCpuArray::try_from(Map::PerCpuArray(map_data(&ebpf, "STATS")?))
            .map_err(|error| KernelError::Object(chain(&error)))?;
        let rings = (ring(&ebpf, "DENY_VERDICTS")?, ring(&ebpf, "VERDICTS")?);
        let removals = Arc::new(Removals::default());
        Ok(Self {
            ebpf,
            tables,
            adopt_for: options.adopt_for,
            classic: options.classic,
            adopting: HashMap::new(),
            links: HashMap::new(),
            counters,
            rings: Some(rings),
            scanned: Some(TableScanner::new(conntrack, closed, denies, Arc::clone(&removals))),
            removals,
        })
    }

    /// How large the maps are.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn map_sizes(&self) -> io::Result<Vec<MapSize>> {
        // `.bss` and the like are of no size worth telling.
        let maps = self.ebpf.maps().filter(|(name, _)| !name.starts_with('.'));
        let sizes = maps.map(|(name, map)| {
            let data = data(map).ok_or(io::ErrorKind::Unsupported)?;
            map_size(name, data.fd().as_fd())
        });
        sizes.collect()
    }

    /// Attaches both programs to the host side of a pod's veth. Doing so again is no error.
    pub fn attach(&mut self, ifindex: u32) -> Result<(), KernelError> {
        let interface = interface_name(ifindex)?;
        for program in Program::ATTACHED {
            let Some(link) = self.attach_one(program, ifindex, &interface)? else { continue };
            let links = self.links.entry(ifindex).or_default();
            // An older link of this program belongs to an interface that is gone.
            links.retain(|(other, _)| *other != program);
            links.push((program, link));
        }
        Ok(())
    }

    /// Takes the programs off an interface. It is no error if they, or it, are gone.
    pub fn detach(&mut self, ifindex: u32) -> Result<(), KernelError> {
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

    /// The reading end of the rings; there is only one.
    pub fn reader(&mut self) -> Result<RingReader, KernelError> {
        let (denies, verdicts) = self.rings.take().ok_or(KernelError::Taken("ring reader"))?;
        Ok(RingReader::new(denies, verdicts))
    }

    /// The scanner of the tables; there is only one.
    pub fn scanner(&mut self) -> Result<TableScanner, KernelError> {
        self.scanned.take().ok_or(KernelError::Taken("table scanner"))
    }

    /// What the programs counted so far, on all CPUs.
    pub fn stats(&self) -> Result<Stats, KernelError> {
        let counters = self.counters.get(&0, 0).map_err(|error| KernelError::Map {
            map: "STATS",
            operation: "look up",
            source: std::io::Error::other(chain(&error)),
        })?;
        Ok(Stats::new(counters.iter(), &self.removals))
    }

    pub(super) fn classifier(
        &mut self,
        program: Program,
    ) -> Result<&mut SchedClassifier, KernelError> {
        classifier(&mut self.ebpf, program)
    }

    /// None: it is attached already.
    fn attach_one(
        &mut self,
        program: Program,
        ifindex: u32,
        interface: &str,
    ) -> Result<Option<SchedClassifierLinkId>, KernelError> {
        if self.classic {
            return self.attach_classic(program, ifindex, interface);
        }
        // Next to the pod on both ways: nothing redirects its packets before Weir has seen them,
        // or after.
        let (direction, order) = match program {
            Program::FromPod => (TcAttachType::Ingress, LinkOrder::first()),
            _ => (TcAttachType::Egress, LinkOrder::last()),
        };
        let attached = self.classifier(program)?.attach_with_options(
            interface,
            direction,
            TcAttachOptions::TcxOrder(order),
        );
        match attached {
            Ok(link) => Ok(Some(link)),
            Err(error) => match errno(&error) {
                Some(libc::EEXIST) => Ok(None),
                // Before Linux 6.6.
                Some(libc::EINVAL | libc::EOPNOTSUPP) => {
                    self.attach_classic(program, ifindex, interface)
                }
                Some(libc::EPERM) => {
                    Err(KernelError::NotPermitted { action: "attach BPF programs" })
                }
                _ => Err(attach_error(program, ifindex, &error)),
            },
        }
    }

    /// As a filter of the interface's `clsact` queueing discipline.
    fn attach_classic(
        &mut self,
        program: Program,
        ifindex: u32,
        interface: &str,
    ) -> Result<Option<SchedClassifierLinkId>, KernelError> {
        let attached = self.links.get(&ifindex).into_iter().flatten();
        if attached.into_iter().any(|(other, _)| *other == program) {
            return Ok(None);
        }
        match qdisc_add_clsact(interface) {
            Ok(()) | Err(TcError::AlreadyAttached) => {}
            // Somebody else's does as well.
            Err(TcError::NetlinkError(error)) if chain(&error).contains("File exists") => {}
            Err(error) => return Err(attach_error(program, ifindex, &error)),
        }
        let direction = match program {
            Program::FromPod => TcAttachType::Ingress,
            _ => TcAttachType::Egress,
        };
        let options = TcAttachOptions::Netlink(NlOptions::default());
        self.classifier(program)?
            .attach_with_options(interface, direction, options)
            .map(Some)
            .map_err(|error| attach_error(program, ifindex, &error))
    }
}

fn attach_error(
    program: Program,
    ifindex: u32,
    error: &(dyn std::error::Error + 'static),
) -> KernelError {
    KernelError::Attach { program: program.name(), ifindex, reason: chain(error) }
}

/// A program, loaded if it is not yet.
fn classifier(ebpf: &mut Ebpf, program: Program) -> Result<&mut SchedClassifier, KernelError> {
    let classifier: &mut SchedClassifier = ebpf
        .program_mut(program.name())
        .and_then(|found| found.try_into().ok())
        .ok_or_else(|| KernelError::Object(format!("no classifier {}", program.name())))?;
    match classifier.load() {
        Ok(()) | Err(ProgramError::AlreadyLoaded) => Ok(classifier),
        Err(error) => Err(KernelError::from_program(program.name(), error)),
    }
}

/// A descriptor of a map. The object keeps its own, for programs that are loaded later.
fn descriptor(ebpf: &Ebpf, name: &'static str) -> Result<OwnedFd, KernelError> {
    let Some(data) = ebpf.map(name).and_then(data) else {
        return Err(KernelError::Object(format!("no map {name} of a known type")));
    };
    let duplicate = data.fd().as_fd().try_clone_to_owned();
    duplicate.map_err(|source| KernelError::Map { map: name, operation: "duplicate", source })
}

/// The map itself, of the types that the programs use.
fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::LpmTrie(data)
        | Map::Array(data)
        | Map::PerCpuArray(data)
        | Map::RingBuf(data) => Some(data),
        _ => None,
    }
}

fn map_data(ebpf: &Ebpf, name: &'static str) -> Result<MapData, KernelError> {
    let data = MapData::from_fd(descriptor(ebpf, name)?);
    data.map_err(|error| KernelError::Object(chain(&error)))
}

fn ring(ebpf: &Ebpf, name: &'static str) -> Result<RingBuf<MapData>, KernelError> {
    let ring = RingBuf::try_from(Map::RingBuf(map_data(ebpf, name)?));
    ring.map_err(|error| KernelError::Object(chain(&error)))
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

fn errno(error: &ProgramError) -> Option<i32> {
    match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    }
}

/// Kernels before 5.11 charge maps to this limit. Where it may not be raised, loading says so.
fn allow_locked_memory() {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: reads an initialised struct.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
}
