//! The catalog of a process that has none: a worker knows what its coordinator tells it, and names nothing itself.

use std::sync::Arc;

use async_trait::async_trait;

use crate::Catalog;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Commit, FileReferences, Lease, ObjectId, Snapshot, TableVersion, Version};

/// Answers everything with `Unavailable`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Detached;

fn none<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Unavailable, "this process has no catalog"))
}

#[async_trait]
impl Catalog for Detached {
    async fn version(&self) -> Result<Version> {
        none()
    }

    async fn snapshot(&self, _: Option<Version>) -> Result<Arc<Snapshot>> {
        none()
    }

    async fn version_at(&self, _: i64) -> Result<Version> {
        none()
    }

    async fn table_versions(&self, _: ObjectId, _: u32) -> Result<Vec<TableVersion>> {
        none()
    }

    async fn referenced_files(&self) -> Result<FileReferences> {
        none()
    }

    async fn commit(&self, _: Commit) -> Result<Version> {
        none()
    }

    async fn settle(&self, _: uuid::Uuid) -> Result<Option<Version>> {
        none()
    }

    async fn allocate_ids(&self, _: u32) -> Result<ObjectId> {
        none()
    }

    async fn acquire_lease(&self, _: &str, _: &str, _: Option<&str>, _: i64, _: i64) -> Result<Lease> {
        none()
    }

    async fn lease(&self, _: &str, _: i64) -> Result<Option<Lease>> {
        none()
    }

    async fn renew_leases(&self, _: &[Lease], _: i64, _: i64) -> Result<()> {
        none()
    }

    async fn release_leases(&self, _: &[Lease]) -> Result<()> {
        none()
    }
}
