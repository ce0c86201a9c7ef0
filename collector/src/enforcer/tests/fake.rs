//! The kernel's maps and the node's network in memory.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;

use weir_abi::Address;
use weir_abi::endpoint::Endpoint;
use weir_abi::policy::{CidrV4, CidrV6, PolicyKey, PolicyValue};

use crate::enforcer::state::MapState;
use crate::enforcer::{Kernel, Network};
use crate::kernel::{KernelError, KernelMaps};

type Result<T> = std::result::Result<T, KernelError>;
type Observer = Box<dyn FnMut(&MapState)>;

/// Maps that call an observer after every single change, and fail on demand.
#[derive(Default)]
pub(super) struct Fake {
    pub(super) state: MapState,
    pub(super) attached: BTreeSet<u32>,
    /// Interfaces that are not there.
    pub(super) refuse: BTreeSet<u32>,
    /// Policy entries find no room.
    pub(super) fail_policies: bool,
    /// So many changes are made before one fails.
    pub(super) fail_after: Option<usize>,
    pub(super) observer: Option<Observer>,
}

impl Fake {
    fn each<T: Copy>(
        &mut self,
        items: &[T],
        mut change: impl FnMut(&mut MapState, T),
    ) -> Result<()> {
        for item in items {
            match &mut self.fail_after {
                Some(0) => {
                    self.fail_after = None;
                    return Err(KernelError::MapFull { map: "ANY" });
                }
                Some(left) => *left -= 1,
                None => {}
            }
            change(&mut self.state, *item);
            if let Some(observer) = &mut self.observer {
                observer(&self.state);
            }
        }
        Ok(())
    }
}

impl KernelMaps for Fake {
    fn insert_policies(&mut self, entries: &[(PolicyKey, PolicyValue)]) -> Result<()> {
        if self.fail_policies && !entries.is_empty() {
            return Err(KernelError::MapFull { map: "POLICY" });
        }
        self.each(entries, |state, (key, value)| {
            state.policies.insert(key, value);
        })
    }

    fn remove_policies(&mut self, keys: &[PolicyKey]) -> Result<()> {
        self.each(keys, |state, key| {
            state.policies.remove(&key);
        })
    }

    fn insert_cidrs_v4(&mut self, entries: &[(u32, CidrV4, u32)]) -> Result<()> {
        self.each(entries, |state, (length, block, peer)| {
            state.cidrs_v4.insert((length, block), peer);
        })
    }

    fn remove_cidrs_v4(&mut self, keys: &[(u32, CidrV4)]) -> Result<()> {
        self.each(keys, |state, key| {
            state.cidrs_v4.remove(&key);
        })
    }

    fn insert_cidrs_v6(&mut self, entries: &[(u32, CidrV6, u32)]) -> Result<()> {
        self.each(entries, |state, (length, block, peer)| {
            state.cidrs_v6.insert((length, block), peer);
        })
    }

    fn remove_cidrs_v6(&mut self, keys: &[(u32, CidrV6)]) -> Result<()> {
        self.each(keys, |state, key| {
            state.cidrs_v6.remove(&key);
        })
    }

    fn insert_identities(&mut self, entries: &[(Address, u32)]) -> Result<()> {
        self.each(entries, |state, (address, identity)| {
            state.identities.insert(address, identity);
        })
    }

    fn remove_identities(&mut self, addresses: &[Address]) -> Result<()> {
        self.each(addresses, |state, address| {
            state.identities.remove(&address);
        })
    }

    fn set_endpoint(&mut self, ifindex: u32, endpoint: &Endpoint) -> Result<()> {
        self.each(&[(ifindex, *endpoint)], |state, (ifindex, endpoint)| {
            state.endpoints.insert(ifindex, endpoint);
        })
    }

    fn remove_endpoint(&mut self, ifindex: u32) -> Result<()> {
        self.each(&[ifindex], |state, ifindex| {
            state.endpoints.remove(&ifindex);
        })
    }
}

impl Kernel for Fake {
    fn attach(&mut self, ifindex: u32) -> Result<()> {
        if self.refuse.contains(&ifindex) {
            return Err(KernelError::NoInterface { ifindex });
        }
        self.attached.insert(ifindex);
        Ok(())
    }

    fn detach(&mut self, ifindex: u32) -> Result<()> {
        self.attached.remove(&ifindex);
        Ok(())
    }

    fn settle(&mut self) {}
}

/// Interfaces by address.
#[derive(Debug, Default)]
pub(super) struct FakeNetwork {
    pub(super) own: Vec<IpAddr>,
    pub(super) behind: HashMap<IpAddr, u32>,
}

impl Network for FakeNetwork {
    fn addresses(&mut self) -> io::Result<Vec<IpAddr>> {
        Ok(self.own.clone())
    }

    fn interfaces(
        &mut self,
        pods: &[&[IpAddr]],
    ) -> io::Result<Vec<std::result::Result<u32, String>>> {
        let find = |pod: &&[IpAddr]| {
            pod.iter()
                .find_map(|address| self.behind.get(address).copied())
                .ok_or_else(|| "there is no route to its addresses".to_owned())
        };
        Ok(pods.iter().map(find).collect())
    }
}
