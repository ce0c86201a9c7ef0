//! Who an address or an endpoint was at a moment, and which rules a rule set holds.
//!
//! The enforcer writes it before the kernel learns of a change, so whatever an event names is
//! known when the event is read. Readers hold an immutable snapshot. History is kept for a while,
//! because events are read after they happened and an address may have moved on.

mod writer;

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustc_hash::FxHashMap;
use weir_abi::Address;
use weir_flow::values::{EndpointKind, PolicyRule};
use weir_policy::model::Labels;

pub use writer::DirectoryWriter;

/// What is known of one end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointInfo {
    /// What it is.
    pub kind: EndpointKind,
    /// The pod's namespace.
    pub namespace: Option<String>,
    /// The pod's name.
    pub pod: Option<String>,
    /// Kind of the pod's controller.
    pub workload_kind: Option<String>,
    /// Name of the pod's controller.
    pub workload: Option<String>,
    /// The pod's labels.
    pub labels: Labels,
    /// The pod's node, or the node itself.
    pub node: Option<String>,
    /// DNS names of the address.
    pub names: Vec<String>,
    /// The Service whose address it is, as `namespace/name`.
    pub service: Option<String>,
}

impl EndpointInfo {
    /// Nothing known but the kind.
    pub fn bare(kind: EndpointKind) -> Self {
        Self {
            kind,
            namespace: None,
            pod: None,
            workload_kind: None,
            workload: None,
            labels: Labels::new(),
            node: None,
            names: Vec::new(),
            service: None,
        }
    }
}

/// What something was, by time; the last period has no end yet.
#[derive(Clone, Debug)]
struct History(Vec<Period>);

#[derive(Clone, Debug)]
struct Period {
    from_ns: u64,
    info: Arc<EndpointInfo>,
}

/// An answer and how long it holds.
#[derive(Clone, Debug)]
pub struct Known {
    /// Who it was.
    pub info: Arc<EndpointInfo>,
    /// The first moment of which this is true, monotonic.
    pub from_ns: u64,
    /// The first moment of which this is no longer known to be true.
    pub until_ns: u64,
}

impl Known {
    /// True of every moment.
    fn always(info: Arc<EndpointInfo>) -> Self {
        Self { info, from_ns: 0, until_ns: u64::MAX }
    }
}

/// A local pod as the kernel knows it.
#[derive(Clone, Debug)]
struct LocalPod {
    history: History,
    address_v4: Option<Address>,
    address_v6: Option<Address>,
    gone_ns: Option<u64>,
}

/// An immutable snapshot.
#[derive(Clone, Debug)]
pub struct Directory {
    addresses: FxHashMap<Address, History>,
    endpoints: FxHashMap<u32, LocalPod>,
    /// By number.
    rule_sets: Arc<[Arc<[PolicyRule]>]>,
    /// What an address is that is not in the table.
    elsewhere: Arc<EndpointInfo>,
    unknown: Arc<EndpointInfo>,
}

impl Default for Directory {
    /// Knows nothing: every address is `unknown`.
    fn default() -> Self {
        let unknown = Arc::new(EndpointInfo::bare(EndpointKind::Unknown));
        Self {
            addresses: FxHashMap::default(),
            endpoints: FxHashMap::default(),
            rule_sets: Arc::from([]),
            elsewhere: unknown.clone(),
            unknown,
        }
    }
}

impl Directory {
    /// Who had an address at a moment.
    pub fn address(&self, address: &Address, at_ns: u64) -> Known {
        self.addresses
            .get(address)
            .map_or_else(|| Known::always(self.elsewhere.clone()), |history| history.at(at_ns))
    }

    /// Which pod an endpoint was at a moment.
    pub fn endpoint(&self, endpoint: u32, at_ns: u64) -> Known {
        self.endpoints
            .get(&endpoint)
            .map_or_else(|| Known::always(self.unknown.clone()), |pod| pod.history.at(at_ns))
    }

    /// Which pod each endpoint is; none for one that is gone.
    pub fn endpoints(&self) -> impl Iterator<Item = (u32, Option<&EndpointInfo>)> {
        self.endpoints.iter().map(|(id, pod)| {
            let last = pod.history.0.last().filter(|_| pod.gone_ns.is_none());
            (*id, last.map(|period| &*period.info))
        })
    }

    /// The address with which an endpoint talks to a remote address of the same family.
    pub fn endpoint_address(&self, endpoint: u32, remote: &Address) -> Address {
        let v4 = is_v4(remote);
        let known = self.endpoints.get(&endpoint);
        let address = known.and_then(|pod| if v4 { pod.address_v4 } else { pod.address_v6 });
        address.unwrap_or(if v4 { UNSPECIFIED_V4 } else { [0; 16] })
    }

    /// The rules of a rule set; empty for 0 and for one that was never announced.
    pub fn rule_set(&self, id: u32) -> &[PolicyRule] {
        self.rule_sets.get(id as usize).map_or(&[], |rules| rules)
    }
}

/// The snapshot in force, for any number of readers.
#[derive(Clone, Debug, Default)]
pub struct SharedDirectory(Arc<ArcSwap<Directory>>);

impl SharedDirectory {
    /// The snapshot now.
    pub fn load(&self) -> Arc<Directory> {
        self.0.load_full()
    }

    fn store(&self, directory: Directory) {
        self.0.store(Arc::new(directory));
    }
}

impl History {
    fn at(&self, at_ns: u64) -> Known {
        let next = self.0.partition_point(|period| period.from_ns <= at_ns);
        // Before the first period nothing is known; the first is the best there is.
        let index = next.saturating_sub(1);
        let until_ns = self.0.get(index + 1).map_or(u64::MAX, |period| period.from_ns);
        let from_ns = if index == 0 { 0 } else { self.0[index].from_ns };
        Known { info: self.0[index].info.clone(), from_ns, until_ns }
    }
}

const UNSPECIFIED_V4: Address = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0];

/// Whether an address is IPv4, mapped.
pub(crate) fn is_v4(address: &Address) -> bool {
    address[..12] == UNSPECIFIED_V4[..12]
}

/// An address as the kernel programs hold it.
pub(crate) fn to_kernel(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// An address of the kernel programs.
pub(crate) fn from_kernel(address: &Address) -> IpAddr {
    std::net::Ipv6Addr::from(*address).to_canonical()
}
