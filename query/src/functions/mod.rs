//! Scalar functions that SQL has beyond the engine's own. The Cloud Logging language is lowered to
//! them, so that a filter and its SQL are one plan.
//!
//! None of them makes a result larger than its arguments by more than a constant.

pub(crate) mod convert;
pub(crate) mod entry;
pub(crate) mod fold;
pub(crate) mod labels;
pub(crate) mod network;
pub(crate) mod rows;
pub(crate) mod sample;
mod scalar;
#[cfg(test)]
mod tests;
pub(crate) mod text;
pub(crate) mod units;

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::{FunctionRegistry as _, SessionState};
use datafusion::logical_expr::ScalarUDF;

/// Adds them to a session.
pub(crate) fn register(state: &mut SessionState) -> Result<()> {
    for function in all() {
        state.register_udf(Arc::new(function))?;
    }
    Ok(())
}

fn all() -> Vec<ScalarUDF> {
    let mut all: Vec<ScalarUDF> = text::Comparison::ALL.map(text::function).into();
    all.extend(convert::Target::ALL.map(convert::function));
    all.extend([
        convert::time_bucket(),
        entry::insert_id(),
        labels::label(),
        labels::policy_field(),
        network::host_of(),
        network::ip_in_net(),
        rows::row_has(),
        rows::row_search(),
        sample::in_sample(),
        text::regexp_extract(),
        text::text_search(),
    ]);
    all
}
