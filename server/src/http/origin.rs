//! Requests that a page of somebody else makes in the browser of a user are refused: nobody is asked for a password, so
//! being able to reach the server is all that a page would need.

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::Failed;

/// Lets a request pass unless a browser says that it comes from elsewhere. Other programs do not send `Origin`.
pub async fn own_pages_only(request: Request, next: Next) -> Response {
    if is_own(request.headers()) {
        return next.run(request).await;
    }
    Failed::refused(StatusCode::FORBIDDEN, "pages of other origins cannot use this server").into_response()
}

fn is_own(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let Some(origin) = text(header::ORIGIN) else { return true };
    let host = text(header::HOST).unwrap_or_default();
    origin.split_once("://").is_some_and(|(_, origin)| origin.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn an_origin_must_be_the_host() {
        let passes = |origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("localhost:8080"));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            is_own(&headers)
        };
        assert!(passes(None) && passes(Some("http://localhost:8080")) && passes(Some("https://LocalHost:8080")));
        for origin in ["http://localhost", "http://evil.example", "null", "", "http://localhost:8080.evil.example"] {
            assert!(!passes(Some(origin)), "{origin}");
        }
    }
}
