//! Requests that a page of somebody else makes in the browser of a user are refused: while nobody is asked for a password, being
//! able to reach the server is all that such a page would need.

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

/// Whether a request is for an address, or for this machine: a page whose own name was made to lead here (DNS rebinding) cannot
/// send such a one. Programs that send no `Host` are no browsers.
pub fn names_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let host = host.to_str().unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || address.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_host_is_an_address_or_this_machine() {
        let passes = |host: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            host.map(|host| headers.insert(header::HOST, HeaderValue::from_static(host)));
            names_this_machine(&headers)
        };
        for host in ["localhost:8080", "LOCALHOST", "127.0.0.1:8080", "127.0.0.1", "[::1]:8080", "[::1]"] {
            assert!(passes(Some(host)), "{host}");
        }
        for host in ["evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example:80", ""] {
            assert!(!passes(Some(host)), "{host}");
        }
        assert!(passes(None));
    }

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
