//! SQL tests: plays every `.slt` file in several modes that must all give the answers the file expects, and random programs in which
//! every view must equal its query.
//!
//! A file is written once, as a user would type it. The modes differ in what may not matter: whether a view is maintained
//! or computed when asked, whether it is created before or after its data, how many tasks there are, in which order and in how many
//! statements rows come, and whether the program dies between any two statements.

pub mod compare;
pub mod mode;
pub mod order;
pub mod play;
pub mod random;
pub mod rewrite;
pub mod suite;
pub mod warehouse;
mod workers;

pub use mode::{MODES, Mode};
pub use play::play;
pub use suite::Suite;
pub use warehouse::Warehouse;
