//! What time it is.

use std::time::{SystemTime, UNIX_EPOCH};

use weir_flow::schema::TimestampNs;

/// Now.
pub(crate) fn now() -> TimestampNs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampNs(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
