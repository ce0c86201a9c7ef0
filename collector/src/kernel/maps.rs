//! How policy gets into the kernel.

use weir_abi::{
    Address,
    endpoint::{Endpoint, EndpointEntry},
    policy::{CidrV4, CidrV6, PolicyKey, PolicyValue},
};

use super::{Datapath, KernelError, MonotonicClock, table::TrieKey};

/// What the maps that user space writes hold.
#[derive(Clone, Debug, Default)]
pub struct MapContents {
    /// Rules.
    pub policies: Vec<(PolicyKey, PolicyValue)>,
    /// IPv4 blocks: prefix length (64 more than the block's), block, peer.
    pub cidrs_v4: Vec<(u32, CidrV4, u32)>,
    /// IPv6 blocks, likewise.
    pub cidrs_v6: Vec<(u32, CidrV6, u32)>,
    /// Whose each address is.
    pub identities: Vec<(Address, u32)>,
    /// Endpoints by interface.
    pub endpoints: Vec<(u32, Endpoint)>,
}

/// The maps that user space writes; the seam for tests without a kernel.
///
/// Inserting replaces, removing what is not there is no error. A batch that fails half-way leaves
/// the part before the failure done.
pub trait KernelMaps {
    /// Adds or replaces rules.
    fn insert_policies(&mut self, entries: &[(PolicyKey, PolicyValue)]) -> Result<(), KernelError>;
    /// Removes rules.
    fn remove_policies(&mut self, keys: &[PolicyKey]) -> Result<(), KernelError>;
    /// Adds or replaces IPv4 blocks: prefix length (64 more than the block's), block, peer.
    fn insert_cidrs_v4(&mut self, entries: &[(u32, CidrV4, u32)]) -> Result<(), KernelError>;
    /// Removes IPv4 blocks.
    fn remove_cidrs_v4(&mut self, keys: &[(u32, CidrV4)]) -> Result<(), KernelError>;
    /// Adds or replaces IPv6 blocks, likewise.
    fn insert_cidrs_v6(&mut self, entries: &[(u32, CidrV6, u32)]) -> Result<(), KernelError>;
    /// Removes IPv6 blocks.
    fn remove_cidrs_v6(&mut self, keys: &[(u32, CidrV6)]) -> Result<(), KernelError>;
    /// Tells whose addresses these are.
    fn insert_identities(&mut self, entries: &[(Address, u32)]) -> Result<(), KernelError>;
    /// Forgets whose addresses these are.
    fn remove_identities(&mut self, addresses: &[Address]) -> Result<(), KernelError>;
    /// Puts an endpoint's policy in force, in one step.
    fn set_endpoint(&mut self, ifindex: u32, endpoint: &Endpoint) -> Result<(), KernelError>;
    /// Stops judging an interface's packets.
    fn remove_endpoint(&mut self, ifindex: u32) -> Result<(), KernelError>;
}

impl Datapath {
    /// Reads the maps that user space writes.
    pub fn contents(&self) -> Result<MapContents, KernelError> {
        let mut contents = MapContents::default();
        let MapContents { policies, cidrs_v4, cidrs_v6, identities, endpoints } = &mut contents;
        self.tables.policy.for_each(|key, value| policies.push((*key, *value)))?;
        self.tables
            .cidrs_v4
            .for_each(|key, peer| cidrs_v4.push((key.prefix_len, key.data, *peer)))?;
        self.tables
            .cidrs_v6
            .for_each(|key, peer| cidrs_v6.push((key.prefix_len, key.data, *peer)))?;
        self.tables.identities.for_each(|address, id| identities.push((*address, *id)))?;
        let entries = self.tables.endpoints.entries();
        endpoints.extend(entries.map(|(ifindex, entry)| (ifindex, entry.endpoint)));
        Ok(contents)
    }
}

impl KernelMaps for Datapath {
    fn insert_policies(&mut self, entries: &[(PolicyKey, PolicyValue)]) -> Result<(), KernelError> {
        let result =
            entries.iter().try_for_each(|(key, value)| self.tables.policy.insert(key, value));
        self.changed(result)
    }

    fn remove_policies(&mut self, keys: &[PolicyKey]) -> Result<(), KernelError> {
        let result = keys.iter().try_for_each(|key| self.tables.policy.remove(key));
        self.changed(result)
    }

    fn insert_cidrs_v4(&mut self, entries: &[(u32, CidrV4, u32)]) -> Result<(), KernelError> {
        let result = entries.iter().try_for_each(|&(prefix_len, data, peer)| {
            self.tables.cidrs_v4.insert(&TrieKey { prefix_len, data }, &peer)
        });
        self.changed(result)
    }

    fn remove_cidrs_v4(&mut self, keys: &[(u32, CidrV4)]) -> Result<(), KernelError> {
        let result = keys.iter().try_for_each(|&(prefix_len, data)| {
            self.tables.cidrs_v4.remove(&TrieKey { prefix_len, data })
        });
        self.changed(result)
    }

    fn insert_cidrs_v6(&mut self, entries: &[(u32, CidrV6, u32)]) -> Result<(), KernelError> {
        let result = entries.iter().try_for_each(|&(prefix_len, data, peer)| {
            self.tables.cidrs_v6.insert(&TrieKey { prefix_len, data }, &peer)
        });
        self.changed(result)
    }

    fn remove_cidrs_v6(&mut self, keys: &[(u32, CidrV6)]) -> Result<(), KernelError> {
        let result = keys.iter().try_for_each(|&(prefix_len, data)| {
            self.tables.cidrs_v6.remove(&TrieKey { prefix_len, data })
        });
        self.changed(result)
    }

    fn insert_identities(&mut self, entries: &[(Address, u32)]) -> Result<(), KernelError> {
        let result = entries
            .iter()
            .try_for_each(|(address, identity)| self.tables.identities.insert(address, identity));
        self.changed(result)
    }

    fn remove_identities(&mut self, addresses: &[Address]) -> Result<(), KernelError> {
        let result =
            addresses.iter().try_for_each(|address| self.tables.identities.remove(address));
        self.changed(result)
    }

    fn set_endpoint(&mut self, ifindex: u32, endpoint: &Endpoint) -> Result<(), KernelError> {
        // The time to adopt begins when the endpoint is first seen here, not with each update.
        let known = self.adopting.get(&ifindex).filter(|(id, _)| *id == endpoint.endpoint);
        let adopt_until_ns = match known {
            Some((_, until)) => *until,
            None if self.adopt_for.is_zero() => 0,
            None => {
                let adopt_for = u64::try_from(self.adopt_for.as_nanos()).unwrap_or(u64::MAX);
                MonotonicClock::now_ns().saturating_add(adopt_for)
            }
        };
        self.adopting.insert(ifindex, (endpoint.endpoint, adopt_until_ns));
        let entry = EndpointEntry { endpoint: *endpoint, adopt_until_ns };
        let result = self.tables.endpoints.set(ifindex, &entry);
        self.changed(result)
    }

    fn remove_endpoint(&mut self, ifindex: u32) -> Result<(), KernelError> {
        self.adopting.remove(&ifindex);
        self.tables.endpoints.remove(ifindex);
        Ok(())
    }
}

impl Datapath {
    /// What the programs found out before a change may no longer hold, nor after a part of it.
    fn changed(&self, result: Result<(), KernelError>) -> Result<(), KernelError> {
        self.tables.epoch.advance();
        result
    }
}
