//! The last steps of a view or insert: upserts become changes, and changes become what a checkpoint commits.

mod table;
mod upsert;

pub use table::TableWriter;
pub use upsert::{UpsertNormalize, UpsertSpec};
