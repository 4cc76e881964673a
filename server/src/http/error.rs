//! Errors as JSON: `{"error": {"code", "message", "cause", "hint", "detail", "position"}}`, where `code` is a SQLSTATE.

use axum::Json;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use engine::error::{Error, ErrorKind};
use serde_json::{Value, json};

use super::iceberg::Refused;
use crate::sqlstate::sqlstate;

/// What went wrong, with its HTTP status.
#[derive(Debug)]
pub struct Failed {
    status: StatusCode,
    body: Value,
}

impl Failed {
    /// Something that the request names does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "42704", &message.into())
    }

    /// The request itself is wrong.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::refused(StatusCode::BAD_REQUEST, message)
    }

    /// The request is refused before anybody looks at what it asks for.
    pub fn refused(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(status, "22023", &message.into())
    }

    /// It is not known who sends the request.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "28P01", &message.into())
    }

    /// The same under another status.
    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The body, for answers that hold more than the error.
    pub fn body(&self) -> &Value {
        &self.body
    }

    fn new(status: StatusCode, code: &str, message: &str) -> Self {
        let error = json!({
            "code": code, "message": message, "cause": null, "hint": null, "detail": null, "position": null,
        });
        Self { status, body: json!({ "error": error }) }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::Sql | ErrorKind::Option | ErrorKind::Data => StatusCode::BAD_REQUEST,
            ErrorKind::Conflict | ErrorKind::Fenced => StatusCode::CONFLICT,
            ErrorKind::Denied => StatusCode::FORBIDDEN,
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Corrupt | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let position = error.position().map(|position| json!({"line": position.line, "column": position.column}));
        let body = json!({"error": {
            "code": sqlstate(&error),
            "message": error.message(),
            "cause": std::error::Error::source(&error).map(ToString::to_string),
            "hint": error.advice(),
            "detail": error.detail(),
            "position": position,
        }});
        Self { status, body }
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

/// Answers requests for what is not there.
pub async fn no_such_route(method: Method, uri: Uri) -> Response {
    if uri.path().starts_with("/iceberg/") {
        return Refused::unknown(&method, &uri).into_response();
    }
    Failed::not_found(format!("there is nothing at {}", uri.path())).into_response()
}

/// Answers requests for something that is there, but not for this.
pub async fn no_such_method(method: Method, uri: Uri) -> Failed {
    Failed::refused(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not answer {method}", uri.path()))
}
