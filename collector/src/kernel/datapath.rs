//! Loads the programs and attaches them.

use std::{
    collections::{HashMap, HashSet},
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::Arc,
    time::Duration,
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Map, MapData, PerCpuArray},
    programs::{ProgramError, SchedClassifier, tc::SchedClassifierLinkId},
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
    epoch::Epoch,
    error::chain,
    pins::Pins,
    ring::Mapped,
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

impl DatapathOptions {
    /// By map.
    fn sizes(&self) -> [(&'static str, u32); 8] {
        [
            ("CONNTRACK", self.connections),
            ("DENIES", self.denies),
            ("POLICY", self.policies),
            ("CIDRS_V4", self.cidrs),
            ("CIDRS_V6", self.cidrs),
            ("IDENTITIES", self.identities),
            ("VERDICTS", self.ring_bytes),
            ("DENY_VERDICTS", self.deny_ring_bytes),
        ]
    }
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
            deny_ring_bytes: 8 << 20,
            adopt_for: Duration::from_secs(600),
            classic: false,
        }
    }
}

/// The loaded programs, their maps, and the interfaces they are attached to.
///
/// Belongs to the network namespace of the thread that loads it and calls [`Datapath::attach`].
/// Dropping it takes the programs off, unless they are pinned.
pub struct Datapath {
    pub(super) ebpf: Ebpf,
    /// None: nothing outlives the process.
    pub(super) pins: Option<Pins>,
    pub(super) tables: Tables,
    pub(super) adopt_for: Duration,
    pub(super) classic: bool,
    /// By interface: which endpoint, and until when it adopts.
    pub(super) adopting: HashMap<u32, (u32, u64)>,
    /// Links that go with the process.
    pub(super) links: HashMap<u32, Vec<(Program, SchedClassifierLinkId)>>,
    /// Interfaces with classic filters that do not.
    pub(super) filtered: HashSet<u32>,
    counters: PerCpuArray<MapData, [u64; STATS_LEN as usize]>,
    rings: Option<(Mapped, Mapped)>,
    scanned: Option<TableScanner>,
    removals: Arc<Removals>,
}

/// The maps that user space works on.
pub(super) struct Tables {
    pub(super) endpoints: Endpoints,
    pub(super) epoch: Arc<Epoch>,
    pub(super) identities: Table<Address, u32>,
    pub(super) cidrs_v4: Table<TrieKey<CidrV4>, u32>,
    pub(super) cidrs_v6: Table<TrieKey<CidrV6>, u32>,
    pub(super) policy: Table<PolicyKey, PolicyValue>,
}

impl Datapath {
    /// Loads programs and maps into the kernel, for as long as this process lives.
    pub fn load(options: &DatapathOptions) -> Result<Self, KernelError> {
        Self::load_with(options, None)
    }

    /// Loads programs that stay in force when this process ends, with the maps that are pinned in
    /// this directory, if they are of the same shape, or else with new ones.
    pub fn load_pinned(options: &DatapathOptions, directory: &Path) -> Result<Self, KernelError> {
        Self::load_with(options, Some(directory))
    }

    fn load_with(options: &DatapathOptions, pinned: Option<&Path>) -> Result<Self, KernelError> {
        allow_locked_memory();
        let sizes = options.sizes();
        let opened = pinned.map(|directory| Pins::open(directory, OBJECT, &sizes)).transpose()?;
        let mut loader = EbpfLoader::new();
        for (map, entries) in sizes {
            loader.map_max_entries(map, entries);
        }
        if let Some((pins, shape)) = &opened {
            pins.use_for(&mut loader, shape);
        }
        let mut ebpf = loader.load(OBJECT).map_err(KernelError::from_load)?;
        for program in Program::ATTACHED {
            classifier(&mut ebpf, program)?;
        }
        let tables = Tables {
            endpoints: Endpoints::new(&descriptor(&ebpf, "ENDPOINTS")?)?,
            epoch: Arc::new(Epoch::new(&descriptor(&ebpf, "EPOCH")?)?),
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
        let removals = Arc::new(Removals::new(Arc::clone(&tables.epoch)));
        let adopting = tables
            .endpoints
            .entries()
            .map(|(ifindex, entry)| (ifindex, (entry.endpoint.endpoint, entry.adopt_until_ns)));
        Ok(Self {
            ebpf,
            pins: opened.map(|(pins, _)| pins),
            adopting: adopting.collect(),
            tables,
            adopt_for: options.adopt_for,
            classic: options.classic,
            links: HashMap::new(),
            filtered: HashSet::new(),
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

    /// The reading end of the rings; there is only one.
    pub fn reader(&mut self) -> Result<RingReader, KernelError> {
        let (denies, verdicts) = self.rings.take().ok_or(KernelError::Taken("ring reader"))?;
        RingReader::open(denies, verdicts)
    }

    /// The scanner of the tables; there is only one.
    pub fn scanner(&mut self) -> Result<TableScanner, KernelError> {
        self.scanned.take().ok_or(KernelError::Taken("table scanner"))
    }

    /// Whether other maps are in force until these take their place; what they count and nobody has
    /// reported goes with them.
    ///
    /// # Errors
    /// The directory of pins cannot be read.
    pub fn replaces_maps(&self) -> Result<bool, KernelError> {
        self.pins.as_ref().map_or(Ok(false), Pins::replaces)
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
}

/// A program, loaded if it is not yet.
pub(super) fn classifier(
    ebpf: &mut Ebpf,
    program: Program,
) -> Result<&mut SchedClassifier, KernelError> {
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

fn ring(ebpf: &Ebpf, name: &'static str) -> Result<Mapped, KernelError> {
    Mapped::open(name, descriptor(ebpf, name)?)
}

/// Kernels before 5.11 charge maps to this limit. Where it may not be raised, loading says so.
fn allow_locked_memory() {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: reads an initialised struct.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
}
