//! Durable writes to a local directory.
//!
//! A file appears under its name only when all its bytes are on the disk: it is written under a temporary name, synced
//! and renamed, and then the directory is synced, because a name is data of the directory. A new directory is
//! itself a name in its parent, so the parent is synced too.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::output::Output;
use crate::error::{Error, ErrorKind, Result};

/// Ending of files that are being written. One that is old belongs to a process that died.
pub const TEMPORARY: &str = ".tmp";

/// Bytes that are collected before they are written.
const BUFFER_BYTES: usize = 256 << 10;

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

/// Writes a file durably, with the bytes that `produce` gives. `unique` names the temporary file. Blocks.
pub fn write<T>(target: &Path, unique: Uuid, produce: impl FnOnce(&mut Output<'_>) -> Result<T>) -> Result<T> {
    let parent = target.parent().ok_or_else(|| Error::internal("a file without a directory"))?;
    create_directories(parent)?;
    let temporary = parent.join(format!("{unique}{TEMPORARY}"));
    let failed = |error| Error::io(error, "write the file", target.display());
    let written = File::create_new(&temporary).map_err(failed).and_then(|file| {
        let mut file = BufWriter::with_capacity(BUFFER_BYTES, file);
        let result = produce(&mut Output::new(&mut file))?;
        file.flush().and_then(|()| file.get_ref().sync_all()).map_err(failed)?;
        fs::rename(&temporary, target).map_err(failed)?;
        Ok(result)
    });
    if written.is_err() {
        // Best effort: the sweep removes what stays.
        let _ = fs::remove_file(&temporary);
    }
    let result = written?;
    sync_directory(parent)?;
    Ok(result)
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
