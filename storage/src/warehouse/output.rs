//! Writing a file while its bytes are produced, so that no large file has to be held in memory for it.

use std::io::{self, Write};

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use super::{Warehouse, local, parse};
use crate::error::{Error, Result};

/// Bytes of one part of an upload.
const PART_BYTES: usize = 16 << 20;

/// What takes the bytes of a file. Knows how many there are, and their checksum.
pub struct Output<'a> {
    inner: &'a mut (dyn Write + 'a),
    bytes: u64,
    crc: crc32fast::Hasher,
}

impl<'a> Output<'a> {
    /// Passes everything on to `inner`.
    pub fn new(inner: &'a mut (dyn Write + 'a)) -> Self {
        Self { inner, bytes: 0, crc: crc32fast::Hasher::new() }
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// CRC-32 of the bytes written so far.
    pub fn crc32(&self) -> u32 {
        self.crc.clone().finalize()
    }
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.crc.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Warehouse {
    /// Writes a file with the bytes that `produce` gives, on a thread of its own. Durable when it returns, as
    /// [`Warehouse::put`] is; if `produce` fails there is no file.
    pub async fn write<T: Send + 'static>(
        &self,
        path: &str,
        produce: impl FnOnce(&mut Output<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let cut_off = |error| Error::internal("a write was cut off").because(error);
        if let Some(directory) = &self.directory {
            let (target, unique) = (directory.join(path), self.clock.uuid());
            let write = move || local::write(&target, unique, produce);
            return tokio::task::spawn_blocking(write).await.map_err(cut_off)?;
        }
        let collect = move || {
            let mut parts = Parts::default();
            let result = produce(&mut Output::new(&mut parts))?;
            Ok::<_, Error>((result, parts.finish()))
        };
        let (result, parts) = tokio::task::spawn_blocking(collect).await.map_err(cut_off)??;
        let upload = async { upload(self.store.as_ref(), &parse(path)?, parts).await };
        upload.await.map_err(|error| Error::store(error, "write the file", path))?;
        Ok(result)
    }
}

/// A file in parts, as object stores take large ones.
#[derive(Default)]
struct Parts {
    full: Vec<Bytes>,
    last: Vec<u8>,
}

impl Parts {
    fn finish(mut self) -> Vec<Bytes> {
        if !self.last.is_empty() || self.full.is_empty() {
            self.full.push(self.last.into());
        }
        self.full
    }
}

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PART_BYTES - self.last.len());
        self.last.extend_from_slice(&bytes[..taken]);
        if self.last.len() == PART_BYTES {
            self.full.push(std::mem::take(&mut self.last).into());
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn upload(store: &dyn ObjectStore, path: &Path, parts: Vec<Bytes>) -> object_store::Result<()> {
    if let [only] = parts.as_slice() {
        store.put(path, PutPayload::from_bytes(only.clone())).await?;
        return Ok(());
    }
    let mut upload = store.put_multipart(path).await?;
    for part in parts {
        if let Err(error) = upload.put_part(PutPayload::from_bytes(part)).await {
            // Best effort: stores end uploads that nobody ends, after some days.
            let _ = upload.abort().await;
            return Err(error);
        }
    }
    upload.complete().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::memory_warehouse;

    #[tokio::test]
    async fn large_files_go_out_in_parts() {
        let warehouse = memory_warehouse().await;
        let block = (0..=255).collect::<Vec<u8>>();
        let blocks = 2 * PART_BYTES / block.len() + 3;
        let produced = block.clone();
        let written = warehouse.write("t-1/large", move |output| {
            for _ in 0..blocks {
                output.write_all(&produced).map_err(|error| Error::internal("full").because(error))?;
            }
            Ok((output.bytes(), output.crc32()))
        });
        let (bytes, crc) = written.await.unwrap();
        let read = warehouse.get("t-1/large").await.unwrap();
        assert_eq!((read.len() as u64, crc32fast::hash(&read)), (bytes, crc));
        assert!(read.chunks(block.len()).all(|chunk| chunk == block));
    }

    #[tokio::test]
    async fn what_fails_leaves_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let location = directory.path().display().to_string();
        let clock = std::sync::Arc::new(catalog::SystemClock::new());
        let warehouse = Warehouse::open(&location, clock).await.unwrap();
        let failed = warehouse.write("t-1/file", |output| {
            output.write_all(b"half").map_err(|error| Error::internal("full").because(error))?;
            Err::<(), _>(Error::internal("no more"))
        });
        assert!(failed.await.unwrap_err().to_string().contains("no more"));
        assert!(std::fs::read_dir(directory.path().join("t-1")).unwrap().next().is_none());
    }
}
