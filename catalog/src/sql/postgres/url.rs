//! The URL that names a catalog on a PostgreSQL server. It may hold a password, which is never shown.

use std::fmt;

use sqlx::postgres::PgConnectOptions;

use super::super::fault::Place;
use crate::error::{Error, ErrorKind, Result};

/// The schema that holds the catalog unless the URL names another.
const DEFAULT_SCHEMA: &str = "frazil";

/// What the URL may set beside `schema`; the rest of what `libpq` knows would be passed over in silence.
const PARAMETERS: &[&str] = &[
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// `postgres://user@host:port/database?schema=frazil&sslmode=verify-full`, understood as `libpq` does: what is missing
/// comes from the `PG*` environment variables, and the password also from `~/.pgpass`.
///
/// It prints as the URL without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    /// Without `schema`.
    url: String,
    schema: String,
    /// What may be printed.
    shown: String,
}

impl PostgresUrl {
    /// Whether a text looks like such a URL.
    pub fn is_one(text: &str) -> bool {
        text.starts_with("postgres://") || text.starts_with("postgresql://")
    }

    /// Reads a URL.
    ///
    /// # Errors
    /// `Invalid` if it is none, or sets something that is not known.
    pub fn parse(text: &str) -> Result<Self> {
        if !Self::is_one(text) {
            return Err(invalid("a catalog's URL is postgres://user@host/database"));
        }
        let (base, query) = text.split_once('?').unwrap_or((text, ""));
        let mut schema = DEFAULT_SCHEMA;
        let mut kept = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match key {
                "schema" => schema = value,
                "options" if value.contains("search_path") => {
                    return Err(invalid("write ?schema=name: the search path is set to that"));
                }
                key if PARAMETERS.contains(&key) => kept.push(pair),
                key => {
                    let known = PARAMETERS.join(", ");
                    return Err(invalid(format!("a catalog's URL knows schema, {known}")).with("not", key));
                }
            }
        }
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if schema.is_empty()
            || schema.len() > 63
            || !schema.chars().all(plain)
            || schema.starts_with(|c: char| c.is_ascii_digit())
        {
            return Err(
                invalid("a schema's name is made of a-z, 0-9 and _, and starts with no digit").with("schema", schema)
            );
        }
        let url = if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) };
        let mut parsed = Self { url, schema: schema.to_owned(), shown: String::new() };
        parsed.shown = parsed.display(&parsed.options()?);
        Ok(parsed)
    }

    /// The schema.
    pub(super) fn schema(&self) -> &str {
        &self.schema
    }

    /// For connecting.
    pub(super) fn options(&self) -> Result<PgConnectOptions> {
        self.url.parse().map_err(|error: sqlx::Error| {
            invalid("the catalog's URL cannot be understood: postgres://user@host:port/database").because(error)
        })
    }

    fn display(&self, options: &PgConnectOptions) -> String {
        let (user, port) = (options.get_username(), options.get_port());
        let host = match options.get_socket() {
            Some(directory) => directory.display().to_string(),
            None => options.get_host().to_owned(),
        };
        let database = options.get_database().unwrap_or(user);
        format!("postgres://{user}@{host}:{port}/{database}?schema={}", self.schema)
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl From<&PostgresUrl> for Place {
    fn from(url: &PostgresUrl) -> Self {
        Self::Server(url.to_string())
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_understood_and_shown_without_password() {
        let url = PostgresUrl::parse("postgres://me:s3cr%40t@there:1234/db?sslmode=require&schema=tests").unwrap();
        assert_eq!(url.schema(), "tests");
        let options = url.options().unwrap();
        assert_eq!((options.get_host(), options.get_port(), options.get_database()), ("there", 1234, Some("db")));
        for shown in [url.to_string(), format!("{url:?}")] {
            assert_eq!(shown, "postgres://me@there:1234/db?schema=tests");
        }
        let url = PostgresUrl::parse("postgresql:///db?host=/run/pg&user=me&password=s3cret").unwrap();
        assert_eq!(url.to_string(), "postgres://me@/run/pg:5432/db?schema=frazil");
    }

    #[test]
    fn what_cannot_work_is_refused_without_the_password() {
        for (text, says) in [
            ("mysql://me:s3cret@there/db", "postgres://"),
            ("postgres://me:s3cret@there/db?pasword=s3cret", "not: pasword"),
            ("postgres://me:s3cret@there/db?schema=a;b", "a-z"),
            ("postgres://me:s3cret@there/db?schema=", "a-z"),
            ("postgres://me:s3cret@there/db?options=-csearch_path%3Dx", "schema=name"),
            ("postgres://me:s3cret@there:port/db", "postgres://user"),
            ("postgres://me:s3cret@there/db?sslmode=maybe", "ssl_mode"),
        ] {
            let error = PostgresUrl::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
            let told = format!("{error} {error:?}");
            assert!(told.contains(says) && !told.contains("s3cret"), "{told}");
        }
    }
}
