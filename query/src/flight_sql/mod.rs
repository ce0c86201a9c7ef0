//! Flight SQL on the gRPC port, for ADBC and other drivers. Each statement goes through the engine, and so
//! through the guard, when its rows are fetched.

mod cancel;
mod described;
mod handle;
mod keys;
mod metadata;
mod service;
#[cfg(test)]
mod tests;
mod values;

use std::sync::Arc;

use arrow_flight::flight_service_server::FlightServiceServer;

pub(crate) use handle::Number;

use crate::http::App;
use described::Described;
use service::FlightSql;

/// The service.
pub(crate) fn server(app: Arc<App>) -> FlightServiceServer<Described> {
    let limit = app.engine.limits().request_bytes;
    FlightServiceServer::new(Described(FlightSql(app))).max_decoding_message_size(limit)
}
