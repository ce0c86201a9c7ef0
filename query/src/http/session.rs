//! `/api/v1/session`: a browser's. POST takes a token and gives it back as a cookie that no script reads, GET says
//! who one is, DELETE forgets it.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::App;
use super::error::ApiError;
use super::sql::json_body;
use super::who::{COOKIE_NAME, Who};
use crate::access::{Credentials, Namespaces, Principal};
use crate::metrics::Door;
use crate::serve::Peer;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SessionBody {
    token: String,
}

/// Checked here, not before: this is how one gets in.
pub(super) async fn begin(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body: SessionBody = json_body(&app, &headers, body, "{\"token\":\"…\"}").await?;
    let shown = Credentials { secret: Some(body.token.trim()), certificate: None };
    let principal = app.access.admit(shown).await.map_err(|denied| {
        app.audit.denied(Door::Http, &peer.address.to_string(), &denied.to_string());
        ApiError::unauthenticated(denied.to_string())
    })?;
    let cookie = cookie(app.secure, body.token.trim(), "")
        .ok_or_else(|| ApiError::invalid("the token has characters that no header can have"))?;
    Ok(([(SET_COOKIE, cookie)], Json(about(&app, &principal))).into_response())
}

pub(super) async fn show(State(app): State<Arc<App>>, Who(principal): Who) -> Json<Value> {
    Json(about(&app, &principal))
}

pub(super) async fn end(State(app): State<Arc<App>>) -> Response {
    let cookie = cookie(app.secure, "", "; Max-Age=0");
    let headers: HeaderMap = cookie.into_iter().map(|cookie| (SET_COOKIE, cookie)).collect();
    (headers, Json(json!({}))).into_response()
}

fn about(app: &App, principal: &Principal) -> Value {
    let namespaces = match &principal.namespaces {
        Namespaces::All => vec!["*".to_owned()],
        Namespaces::Some(patterns) => patterns.iter().map(ToString::to_string).collect(),
    };
    json!({
        "access": app.access.is_on(),
        "principal": principal.name,
        "namespaces": namespaces,
        "admin": principal.admin,
    })
}

fn cookie(secure: bool, token: &str, more: &str) -> Option<HeaderValue> {
    if token.contains([';', ',', ' ', '"', '\\']) {
        return None;
    }
    let secure = if secure { "; Secure" } else { "" };
    let cookie = format!("{COOKIE_NAME}={token}; Path=/; HttpOnly; SameSite=Strict{secure}{more}");
    HeaderValue::from_str(&cookie).ok()
}
