//! Which catalog a warehouse has: opening it, and keeping a warehouse from getting a second one. Without the right
//! catalog the files that are in use would look like garbage, and the sweep would delete them.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use catalog::{Catalog, PostgresOptions, SqlCatalog, SqliteOptions};

use super::Warehouse;
use super::location::{CATALOG_FILE, CatalogLocation};
use crate::error::{Error, ErrorKind, Result};

/// Says where the catalog of a warehouse is that is on a server: a URL without password.
const CATALOG_NOTE: &str = "catalog.url";

/// Opens a catalog, and creates it if there is none.
pub async fn open(location: &CatalogLocation) -> Result<Arc<dyn Catalog>> {
    Ok(Arc::new(match location {
        CatalogLocation::File(path) => SqlCatalog::open_file(path, SqliteOptions::default()).await?,
        CatalogLocation::Postgres(url) => SqlCatalog::connect(url, PostgresOptions::default()).await?,
    }))
}

/// Before a catalog is created where none is wanted.
pub fn refuse_two(directory: &Path, catalog: &CatalogLocation) -> Result<()> {
    let (own, note) = (directory.join(CATALOG_FILE), directory.join(CATALOG_NOTE));
    match catalog {
        CatalogLocation::Postgres(url) if own.exists() => {
            let message =
                "this warehouse has its catalog in a file; open it without --catalog, or name another directory";
            Err(Error::new(ErrorKind::Invalid, message).with("file", own.display()).with("catalog", url))
        }
        CatalogLocation::File(_) if note.exists() => {
            let url = std::fs::read_to_string(&note).unwrap_or_default();
            Err(elsewhere(&url).with("warehouse", directory.display()))
        }
        _ => Ok(()),
    }
}

fn elsewhere(url: &str) -> Error {
    let message = "this warehouse has its catalog on a server; name it: --catalog postgres://...";
    Error::new(ErrorKind::Invalid, message).with("catalog", url.trim())
}

/// Refuses a file as catalog of a warehouse whose catalog is on a server, and notes it where one is.
pub async fn check(warehouse: &Warehouse, catalog: Option<&CatalogLocation>) -> Result<()> {
    match (catalog, warehouse.exists(CATALOG_NOTE).await?) {
        (Some(CatalogLocation::File(_)), true) => {
            let url = warehouse.get(CATALOG_NOTE).await?;
            Err(elsewhere(&String::from_utf8_lossy(&url)).with("warehouse", &warehouse.root))
        }
        (Some(CatalogLocation::Postgres(url)), false) => {
            warehouse.put(CATALOG_NOTE, Bytes::from(format!("{url}\n"))).await
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use catalog::SystemClock;

    use super::super::Location;
    use super::*;

    async fn open_directory(directory: &Path) -> Result<Arc<Warehouse>> {
        Warehouse::open(directory.to_str().unwrap(), Arc::new(SystemClock::new())).await
    }

    #[tokio::test]
    async fn a_warehouse_keeps_to_its_catalog() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(CATALOG_NOTE), "postgres://me@there/db\n").unwrap();
        let error = open_directory(directory.path()).await.unwrap_err();
        assert!(error.to_string().contains("me@there"), "{error}");
        assert!(!directory.path().join("catalog.db").exists());
        let directory = tempfile::tempdir().unwrap();
        open_directory(directory.path()).await.unwrap();
        let url = "postgres://me:s3cret@127.0.0.1:1/db";
        let location = Location::parse(directory.path().to_str().unwrap(), Some(url)).unwrap();
        let error = Warehouse::open_at(&location, Arc::new(SystemClock::new())).await.unwrap_err();
        assert!(error.to_string().contains("catalog.db") && !error.to_string().contains("s3cret"), "{error}");
    }
}
