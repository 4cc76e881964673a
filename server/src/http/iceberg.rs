//! `/iceberg`: the read side of Apache Iceberg's REST catalog, so that other engines attach to a running server.
//!
//! There is one namespace, as in the catalog's SQL tables, and every table whose rows are stored is in it. Loading a table
//! tiers what is hot first: its newest snapshot holds all that was committed before. What would change something is
//! refused; credentials for the files are the client's affair.

use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Form, Json};
use catalog::sql::schema::ICEBERG_NAMESPACE;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Context;
use super::auth::{Caller, Credentials, credentials};
use super::routes::Routes;
use crate::auth::TOKEN_LIFE;

const NAMESPACES: &str = "/iceberg/v1/namespaces";
const NAMESPACE: &str = "/iceberg/v1/namespaces/{namespace}";
const TABLES: &str = "/iceberg/v1/namespaces/{namespace}/tables";
const TABLE: &str = "/iceberg/v1/namespaces/{namespace}/tables/{table}";
/// Where a user gets a token.
pub const TOKENS: &str = "/iceberg/v1/oauth/tokens";
const VIEWS: &str = "/iceberg/v1/namespaces/{namespace}/views";

/// What clients may ask for, in the form of the `endpoints` of `/v1/config`.
const ENDPOINTS: [&str; 7] = [
    "GET /v1/{prefix}/namespaces",
    "GET /v1/{prefix}/namespaces/{namespace}",
    "HEAD /v1/{prefix}/namespaces/{namespace}",
    "GET /v1/{prefix}/namespaces/{namespace}/tables",
    "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "HEAD /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "GET /v1/{prefix}/namespaces/{namespace}/views",
];

/// The routes of this module.
pub fn routes() -> Routes {
    Routes::default()
        .get("/iceberg/v1/config", config)
        .post(TOKENS, token)
        .get(NAMESPACES, namespaces)
        .post(NAMESPACES, refuse)
        .get(NAMESPACE, namespace)
        .head(NAMESPACE, namespace_exists)
        .delete(NAMESPACE, refuse)
        .post("/iceberg/v1/namespaces/{namespace}/properties", refuse)
        .get(TABLES, tables)
        .post(TABLES, refuse)
        .get(TABLE, load)
        .head(TABLE, table_exists)
        .post(TABLE, refuse)
        .delete(TABLE, refuse)
        .post("/iceberg/v1/namespaces/{namespace}/register", refuse)
        .post("/iceberg/v1/tables/rename", refuse)
        .post("/iceberg/v1/transactions/commit", refuse)
        .get(VIEWS, views)
        .post(VIEWS, refuse)
}

/// An error in the form that the protocol prescribes.
pub struct Refused {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

impl Refused {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into() }
    }

    fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequestException", message)
    }

    fn no_namespace(name: &str) -> Self {
        let message = format!("there is no namespace {name}: all tables are in {ICEBERG_NAMESPACE}");
        Self::new(StatusCode::NOT_FOUND, "NoSuchNamespaceException", message)
    }

    fn no_table(name: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NoSuchTableException", format!("no rows are stored under the name {name}"))
    }

    /// It is not known who sends the request.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "NotAuthorizedException", message)
    }

    /// Answers requests below `/iceberg` that no route takes.
    pub fn unknown(method: &Method, uri: &Uri) -> Self {
        let message = format!("the catalog does not answer {method} {}", uri.path());
        Self::new(StatusCode::NOT_FOUND, "NoSuchEndpointException", message)
    }
}

impl From<engine::Error> for Refused {
    fn from(error: engine::Error) -> Self {
        use engine::ErrorKind::{Conflict, Denied, Unavailable};
        let (status, kind) = match error.kind() {
            Unavailable | Conflict => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableException"),
            Denied => (StatusCode::FORBIDDEN, "ForbiddenException"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError"),
        };
        Self::new(status, kind, error.to_string())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let error = json!({"message": self.message, "type": self.kind, "code": self.status.as_u16()});
        (self.status, Json(json!({ "error": error }))).into_response()
    }
}

/// The parameters of a path.
struct At<T>(T);

impl<T: DeserializeOwned + Send> FromRequestParts<Context> for At<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, context: &Context) -> Result<Self, Refused> {
        let path = Path::<T>::from_request_parts(parts, context).await;
        path.map(|Path(path)| Self(path)).map_err(|rejection| Refused::bad_request(rejection.body_text()))
    }
}

async fn config() -> Json<Value> {
    Json(json!({"defaults": {}, "overrides": {}, "endpoints": ENDPOINTS}))
}

async fn refuse(method: Method, uri: Uri) -> Refused {
    let message = format!("{method} {}: tables are changed with SQL, this catalog is for reading", uri.path());
    Refused::new(StatusCode::NOT_ACCEPTABLE, "UnsupportedOperationException", message)
}

/// What a client sends for a token: the form of RFC 6749, section 4.4. User and password stand in it, or in the request's head
/// (section 2.3.1).
#[derive(Deserialize)]
struct TokenRequest {
    grant_type: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
}

async fn token(
    State(context): State<Context>,
    headers: HeaderMap,
    form: Result<Form<TokenRequest>, FormRejection>,
) -> Response {
    let refused = |status: StatusCode, error: &str| (status, Json(json!({ "error": error }))).into_response();
    let Ok(Form(request)) = form else { return refused(StatusCode::BAD_REQUEST, "invalid_request") };
    if request.grant_type.as_deref() != Some("client_credentials") {
        return refused(StatusCode::BAD_REQUEST, "unsupported_grant_type");
    }
    let access = match context.engine.access().await {
        Ok(access) => access,
        Err(error) => return Refused::from(error).into_response(),
    };
    let (user, password) = match credentials(&headers) {
        Some(Credentials::Basic { user, password }) => (user, password),
        _ => (request.client_id.unwrap_or_default(), request.client_secret.unwrap_or_default()),
    };
    // Without users a token says nothing, but clients that are set up to ask for one get it.
    if !access.users.is_empty() && !context.door.fits(&access, &user, &password) {
        return refused(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    Json(json!({
        "access_token": context.door.token(&access, &user),
        "token_type": "bearer",
        "expires_in": TOKEN_LIFE.as_secs(),
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
    }))
    .into_response()
}

#[derive(Deserialize)]
struct Parent {
    parent: Option<String>,
}

async fn namespaces(of: Result<Query<Parent>, QueryRejection>) -> Result<Json<Value>, Refused> {
    let Query(of) = of.map_err(|rejection| Refused::bad_request(rejection.body_text()))?;
    match of.parent.as_deref() {
        None | Some("") => Ok(Json(json!({"namespaces": [[ICEBERG_NAMESPACE]]}))),
        Some(ICEBERG_NAMESPACE) => Ok(Json(json!({"namespaces": []}))),
        Some(other) => Err(Refused::no_namespace(other)),
    }
}

async fn namespace(At(name): At<String>) -> Result<Json<Value>, Refused> {
    check(&name)?;
    Ok(Json(json!({"namespace": [name], "properties": {}})))
}

async fn namespace_exists(At(name): At<String>) -> Result<StatusCode, Refused> {
    check(&name).map(|()| StatusCode::NO_CONTENT)
}

async fn tables(caller: Caller, At(namespace): At<String>) -> Result<Json<Value>, Refused> {
    check(&namespace)?;
    let names = caller.engine().iceberg_tables().await?;
    let identifiers: Vec<_> = names.iter().map(|name| json!({"namespace": [namespace], "name": name})).collect();
    Ok(Json(json!({ "identifiers": identifiers })))
}

async fn load(caller: Caller, At((namespace, name)): At<(String, String)>) -> Result<Json<Value>, Refused> {
    check(&namespace)?;
    let table = caller.engine().iceberg_table(&name).await?.ok_or_else(|| Refused::no_table(&name))?;
    Ok(Json(json!({"metadata-location": table.metadata_location, "metadata": table.metadata, "config": {}})))
}

async fn table_exists(caller: Caller, At((namespace, name)): At<(String, String)>) -> Result<StatusCode, Refused> {
    check(&namespace)?;
    match caller.engine().iceberg_tables().await?.contains(&name) {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Refused::no_table(&name)),
    }
}

/// Views of this catalog are those of other engines; ours are tables, or not for them to read.
async fn views(At(namespace): At<String>) -> Result<Json<Value>, Refused> {
    check(&namespace)?;
    Ok(Json(json!({"identifiers": []})))
}

fn check(namespace: &str) -> Result<(), Refused> {
    if namespace == ICEBERG_NAMESPACE { Ok(()) } else { Err(Refused::no_namespace(namespace)) }
}
