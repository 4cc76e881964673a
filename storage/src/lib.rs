//! Dynamic tables as bytes: segments, Iceberg files, union scan, tiering, state files.

pub mod change;

pub use change::{Changes, Weights};
