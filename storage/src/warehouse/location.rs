//! Where a warehouse is: the forms in which users name it, and the mapping between locations and paths.

use std::path::{Path, PathBuf};

use catalog::PostgresUrl;

use crate::error::{Error, ErrorKind, Result};

/// The catalog of a local warehouse, unless another one is named.
pub(super) const CATALOG_FILE: &str = "catalog.db";

/// Where a warehouse's catalog is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatalogLocation {
    /// In this SQLite file, on the local machine.
    File(PathBuf),
    /// On a PostgreSQL server.
    Postgres(PostgresUrl),
}

impl CatalogLocation {
    /// Reads a location: the path of a file, or `postgres://user@host/database`.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "the catalog's location is empty"));
        }
        if PostgresUrl::is_one(text) {
            return Ok(Self::Postgres(PostgresUrl::parse(text)?));
        }
        if let Some((scheme, _)) = text.split_once("://") {
            let message = "a catalog is an SQLite file or on a PostgreSQL server: postgres://user@host/database";
            return Err(Error::new(ErrorKind::Unsupported, message).with("not", scheme));
        }
        Ok(Self::File(text.into()))
    }
}

/// A warehouse's location, as a user gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A local directory: a path or a `file://` URL. Its catalog is `catalog.db` in it unless named otherwise.
    Directory {
        /// The directory.
        path: PathBuf,
        /// The catalog.
        catalog: CatalogLocation,
    },
    /// `memory://`: gone when the process ends. For tests.
    Memory,
    /// `s3://bucket/prefix?catalog=path`.
    S3 {
        /// The bucket.
        bucket: String,
        /// The prefix, without slashes at its ends; empty for the whole bucket.
        prefix: String,
        /// The catalog.
        catalog: CatalogLocation,
    },
}

impl Location {
    /// Reads a location. `catalog`: where the catalog is, if it is named apart from the location.
    pub fn parse(text: &str, catalog: Option<&str>) -> Result<Self> {
        let (base, query) = text.split_once('?').filter(|_| text.contains("://")).unwrap_or((text, ""));
        let named = catalog.or_else(|| query.split('&').find_map(|pair| pair.strip_prefix("catalog=")));
        let named = named.map(CatalogLocation::parse).transpose()?;
        if let Some(rest) = base.strip_prefix("s3://").or_else(|| base.strip_prefix("s3a://")) {
            return s3(text, rest, named);
        }
        if base.starts_with("memory:") {
            return Ok(Self::Memory);
        }
        let path = match base.strip_prefix("file://") {
            Some(path) if path.starts_with('/') => path,
            Some(_) => {
                return Err(Error::new(ErrorKind::Invalid, "a file URL needs an absolute path: file:///directory")
                    .with("location", text));
            }
            None if base.contains("://") => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "a warehouse is a directory, file:///directory, s3://bucket/prefix or memory://",
                )
                .with("location", text));
            }
            None => base,
        };
        if path.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "the warehouse's location is empty"));
        }
        let path = PathBuf::from(path);
        let catalog = named.unwrap_or_else(|| CatalogLocation::File(path.join(CATALOG_FILE)));
        Ok(Self::Directory { path, catalog })
    }
}

impl Location {
    /// Where the catalog is; `None` if in memory.
    pub fn catalog(&self) -> Option<&CatalogLocation> {
        match self {
            Self::Memory => None,
            Self::Directory { catalog, .. } | Self::S3 { catalog, .. } => Some(catalog),
        }
    }
}

fn s3(text: &str, rest: &str, catalog: Option<CatalogLocation>) -> Result<Location> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, "the bucket is missing: s3://bucket/prefix").with("location", text));
    }
    let Some(catalog) = catalog else {
        return Err(Error::new(
            ErrorKind::Invalid,
            "an object store cannot hold the catalog's database; name a PostgreSQL server (--catalog postgres://user@host/database) \
             or a local file: s3://bucket/prefix?catalog=/path/catalog.db",
        )
        .with("location", text));
    };
    Ok(Location::S3 { bucket: bucket.to_string(), prefix: prefix.trim_matches('/').to_string(), catalog })
}

/// The URL of an absolute directory. Not percent-encoded: other Iceberg readers take it as it is.
pub fn file_url(directory: &Path) -> Result<String> {
    let Some(path) = directory.to_str() else {
        return Err(Error::new(ErrorKind::Unsupported, "the warehouse's path must be valid UTF-8")
            .with("path", directory.display()));
    };
    Ok(format!("file://{}", path.trim_end_matches('/')))
}

/// The part of `location` below `root`.
pub fn below<'a>(root: &str, location: &'a str) -> Option<&'a str> {
    if let Some(path) = location.strip_prefix(root).and_then(|rest| rest.strip_prefix('/')) {
        return Some(path);
    }
    // Other programs write file:/path or the bare path for file:///path, and s3a:// for s3://.
    if let Some(directory) = root.strip_prefix("file://") {
        let bare = location.strip_prefix("file:").unwrap_or(location);
        return bare.strip_prefix(directory).and_then(|rest| rest.strip_prefix('/'));
    }
    let bucket = root.strip_prefix("s3://")?;
    location.strip_prefix("s3a://")?.strip_prefix(bucket)?.strip_prefix('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(path: &str, catalog: &str) -> Location {
        Location::Directory { path: path.into(), catalog: CatalogLocation::File(catalog.into()) }
    }

    #[test]
    fn every_form_is_understood() {
        let parse = |text| Location::parse(text, None).unwrap();
        assert_eq!(parse("wh"), directory("wh", "wh/catalog.db"));
        assert_eq!(parse("odd?name"), directory("odd?name", "odd?name/catalog.db"));
        assert_eq!(parse("file:///a/b"), directory("/a/b", "/a/b/catalog.db"));
        assert_eq!(parse("file:///a?catalog=/c.db"), directory("/a", "/c.db"));
        assert_eq!(parse("memory://"), Location::Memory);
        let file = CatalogLocation::File("/c.db".into());
        let s3 = |prefix: &str| Location::S3 { bucket: "b".into(), prefix: prefix.into(), catalog: file.clone() };
        assert_eq!(parse("s3://b/p/q/?catalog=/c.db"), s3("p/q"));
        assert_eq!(Location::parse("s3://b", Some("/c.db")).unwrap(), s3(""));
        let url = "postgres://me:s3cret@there/db?schema=tests&sslmode=require";
        let named = Location::parse("wh", Some(url)).unwrap();
        let catalog = CatalogLocation::Postgres(PostgresUrl::parse(url).unwrap());
        assert_eq!(named, Location::Directory { path: "wh".into(), catalog });
        assert!(!format!("{named:?}").contains("s3cret"));
    }

    #[test]
    fn a_catalog_that_cannot_be_is_refused_without_its_password() {
        for text in ["mysql://me:s3cret@there/db", "postgres://me:s3cret@there/db?wrong=s3cret", ""] {
            let error = Location::parse("wh", Some(text)).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_remedy() {
        for (text, remedy) in [
            ("s3://b/p", "?catalog="),
            ("s3:///p", "bucket"),
            ("gs://b", "s3://"),
            ("file://rel", "absolute"),
            ("", "empty"),
        ] {
            let error = Location::parse(text, None).unwrap_err();
            assert!(error.to_string().contains(remedy), "{error}");
        }
    }

    #[test]
    fn locations_of_other_programs_are_found_too() {
        assert_eq!(below("file:///w", "file:///w/t/x"), Some("t/x"));
        assert_eq!(below("file:///w", "file:/w/t/x"), Some("t/x"));
        assert_eq!(below("file:///w", "/w/t/x"), Some("t/x"));
        assert_eq!(below("file:///w", "file:///w2/t/x"), None);
        assert_eq!(below("s3://b/p", "s3a://b/p/x"), Some("x"));
        assert_eq!(below("s3://b/p", "s3://b/px"), None);
    }
}
