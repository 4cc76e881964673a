//! Computation and time: SQL front end, incremental plan, operators, sources and sinks, runtime.
//!
//! Within the crate dependencies point one way:
//! `change, hash, rows, watermark -> operator, source, sink -> plan -> sql -> runtime -> cluster -> session`.
//! Operators know no runtime, no SQL, no network; only `cluster` knows other processes.

pub mod access;
pub mod change;
pub mod cluster;
pub mod connector;
pub mod error;
pub mod hash;
pub mod operator;
pub mod options;
pub mod plan;
pub mod rows;
pub mod runtime;
pub mod session;
pub mod sink;
pub mod source;
pub mod sql;
pub mod watermark;

pub use error::{Error, ErrorKind, Result};
