//! SQL front end: text to statements, statements to logical plans.

pub mod aggregates;
pub mod change;
pub mod clock;
pub mod context;
pub mod difference;
pub mod exact;
pub mod functions;
pub mod inline;
pub mod parse;
pub mod rewrite;
pub mod scan;
pub mod spans;
pub mod statement;
pub mod table;
pub mod types;
pub mod watermark;
pub mod windows;
