//! The kernel's maps without interfaces.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::time::Instant;

use weir_abi::Address;
use weir_abi::endpoint::Endpoint;
use weir_abi::policy::{CidrV4, CidrV6, PolicyKey, PolicyValue};

use crate::enforcer::{Kernel, Network};
use crate::kernel::{Datapath, KernelError, KernelMaps};

type Result<T> = std::result::Result<T, KernelError>;

/// Maps whose programs are attached nowhere.
pub(super) struct Unattached {
    pub(super) maps: Datapath,
    /// When everything new was last in force, and only what nothing uses was left to be removed.
    pub(super) in_force: Option<Instant>,
}

impl KernelMaps for Unattached {
    fn insert_policies(&mut self, entries: &[(PolicyKey, PolicyValue)]) -> Result<()> {
        self.maps.insert_policies(entries)
    }

    fn remove_policies(&mut self, keys: &[PolicyKey]) -> Result<()> {
        self.maps.remove_policies(keys)
    }

    fn insert_cidrs_v4(&mut self, entries: &[(u32, CidrV4, u32)]) -> Result<()> {
        self.maps.insert_cidrs_v4(entries)
    }

    fn remove_cidrs_v4(&mut self, keys: &[(u32, CidrV4)]) -> Result<()> {
        self.maps.remove_cidrs_v4(keys)
    }

    fn insert_cidrs_v6(&mut self, entries: &[(u32, CidrV6, u32)]) -> Result<()> {
        self.maps.insert_cidrs_v6(entries)
    }

    fn remove_cidrs_v6(&mut self, keys: &[(u32, CidrV6)]) -> Result<()> {
        self.maps.remove_cidrs_v6(keys)
    }

    fn insert_identities(&mut self, entries: &[(Address, u32)]) -> Result<()> {
        self.maps.insert_identities(entries)
    }

    fn remove_identities(&mut self, addresses: &[Address]) -> Result<()> {
        self.maps.remove_identities(addresses)
    }

    fn set_endpoint(&mut self, ifindex: u32, endpoint: &Endpoint) -> Result<()> {
        self.maps.set_endpoint(ifindex, endpoint)
    }

    fn remove_endpoint(&mut self, ifindex: u32) -> Result<()> {
        self.maps.remove_endpoint(ifindex)
    }
}

impl Kernel for Unattached {
    fn attach(&mut self, _: u32) -> Result<()> {
        Ok(())
    }

    fn detach(&mut self, _: u32) -> Result<()> {
        Ok(())
    }

    fn settle(&mut self) {
        self.in_force = Some(Instant::now());
        Kernel::settle(&mut self.maps);
    }
}

/// Interfaces by the address that is behind them.
pub(super) struct Interfaces(pub(super) HashMap<IpAddr, u32>);

impl Network for Interfaces {
    fn addresses(&mut self) -> io::Result<Vec<IpAddr>> {
        Ok(vec![IpAddr::from([127, 0, 0, 1])])
    }

    fn interfaces(
        &mut self,
        pods: &[&[IpAddr]],
    ) -> io::Result<Vec<std::result::Result<u32, String>>> {
        let find = |pod: &&[IpAddr]| {
            let interface = pod.iter().find_map(|address| self.0.get(address).copied());
            interface.ok_or_else(|| "there is no route to its addresses".to_owned())
        };
        Ok(pods.iter().map(find).collect())
    }
}
