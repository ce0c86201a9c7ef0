//! Kernel settings inside a namespace. `/proc/sys/net` shows the namespace of the thread that
//! opens it, so these are written from threads inside.

use std::fs;
use std::path::Path;

use crate::{LabError, Place};

/// Every member of a lab. A quiet network: no duplicate address detection, no router
/// advertisements, no link-local addresses, so that what interfaces count is what was sent; IPv6
/// only on links that are given it.
const BASE: &[(&str, &str)] = &[
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv4/ping_group_range", "0 0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/default/addr_gen_mode", "1"),
    ("ipv6/conf/default/disable_ipv6", "1"),
    ("ipv6/icmp/ratelimit", "0"),
];

/// Nodes and the fabric between them.
const ROUTER: &[(&str, &str)] = &[
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv6/conf/all/forwarding", "1"),
    // `all` decides what is forwarded; a link's own setting makes it join, and report, the group
    // of all routers.
    ("ipv6/conf/default/forwarding", "0"),
];

/// Writes the settings of a new namespace.
pub(crate) fn prepare(place: &Place, router: bool) -> Result<(), LabError> {
    place.enter(|| {
        let router = if router { ROUTER } else { &[] };
        BASE.iter().chain(router).try_for_each(|(key, value)| write(place, key, value))
    })?
}

/// Switches IPv6 on, on these links.
pub(crate) fn enable_ipv6(place: &Place, links: &[String]) -> Result<(), LabError> {
    if links.is_empty() {
        return Ok(());
    }
    place.enter(|| {
        links
            .iter()
            .try_for_each(|link| write(place, &format!("ipv6/conf/{link}/disable_ipv6"), "0"))
    })?
}

fn write(place: &Place, key: &str, value: &str) -> Result<(), LabError> {
    // A kernel without IPv6 serves labs without it.
    if key.starts_with("ipv6/") && !Path::new("/proc/sys/net/ipv6").exists() {
        return Ok(());
    }
    fs::write(Path::new("/proc/sys/net").join(key), value).map_err(|source| LabError::Setting {
        setting: key.to_owned(),
        namespace: place.namespace().to_owned(),
        source,
    })
}
