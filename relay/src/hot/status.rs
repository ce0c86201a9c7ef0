//! How the relay says it is.

use weir_flow::wire::RelayStatus;

use super::Hot;

/// Sentences about gaps in a status.
const MAX_GAPS: usize = 20;

impl Hot {
    /// How the relay is.
    pub(crate) fn status(&self) -> RelayStatus {
        let mut problems: Vec<String> =
            self.store_problem.iter().chain(&self.wal_problem).cloned().collect();
        if self.bytes + self.pending_bytes >= self.limits.hot_max_bytes {
            problems.push(format!(
                "memory is full ({} hot rows): collectors wait until the store takes them",
                self.rows
            ));
        } else if self.wal_bytes + self.pending_bytes as u64 >= self.limits.wal_max_bytes {
            problems.push(format!(
                "the write-ahead log is full ({} bytes): collectors wait until the store takes what is in it",
                self.wal_bytes
            ));
        }
        problems.extend(self.senders.gaps(MAX_GAPS));
        RelayStatus {
            version: env!("CARGO_PKG_VERSION").into(),
            relay_epoch: self.epoch,
            rows_acknowledged: self.rows_acknowledged,
            hot_rows: self.rows as u64,
            hot_bytes: self.bytes as u64,
            stored_rows: self.manifest.files.iter().map(|file| file.rows).sum(),
            stored_bytes: self.manifest.files.iter().map(|file| file.size_bytes).sum(),
            stored_files: self.manifest.files.len() as u64,
            problems,
            collectors: self.senders.report(),
        }
    }
}
