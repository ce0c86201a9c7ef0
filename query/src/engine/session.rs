//! The engine's sessions: what all queries share, and what each has for itself.

use std::num::NonZeroUsize;
use std::sync::Arc;

use datafusion::catalog::{
    CatalogProvider as _, CatalogProviderList as _, MemoryCatalogProvider,
    MemoryCatalogProviderList,
};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::prelude::SessionConfig;
use tokio::sync::OnceCell;

use super::cooperate::Cooperate;
use super::kept::{KeepAggregates, KeepLatest, Kept};
use super::latest::LatestFirst;
use super::postgres::PostgresSession;
use super::request::Dialect;
use super::tables::Tables;
use super::words::{AllWords, GroupByWords};
use crate::catalog::rollup::UseRollUps;
use crate::catalog::store::Store;
use crate::config::Limits;
use crate::error::QueryError;
use crate::functions;
use crate::guard::{self, budget};

/// The catalog of all tables; to clients of Postgres, the database.
pub(crate) const CATALOG: &str = "weir";
/// Parsed Parquet footers kept.
const METADATA_CACHE_BYTES: usize = 128 * 1024 * 1024;
/// Words that queries group by, kept for the next ones.
const WORDS_BYTES: usize = 32 * 1024 * 1024;

/// What sessions are made of.
#[derive(Debug)]
pub(super) struct Sessions {
    shared: SessionState,
    /// Made when the first client of Postgres asks.
    postgres: OnceCell<PostgresSession>,
}

impl Sessions {
    pub(super) fn new(
        limits: &Limits,
        store: &Store,
        kept: Arc<Kept>,
    ) -> datafusion::error::Result<Self> {
        let words = AllWords::new(WORDS_BYTES);
        let mut shared = SessionStateBuilder::new()
            .with_config(configuration(limits))
            .with_runtime_env(environment(limits, store)?)
            .with_default_features()
            .with_optimizer_rule(Arc::new(UseRollUps))
            .with_physical_optimizer_rule(Arc::new(Cooperate))
            .with_physical_optimizer_rule(Arc::new(KeepLatest { kept: kept.clone() }))
            .with_physical_optimizer_rule(Arc::new(LatestFirst))
            .with_physical_optimizer_rule(Arc::new(GroupByWords { words }))
            .with_physical_optimizer_rule(Arc::new(KeepAggregates { kept }))
            .build();
        guard::functions::restrict(&mut shared)?;
        functions::register(&mut shared)?;
        Ok(Self { shared, postgres: OnceCell::new() })
    }

    /// Where expressions are planned; it has no tables.
    pub(super) fn shared(&self) -> &SessionState {
        &self.shared
    }

    /// The session of one query, without the rules of these names.
    pub(super) async fn of(
        &self,
        tables: &Tables,
        environment: Arc<RuntimeEnv>,
        dialect: Dialect,
        without: &[&str],
    ) -> Result<SessionState, QueryError> {
        let schema = tables.schema();
        let (shared, schemas) = match dialect {
            Dialect::Own => (&self.shared, &[][..]),
            Dialect::Postgres => {
                let make = || PostgresSession::new(&self.shared, &schema);
                let session = self.postgres.get_or_try_init(make).await?;
                (&session.state, &session.schemas[..])
            }
        };
        let catalog = MemoryCatalogProvider::new();
        for (name, schema) in schemas {
            catalog.register_schema(name, schema.clone())?;
        }
        let options = &self.shared.config_options().catalog;
        catalog.register_schema(&options.default_schema, Arc::new(schema))?;
        let catalogs = MemoryCatalogProviderList::new();
        catalogs.register_catalog(options.default_catalog.clone(), Arc::new(catalog));
        let mut state = shared.clone();
        // Building one enters every function by its name again: only where something has to be another.
        if !without.is_empty() || !Arc::ptr_eq(shared.runtime_env(), &environment) {
            let mut rules = shared.physical_optimizers().to_vec();
            rules.retain(|rule| !without.contains(&rule.name()));
            state = SessionStateBuilder::new_from_existing(state)
                .with_runtime_env(environment)
                .with_physical_optimizer_rules(rules)
                .build();
        }
        // What `now()` is.
        state.mark_start_execution();
        state.register_catalog_list(Arc::new(catalogs));
        Ok(state)
    }
}

fn configuration(limits: &Limits) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(CATALOG, "public")
        .with_target_partitions(limits.worker_threads())
        .with_information_schema(false)
        .with_create_default_catalog_and_schema(false);
    let options = config.options_mut();
    options.execution.enable_recursive_ctes = false;
    options.execution.parquet.pushdown_filters = true;
    options.execution.parquet.reorder_filters = true;
    config
}

fn environment(limits: &Limits, store: &Store) -> datafusion::error::Result<Arc<RuntimeEnv>> {
    let top = NonZeroUsize::new(3).expect("three is not zero");
    let pool = TrackConsumersPool::new(FairSpillPool::new(limits.memory_bytes), top);
    let environment = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(pool))
        .with_disk_manager_builder(budget::disk(limits.spill_bytes))
        .with_metadata_cache_limit(METADATA_CACHE_BYTES)
        .build_arc()?;
    environment.register_object_store(Store::url().as_ref(), store.objects());
    Ok(environment)
}
