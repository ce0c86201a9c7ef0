//! How long scans may hold back what they find, by endpoint.

use rustc_hash::FxHashMap;

/// Holds nothing back unless told to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hold {
    endpoints: FxHashMap<u32, u64>,
    others_ns: u64,
}

impl Hold {
    /// The same for every endpoint that nothing else is said of, nanoseconds.
    pub fn all(ns: u64) -> Self {
        Self { endpoints: FxHashMap::default(), others_ns: ns }
    }

    /// For one endpoint, nanoseconds; 0: not at all.
    pub fn set(&mut self, endpoint: u32, ns: u64) {
        self.endpoints.insert(endpoint, ns);
    }

    /// How long news of an endpoint may be held back, nanoseconds.
    pub(super) fn of(&self, endpoint: u32) -> u64 {
        self.endpoints.get(&endpoint).copied().unwrap_or(self.others_ns)
    }
}
