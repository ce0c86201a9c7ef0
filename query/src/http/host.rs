//! On a loopback address only this machine's names are accepted in `Host`: a web page that has its
//! own name resolve to 127.0.0.1 must not read flows through the visitor's browser.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::header;
use axum::http::uri::Authority;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::error::ApiError;

pub(super) async fn only_loopback(request: Request, next: Next) -> Response {
    let host = match request.headers().get(header::HOST) {
        Some(host) => host.to_str().unwrap_or("?").to_owned(),
        // HTTP/2 has it in the URI; HTTP/1.0 may have none, and no browser speaks that.
        None => request.uri().authority().map(ToString::to_string).unwrap_or_default(),
    };
    if host.is_empty() || is_loopback(&host) {
        return next.run(request).await;
    }
    ApiError::forbidden(format!(
        "the name {host:?} is not accepted on a loopback address: use localhost or 127.0.0.1, \
         or serve HTTP on another address (--http)"
    ))
    .into_response()
}

fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_matches(['[', ']']).to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_names_of_this_machine_pass() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "[::1]:8080", "weir.localhost."]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["example.com", "localhost.example.com", "10.0.0.1", "127.0.0.1.nip.io", "?"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
