//! Which interface a pod is behind, and which addresses this node has.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;

use crate::netlink::{Link, Netlink};

/// What the enforcer asks of the node's network; the seam for tests without one.
pub trait Network {
    /// This node's own addresses.
    ///
    /// # Errors
    /// The kernel does not say.
    fn addresses(&mut self) -> io::Result<Vec<IpAddr>>;

    /// For each pod, given by its addresses, the index of the host-side interface that leads to
    /// it, or why there is none.
    ///
    /// # Errors
    /// The kernel does not say.
    fn interfaces(&mut self, pods: &[&[IpAddr]]) -> io::Result<Vec<Result<u32, String>>>;
}

/// The network namespace in which this was made.
#[derive(Debug)]
pub struct Host(Netlink);

impl Host {
    /// The network of this thread.
    ///
    /// # Errors
    /// No netlink socket can be opened.
    pub fn new() -> io::Result<Self> {
        Netlink::open().map(Self)
    }

    fn interface(
        &mut self,
        links: &HashMap<u32, Link>,
        pod: &[IpAddr],
    ) -> io::Result<Result<u32, String>> {
        let mut why = "it has no address".to_owned();
        for address in pod {
            let Some(route) = self.0.route(*address)? else {
                why = format!("there is no route to {address}");
                continue;
            };
            let Some(link) = links.get(&route.interface) else {
                why = format!("interface {} to {address} is gone", route.interface);
                continue;
            };
            if !route.direct {
                why = format!(
                    "{address} is not right behind an interface (it is behind {})",
                    link.name
                );
                continue;
            }
            if link.kind != "veth" {
                why = format!("{address} is behind {}, which is no veth", link.name);
                continue;
            }
            return Ok(Ok(route.interface));
        }
        Ok(Err(why))
    }
}

impl Network for Host {
    fn addresses(&mut self) -> io::Result<Vec<IpAddr>> {
        self.0.addresses()
    }

    fn interfaces(&mut self, pods: &[&[IpAddr]]) -> io::Result<Vec<Result<u32, String>>> {
        let links = self.0.links()?;
        pods.iter().map(|pod| self.interface(&links, pod)).collect()
    }
}
