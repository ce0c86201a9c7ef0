//! How many queries run and wait at the same time. More are refused at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::QueryError;

/// Lets queries in.
#[derive(Debug)]
pub(crate) struct Admission {
    running: Arc<Semaphore>,
    waiting: Semaphore,
    wait: Duration,
    limits: (usize, usize),
}

impl Admission {
    /// So many run, so many wait, and none longer than `wait`.
    pub(crate) fn new(running: usize, waiting: usize, wait: Duration) -> Self {
        let running = running.max(1);
        Self {
            running: Arc::new(Semaphore::new(running)),
            waiting: Semaphore::new(waiting),
            wait,
            limits: (running, waiting),
        }
    }

    /// Waits for a turn; the query may run as long as it holds the permit.
    pub(crate) async fn enter(&self) -> Result<OwnedSemaphorePermit, QueryError> {
        if let Ok(permit) = self.running.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let busy = || QueryError::TooBusy { running: self.limits.0, waiting: self.limits.1 };
        let _place = self.waiting.try_acquire().map_err(|_| busy())?;
        match tokio::time::timeout(self.wait, self.running.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(busy()),
        }
    }

    /// Queries that run.
    pub(crate) fn running(&self) -> usize {
        self.limits.0 - self.running.available_permits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_finds_no_place_is_refused() {
        let admission = Arc::new(Admission::new(1, 1, Duration::from_secs(1)));
        let first = admission.enter().await.unwrap();
        let waiter = tokio::spawn({
            let admission = admission.clone();
            async move { admission.enter().await }
        });
        tokio::task::yield_now().await;
        assert!(matches!(admission.enter().await, Err(QueryError::TooBusy { .. })));
        drop(first);
        let second = waiter.await.unwrap().unwrap();
        assert_eq!(admission.running(), 1);
        // Whoever waits too long is refused as well.
        assert!(matches!(admission.enter().await, Err(QueryError::TooBusy { .. })));
        drop(second);
    }
}
