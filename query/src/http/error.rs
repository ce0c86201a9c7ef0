//! Errors as clients see them: `{"error":{"code","status","message"}}`.

use axum::Json;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::document::calls;
use crate::error::QueryError;
use crate::filter::FilterError;

/// An error with its HTTP code and its machine-readable word.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    code: StatusCode,
    status: &'static str,
    message: String,
}

impl ApiError {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", message)
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "PERMISSION_DENIED", message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", message)
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "ALREADY_EXISTS", message)
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", message)
    }

    /// A handler asks who sent a request that nobody was let in for.
    pub(super) fn nobody() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "nobody was let in")
    }

    pub(super) fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", message)
    }

    pub(super) fn no_such_path(path: &str) -> Self {
        let message = format!("there is nothing at {path}: this service answers {}", calls());
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", message)
    }

    pub(super) fn method(method: &Method, path: &str) -> Self {
        let message =
            format!("{method} is not possible at {path}: this service answers {}", calls());
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "INVALID_ARGUMENT", message)
    }

    pub(super) fn too_large(limit: usize) -> Self {
        let message = format!("the request's body has more than {limit} bytes: send a shorter one");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "INVALID_ARGUMENT", message)
    }

    pub(super) fn not_json() -> Self {
        let message = "the body must be JSON: send the header `content-type: application/json`";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "INVALID_ARGUMENT", message)
    }

    /// The machine-readable word.
    pub(crate) fn status(&self) -> &'static str {
        self.status
    }

    /// What is wrong.
    pub(crate) fn into_message(self) -> String {
        self.message
    }

    /// What stands behind the key `error`.
    pub(crate) fn object(&self) -> serde_json::Value {
        json!({
            "code": self.code.as_u16(),
            "status": self.status,
            "message": self.message,
        })
    }

    pub(super) fn new(code: StatusCode, status: &'static str, message: impl Into<String>) -> Self {
        Self { code, status, message: message.into() }
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        let (code, status) = match error {
            QueryError::Invalid(_)
            | QueryError::Syntax { .. }
            | QueryError::NoTable(_)
            | QueryError::NoColumn(_)
            | QueryError::ReadOnly(_) => (StatusCode::BAD_REQUEST, "INVALID_ARGUMENT"),
            QueryError::OutOfMemory(_) => (StatusCode::UNPROCESSABLE_ENTITY, "RESOURCE_EXHAUSTED"),
            QueryError::TimedOut(_) => (StatusCode::GATEWAY_TIMEOUT, "DEADLINE_EXCEEDED"),
            QueryError::TooBusy { .. } | QueryError::TooManyFollowers(_) => {
                (StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED")
            }
            QueryError::Gone(_) => (StatusCode::GONE, "NOT_FOUND"),
            QueryError::Killed(_) => (StatusCode::CONFLICT, "CANCELLED"),
            QueryError::Forbidden(_) => (StatusCode::FORBIDDEN, "PERMISSION_DENIED"),
            QueryError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
            QueryError::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL"),
        };
        Self::new(code, status, error.to_string())
    }
}

impl From<FilterError> for ApiError {
    fn from(error: FilterError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.code, Json(json!({"error": self.object()}))).into_response();
        if self.code == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.code == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}
