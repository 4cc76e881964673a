//! The modes in which a file is played.

/// What a `CREATE MATERIALIZED VIEW` of a file becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Views {
    /// A plain view: its query is computed anew whenever it is asked for.
    Plain,
    /// A materialized view created before the data that the file writes beside it.
    BeforeData,
    /// A materialized view created after that data.
    AfterData,
}

/// One way to play a file.
#[derive(Debug, Clone, Copy)]
pub struct Mode {
    /// Name in reports, and label for `skipif` and `onlyif`.
    pub name: &'static str,
    /// What views become.
    pub views: Views,
    /// Numbers of parallel tasks, one after the other, a new one with every opening of the warehouse.
    pub parallelism: &'static [usize],
    /// After every statement the program dies and a new one opens the warehouse.
    pub killed: bool,
}

/// All modes.
pub const MODES: &[Mode] = &[
    Mode { name: "batch", views: Views::Plain, parallelism: &[1], killed: false },
    Mode { name: "views-first", views: Views::BeforeData, parallelism: &[1], killed: false },
    Mode { name: "views-first-3-tasks", views: Views::BeforeData, parallelism: &[3], killed: false },
    Mode { name: "views-last", views: Views::AfterData, parallelism: &[1], killed: false },
    Mode { name: "views-last-3-tasks", views: Views::AfterData, parallelism: &[3], killed: false },
    Mode { name: "killed", views: Views::BeforeData, parallelism: &[1, 2, 3], killed: true },
];
