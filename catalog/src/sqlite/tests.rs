//! The conformance suite on a file and in memory, and what only a file can get wrong.

mod files;
mod iceberg;
mod processes;
mod random;

use std::path::Path;
use std::sync::Arc;

use crate::conformance;
use crate::{Catalog, Result, SqliteCatalog, SqliteOptions};

async fn open(path: &Path) -> Result<SqliteCatalog> {
    SqliteCatalog::open(path, SqliteOptions::default()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let number = std::sync::atomic::AtomicU64::new(0);
    let fresh = || async {
        let n = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = directory.path().join(format!("{n}/catalog.db"));
        let (a, b) = (open(&path).await?, open(&path).await?);
        Ok((Arc::new(a) as Arc<dyn Catalog>, Arc::new(b) as Arc<dyn Catalog>))
    };
    conformance::run_all(fresh).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_conforms() {
    let fresh = || async {
        let a = SqliteCatalog::in_memory().await?;
        Ok((Arc::new(a.clone()) as Arc<dyn Catalog>, Arc::new(a) as Arc<dyn Catalog>))
    };
    conformance::run_all(fresh).await.unwrap();
}
