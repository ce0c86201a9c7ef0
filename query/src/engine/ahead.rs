//! Takes a query's snapshot while the query is planned.
//!
//! A snapshot asks each relay twice, one after the other, and planning needs it only at its end.

use std::sync::{Arc, OnceLock};

use tokio::runtime::Handle;

use super::answer::AbortOnDrop;
use crate::catalog::moment::Moment;

/// Takes the snapshot before scans ask for it. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Ahead {
    moment: Arc<Moment>,
    /// Not those that plan: what is started there waits until planning pauses.
    threads: Handle,
    task: OnceLock<AbortOnDrop>,
}

impl Ahead {
    pub(super) fn new(moment: Arc<Moment>, threads: Handle) -> Self {
        Self { moment, threads, task: OnceLock::new() }
    }

    /// It will be needed. Only the first call does anything.
    pub(super) fn begin(&self) {
        self.task.get_or_init(|| {
            let moment = self.moment.clone();
            // If it fails, the scan that needs it asks again and says so.
            let task = self.threads.spawn(async move { drop(moment.snapshot().await) });
            AbortOnDrop(task.abort_handle())
        });
    }
}
