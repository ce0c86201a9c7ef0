//! Who calls: found before any service, from the metadata `authorization` or the client's certificate.

use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tonic::Status;

use crate::access::Principal;
use crate::http::{App, Who, admit};
use crate::metrics::Door;
use crate::serve::Peer;

/// Whether the service lives everybody may ask.
const HEALTH: &str = "/grpc.health.v1.Health/";

/// Whoever sent the call.
pub(crate) fn who<T>(request: &tonic::Request<T>) -> Result<Arc<Principal>, Status> {
    let who = request.extensions().get::<Who>();
    who.map(|who| who.0.clone()).ok_or_else(|| Status::internal("nobody was let in"))
}

pub(super) async fn find(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    if request.uri().path().starts_with(HEALTH) {
        return next.run(request).await;
    }
    match admit(&app, Door::Grpc, request.headers(), &peer).await {
        Ok(who) => {
            request.extensions_mut().insert(who);
            next.run(request).await
        }
        Err(denied) => Status::unauthenticated(denied.to_string()).into_http(),
    }
}
