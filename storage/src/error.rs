//! The store's error: what happened, to which file or table, and what to do about it.

use std::fmt;

/// What the caller or the user has to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Somebody else changed what this work was based on: start again from the new state.
    Conflict,
    /// A lease was taken over: stop.
    Fenced,
    /// A file, table or version does not exist (any more).
    NotFound,
    /// The store or the catalog cannot be reached or is busy: retry later.
    Unavailable,
    /// The disk is full or a quota is used up: make room, then retry.
    Full,
    /// The process may not read or write there: fix permissions or credentials.
    Denied,
    /// A file is damaged or not what its name promises.
    Corrupt,
    /// A type, location or file feature that this program cannot handle.
    Unsupported,
    /// The request makes no sense.
    Invalid,
    /// A defect of the program.
    Internal,
}

/// An error with its context.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    context: Vec<(&'static str, String)>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error that says what happened and what to do.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), context: Vec::new(), source: None }
    }

    /// A damaged file.
    pub fn corrupt(path: impl fmt::Display, what: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Corrupt, format!("the file is damaged: {what}")).with("path", path)
    }

    /// A defect of the program.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Adds where it happened.
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.context.push((key, value.to_string()));
        self
    }

    /// Adds the cause.
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What the caller has to do.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether trying the same again can succeed.
    pub fn retryable(&self) -> bool {
        matches!(self.kind, ErrorKind::Conflict | ErrorKind::Unavailable | ErrorKind::Full)
    }

    /// What went wrong with an operation of the operating system on `path`.
    pub(crate) fn io(error: std::io::Error, doing: &str, path: impl fmt::Display) -> Self {
        use std::io::ErrorKind as Io;
        let (kind, advice) = match error.kind() {
            Io::NotFound => (ErrorKind::NotFound, "no such file"),
            Io::PermissionDenied => {
                (ErrorKind::Denied, "permission denied; fix the owner or the mode of the directory")
            }
            Io::StorageFull | Io::QuotaExceeded => (ErrorKind::Full, "no space left; make room, then try again"),
            Io::ReadOnlyFilesystem => (ErrorKind::Denied, "the file system is read-only"),
            _ => (ErrorKind::Unavailable, "the operating system refused"),
        };
        Self::new(kind, format!("cannot {doing}: {advice}")).with("path", path).because(error)
    }

    /// What went wrong with an operation of the object store on `path`.
    pub(crate) fn store(error: object_store::Error, doing: &str, path: impl fmt::Display) -> Self {
        use object_store::Error as S;
        if let Some(io) = find_io(&error) {
            return Self::io(std::io::Error::new(io, error), doing, path);
        }
        let (kind, advice) = match &error {
            S::NotFound { .. } => (ErrorKind::NotFound, "no such file"),
            S::PermissionDenied { .. } | S::Unauthenticated { .. } => {
                (ErrorKind::Denied, "the object store refused the credentials; check the AWS_* environment variables")
            }
            S::NotImplemented { .. } | S::NotSupported { .. } => (ErrorKind::Unsupported, "the store cannot do that"),
            S::InvalidPath { .. } => (ErrorKind::Invalid, "not a valid path"),
            _ => (ErrorKind::Unavailable, "the object store failed"),
        };
        Self::new(kind, format!("cannot {doing}: {advice}")).with("path", path).because(error)
    }

    /// A failure of the Iceberg library; `path` says on what.
    pub(crate) fn iceberg(error: iceberg::Error, path: impl fmt::Display) -> Self {
        let kind = match error.kind() {
            iceberg::ErrorKind::FeatureUnsupported => ErrorKind::Unsupported,
            iceberg::ErrorKind::DataInvalid => ErrorKind::Corrupt,
            _ => ErrorKind::Internal,
        };
        Self::new(kind, "the Iceberg metadata cannot be read or written").with("path", path).because(error)
    }
}

fn find_io(error: &object_store::Error) -> Option<std::io::ErrorKind> {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            return Some(io.kind());
        }
        source = inner.source();
    }
    None
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        for (i, (key, value)) in self.context.iter().enumerate() {
            write!(f, "{}{key}: {value}", if i == 0 { " (" } else { ", " })?;
        }
        if !self.context.is_empty() {
            write!(f, ")")?;
        }
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|s| s as &(dyn std::error::Error + 'static))
    }
}

impl From<catalog::Error> for Error {
    fn from(error: catalog::Error) -> Self {
        use catalog::ErrorKind as C;
        let kind = match error.kind() {
            C::Conflict => ErrorKind::Conflict,
            C::Fenced => ErrorKind::Fenced,
            C::NotFound => ErrorKind::NotFound,
            C::Unavailable | C::Indeterminate => ErrorKind::Unavailable,
            C::Corrupt => ErrorKind::Corrupt,
            C::AlreadyExists | C::Invalid => ErrorKind::Invalid,
        };
        Self::new(kind, "the catalog refused").because(error)
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::new(ErrorKind::Internal, "an Arrow operation failed").because(error)
    }
}

impl From<datafusion::error::DataFusionError> for Error {
    fn from(error: datafusion::error::DataFusionError) -> Self {
        use datafusion::error::DataFusionError as D;
        match error {
            D::External(inner) => match inner.downcast::<Error>() {
                Ok(own) => *own,
                Err(inner) => Self::new(ErrorKind::Internal, "a scan failed").because(inner),
            },
            other => {
                let kind = match other.find_root() {
                    D::ParquetError(_) => ErrorKind::Corrupt,
                    D::ObjectStore(_) | D::IoError(_) => ErrorKind::Unavailable,
                    _ => ErrorKind::Internal,
                };
                Self::new(kind, "a scan failed").because(other.strip_backtrace())
            }
        }
    }
}

impl From<Error> for datafusion::error::DataFusionError {
    fn from(error: Error) -> Self {
        datafusion::error::DataFusionError::External(Box::new(error))
    }
}
