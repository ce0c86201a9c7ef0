//! The data path in the kernel, as the rest of the collector sees it.
//!
//! [`Datapath`] loads the programs and attaches them to pods' interfaces; [`KernelMaps`] is how
//! policy gets into them; [`RingReader`] and [`TableScanner`] are how verdicts and counters come
//! out. This is the only module that names aya or makes `bpf(2)` calls.

mod attach;
pub mod bench;
mod clock;
mod datapath;
mod endpoints;
mod epoch;
mod error;
mod maps;
mod pins;
mod ring;
mod scan;
mod selftest;
mod sizes;
mod stats;
mod sys;
mod table;
mod testrun;

pub use attach::uninstall;
pub use clock::MonotonicClock;
pub use datapath::{Datapath, DatapathOptions};
pub use error::KernelError;
pub use maps::{KernelMaps, MapContents};
pub use pins::{DEFAULT_PINS, Removed, safe_name};
pub use ring::{Positions, RingReader, RingReleaser};
pub use scan::{
    ConnectionDelta, ConnectionState, ConnectionTotals, DenyDelta, DenyTotals, Hold, Scan,
    ScanMark, TableScanner, Totals, Which, Withheld,
};
pub use selftest::{SelfTest, self_test};
pub use sizes::MapSize;
pub use stats::Stats;
pub(crate) use table::Plain;
pub use testrun::{Frame, Program, TestRun};
#[cfg(test)]
pub(crate) use {ring::RingMemory, ring::fake::FakeRing, scan::Entries, stats::Removals};
