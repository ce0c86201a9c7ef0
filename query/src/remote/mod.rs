//! Running a query's plan in other processes: what the engine asks of whoever can, and what those
//! processes need to read such a plan.
//!
//! A plan is made here, with the snapshot, the access rule and the roll-ups of the query in it. It names
//! files of the store by path and holds hot rows; it holds no secrets.

mod operators;

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{
    FunctionRegistry as _, SendableRecordBatchStream, SessionState, SessionStateBuilder,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;

pub use crate::catalog::store::STORE_URL;
pub use operators::Operator;

use crate::catalog::connection_id;
use crate::error::QueryError;
use crate::{functions, guard};

/// Runs plans elsewhere.
#[async_trait]
pub trait Remote: Debug + Send + Sync {
    /// The session to make plans for there with, from that of a query here.
    fn session(&self, state: SessionState) -> SessionState;

    /// Runs a plan that such a session made. Returns when rows can be read; dropping the future or the
    /// rows ends it there too.
    ///
    /// # Errors
    /// The plan failed, or nobody is there to run it.
    async fn run(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Ran, QueryError>;
}

/// What became of a plan.
pub enum Ran {
    /// It ran there.
    There(Rows),
    /// It cannot run there; why.
    NotThere(String),
}

/// The rows of a plan that ran elsewhere.
pub struct Rows {
    /// As the plan says.
    pub batches: SendableRecordBatchStream,
    /// What was read of files: said before the last row, if it is known.
    pub bytes_scanned: Arc<OnceLock<u64>>,
}

/// A session with every function that a plan can name.
///
/// # Errors
/// The engine has a function less than this version expects.
pub fn session(
    config: SessionConfig,
    environment: Arc<RuntimeEnv>,
) -> datafusion::error::Result<SessionState> {
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(environment)
        .with_default_features()
        .build();
    guard::functions::restrict(&mut state)?;
    functions::register(&mut state)?;
    state.register_udf(Arc::new(connection_id::function()))?;
    Ok(state)
}
