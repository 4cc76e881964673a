//! Tiering: folding hot segments into the Iceberg snapshot, merging small files, and forgetting what is no longer kept.
//!
//! What to do is decided by pure functions ([`propose`], `retention::droppable`); [`tier`] and [`retain`] do it. Each
//! commits by the catalog's compare-and-set on the table's metadata location, so any number of processes may try at
//! once; who loses starts again from the new state, and the files of the lost attempt are swept up.

mod execute;
mod policy;
mod positions;
mod retention;

pub use self::execute::tier;
pub use self::policy::{Plan, TableStats, TieringPolicy, propose};
pub use self::retention::{RetentionPolicy, retain};

#[cfg(test)]
mod tests;
