//! What one principal may use: turns, memory and temporary files. While access is off everybody is
//! one principal, who may use all there is.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::common::resources_datafusion_err;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use tokio::sync::OwnedSemaphorePermit;

use super::admission::Admission;
use crate::access::Principal;
use crate::config::Limits;
use crate::error::QueryError;

/// Principals whose budgets are kept; those that use nothing make room.
const MAX_KEPT: usize = 1_024;

/// Gives each principal its budget.
#[derive(Debug)]
pub(crate) struct Budgets {
    all: Admission,
    environment: Arc<RuntimeEnv>,
    /// Of each; `None`: everybody may use all there is.
    own: Option<Mutex<HashMap<Arc<str>, Arc<Budget>>>>,
    limits: Limits,
}

#[derive(Debug)]
struct Budget {
    admission: Admission,
    environment: Arc<RuntimeEnv>,
}

/// A query's turn, and where it runs.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) environment: Arc<RuntimeEnv>,
    _own: Option<OwnedSemaphorePermit>,
    _all: OwnedSemaphorePermit,
}

impl Budgets {
    pub(crate) fn new(limits: &Limits, environment: Arc<RuntimeEnv>, divided: bool) -> Self {
        Self {
            all: Admission::new(limits.concurrent, limits.queued, limits.queue_wait),
            environment,
            own: divided.then(Mutex::default),
            limits: limits.clone(),
        }
    }

    /// Waits for a turn: first among the principal's own queries, then among all.
    pub(crate) async fn enter(&self, principal: &Principal) -> Result<Turn, QueryError> {
        let Some(budget) = self.of(principal)? else {
            let environment = self.environment.clone();
            return Ok(Turn { environment, _own: None, _all: self.all.enter().await? });
        };
        let own = budget.admission.enter().await?;
        let all = self.all.enter().await?;
        Ok(Turn { environment: budget.environment.clone(), _own: Some(own), _all: all })
    }

    /// Whose memory and temporary files the principal's queries take.
    pub(crate) fn environment(&self, principal: &Principal) -> Result<Arc<RuntimeEnv>, QueryError> {
        let own = self.of(principal)?;
        Ok(own.map_or_else(|| self.environment.clone(), |budget| budget.environment.clone()))
    }

    /// Queries that run.
    pub(crate) fn running(&self) -> usize {
        self.all.running()
    }

    fn of(&self, principal: &Principal) -> Result<Option<Arc<Budget>>, QueryError> {
        let Some(own) = &self.own else { return Ok(None) };
        let mut own = own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(budget) = own.get(&principal.name) {
            return Ok(Some(budget.clone()));
        }
        if own.len() >= MAX_KEPT {
            own.retain(|_, budget| Arc::strong_count(budget) > 1 || budget.admission.running() > 0);
        }
        let budget = Arc::new(self.new_budget()?);
        own.insert(principal.name.clone(), budget.clone());
        Ok(Some(budget))
    }

    fn new_budget(&self) -> Result<Budget, QueryError> {
        let limits = &self.limits.principal;
        let pool = Share {
            all: self.environment.memory_pool.clone(),
            limit_bytes: limits.memory_bytes,
            used_bytes: AtomicUsize::new(0),
        };
        let environment = RuntimeEnvBuilder::from_runtime_env(&self.environment)
            .with_memory_pool(Arc::new(pool))
            .with_disk_manager_builder(disk(limits.spill_bytes))
            .build_arc()?;
        let admission = Admission::new(limits.concurrent, limits.queued, self.limits.queue_wait);
        Ok(Budget { admission, environment })
    }
}

/// Temporary files up to so many bytes.
pub(crate) fn disk(max_bytes: u64) -> DiskManagerBuilder {
    let mode = match max_bytes {
        0 => DiskManagerMode::Disabled,
        _ => DiskManagerMode::OsTmpDirectory,
    };
    DiskManagerBuilder::default().with_mode(mode).with_max_temp_directory_size(max_bytes)
}

/// A part of a pool.
#[derive(Debug)]
struct Share {
    all: Arc<dyn MemoryPool>,
    limit_bytes: usize,
    used_bytes: AtomicUsize,
}

impl MemoryPool for Share {
    fn name(&self) -> &'static str {
        "share"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.all.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.all.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.used_bytes.fetch_add(additional, Ordering::Relaxed);
        self.all.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.used_bytes.fetch_sub(shrink, Ordering::Relaxed);
        self.all.shrink(reservation, shrink);
    }

    fn try_grow(
        &self,
        reservation: &MemoryReservation,
        additional: usize,
    ) -> datafusion::error::Result<()> {
        let within =
            |used: usize| used.checked_add(additional).filter(|sum| *sum <= self.limit_bytes);
        self.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).map_err(
            |used| {
                resources_datafusion_err!(
                    "{additional} bytes more than the {used} of {} that one principal may use",
                    self.limit_bytes
                )
            },
        )?;
        self.all.try_grow(reservation, additional).inspect_err(|_| {
            self.used_bytes.fetch_sub(additional, Ordering::Relaxed);
        })
    }

    fn reserved(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit_bytes)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "share ({} of {} bytes)", self.reserved(), self.limit_bytes)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::memory_pool::GreedyMemoryPool;

    use super::*;
    use crate::access::Namespaces;
    use crate::config::PrincipalLimits;

    fn principal(name: &str) -> Principal {
        Principal { name: name.into(), namespaces: Namespaces::All, admin: false }
    }

    fn budgets(limits: &Limits) -> Budgets {
        let pool = Arc::new(GreedyMemoryPool::new(1_000));
        let environment = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc().unwrap();
        Budgets::new(limits, environment, true)
    }

    #[tokio::test]
    async fn one_that_takes_all_its_turns_leaves_the_others_theirs() {
        let principal_limits = PrincipalLimits { concurrent: 1, queued: 0, ..Default::default() };
        let limits = Limits { concurrent: 2, principal: principal_limits, ..Limits::default() };
        let budgets = budgets(&limits);
        let first = budgets.enter(&principal("alice")).await.unwrap();
        let again = budgets.enter(&principal("alice")).await;
        assert!(matches!(again, Err(QueryError::TooBusy { running: 1, waiting: 0 })));
        let _other = budgets.enter(&principal("bob")).await.unwrap();
        drop(first);
        budgets.enter(&principal("alice")).await.unwrap();
    }

    #[tokio::test]
    async fn memory_is_shared_out() {
        let principal_limits = PrincipalLimits { memory_bytes: 600, ..Default::default() };
        let limits = Limits { principal: principal_limits, ..Limits::default() };
        let budgets = budgets(&limits);
        let alice = budgets.enter(&principal("alice")).await.unwrap();
        let bob = budgets.enter(&principal("bob")).await.unwrap();
        let reservation =
            |turn: &Turn| MemoryConsumer::new("test").register(&turn.environment.memory_pool);
        let (a, b) = (reservation(&alice), reservation(&bob));
        assert!(a.try_grow(601).is_err());
        a.try_grow(600).unwrap();
        // All together have 1,000.
        assert!(b.try_grow(500).is_err());
        b.try_grow(400).unwrap();
        drop(a);
        b.try_grow(200).unwrap();
    }
}
