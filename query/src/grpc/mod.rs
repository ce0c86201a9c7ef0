//! The gRPC door: one port for every gRPC service, with the health service beside.
//!
//! A service finds who asks with [`who`]; nobody reaches one without having been let in.

mod access;

use std::sync::Arc;

use axum::{Router, middleware};
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, HealthService};

pub(crate) use access::who;

use crate::flight_sql;
use crate::http::App;
use crate::hubble;
use crate::logging::grpc::CloudLogging;
use crate::logging::proto::logging_service_v2_server::LoggingServiceV2Server;
use crate::logging::proto::metrics_service_v2_server::MetricsServiceV2Server;

/// Names that clients ask the health service for.
const SERVICES: [&str; 3] = ["", "hubble.server.Observer", "arrow.flight.protocol.FlightService"];

/// All services.
pub(crate) async fn router(app: Arc<App>) -> Router {
    let health = HealthReporter::new();
    for service in SERVICES {
        health.set_service_status(service, ServingStatus::Serving).await;
    }
    let health = tonic_health::pb::health_server::HealthServer::new(
        HealthService::from_health_reporter(health),
    );
    let logging = CloudLogging(app.clone());
    Routes::new(health)
        .add_service(LoggingServiceV2Server::new(logging.clone()))
        .add_service(MetricsServiceV2Server::new(logging))
        .add_service(hubble::server(app.clone()))
        .add_service(flight_sql::server(app.clone()))
        .prepare()
        .into_axum_router()
        .layer(middleware::from_fn_with_state(app, access::find))
}
