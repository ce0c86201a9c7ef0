//! One end of each connection: the columns `source_*` or `destination_*`.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::error::ArrowError;
use rustc_hash::FxHashMap;
use weir_abi::Address;
use weir_flow::schema::{Kind, Labels, Names};

use super::texts::{KINDS, Texts, dictionary, nullable_dictionary, words};
use crate::directory::{Directory, EndpointInfo, from_kernel};

/// Which end a row has: the endpoint where it is the local pod, else 0 and the address tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct End {
    /// As in the packet.
    pub(super) address: Address,
    /// The local pod's endpoint; 0 for the other end.
    pub(super) endpoint: u32,
}

/// Distinct ends of a batch.
#[derive(Debug, Default)]
pub(super) struct Sides {
    found: FxHashMap<End, Found>,
    /// Every end ever numbered, by address and what was known of it.
    numbers: FxHashMap<(Address, usize), u32>,
    infos: Vec<Arc<EndpointInfo>>,
    keys: Vec<Keys>,
    ips: Texts,
    namespaces: Texts,
    pods: Texts,
    workload_kinds: Texts,
    workloads: Texts,
    nodes: Texts,
    services: Texts,
    labels: <Labels as Kind>::Builder,
    names: <Names as Kind>::Builder,
    /// End by row.
    rows: Vec<u32>,
}

/// The number of an end and the time for which it holds.
#[derive(Clone, Copy, Debug)]
struct Found {
    number: u32,
    from_ns: u64,
    until_ns: u64,
}

/// Dictionary keys of an end.
#[derive(Clone, Copy, Debug)]
struct Keys {
    ip: i32,
    kind: u8,
    namespace: i32,
    pod: i32,
    workload_kind: i32,
    workload: i32,
    node: i32,
    service: i32,
}

/// The finished columns of one end.
pub(super) struct SideColumns {
    pub(super) ip: ArrayRef,
    pub(super) kind: ArrayRef,
    pub(super) namespace: ArrayRef,
    pub(super) pod: ArrayRef,
    pub(super) workload_kind: ArrayRef,
    pub(super) workload: ArrayRef,
    pub(super) labels: ArrayRef,
    pub(super) node: ArrayRef,
    pub(super) names: ArrayRef,
    pub(super) service: ArrayRef,
}

impl Sides {
    /// Adds a row's end, as it was at a moment.
    pub(super) fn push(&mut self, end: End, at_ns: u64, directory: &Directory) {
        let number = match self.found.get(&end) {
            Some(found) if (found.from_ns..found.until_ns).contains(&at_ns) => found.number,
            _ => self.find(end, at_ns, directory),
        };
        self.rows.push(number);
    }

    /// What was found may have changed.
    pub(super) fn directory_changed(&mut self) {
        self.found.clear();
    }

    fn find(&mut self, end: End, at_ns: u64, directory: &Directory) -> u32 {
        let known = match end.endpoint {
            0 => directory.address(&end.address, at_ns),
            endpoint => directory.endpoint(endpoint, at_ns),
        };
        // `infos` keeps the allocation alive, so the pointer stays the info's own.
        let identity = (end.address, Arc::as_ptr(&known.info).addr());
        let number = match self.numbers.get(&identity) {
            Some(number) => *number,
            None => {
                let number = self.add(&end.address, known.info);
                self.numbers.insert(identity, number);
                number
            }
        };
        let found = Found { number, from_ns: known.from_ns, until_ns: known.until_ns };
        self.found.insert(end, found);
        number
    }

    fn add(&mut self, address: &Address, info: Arc<EndpointInfo>) -> u32 {
        let number = u32::try_from(self.infos.len()).unwrap_or(u32::MAX);
        self.keys.push(Keys {
            ip: self.ips.key(&from_kernel(address).to_string()),
            kind: info.kind as u8,
            namespace: self.namespaces.key_or_null(info.namespace.as_deref()),
            pod: self.pods.key_or_null(info.pod.as_deref()),
            workload_kind: self.workload_kinds.key_or_null(info.workload_kind.as_deref()),
            workload: self.workloads.key_or_null(info.workload.as_deref()),
            node: self.nodes.key_or_null(info.node.as_deref()),
            service: self.services.key_or_null(info.service.as_deref()),
        });
        Labels::append(&mut self.labels, &info.labels);
        Names::append(&mut self.names, &info.names);
        self.infos.push(info);
        number
    }

    /// The columns.
    pub(super) fn finish(mut self) -> Result<SideColumns, ArrowError> {
        let (rows, keys) = (&self.rows, &self.keys);
        let gather = |key: fn(&Keys) -> i32| -> Vec<i32> {
            rows.iter().map(|number| key(&keys[*number as usize])).collect()
        };
        let text =
            |key: fn(&Keys) -> i32, texts: Texts| nullable_dictionary(gather(key), texts.finish());
        let kinds: Vec<u8> = rows.iter().map(|number| keys[*number as usize].kind).collect();
        let columns = SideColumns {
            ip: dictionary(gather(|keys| keys.ip), self.ips.finish())?,
            kind: words(&kinds, &KINDS)?,
            namespace: text(|keys| keys.namespace, self.namespaces)?,
            pod: text(|keys| keys.pod, self.pods)?,
            workload_kind: text(|keys| keys.workload_kind, self.workload_kinds)?,
            workload: text(|keys| keys.workload, self.workloads)?,
            node: text(|keys| keys.node, self.nodes)?,
            service: text(|keys| keys.service, self.services)?,
            labels: Labels::finish(&mut self.labels),
            names: Names::finish(&mut self.names),
        };
        // A number beyond any dictionary's is refused there.
        let rows =
            || rows.iter().map(|number| i32::try_from(*number).unwrap_or(i32::MAX)).collect();
        Ok(SideColumns {
            labels: dictionary(rows(), columns.labels)?,
            names: dictionary(rows(), columns.names)?,
            ..columns
        })
    }
}
