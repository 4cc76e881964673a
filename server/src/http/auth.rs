//! Who sends a request: a user by name and password (HTTP Basic, RFC 7617) or by a token that stands for both (RFC 6750); without
//! users in the warehouse, anybody of this machine.

use std::convert::Infallible;
use std::path::PathBuf;

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use catalog::Access;
use engine::session::Engine;

use super::Context;
use super::error::Failed;
use super::iceberg;
use super::origin::names_this_machine;
use super::tls::Peer;
use crate::auth::{Door, Entry};

/// What everybody may ask: whether the server lives, and for a token.
const OPEN: [&str; 3] = ["/health", "/ready", iceberg::TOKENS];

/// Who requests are from while the warehouse has no users.
const NOBODY: &str = "http";

/// The user that a request comes from.
#[derive(Clone)]
struct User(String);

/// Whoever sent the request.
pub struct Caller {
    context: Context,
    user: String,
}

impl Caller {
    /// The engine, for what the caller may do.
    pub fn engine(&self) -> Engine {
        self.context.engine.session_of(Some(self.user.clone()), None)
    }

    /// The same where relative paths start at `base_dir`.
    pub fn session(&self, base_dir: Option<PathBuf>) -> Result<Engine, Failed> {
        match base_dir {
            Some(path) if !path.is_absolute() => Err(Failed::bad_request("base_dir must be an absolute path")),
            base_dir => Ok(self.context.engine.session_of(Some(self.user.clone()), base_dir)),
        }
    }
}

impl FromRequestParts<Context> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, context: &Context) -> Result<Self, Infallible> {
        let user = parts.extensions.get::<User>().map_or_else(|| NOBODY.to_owned(), |user| user.0.clone());
        Ok(Self { context: context.clone(), user })
    }
}

/// Lets requests of users pass.
pub async fn only_users(State(context): State<Context>, mut request: Request, next: Next) -> Response {
    if OPEN.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let access = match context.engine.access().await {
        Ok(access) => access,
        Err(error) => return Failed::from(error).into_response(),
    };
    let Some(ConnectInfo(Peer(peer))) = request.extensions().get::<ConnectInfo<Peer>>().copied() else {
        return Failed::refused(StatusCode::INTERNAL_SERVER_ERROR, "it is not known where the request comes from")
            .into_response();
    };
    let user = match context.door.entry(&access, "", peer.ip()) {
        Entry::Open if names_this_machine(request.headers()) => Some(NOBODY.to_owned()),
        Entry::Open => {
            let why =
                "without users the server answers requests to localhost or to its address only, not to other names";
            return Failed::refused(StatusCode::FORBIDDEN, why).into_response();
        }
        Entry::Closed => {
            let why = "the warehouse has no users, so requests from other machines are refused";
            return Failed::refused(StatusCode::FORBIDDEN, why).into_response();
        }
        Entry::Password(_) => user_of(&context.door, &access, request.headers()),
    };
    match user {
        Some(user) => {
            request.extensions_mut().insert(User(user));
            next.run(request).await
        }
        None => unauthorized(request.uri()),
    }
}

/// The user who sent the request, if that is proved.
fn user_of(door: &Door, access: &Access, headers: &HeaderMap) -> Option<String> {
    match credentials(headers)? {
        Credentials::Basic { user, password } => door.fits(access, &user, &password).then_some(user),
        Credentials::Bearer(token) => door.bearer(access, &token),
    }
}

fn unauthorized(uri: &Uri) -> Response {
    let why = "a user and their password are needed";
    let mut response = match uri.path().starts_with("/iceberg/") {
        true => iceberg::Refused::unauthorized(why).into_response(),
        false => Failed::unauthorized(why).into_response(),
    };
    let challenge = HeaderValue::from_static("Basic realm=\"frazil\", charset=\"UTF-8\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

/// What a request says of its sender.
#[derive(Debug, PartialEq, Eq)]
pub enum Credentials {
    /// A name, and what is said to be the password.
    Basic {
        /// Name.
        user: String,
        /// Password.
        password: String,
    },
    /// What is said to be a token.
    Bearer(String),
}

/// Reads the head of a request. `None`: it says nothing of its sender, or nothing that can be understood.
pub fn credentials(headers: &HeaderMap) -> Option<Credentials> {
    let (scheme, value) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let value = value.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Credentials::Bearer(value.to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some(Credentials::Basic { user: user.to_owned(), password: password.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_or_there_are_none() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            credentials(&headers)
        };
        let basic = |user: &str, password: &str| {
            Some(Credentials::Basic { user: user.to_owned(), password: password.to_owned() })
        };
        // The example of RFC 7617, section 2.
        assert_eq!(of("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), basic("Aladdin", "open sesame"));
        assert_eq!(of(&format!("basic {}", STANDARD.encode("ann:a:b"))), basic("ann", "a:b"));
        assert_eq!(of("Bearer abc"), Some(Credentials::Bearer("abc".into())));
        for bad in ["", "Basic", "Basic ???", "Basic YW5u", "Digest x", &format!("Basic {}", STANDARD.encode([0xff]))] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
