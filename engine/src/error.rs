//! The engine's error: what happened, where, what to do; and what kind of thing went wrong.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the user has to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorKind {
    /// The SQL is wrong, ambiguous or not supported: change the statement.
    Sql,
    /// An option or setting is unknown or has a bad value.
    Option,
    /// A row, file or value is not what was declared: fix the data or the declaration.
    Data,
    /// Something outside cannot be reached or used: a file, a disk, an object store.
    Unavailable,
    /// Somebody else runs this, or took it over.
    Fenced,
    /// The warehouse's own files are damaged.
    Corrupt,
    /// Something else changed at the same time: try again.
    Conflict,
    /// The user may not do this.
    Denied,
    /// A defect of the program.
    Internal,
}

/// A place in SQL text, 1-based.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Line.
    pub line: u64,
    /// Column, in characters.
    pub column: u64,
}

/// An error with its context. One pointer wide, so that results stay small.
pub struct Error(Box<Parts>);

#[derive(Debug)]
struct Parts {
    kind: ErrorKind,
    message: String,
    position: Option<Position>,
    context: Vec<(&'static str, String)>,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of some kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let parts =
            Parts { kind, message: message.into(), position: None, context: Vec::new(), hint: None, source: None };
        Self(Box::new(parts))
    }

    /// Wrong, ambiguous or unsupported SQL.
    pub fn sql(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Sql, message)
    }

    /// Bad data.
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Data, message)
    }

    /// A defect of the program.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Adds where it happened.
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.0.context.push((key, value.to_string()));
        self
    }

    /// Adds what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds the place in the SQL, unless one is known already.
    pub fn at(mut self, position: Option<Position>) -> Self {
        self.0.position = self.0.position.or(position);
        self
    }

    /// Adds the cause.
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What happened, without where and what to do.
    pub fn message(&self) -> String {
        let cause = self.0.source.as_ref().map_or_else(String::new, |source| format!(": {source}"));
        format!("{}{cause}", self.0.message)
    }

    /// Where it happened beside the SQL, if that is known: `table: t, line: 3`.
    pub fn detail(&self) -> Option<String> {
        let context: Vec<String> = self.0.context.iter().map(|(key, value)| format!("{key}: {value}")).collect();
        (!context.is_empty()).then(|| context.join(", "))
    }

    /// What to do, if it is known.
    pub fn advice(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Where in the SQL, if known.
    pub fn position(&self) -> Option<Position> {
        self.0.position
    }
}

/// An error as it travels between processes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Told {
    kind: ErrorKind,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
}

impl From<&Error> for Told {
    fn from(error: &Error) -> Self {
        let hint = error.advice().map(str::to_string);
        Self { kind: error.kind(), message: error.message(), detail: error.detail(), hint }
    }
}

impl From<Told> for Error {
    fn from(told: Told) -> Self {
        let message = match told.detail {
            Some(detail) => format!("{} ({detail})", told.message),
            None => told.message,
        };
        let error = Self::new(told.kind, message);
        match told.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.message)?;
        if let Some(detail) = self.detail() {
            write!(f, " ({detail})")?;
        }
        if let Some(Position { line, column }) = self.0.position {
            write!(f, " at {line}:{column}")?;
        }
        if let Some(source) = &self.0.source {
            write!(f, ": {source}")?;
        }
        if let Some(hint) = &self.0.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|s| s as &(dyn std::error::Error + 'static))
    }
}

impl From<datafusion::error::DataFusionError> for Error {
    fn from(error: datafusion::error::DataFusionError) -> Self {
        use datafusion::error::DataFusionError as E;
        // An error of our own that came through DataFusion's code.
        let error = match error {
            E::External(source) => match source.downcast::<Self>() {
                Ok(own) => return *own,
                Err(source) => E::External(source),
            },
            other => other,
        };
        let kind = match error.find_root() {
            E::Plan(_) | E::SchemaError(..) | E::SQL(..) | E::NotImplemented(_) | E::Configuration(_) => ErrorKind::Sql,
            E::ArrowError(..) | E::Execution(_) => ErrorKind::Data,
            E::IoError(_) | E::ObjectStore(_) | E::ParquetError(_) | E::ResourcesExhausted(_) => ErrorKind::Unavailable,
            _ => ErrorKind::Internal,
        };
        // Which of the optimiser's rules found it is of no use to anybody.
        let message = match &error {
            E::Context(..) => error.find_root().strip_backtrace(),
            _ => error.strip_backtrace(),
        };
        match error.find_root() {
            E::ResourcesExhausted(_) => {
                Self::new(kind, format!("the statement needs more memory than it may take: {message}"))
                    .hint("narrow it down, or start the program with a higher --query-memory")
            }
            _ => Self::new(kind, message),
        }
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::new(ErrorKind::Data, error.to_string())
    }
}

impl From<catalog::Error> for Error {
    fn from(error: catalog::Error) -> Self {
        use catalog::ErrorKind as C;
        let kind = match error.kind() {
            C::Conflict => ErrorKind::Conflict,
            C::Fenced => ErrorKind::Fenced,
            C::AlreadyExists | C::NotFound | C::Invalid => ErrorKind::Sql,
            C::Unavailable | C::Indeterminate => ErrorKind::Unavailable,
            C::Corrupt => ErrorKind::Corrupt,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<storage::Error> for Error {
    fn from(error: storage::Error) -> Self {
        use storage::ErrorKind as S;
        let kind = match error.kind() {
            S::Conflict => ErrorKind::Conflict,
            S::Corrupt => ErrorKind::Corrupt,
            S::Invalid | S::Unsupported => ErrorKind::Sql,
            S::Internal => ErrorKind::Internal,
            _ => ErrorKind::Unavailable,
        };
        Self::new(kind, error.to_string())
    }
}
