//! Random programs: tables, views and changes that nobody would think of, each view compared with its query at every step.
//!
//! | file | what it makes up or does |
//! | --- | --- |
//! | `dice` | choices that a seed decides |
//! | `schema`, `data` | tables and rows |
//! | `expression`, `query` | expressions and queries, weighted |
//! | `dml` | changes of tables |
//! | `program` | all of it in an order, with restarts; and a program as text |
//! | `play` | plays a program and says what went wrong |
//! | `shrink` | makes a failing program small |

mod data;
mod dice;
mod dml;
mod expression;
mod play;
mod program;
mod query;
mod schema;
mod shrink;

pub use play::{Failure, Reasons, Report, play};
pub use program::{Program, Step};
pub use shrink::shrink;
