//! One relay, and mirrors of what it holds in memory.

use super::hot::Hot;
use super::relay::RelayClient;

/// A relay.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) relay: RelayClient,
    pub(crate) flows: Hot,
    pub(crate) loss: Hot,
    pub(crate) objects: Hot,
}

impl Source {
    /// `hot_bytes` bounds each mirror.
    pub(crate) fn new(relay: RelayClient, hot_bytes: usize) -> Self {
        Self {
            flows: Hot::flows(relay.clone(), hot_bytes),
            loss: Hot::loss(relay.clone(), hot_bytes),
            objects: Hot::objects(relay.clone(), hot_bytes),
            relay,
        }
    }
}

/// The relays in words.
pub(super) fn addresses(sources: &[Source]) -> String {
    let addresses: Vec<&str> = sources.iter().map(|source| source.relay.address()).collect();
    match addresses.as_slice() {
        [one] => format!("the relay at {one}"),
        all => format!("one of the relays at {}", all.join(", ")),
    }
}
