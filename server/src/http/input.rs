//! What requests bring along: bodies and parameters, refused in our own form when they cannot be read.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::Context;
use super::error::Failed;

/// The most bytes that a body may have.
pub const MAX_BODY: usize = 16 << 20;

/// A body in JSON.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Context> for Body<T> {
    type Rejection = Failed;

    async fn from_request(request: Request, context: &Context) -> Result<Self, Failed> {
        match Json::<T>::from_request(request, context).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(JsonRejection::MissingJsonContentType(_)) => {
                Err(Failed::bad_request("the body must be JSON: send the header content-type: application/json"))
            }
            Err(rejection) => Err(Failed::refused(rejection.status(), rejection.body_text())),
        }
    }
}

/// The one parameter of a path.
pub struct Name(pub String);

impl FromRequestParts<Context> for Name {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, context: &Context) -> Result<Self, Failed> {
        let path = Path::<String>::from_request_parts(parts, context).await;
        path.map(|Path(name)| Self(name)).map_err(|rejection| Failed::bad_request(rejection.body_text()))
    }
}
