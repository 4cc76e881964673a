//! The incremental plan: a job's operators as a list in topological order, each with what is derived about its output.
//!
//! `build` makes it from DataFusion's optimised logical plan, `explain` prints it. The place of a node in the list is its
//! operator number, under which its state is stored: the same statement over the same definitions gives the same list.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use catalog::Object;
use datafusion::physical_plan::PhysicalExpr;

use crate::operator::aggregate::AggregateSpec;
use crate::operator::asof::AsOfSpec;
use crate::operator::join::JoinSpec;
use crate::operator::on_close::EmitOnCloseSpec;
use crate::operator::over::OverSpec;
use crate::operator::stamp::StampSpec;
use crate::operator::temporal::TemporalSpec;
use crate::operator::top_n::TopNSpec;
use crate::operator::unnest::UnnestSpec;

pub mod batch;
pub mod build;
pub mod clock;
pub mod explain;
pub mod guard;
pub mod logical;
pub mod physical;
pub mod stable;
pub mod ties;
pub mod watermark;

/// What is known about the changes that a node emits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties {
    /// No row is ever retracted.
    pub insert_only: bool,
    /// Columns whose values are unique among the rows that exist at the end of an epoch.
    pub key: Option<Vec<usize>>,
    /// Columns that carry the event time of a source with a watermark, unchanged: it decides between upserts of one key. What
    /// a watermark bounds is another matter ([`watermark`]).
    pub watermark: Vec<usize>,
    /// Which task has which rows.
    pub distribution: Distribution,
}

/// Which task has which rows of a node's output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Distribution {
    /// Anywhere.
    #[default]
    Arbitrary,
    /// Where the vnode of these columns, hashed in this order, lives.
    Hash(Vec<usize>),
    /// All in the task that owns vnode 0.
    Single,
    /// All rows in every task. Only inputs ask for it, no output is so.
    Everywhere,
}

/// How changes travel from a node to one of its consumers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// They stay in the task.
    Local,
    /// To the task that owns the vnode of these columns.
    Hash(Vec<usize>),
    /// To the task that owns vnode 0.
    Single,
    /// To every task.
    Broadcast,
}

impl Distribution {
    /// How changes that are distributed so get to where `wanted` wants them.
    pub fn route_to(&self, wanted: &Distribution) -> Route {
        match wanted {
            Distribution::Arbitrary => Route::Local,
            _ if self == wanted => Route::Local,
            Distribution::Hash(columns) => Route::Hash(columns.clone()),
            Distribution::Single => Route::Single,
            Distribution::Everywhere => Route::Broadcast,
        }
    }
}

/// What a node does.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Reads a table, materialized view or connector.
    Scan {
        /// What is read.
        object: Arc<Object>,
        /// Columns of the object that are wanted, in order.
        projection: Vec<usize>,
    },
    /// Constant rows, once.
    Values(RecordBatch),
    /// Filters, then computes columns.
    Map {
        /// Rows that do not give true are dropped.
        predicate: Option<Arc<dyn PhysicalExpr>>,
        /// One expression per output column; `None` passes all columns.
        expressions: Option<Vec<Arc<dyn PhysicalExpr>>>,
    },
    /// All rows of all inputs.
    Union,
    /// Groups, or DISTINCT if it calls nothing.
    Aggregate(AggregateSpec),
    /// Two inputs joined by equality and a residual condition.
    Join(JoinSpec),
    /// The first rows of each partition.
    TopN(TopNSpec),
    /// A filter on the current time.
    Temporal(TemporalSpec),
    /// Gives rows the time of their epoch.
    Stamp(StampSpec),
    /// Holds rows until the watermark has passed them.
    EmitOnClose(EmitOnCloseSpec),
    /// Functions of the rows around a row.
    Over(OverSpec),
    /// One row per element of list columns.
    Unnest(UnnestSpec),
    /// Each left row with the right row that is nearest in time.
    AsOf(AsOfSpec),
    /// Every row as often as a column says.
    Repeat {
        /// That column, which the output has no more.
        number: usize,
    },
}

/// One operator of a job.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it does.
    pub kind: Kind,
    /// Where its input comes from: places of earlier nodes, and how changes get from there to here.
    pub inputs: Vec<(usize, Route)>,
    /// Columns of its output, all nullable.
    pub schema: SchemaRef,
    /// What is known about its output.
    pub properties: Properties,
}

/// A job's operators; the last is its output.
#[derive(Debug, Clone, Default)]
pub struct IncrementalPlan {
    /// In topological order.
    pub nodes: Vec<Node>,
    /// What a reader should know: unbounded state, keys recomputed whole, work in a single task.
    pub warnings: Vec<String>,
}

impl IncrementalPlan {
    /// The node whose output is the query's result.
    pub fn root(&self) -> Option<&Node> {
        self.nodes.last()
    }

    /// The objects that are read.
    pub fn scanned(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.nodes.iter().filter_map(|node| match &node.kind {
            Kind::Scan { object, .. } => Some(object),
            _ => None,
        })
    }
}
