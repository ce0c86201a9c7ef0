//! Page tokens: behind which entry the next page begins.
//!
//! A token holds the last entry's place in the order, so that rows which come in the meantime neither
//! repeat nor hide others, and what the request was, so that it is used with no other.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::request::ListRequest;
use crate::http::error::ApiError;

/// Longest token that is looked at.
const MAX_BYTES: usize = 1_000;

/// Behind which entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Token {
    /// Nanoseconds since 1970.
    pub(super) time_ns: i64,
    pub(super) insert_id: String,
    request: u64,
}

impl Token {
    pub(super) fn behind(time_ns: i64, insert_id: String, request: &ListRequest) -> Self {
        Self { time_ns, insert_id, request: fingerprint(request) }
    }

    /// The token of a request; `None` for its first page.
    pub(super) fn of(request: &ListRequest) -> Result<Option<Self>, ApiError> {
        let text = &request.page_token;
        if text.is_empty() {
            return Ok(None);
        }
        let bytes = (text.len() <= MAX_BYTES).then(|| URL_SAFE_NO_PAD.decode(text).ok()).flatten();
        let token = bytes.and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        let token = token.ok_or_else(|| {
            ApiError::invalid("pageToken is none of this service: leave it out for the first page")
        })?;
        if token.request != fingerprint(request) {
            return Err(ApiError::invalid(
                "pageToken belongs to another request: resourceNames, filter and orderBy must \
                 stay the same from page to page",
            ));
        }
        Ok(Some(token))
    }

    pub(super) fn text(&self) -> String {
        let bytes = serde_json::to_vec(self).expect("plain structs always serialise");
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

/// FNV-1a over what must stay the same.
fn fingerprint(request: &ListRequest) -> u64 {
    let texts = request.resource_names.iter().chain(&request.project_ids);
    let texts = texts.chain([&request.filter, &request.order_by]);
    texts.fold(0xcbf2_9ce4_8422_2325, |hash, text| {
        let bytes = text.bytes().chain([0xff]);
        bytes.fold(hash, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    })
}
