//! SQL front end: text to statements, statements to logical plans.

pub mod aggregates;
pub mod context;
pub mod exact;
pub mod functions;
pub mod parse;
pub mod rewrite;
pub mod statement;
pub mod types;
pub mod windows;
