//! Durable writes to a local directory.
//!
//! A file appears under its name only when all its bytes are on the disk: it is written under a temporary name, synced
//! and renamed, and then the directory is synced, because a name is data of the directory. A new directory is
//! itself a name in its parent, so the parent is synced too.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use uuid::Uuid;

use crate::error::{Error, ErrorKind, Result};

/// Ending of files that are being written. One that is old belongs to a process that died.
pub const TEMPORARY: &str = ".tmp";

/// Creates the root directory if it is missing and gives its absolute path.
pub fn create_root(directory: &Path) -> Result<PathBuf> {
    if directory.exists() && !directory.is_dir() {
        return Err(Error::new(ErrorKind::Invalid, "the warehouse must be a directory, and this is a file")
            .with("path", directory.display()));
    }
    let absolute = std::path::absolute(directory)
        .map_err(|error| Error::io(error, "resolve the warehouse's path", directory.display()))?;
    create_directories(&absolute)?;
    absolute.canonicalize().map_err(|error| Error::io(error, "resolve the warehouse's path", directory.display()))
}

/// Writes `root/path` durably. `unique` names the temporary file.
pub async fn put(root: &Path, path: &str, bytes: Bytes, unique: Uuid) -> Result<()> {
    let target = root.join(path);
    let write = tokio::task::spawn_blocking(move || put_blocking(&target, &bytes, unique));
    write.await.map_err(|error| Error::internal("a write was cut off").because(error))?
}

fn put_blocking(target: &Path, bytes: &[u8], unique: Uuid) -> Result<()> {
    let parent = target.parent().ok_or_else(|| Error::internal("a file without a directory"))?;
    create_directories(parent)?;
    let temporary = parent.join(format!("{unique}{TEMPORARY}"));
    let written = write_synced(&temporary, bytes).and_then(|()| fs::rename(&temporary, target));
    if let Err(error) = written {
        // Best effort: the sweep removes what stays.
        let _ = fs::remove_file(&temporary);
        return Err(Error::io(error, "write the file", target.display()));
    }
    sync_directory(parent)
}

fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn create_directories(directory: &Path) -> Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    if let Some(parent) = directory.parent() {
        create_directories(parent)?;
    }
    match fs::create_dir(directory) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && directory.is_dir() => {}
        Err(error) => return Err(Error::io(error, "create the directory", directory.display())),
    }
    directory.parent().map_or(Ok(()), sync_directory)
}

fn sync_directory(directory: &Path) -> Result<()> {
    let synced = File::open(directory).and_then(|handle| handle.sync_all());
    synced.map_err(|error| Error::io(error, "sync the directory", directory.display()))
}
