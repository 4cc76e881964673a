//! A server as scripts and the shell use it: statements go there over HTTP, rows come back as Arrow streams.
//!
//! The server keeps no session over HTTP. What SET says is remembered here and sent along with every statement.

mod refusal;
mod stream;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::error::{Error, ErrorKind, Position};
use engine::session::Answer;
use engine::sql::statement::{ParsedStatement, Statement};
use reqwest::header::{ACCEPT, HeaderMap};
use serde_json::{Value, json};

use crate::http::{ARROW_STREAM, NOTICE_HEADER, TAG_HEADER};

/// How long a server may take to be reached. Statements may take as long as they want.
const CONNECT: Duration = Duration::from_secs(10);

/// The variable of the environment with a user's password. There is no option for it: other users would see it.
const PASSWORD: &str = "FRAZIL_PASSWORD";

/// Who a client is, for a server that has users.
#[derive(Clone)]
pub struct Login {
    user: Option<String>,
    password: Option<String>,
}

impl Login {
    /// A user of this name, whose password is in the environment.
    pub fn of(user: Option<String>) -> Self {
        Self { user, password: std::env::var(PASSWORD).ok() }
    }

    /// The same, with what a URL says of both.
    fn or(self, url: &reqwest::Url) -> Self {
        let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        let user = (!url.username().is_empty()).then(|| decoded(url.username()));
        Self { user: user.or(self.user), password: url.password().map(decoded).or(self.password) }
    }
}

/// A server.
pub struct Client {
    http: reqwest::Client,
    url: String,
    login: Login,
    /// Where relative paths of the statements start.
    base_dir: PathBuf,
    settings: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Client {
    /// A client of the server at `url`, such as `http://127.0.0.1:8080` or `https://user:password@host:8080`. What the URL leaves
    /// out of user and password is taken from `login`. Nothing is sent yet.
    ///
    /// # Errors
    /// `Option` if that is no URL.
    pub fn new(url: &str, login: Login, base_dir: &Path) -> engine::Result<Self> {
        let parsed = reqwest::Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let Some(mut parsed) = parsed else {
            return Err(Error::new(ErrorKind::Option, format!("{url} is not the URL of a server"))
                .hint("write it as http://127.0.0.1:8080"));
        };
        let login = login.or(&parsed);
        // What is shown of the URL tells no password.
        let _ = (parsed.set_username(""), parsed.set_password(None));
        let http = reqwest::Client::builder().connect_timeout(CONNECT).no_proxy().build();
        let http = http.map_err(|source| Error::internal("no HTTP client can be made").because(source))?;
        let url = parsed.as_str().trim_end_matches('/').to_owned();
        Ok(Self { http, url, login, base_dir: base_dir.to_path_buf(), settings: Arc::default() })
    }

    /// The same client, settings included, for statements of a file: their relative paths start at `base_dir`.
    pub fn based_at(&self, base_dir: PathBuf) -> Self {
        Self {
            http: self.http.clone(),
            url: self.url.clone(),
            login: self.login.clone(),
            base_dir,
            settings: self.settings.clone(),
        }
    }

    /// Executes one statement; `text` is its own part of the text that it was parsed from.
    ///
    /// # Errors
    /// Whatever the server's engine says, with the position in the whole text; `Unavailable` if the server cannot be reached.
    pub async fn execute(&self, parsed: &ParsedStatement, text: &str) -> engine::Result<Answer> {
        let settings = self.settings().clone();
        let request = json!({"sql": text, "settings": settings, "base_dir": self.base_dir});
        let response = self.post("/api/v1/statements", &request, parsed.position).await?;
        self.remember(&parsed.statement);
        let header = |name| header(response.headers(), name);
        match (header(&TAG_HEADER), header(&NOTICE_HEADER)) {
            _ if response.headers().get("content-type").is_some_and(|value| value == ARROW_STREAM) => {
                Ok(Answer::Rows(stream::rows(response).await?))
            }
            (Some(tag), Some(notice)) => Ok(Answer::Noticed { tag, notice }),
            (Some(tag), None) => Ok(Answer::Done(tag)),
            (None, _) => Err(refusal::no_server(&self.url, "its answer has no tag")),
        }
    }

    /// Runs the jobs of a file and returns their names.
    ///
    /// # Errors
    /// As [`Client::execute`].
    pub async fn submit(&self, sql: &str) -> engine::Result<Vec<String>> {
        let request = json!({"sql": sql, "base_dir": self.base_dir});
        let response = self.post("/api/v1/submissions", &request, refusal::START).await?;
        let body: Value = response.json().await.map_err(|source| refusal::broken(&self.url, source))?;
        let jobs = body["jobs"].as_array().ok_or_else(|| refusal::no_server(&self.url, "its answer names no jobs"))?;
        Ok(jobs.iter().filter_map(|job| job.as_str().map(str::to_owned)).collect())
    }

    async fn post(&self, path: &str, body: &Value, start: Position) -> engine::Result<reqwest::Response> {
        let mut request = self.http.post(format!("{}{path}", self.url)).header(ACCEPT, ARROW_STREAM).json(body);
        if let Some(user) = &self.login.user {
            request = request.basic_auth(user, self.login.password.as_ref());
        }
        let response = request.send().await.map_err(|source| refusal::broken(&self.url, source))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = response.json().await.unwrap_or(Value::Null);
        Err(refusal::of_server(&self.url, status, &body, start))
    }

    fn settings(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a statement that has succeeded sets for those after it.
    fn remember(&self, statement: &Statement) {
        match statement {
            Statement::Set { name, value } => drop(self.settings().insert(name.clone(), value.clone())),
            Statement::Reset(Some(name)) => drop(self.settings().remove(name)),
            Statement::Reset(None) => self.settings().clear(),
            _ => {}
        }
    }
}

fn header(headers: &HeaderMap, name: &reqwest::header::HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}
