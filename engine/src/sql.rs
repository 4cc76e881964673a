//! SQL front end: text to statements, statements to logical plans.

pub mod statement;
