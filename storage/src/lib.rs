//! Dynamic tables as bytes: segments, Iceberg files, union scan, tiering, state files.
//!
//! Within the crate dependencies point one way: `error, change, keys -> types, warehouse -> segment, iceberg, state ->
//! scan -> tiering, sweep`. Files that no catalog version names do not exist for readers; the sweep deletes them.

pub mod change;
pub mod error;
pub mod iceberg;
mod keys;
pub mod scan;
pub mod segment;
pub mod state;
pub mod sweep;
#[cfg(test)]
mod testing;
pub mod tiering;
pub mod types;
pub mod warehouse;

pub use change::{Changes, Weights};
pub use error::{Error, ErrorKind, Result};
pub use scan::DynamicTable;
pub use warehouse::Warehouse;
