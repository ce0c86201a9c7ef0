//! The sessions of a cluster: those that plans for it are made in, and those that read such plans.

use std::sync::Arc;

use ballista_core::config::BALLISTA_CLIENT_IO_RETRY_WAIT_TIME_MS;
use ballista_core::extension::SessionConfigExt as _;
use ballista_core::optimizer::with_ballista_optimizer_rules;
use datafusion::error::Result;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::prelude::SessionConfig;
use object_store::ObjectStore;
use object_store::memory::InMemory;

use crate::MAX_MESSAGE_BYTES;
use crate::store::OnlyStore;
use crate::tls::Tls;

/// How long after a failure rows of another executor are asked for again, in milliseconds.
const FETCH_WAIT_MS: u64 = 200;

/// A configuration with the library's settings.
pub(crate) fn configuration(tls: Option<&Tls>) -> SessionConfig {
    let config = with_limits(SessionConfig::new_with_ballista());
    match tls {
        Some(tls) => config
            .with_ballista_use_tls(true)
            .with_ballista_override_create_grpc_client_endpoint(tls.endpoint.clone()),
        None => config,
    }
}

/// The session for a query whose plan is cut into stages, each table into so many parts.
pub(crate) fn for_stages(state: SessionState, partitions: usize) -> SessionState {
    let config = with_limits(state.config().clone().upgrade_for_ballista())
        // The join that sorts does not know dictionaries, and most columns are such.
        .set_bool("datafusion.optimizer.prefer_hash_join", true);
    let rules = with_ballista_optimizer_rules(state.optimizers());
    SessionStateBuilder::new_from_existing(state)
        .with_config(config.with_target_partitions(partitions))
        .with_optimizer_rules(rules)
        .build()
}

fn with_limits(config: SessionConfig) -> SessionConfig {
    config
        .with_ballista_grpc_client_max_message_size(MAX_MESSAGE_BYTES as usize)
        .set_u64(BALLISTA_CLIENT_IO_RETRY_WAIT_TIME_MS, FETCH_WAIT_MS)
}

/// A session that reads plans and runs none: it has no store.
pub(crate) fn for_reading(config: SessionConfig) -> Result<SessionState> {
    let environment = environment(RuntimeEnvBuilder::new(), Arc::new(InMemory::new()))?;
    weir_query::remote::session(config, environment)
}

/// Where nothing but the store can be read.
pub(crate) fn environment(
    builder: RuntimeEnvBuilder,
    store: Arc<dyn ObjectStore>,
) -> Result<Arc<RuntimeEnv>> {
    builder.with_object_store_registry(Arc::new(OnlyStore::new(store))).build_arc()
}
