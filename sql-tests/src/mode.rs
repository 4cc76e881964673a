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

/// How the rows of an `INSERT ... VALUES` come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// As they stand in the file.
    Together,
    /// Each in a statement of its own, seen by all views before the next one comes.
    OneByOne,
    /// The last first, unless the table has a key: there the last row of a key counts.
    Reversed,
}

/// When the program dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// Not at all.
    Never,
    /// After every statement, whatever of it has been made durable.
    AfterStatements,
    /// After every statement, as soon as all views have made durable what it changed.
    AfterCheckpoints,
}

/// Who runs the jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runners {
    /// The process that has the warehouse open.
    Itself,
    /// So many workers with a slot each.
    Workers(usize),
    /// As many, of which the oldest is killed after every statement, and a new one joins.
    ComeAndGo(usize),
}

impl Runners {
    /// How many workers there are.
    pub fn workers(self) -> usize {
        match self {
            Self::Itself => 0,
            Self::Workers(workers) | Self::ComeAndGo(workers) => workers,
        }
    }
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
    /// How rows come.
    pub rows: Rows,
    /// When the program dies and a new one opens the warehouse.
    pub death: Death,
    /// Who runs the jobs.
    pub runners: Runners,
    /// At the end all rows of all tables are deleted, and every view must be as over empty tables.
    pub emptied: bool,
}

impl Mode {
    /// Nothing special: views before data, one task.
    pub const STRAIGHT: Self = Self {
        name: "views-first",
        views: Views::BeforeData,
        parallelism: &[1],
        rows: Rows::Together,
        death: Death::Never,
        runners: Runners::Itself,
        emptied: false,
    };
}

/// All modes.
pub const MODES: &[Mode] = &[
    Mode { name: "batch", views: Views::Plain, ..Mode::STRAIGHT },
    Mode::STRAIGHT,
    Mode { name: "views-first-3-tasks", parallelism: &[3], ..Mode::STRAIGHT },
    Mode { name: "views-last", views: Views::AfterData, ..Mode::STRAIGHT },
    Mode { name: "views-last-3-tasks", views: Views::AfterData, parallelism: &[3], ..Mode::STRAIGHT },
    Mode { name: "killed", parallelism: &[1, 2, 3], death: Death::AfterStatements, ..Mode::STRAIGHT },
    Mode { name: "restored", parallelism: &[3, 1, 2], death: Death::AfterCheckpoints, ..Mode::STRAIGHT },
    Mode { name: "workers", runners: Runners::Workers(3), ..Mode::STRAIGHT },
    Mode { name: "workers-come-and-go", runners: Runners::ComeAndGo(3), ..Mode::STRAIGHT },
    Mode { name: "one-by-one", rows: Rows::OneByOne, ..Mode::STRAIGHT },
    Mode { name: "reversed", rows: Rows::Reversed, parallelism: &[3], ..Mode::STRAIGHT },
    Mode { name: "emptied", emptied: true, parallelism: &[2], ..Mode::STRAIGHT },
];
