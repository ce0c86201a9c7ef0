//! Who sends a request: found before any handler, from the header `authorization`, the cookie of a
//! session or the client's certificate.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::App;
use super::error::ApiError;
use crate::access::{Credentials, Denied, Principal};
use crate::metrics::Door;
use crate::serve::Peer;

/// The cookie that a browser keeps its token in.
pub(super) const COOKIE_NAME: &str = "weir_token";
/// What everybody may read: whether the service lives, and the pages that ask for a token.
const OPEN: [&str; 4] = ["/healthz", "/readyz", "/", "/api"];

/// Whoever sent the request.
#[derive(Clone, Debug)]
pub(crate) struct Who(pub(crate) Arc<Principal>);

impl<S: Send + Sync> FromRequestParts<S> for Who {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Self>().cloned().ok_or_else(ApiError::nobody)
    }
}

pub(super) async fn find(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    if request.method() == Method::GET && OPEN.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    match admit(&app, Door::Http, request.headers(), &peer).await {
        Ok(who) => {
            request.extensions_mut().insert(who);
            next.run(request).await
        }
        Err(denied) => ApiError::unauthenticated(denied.to_string()).into_response(),
    }
}

/// Who sends these headers; the audit log learns of those who are not let in.
pub(crate) async fn admit(
    app: &App,
    door: Door,
    headers: &HeaderMap,
    peer: &Peer,
) -> Result<Who, Denied> {
    let secret = secret(headers).map(Cow::into_owned);
    let certificate = peer.certificate.as_deref();
    let admitted = app.access.admit(Credentials { secret: secret.as_deref(), certificate }).await;
    let tell = |denied: &Denied| {
        app.audit.denied(door, &peer.address.to_string(), &denied.to_string());
    };
    admitted.map(Who).inspect_err(tell)
}

/// A token of the request; it may come as the password of any user.
pub(crate) fn secret(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(Cow::Borrowed(token.trim()));
        }
        let basic = scheme.eq_ignore_ascii_case("basic").then_some(token.trim())?;
        let pair = String::from_utf8(BASE64_STANDARD.decode(basic).ok()?).ok()?;
        Some(Cow::Owned(pair.split_once(':')?.1.to_owned()))
    });
    let cookie = || {
        let cookies = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
        cookies.flat_map(|cookies| cookies.split(';')).find_map(|cookie| {
            let (name, value) = cookie.trim().split_once('=')?;
            (name == COOKIE_NAME).then_some(Cow::Borrowed(value))
        })
    };
    bearer.or_else(cookie).filter(|secret| !secret.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_by_header_or_cookie() {
        let headers = |pairs: &[(axum::http::HeaderName, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
            secret(&pairs.collect::<HeaderMap>()).map(Cow::into_owned)
        };
        assert_eq!(headers(&[(AUTHORIZATION, "Bearer abc")]).as_deref(), Some("abc"));
        assert_eq!(headers(&[(AUTHORIZATION, "bearer  abc ")]).as_deref(), Some("abc"));
        assert_eq!(headers(&[(AUTHORIZATION, "Basic abc")]), None);
        assert_eq!(headers(&[(AUTHORIZATION, "Basic bWU6YWJj")]).as_deref(), Some("abc"));
        assert_eq!(headers(&[(COOKIE, "a=b; weir_token=abc")]).as_deref(), Some("abc"));
        assert_eq!(headers(&[(COOKIE, "weir_token=")]), None);
        let both = [(AUTHORIZATION, "Bearer one"), (COOKIE, "weir_token=two")];
        assert_eq!(headers(&both).as_deref(), Some("one"));
    }
}
