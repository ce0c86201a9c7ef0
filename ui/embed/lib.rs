//! The web UI as `npm run build` left it in `dist/app`, inside the binary. Built without Node the crate
//! has no pages, and says so by having none.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests may panic"))]

use std::borrow::Cow;

use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header};
use rust_embed::{EmbeddedFile, RustEmbed};

#[derive(RustEmbed)]
#[folder = "dist/app"]
#[allow_missing = true]
struct Files;

const INDEX: &str = "index.html";
/// Files there have the hash of what they hold in their name.
const HASHED: &str = "assets/";
/// Whatever the page shows, it runs and loads nothing but its own files, and is in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; \
     frame-ancestors 'none'";

/// What the UI answers to a request that nothing else answers: one of its files, and to a browser that
/// goes somewhere the page itself, which knows where one is by the address. `None` if it is not for it, or
/// if there is no UI.
pub fn answer(
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Option<Response<Cow<'static, [u8]>>> {
    if method != Method::GET && method != Method::HEAD {
        return None;
    }
    let name = uri.path().trim_start_matches('/');
    if let Some(file) = Files::get(name) {
        return Some(respond(name, file, headers));
    }
    let is_navigation = headers
        .get_all(header::ACCEPT)
        .iter()
        .any(|kinds| kinds.to_str().is_ok_and(|kinds| kinds.contains("text/html")));
    let is_page = is_navigation && !["api", "v2", "assets"].contains(&first_segment(name));
    is_page.then(|| Files::get(INDEX)).flatten().map(|file| respond(INDEX, file, headers))
}

fn first_segment(name: &str) -> &str {
    name.split('/').next().unwrap_or_default()
}

fn respond(name: &str, file: EmbeddedFile, asked: &HeaderMap) -> Response<Cow<'static, [u8]>> {
    let etag = etag(&file);
    let known = etag.is_some() && asked.get(IF_NONE_MATCH) == etag.as_ref();
    let mut response = Response::new(if known { Cow::Borrowed(&[][..]) } else { file.data });
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let kind = HeaderValue::from_str(file.metadata.mimetype());
    let kind = kind.unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let cache =
        if name.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let fixed = [
        (CACHE_CONTROL, cache),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    let headers = response.headers_mut();
    headers.extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
    headers.insert(CONTENT_TYPE, kind);
    headers.extend(etag.map(|etag| (ETAG, etag)));
    response
}

fn etag(file: &EmbeddedFile) -> Option<HeaderValue> {
    let hash = file.metadata.sha256_hash();
    let hex: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::from_str(&format!("\"{hex}\"")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(path: &'static str, accept: &'static str) -> Option<Response<Cow<'static, [u8]>>> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        answer(&Method::GET, &Uri::from_static(path), &headers)
    }

    /// `make test` builds the pages before it builds this.
    #[test]
    fn pages_are_in_the_binary() {
        let page = ask("/", "text/html").expect("build the pages first: npm run build in ui/");
        assert_eq!(page.headers()[CONTENT_TYPE], "text/html");
        assert_eq!(page.headers()[CACHE_CONTROL], "no-cache");
        assert!(page.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().contains("'none'"));
        let text = String::from_utf8_lossy(page.body()).into_owned();
        let (_, script) = text.split_once("src=\"/").unwrap();
        let script: &'static str =
            Box::leak(format!("/{}", script.split('"').next().unwrap()).into_boxed_str());
        let script = ask(script, "*/*").unwrap();
        assert_eq!(script.headers()[CONTENT_TYPE], "text/javascript");
        assert!(script.headers()[CACHE_CONTROL].to_str().unwrap().contains("immutable"));
        assert_eq!(ask("/map?filter=x", "text/html,*/*").unwrap().body(), page.body());
    }

    #[test]
    fn what_is_not_the_uis_is_left_to_others() {
        assert!(ask("/api/v1/nothing", "text/html").is_none());
        assert!(ask("/assets/gone.js", "text/html").is_none());
        assert!(ask("/nowhere", "*/*").is_none());
        assert!(ask("/../Cargo.toml", "*/*").is_none());
        let headers = HeaderMap::new();
        assert!(answer(&Method::POST, &Uri::from_static("/"), &headers).is_none());
    }

    #[test]
    fn what_a_browser_has_is_not_sent_again() {
        let page = ask("/", "text/html").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(IF_NONE_MATCH, page.headers()[ETAG].clone());
        headers.insert(header::ACCEPT, HeaderValue::from_static("text/html"));
        let again = answer(&Method::GET, &Uri::from_static("/"), &headers).unwrap();
        assert_eq!((again.status(), again.body().len()), (StatusCode::NOT_MODIFIED, 0));
    }
}
