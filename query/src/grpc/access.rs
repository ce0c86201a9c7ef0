//! Who calls: found before any service, from the metadata `authorization` or the client's certificate.

use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use tonic::Status;

use crate::access::Principal;
use crate::http::{App, Who, admit};
use crate::metrics::Door;
use crate::serve::Peer;

const GRPC_STATUS: &str = "grpc-status";
const GRPC_MESSAGE: &str = "grpc-message";
/// Whether the service lives everybody may ask.
const HEALTH: &str = "/grpc.health.v1.Health/";

/// Whoever sent the call.
pub(crate) fn who<T>(request: &tonic::Request<T>) -> Result<Arc<Principal>, Status> {
    let who = request.extensions().get::<Who>();
    who.map(|who| who.0.clone()).ok_or_else(|| Status::internal("nobody was let in"))
}

/// Whether nothing is told but that there is no such method.
fn is_mute(headers: &HeaderMap) -> bool {
    let is = |name: &str, wanted: &str| headers.get(name).is_some_and(|value| value == wanted);
    is(GRPC_STATUS, "12") && (is(GRPC_MESSAGE, "") || !headers.contains_key(GRPC_MESSAGE))
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
            let method = request.uri().path().to_owned();
            let response = next.run(request).await;
            if is_mute(response.headers()) {
                let told = format!("there is no method {method} here");
                return Status::unimplemented(told).into_http();
            }
            response
        }
        Err(denied) => Status::unauthenticated(denied.to_string()).into_http(),
    }
}
