//! From bytes to a `FlowFilter`: what is not understood is refused, since a filter that is half obeyed
//! shows what was not asked for.

use bytes::Buf as _;
use prost::Message as _;
use prost::encoding::{DecodeContext, decode_key, skip_field};

use super::FilterError;
use crate::hubble::proto::flow::FlowFilter;

const APPLICATION: &str = "Weir sees addresses and ports, not what an application sends";
const UNRECORDED: &str = "Weir does not record it";

/// The fields that a filter may have.
const KNOWN: [u32; 28] = [
    1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17, 19, 20, 23, 24, 25, 26, 27, 29, 30, 33,
    37, 38,
];

/// The others that Hubble has, with why not.
const REFUSED: [(u32, &str, &str); 14] = [
    (9, "http_status_code", APPLICATION),
    (18, "dns_query", APPLICATION),
    (21, "http_method", APPLICATION),
    (22, "http_path", APPLICATION),
    (28, "trace_id", APPLICATION),
    (31, "http_url", APPLICATION),
    (32, "http_header", APPLICATION),
    (34, "source_ip_xlated", UNRECORDED),
    (35, "interface", UNRECORDED),
    (36, "node_labels", UNRECORDED),
    (39, "ip_trace_id", UNRECORDED),
    (40, "encrypted", UNRECORDED),
    (999, "experimental.cel_expression", "use the other fields, or the filter of `weir observe`"),
    (150_000, "extensions", "no extension is known"),
];

/// Reads a filter.
pub(super) fn decode(bytes: &[u8]) -> Result<FlowFilter, FilterError> {
    let wrong = |error: &dyn std::fmt::Display| {
        FilterError::new(format!("a FlowFilter cannot be read: {error}"))
    };
    let mut rest = bytes;
    while rest.has_remaining() {
        let (field, wire_type) = decode_key(&mut rest).map_err(|error| wrong(&error))?;
        if let Some((_, name, why)) = REFUSED.iter().find(|(refused, ..)| *refused == field) {
            return Err(FilterError::new(format!("filter {name} is not possible: {why}")));
        }
        if !KNOWN.contains(&field) {
            return Err(FilterError::new(format!(
                "field {field} of FlowFilter is not known: leave it out"
            )));
        }
        skip_field(wire_type, field, &mut rest, DecodeContext::default())
            .map_err(|error| wrong(&error))?;
    }
    FlowFilter::decode(bytes).map_err(|error| wrong(&error))
}
