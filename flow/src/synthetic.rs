//! Made-up flows of a made-up cluster, for benches, for tests and for a demo without a kernel.
//!
//! The same options give the same rows. The cluster has namespaces, workloads of skewed size and
//! popularity, pods with labels, Services, policies and addresses outside; its traffic has
//! connections that live for minutes and are reported every few seconds, short ones, DNS, probes
//! of known size, denied attempts that fold, and rows from both ends where both are pods. Times are
//! as precise as a collector's: those of first packets exact, the others by reading and tick.

mod clocks;
mod cluster;
mod columns;
mod random;
#[cfg(test)]
mod tests;
mod traffic;

use arrow::array::RecordBatch;

use crate::Flow;
use cluster::Cluster;
use columns::Columns;
use traffic::Traffic;

/// What to make up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntheticOptions {
    /// Another seed gives another cluster and other traffic.
    pub seed: u64,
    /// Name of the cluster.
    pub cluster: String,
    /// Number of nodes.
    pub nodes: usize,
    /// Number of namespaces.
    pub namespaces: usize,
    /// Number of workloads.
    pub workloads: usize,
    /// Number of pods; at least one for each workload.
    pub pods: usize,
    /// Addresses outside the cluster.
    pub world: usize,
    /// Of a thousand rows, those that are denied attempts.
    pub denied_per_mille: u32,
    /// Of a thousand rows, those with one end outside the cluster.
    pub world_per_mille: u32,
    /// How often a live connection is reported, in nanoseconds.
    pub interval_ns: i64,
}

impl Default for SyntheticOptions {
    fn default() -> Self {
        Self {
            seed: 1,
            cluster: "synthetic".into(),
            nodes: 50,
            namespaces: 40,
            workloads: 400,
            pods: 2000,
            world: 4000,
            denied_per_mille: 30,
            world_per_mille: 100,
            interval_ns: 5_000_000_000,
        }
    }
}

/// A made-up cluster with its traffic.
#[derive(Debug)]
pub struct Synthetic {
    columns: Columns,
    traffic: Traffic,
}

impl Synthetic {
    /// A new cluster. Numbers of zero count as one.
    pub fn new(options: &SyntheticOptions) -> Self {
        let cluster = Cluster::new(options);
        let columns = Columns::new(&options.cluster, &cluster);
        Self { columns, traffic: Traffic::new(options, cluster) }
    }

    /// The next rows, in order of their ends: what collectors report within the span. Most begin
    /// with the reading before, so up to two intervals earlier.
    pub fn batch(&mut self, rows: usize, start_ns: i64, span_ns: i64) -> RecordBatch {
        let rows = self.traffic.rows(rows, start_ns, span_ns.max(1));
        self.columns.build(self.traffic.cluster(), &rows)
    }

    /// The same as single flows.
    pub fn flows(&mut self, rows: usize, start_ns: i64, span_ns: i64) -> Vec<Flow> {
        Flow::read(&self.batch(rows, start_ns, span_ns))
            .expect("a batch has the columns of the table")
    }

    /// One batch after another without end, each `step_ns` later and of `rows` rows. Whoever wants
    /// them in real time waits between them.
    pub fn steps(
        mut self,
        rows: usize,
        start_ns: i64,
        step_ns: i64,
    ) -> impl Iterator<Item = RecordBatch> + Send {
        (0i64..).map(move |step| {
            self.batch(rows, start_ns.saturating_add(step.saturating_mul(step_ns)), step_ns)
        })
    }
}
