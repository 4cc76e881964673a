//! The warehouse: one object store under one root, one catalog, one clock, and the caches of what was read from them.
//!
//! Everything that the program writes goes through [`Warehouse::put`] or [`Warehouse::write`], durable when they return. Files are
//! immutable: a path is written once. Paths are relative to the root; only Iceberg metadata and the catalog's
//! `metadata_location` hold absolute locations, because other programs read those.

mod cache;
mod catalogs;
mod local;
mod location;
mod output;

use std::io::Write;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use catalog::{Catalog, Clock, Object, SqlCatalog};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use futures::TryStreamExt;
use futures::stream::{FuturesUnordered, StreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use crate::error::{Error, ErrorKind, Result};

pub(crate) use self::cache::Cache;
pub use self::location::{CatalogLocation, Location};
pub use self::output::Output;

/// Bytes of segments kept in memory.
const SEGMENT_CACHE_BYTES: u64 = 256 << 20;
/// Bytes of Iceberg metadata (manifests, positions of deleted rows) kept in memory.
const METADATA_CACHE_BYTES: u64 = 128 << 20;
/// Bytes of folded hot tiers kept in memory.
const HOT_CACHE_BYTES: u64 = 256 << 20;

/// A file of the warehouse, as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// Path relative to the root.
    pub path: String,
    /// Size.
    pub bytes: u64,
    /// When it was written, in ms since the Unix epoch.
    pub modified_ms: i64,
}

/// See the module's description.
#[derive(Debug)]
pub struct Warehouse {
    /// Rooted at the warehouse's root.
    store: Arc<dyn ObjectStore>,
    /// The root directory, if it is a local one.
    directory: Option<PathBuf>,
    /// URL of the root, without a slash at the end.
    root: String,
    /// Under which DataFusion finds `store`.
    store_url: ObjectStoreUrl,
    catalog: Arc<dyn Catalog>,
    clock: Arc<dyn Clock>,
    pub(crate) segments: Cache<Vec<crate::change::Changes>>,
    pub(crate) tables: Cache<crate::iceberg::LoadedTable>,
    pub(crate) hot: Cache<crate::scan::FoldedHot>,
}

impl Warehouse {
    /// Opens a warehouse by its location: a directory or `file://` URL (created if missing), `s3://bucket/prefix`, or
    /// `memory://`. See [`Location::parse`].
    pub async fn open(location: &str, clock: Arc<dyn Clock>) -> Result<Arc<Self>> {
        Self::open_at(&Location::parse(location, None)?, clock).await
    }

    /// Opens a warehouse and its catalog.
    pub async fn open_at(location: &Location, clock: Arc<dyn Clock>) -> Result<Arc<Self>> {
        let warehouse = match location {
            Location::Memory => return Self::in_memory(Arc::new(SqlCatalog::in_memory().await?), clock),
            Location::Directory { path, catalog } => {
                local::create_root(path)?;
                catalogs::refuse_two(path, catalog)?;
                Self::local(path, catalogs::open(catalog).await?, clock)?
            }
            Location::S3 { bucket, prefix, catalog } => {
                Self::s3(bucket, prefix, catalogs::open(catalog).await?, clock)?
            }
        };
        catalogs::check(&warehouse, location.catalog()).await?;
        Ok(warehouse)
    }

    /// A warehouse over parts that exist. `root`: the URL that `store`'s root has for other programs.
    ///
    /// What is put there is as durable as `store` makes it; local directories should use [`Warehouse::local`].
    pub fn new(
        store: Arc<dyn ObjectStore>,
        catalog: Arc<dyn Catalog>,
        clock: Arc<dyn Clock>,
        root: impl Into<String>,
    ) -> Result<Arc<Self>> {
        Self::build(store, None, catalog, clock, root.into())
    }

    /// A warehouse in a local directory, which is created if it is missing.
    pub fn local(directory: &FilePath, catalog: Arc<dyn Catalog>, clock: Arc<dyn Clock>) -> Result<Arc<Self>> {
        let directory = local::create_root(directory)?;
        let store = LocalFileSystem::new_with_prefix(&directory)
            .map_err(|error| Error::store(error, "open the warehouse", directory.display()))?;
        let root = location::file_url(&directory)?;
        Self::build(Arc::new(store), Some(directory), catalog, clock, root)
    }

    /// A warehouse in memory, for tests.
    pub fn in_memory(catalog: Arc<dyn Catalog>, clock: Arc<dyn Clock>) -> Result<Arc<Self>> {
        Self::build(Arc::new(InMemory::new()), None, catalog, clock, "memory://warehouse".to_string())
    }

    /// A warehouse under `s3://bucket/prefix`, with endpoint, region and credentials from the AWS_* environment variables.
    pub fn s3(bucket: &str, prefix: &str, catalog: Arc<dyn Catalog>, clock: Arc<dyn Clock>) -> Result<Arc<Self>> {
        let store = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .build()
            .map_err(|error| Error::store(error, "open the bucket", bucket))?;
        let prefix = prefix.trim_matches('/');
        if prefix.is_empty() {
            return Self::build(Arc::new(store), None, catalog, clock, format!("s3://{bucket}"));
        }
        let store = PrefixStore::new(store, Path::from(prefix));
        Self::build(Arc::new(store), None, catalog, clock, format!("s3://{bucket}/{prefix}"))
    }

    fn build(
        store: Arc<dyn ObjectStore>,
        directory: Option<PathBuf>,
        catalog: Arc<dyn Catalog>,
        clock: Arc<dyn Clock>,
        root: String,
    ) -> Result<Arc<Self>> {
        let root = root.trim_end_matches('/').to_string();
        let store_url = ObjectStoreUrl::parse(format!("frazil://{:08x}", crc32fast::hash(root.as_bytes())))
            .map_err(|error| Error::internal("no URL for the store").because(error))?;
        Ok(Arc::new(Self {
            store,
            directory,
            root,
            store_url,
            catalog,
            clock,
            segments: Cache::new(SEGMENT_CACHE_BYTES),
            tables: Cache::new(METADATA_CACHE_BYTES),
            hot: Cache::new(HOT_CACHE_BYTES),
        }))
    }

    /// The catalog.
    pub fn catalog(&self) -> &Arc<dyn Catalog> {
        &self.catalog
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// URL of the root, without a slash at the end.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The object store, rooted at the warehouse's root. For reading.
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// The URL under which DataFusion plans find the store, once it is registered.
    pub fn store_url(&self) -> &ObjectStoreUrl {
        &self.store_url
    }

    /// Makes the store known to a DataFusion runtime. Scans do so themselves; only other processes that execute plans
    /// made elsewhere must call it.
    pub fn register(&self, runtime: &RuntimeEnv) {
        runtime.register_object_store(self.store_url.as_ref(), self.store.clone());
    }

    /// The directory of a table: its name as far as it is fit for a path, and its id, so that a table that is dropped
    /// and created again under the same name starts in an empty directory.
    pub fn table_directory(object: &Object) -> String {
        let fit = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
        let name = object.name.chars().take(64).map(fit).collect::<String>();
        format!("{name}-{}", object.id)
    }

    /// The absolute location of a path.
    pub fn location(&self, path: &str) -> String {
        format!("{}/{path}", self.root)
    }

    /// The path of an absolute location; `Invalid` if it lies outside this warehouse.
    pub fn path<'a>(&self, location: &'a str) -> Result<&'a str> {
        location::below(&self.root, location).ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "the file lies outside this warehouse; was the warehouse moved?")
                .with("location", location)
                .with("warehouse", &self.root)
        })
    }

    /// Writes a file. Durable when it returns: the file and the directories that name it survive power loss.
    pub async fn put(&self, path: &str, bytes: Bytes) -> Result<()> {
        if self.directory.is_some() {
            let target = path.to_string();
            let failed = move |error| Error::io(error, "write the file", target);
            return self.write(path, move |output| output.write_all(&bytes).map_err(failed)).await;
        }
        let write = async { self.store.put(&parse(path)?, PutPayload::from_bytes(bytes)).await };
        write.await.map(|_| ()).map_err(|error| Error::store(error, "write the file", path))
    }

    /// Writes several files side by side. Durable when it returns; after an error any of them may exist.
    pub async fn put_all(&self, files: Vec<(String, Bytes)>) -> Result<()> {
        let mut writes = files
            .into_iter()
            .map(|(path, bytes)| async move { self.put(&path, bytes).await })
            .collect::<FuturesUnordered<_>>();
        while let Some(written) = writes.next().await {
            written?;
        }
        Ok(())
    }

    /// Reads a file.
    pub async fn get(&self, path: &str) -> Result<Bytes> {
        let read = async { self.store.get(&parse(path)?).await?.bytes().await };
        read.await.map_err(|error| Error::store(error, "read the file", path))
    }

    /// Whether a file exists.
    pub async fn exists(&self, path: &str) -> Result<bool> {
        match async { self.store.head(&parse(path)?).await }.await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(Error::store(error, "look for the file", path)),
        }
    }

    /// Every file whose path starts with the directory `prefix` (the empty string: every file), in no order.
    pub async fn list(&self, prefix: &str) -> Result<Vec<FileInfo>> {
        let directory = (!prefix.is_empty()).then(|| Path::from(prefix));
        let files = self.store.list(directory.as_ref()).map_ok(|meta| FileInfo {
            path: meta.location.to_string(),
            bytes: meta.size,
            modified_ms: meta.last_modified.timestamp_millis(),
        });
        files.try_collect().await.map_err(|error| Error::store(error, "list the files", prefix))
    }

    /// Deletes a file. A file that does not exist is deleted already.
    pub async fn delete(&self, path: &str) -> Result<()> {
        let deleted = async { self.store.delete(&parse(path)?).await };
        match deleted.await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(Error::store(error, "delete the file", path)),
        }
    }
}

fn parse(path: &str) -> std::result::Result<Path, object_store::Error> {
    Path::parse(path).map_err(|source| object_store::Error::InvalidPath { source })
}

#[cfg(test)]
mod tests {
    use catalog::SystemClock;

    use super::*;
    use crate::scan::read_all;
    use crate::testing;
    use crate::tiering::{TieringPolicy, tier};

    async fn in_directory(directory: &FilePath) -> Result<Arc<Warehouse>> {
        Warehouse::open(directory.to_str().unwrap(), Arc::new(SystemClock::new())).await
    }

    #[tokio::test]
    async fn files_come_back_and_leave_no_temporary_ones() {
        let directory = tempfile::tempdir().unwrap();
        let warehouse = in_directory(&directory.path().join("a/b")).await.unwrap();
        warehouse.put("t-1/data/x.parquet", Bytes::from_static(b"rows")).await.unwrap();
        assert_eq!(warehouse.get("t-1/data/x.parquet").await.unwrap(), "rows");
        let mut listed = warehouse.list("").await.unwrap();
        listed.retain(|file| !file.path.starts_with("catalog.db"));
        assert_eq!(listed.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["t-1/data/x.parquet"]);
        assert_eq!(warehouse.list("t-1").await.unwrap(), listed);
        assert!(warehouse.list("t-2").await.unwrap().is_empty());
        warehouse.delete("t-1/data/x.parquet").await.unwrap();
        warehouse.delete("t-1/data/x.parquet").await.unwrap();
        let error = warehouse.get("t-1/data/x.parquet").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("x.parquet"), "{error}");
    }

    #[tokio::test]
    async fn locations_and_paths_are_inverse() {
        let directory = tempfile::tempdir().unwrap();
        let warehouse = in_directory(directory.path()).await.unwrap();
        let location = warehouse.location("t-1/metadata/v.json");
        assert!(location.starts_with("file:///"), "{location}");
        assert!(FilePath::new(location.trim_start_matches("file://")).parent().is_some());
        assert_eq!(warehouse.path(&location).unwrap(), "t-1/metadata/v.json");
        assert_eq!(warehouse.path("file:///elsewhere/v.json").unwrap_err().kind(), ErrorKind::Invalid);
    }

    #[tokio::test]
    async fn a_file_where_the_warehouse_should_be_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = in_directory(file.path()).await.unwrap_err();
        assert!(error.to_string().contains(&file.path().display().to_string()), "{error}");
    }

    #[tokio::test]
    async fn a_directory_that_cannot_be_written_is_refused_clearly() {
        let directory = tempfile::tempdir().unwrap();
        let warehouse = in_directory(directory.path()).await.unwrap();
        std::fs::write(directory.path().join("t-1"), b"a file").unwrap();
        let error = warehouse.put("t-1/x", Bytes::new()).await.unwrap_err();
        assert!(error.to_string().contains("cannot"), "{error}");
    }

    #[tokio::test]
    async fn what_was_committed_is_there_after_opening_again() {
        let directory = tempfile::tempdir().unwrap();
        let columns = [("k", arrow::datatypes::DataType::Int64, false)];
        let object = {
            let warehouse = in_directory(directory.path()).await.unwrap();
            let object = testing::create(&warehouse, testing::table(0, "t", &columns, &[])).await;
            let rows = || testing::int_rows(&object, 0..3);
            testing::change(&warehouse, &object, &[rows()]).await;
            tier(&warehouse, object.id, &TieringPolicy::default(), true).await.unwrap();
            testing::change(&warehouse, &object, &[rows()]).await;
            object
        };
        let url = format!("file://{}", directory.path().display());
        let warehouse = Warehouse::open(&url, Arc::new(SystemClock::new())).await.unwrap();
        let state = testing::state(&warehouse, &object).await;
        let rows = read_all(&warehouse, &object, &state).await.unwrap();
        assert_eq!(testing::printed(&rows), ["0", "0", "1", "1", "2", "2"]);
    }

    #[test]
    fn table_directories_are_fit_for_paths_and_never_collide() {
        let object = |id, name: &str| testing::table(id, name, &[], &[]);
        assert_eq!(Warehouse::table_directory(&object(7, "Ärger/..")), "_rger___-7");
        assert_ne!(Warehouse::table_directory(&object(1, "t")), Warehouse::table_directory(&object(2, "t")));
    }
}
