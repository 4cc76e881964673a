//! Which files a path means, and reading their bytes from any offset, compressed or not.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::error::{Error, ErrorKind, Result};

/// A file that belongs to a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileEntry {
    /// Relative to the base directory if the table's path is; stored in positions.
    pub(crate) name: String,
    /// Size in bytes, as stored.
    pub(crate) bytes: u64,
}

/// The files that a table's `path` stands for.
#[derive(Debug, Clone)]
pub(crate) struct FileSet {
    base: PathBuf,
    pattern: String,
}

impl FileSet {
    /// `pattern` is a file, a directory or a glob, absolute or relative to `base`.
    pub(crate) fn new(base: &Path, pattern: &str) -> Result<Self> {
        let pattern = pattern.strip_prefix("file://").unwrap_or(pattern);
        if let Some((scheme, _)) = pattern.split_once("://") {
            return Err(Error::new(ErrorKind::Option, format!("paths of the kind {scheme}:// are not supported"))
                .with("path", pattern)
                .hint("give the path of local or mounted files"));
        }
        if pattern.is_empty() {
            return Err(Error::new(ErrorKind::Option, "the option 'path' is empty"));
        }
        Ok(Self { base: base.to_path_buf(), pattern: pattern.to_string() })
    }

    /// The path as the user wrote it.
    pub(crate) fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Where the file of that name is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.base.join(name)
    }

    /// The files that exist now, sorted by name. `must_exist`: none at all is an error (an empty directory is not).
    pub(crate) fn list(&self, must_exist: bool) -> Result<Vec<FileEntry>> {
        let root = self.base.join(&self.pattern);
        let mut files = Vec::new();
        match fs::metadata(&root) {
            Ok(found) if found.is_dir() => self.walk(&root, &mut files)?,
            Ok(found) => files.push(self.entry(&root, found.len())?),
            Err(_) if is_glob(&self.pattern) => {
                self.glob(&mut files)?;
                if must_exist && files.is_empty() {
                    return Err(self.missing(&root).hint("no file matches this pattern"));
                }
            }
            Err(error) if must_exist || error.kind() != io::ErrorKind::NotFound => {
                return Err(self.missing(&root).because(error));
            }
            Err(_) => {}
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        files.dedup();
        Ok(files)
    }

    fn missing(&self, root: &Path) -> Error {
        Error::new(ErrorKind::Unavailable, "the table's files cannot be found").with("path", root.display())
    }

    fn entry(&self, path: &Path, bytes: u64) -> Result<FileEntry> {
        let relative = !Path::new(&self.pattern).is_absolute();
        let name = if relative { path.strip_prefix(&self.base).unwrap_or(path) } else { path };
        let name = name.to_str().ok_or_else(|| {
            Error::data("the name of a file is not UTF-8").with("path", path.display()).hint("rename the file")
        })?;
        Ok(FileEntry { name: name.to_string(), bytes })
    }

    fn walk(&self, directory: &Path, files: &mut Vec<FileEntry>) -> Result<()> {
        for entry in fs::read_dir(directory).map_err(|e| unreadable(directory, e))? {
            let path = entry.map_err(|e| unreadable(directory, e))?.path();
            self.visit(&path, files)?;
        }
        Ok(())
    }

    fn visit(&self, path: &Path, files: &mut Vec<FileEntry>) -> Result<()> {
        if is_hidden(path) {
            return Ok(());
        }
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => self.walk(path, files),
            Ok(found) => {
                files.push(self.entry(path, found.len())?);
                Ok(())
            }
            // Renamed or removed since the directory was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(unreadable(path, error)),
        }
    }

    fn glob(&self, files: &mut Vec<FileEntry>) -> Result<()> {
        let pattern = if Path::new(&self.pattern).is_absolute() {
            self.pattern.clone()
        } else {
            let base = glob::Pattern::escape(&self.base.to_string_lossy());
            format!("{base}/{}", self.pattern)
        };
        let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::new() };
        let paths = glob::glob_with(&pattern, options).map_err(|error| {
            Error::new(ErrorKind::Option, "the path is not a valid pattern").with("path", &self.pattern).because(error)
        })?;
        for path in paths {
            let path = path.map_err(|e| {
                Error::new(ErrorKind::Unavailable, "cannot list files").with("path", e.path().display()).because(e)
            })?;
            self.visit(&path, files)?;
        }
        Ok(())
    }
}

fn is_glob(pattern: &str) -> bool {
    pattern.contains(['*', '?', '['])
}

fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().map_or_else(Default::default, |n| n.to_string_lossy());
    name.starts_with(['.', '_']) || name.ends_with(".tmp")
}

/// Whether the file is compressed by gzip, by its name.
pub(crate) fn is_gzip(name: &str) -> bool {
    name.ends_with(".gz")
}

/// The error for a file that cannot be read.
pub(crate) fn unreadable(path: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "cannot read").with("path", path.display()).because(error)
}

/// Opens a file for reading its (decompressed) bytes from `offset` on.
pub(crate) fn open_at(path: &Path, offset: u64) -> Result<Box<dyn Read + Send>> {
    let fail = |error| unreadable(path, error);
    let mut file = File::open(path).map_err(fail)?;
    if is_gzip(&path.to_string_lossy()) {
        let mut bytes = MultiGzDecoder::new(BufReader::with_capacity(1 << 17, file));
        io::copy(&mut (&mut bytes).take(offset), &mut io::sink()).map_err(fail)?;
        return Ok(Box::new(bytes));
    }
    file.seek(SeekFrom::Start(offset)).map_err(fail)?;
    Ok(Box::new(file))
}

/// The 1-based number of the line that holds the (decompressed) byte at `offset`. Reads the file up to there: for errors only.
pub(crate) fn line_at(path: &Path, offset: u64) -> Result<u64> {
    let mut bytes = BufReader::with_capacity(1 << 17, open_at(path, 0)?).take(offset);
    let mut line = 1;
    loop {
        let chunk = bytes.fill_buf().map_err(|e| unreadable(path, e))?;
        if chunk.is_empty() {
            return Ok(line);
        }
        line += chunk.iter().filter(|b| **b == b'\n').count() as u64;
        let length = chunk.len();
        bytes.consume(length);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn names(base: &Path, pattern: &str) -> Vec<String> {
        FileSet::new(base, pattern).unwrap().list(true).unwrap().into_iter().map(|f| f.name).collect()
    }

    #[test]
    fn files_directories_and_globs() {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir_all(base.path().join("in/2024")).unwrap();
        fs::create_dir_all(base.path().join("in/_staging")).unwrap();
        for file in
            ["in/b.csv", "in/a.csv", "in/2024/c.csv", "in/.hidden", "in/_x.csv", "in/y.tmp", "in/_staging/d.csv"]
        {
            fs::write(base.path().join(file), "x").unwrap();
        }
        assert_eq!(names(base.path(), "in"), ["in/2024/c.csv", "in/a.csv", "in/b.csv"]);
        assert_eq!(names(base.path(), "in/*.csv"), ["in/a.csv", "in/b.csv"]);
        assert_eq!(names(base.path(), "in/**/*.csv"), ["in/2024/c.csv", "in/a.csv", "in/b.csv"]);
        assert_eq!(names(base.path(), "in/20*"), ["in/2024/c.csv"]);
        assert_eq!(names(base.path(), "in/_x.csv"), ["in/_x.csv"]);
        let absolute = base.path().join("in/a.csv").to_str().unwrap().to_string();
        assert_eq!(names(Path::new("/elsewhere"), &absolute), [absolute.clone()]);
        assert_eq!(names(base.path(), &format!("file://{absolute}")), [absolute]);
    }

    #[test]
    fn missing_files_are_named() {
        let base = tempfile::tempdir().unwrap();
        for pattern in ["nothing.csv", "nothing/*.csv"] {
            let set = FileSet::new(base.path(), pattern).unwrap();
            let error = set.list(true).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert!(error.to_string().contains(base.path().join(pattern).to_str().unwrap()), "{error}");
            assert!(set.list(false).unwrap().is_empty());
        }
        assert!(FileSet::new(base.path(), "s3://bucket/x").unwrap_err().to_string().contains("s3://"));
    }

    #[test]
    fn bytes_from_any_offset_also_of_several_gzip_members() {
        let base = tempfile::tempdir().unwrap();
        let (plain, gzip) = (base.path().join("a"), base.path().join("a.gz"));
        fs::write(&plain, "one\ntwo\nthree\n").unwrap();
        let mut bytes = Vec::new();
        for part in ["one\ntw", "o\nthree\n"] {
            let mut encoder = GzEncoder::new(&mut bytes, Compression::default());
            encoder.write_all(part.as_bytes()).unwrap();
            encoder.finish().unwrap();
        }
        fs::write(&gzip, bytes).unwrap();
        for path in [&plain, &gzip] {
            for offset in 0..=14 {
                let mut text = String::new();
                open_at(path, offset).unwrap().read_to_string(&mut text).unwrap();
                assert_eq!(text, "one\ntwo\nthree\n"[offset as usize..]);
            }
            assert_eq!([0, 3, 4, 8].map(|offset| line_at(path, offset).unwrap()), [1, 1, 2, 3]);
        }
    }
}
