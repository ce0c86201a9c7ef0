//! Programs at the two ends of a way between pods, to measure what real packets lose by them.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use weir_abi::{
    DIRECTION_INGRESS, PROTOCOL_TCP, PROTOCOL_UDP,
    endpoint::{Endpoint, ISOLATED_INGRESS, READY, SubjectView},
    policy::{IDENTITY_FIRST_POD, PolicyKey, PolicyValue},
};

use super::address;
use crate::kernel::{Datapath, DatapathOptions, KernelError, KernelMaps, Program, RingReader};

/// Who may reach the isolated pod at which ports, besides the pod that does: so many entries.
const PORTS: u16 = 100;
/// How long the reader of events waits before it looks whether it is to end.
const PATIENCE: Duration = Duration::from_millis(50);

/// A pod's door.
#[derive(Clone, Copy, Debug)]
pub struct Door {
    /// The host side of its veth.
    pub ifindex: u32,
    /// Its address.
    pub address: Ipv4Addr,
}

/// Programs at the doors of two pods, read like a collector's. Dropping it takes them off.
pub struct Attached {
    /// Keeps the programs where they are.
    _datapath: Datapath,
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

/// Attaches programs that do nothing to the hooks where the real ones go, of interfaces of the
/// calling thread's network namespace.
pub fn empty(doors: [Door; 2]) -> Result<Attached, KernelError> {
    let mut datapath = Datapath::load(&DatapathOptions::default())?;
    for door in doors {
        for program in Program::ATTACHED {
            datapath.attach_in_place_of(program, Program::Empty, door.ifindex)?;
        }
    }
    Attached::new(datapath)
}

/// Attaches the programs. `server` is isolated and may be reached only at these ports, over TCP
/// and UDP, by `client` and by others, which makes `entries` entries; `client` may do anything.
pub fn enforcing(
    client: Door,
    server: Door,
    ports: &[u16],
    entries: u32,
) -> Result<Attached, KernelError> {
    let mut datapath = Datapath::load(&DatapathOptions::default())?;
    let client_identity = IDENTITY_FIRST_POD;
    let identity = |index: u32| client_identity + 1 + index;
    let rule = |peer, port, protocol| {
        let key = PolicyKey {
            subject: 2,
            peer,
            port,
            direction: DIRECTION_INGRESS,
            protocol,
            port_prefix: 16,
            reserved: [0; 3],
        };
        (key, PolicyValue { rule_set: 1, ..PolicyValue::NONE })
    };
    let mut policies: Vec<_> = ports
        .iter()
        .flat_map(|&port| [PROTOCOL_TCP, PROTOCOL_UDP].map(|protocol| (port, protocol)))
        .map(|(port, protocol)| rule(client_identity, port, protocol))
        .collect();
    let own = u32::try_from(policies.len()).unwrap_or(u32::MAX);
    let others = entries.saturating_sub(own);
    policies.extend((0..others).map(|index| {
        let port = 1 + (index % u32::from(PORTS)) as u16;
        rule(identity(index / u32::from(PORTS)), port, PROTOCOL_UDP)
    }));
    datapath.insert_policies(&policies)?;
    let mut identities: Vec<_> = (0..others.div_ceil(u32::from(PORTS)))
        .map(|index| (address(Ipv4Addr::from(0x0a80_0000 + index)), identity(index)))
        .collect();
    identities.push((address(client.address), client_identity));
    datapath.insert_identities(&identities)?;
    for (number, door, isolated) in [(1, client, 0), (2, server, ISOLATED_INGRESS)] {
        let endpoint = Endpoint {
            revision: 1,
            endpoint: number,
            flags: READY,
            enforced: SubjectView {
                subject: number,
                flags: isolated,
                isolated_by_ingress: if isolated == 0 { 0 } else { 2 },
                port_prefixes_ingress: if isolated == 0 { 0 } else { 1 << 16 },
                ports_ingress: if isolated == 0 { 0 } else { u64::MAX },
                ..SubjectView::default()
            },
            audited: SubjectView::default(),
            address_v4: address(door.address),
            address_v6: [0; 16],
        };
        datapath.set_endpoint(door.ifindex, &endpoint)?;
        datapath.attach(door.ifindex)?;
    }
    Attached::new(datapath)
}

impl Attached {
    fn new(mut datapath: Datapath) -> Result<Self, KernelError> {
        let stop = Arc::new(AtomicBool::new(false));
        let reader = datapath.reader()?;
        let thread = {
            let stop = Arc::clone(&stop);
            std::thread::Builder::new()
                .name("bench-reader".to_owned())
                .spawn(move || read(reader, &stop))
                .map_err(|source| KernelError::Map {
                    map: "VERDICTS",
                    operation: "start a reader of",
                    source,
                })?
        };
        Ok(Self { _datapath: datapath, stop, reader: Some(thread) })
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            // A panic was reported when it happened.
            let _ = reader.join();
        }
    }
}

/// Takes events out of the rings until it is told to stop.
fn read(mut reader: RingReader, stop: &AtomicBool) {
    let mut events = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        events.clear();
        if let Err(error) = reader.read(PATIENCE, &mut events) {
            tracing::warn!(%error, "the rings cannot be read");
            return;
        }
        reader.release();
    }
}
