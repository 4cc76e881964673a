//! One node's instance in a slot: the operator, source pass-through or output that its role asks for.

use arrow::compute::SortOptions;
use catalog::ObjectId;

use crate::change::Changes;
use crate::error::Result;
use crate::operator::aggregate::Aggregate;
use crate::operator::asof::AsOf;
use crate::operator::check::Checked;
use crate::operator::join::Join;
use crate::operator::map::{Map, MapSpec};
use crate::operator::on_close::EmitOnClose;
use crate::operator::over::Over;
use crate::operator::repeat::Repeat;
use crate::operator::stamp::Stamp;
use crate::operator::temporal::Temporal;
use crate::operator::top_n::TopN;
use crate::operator::unnest::Unnest;
use crate::operator::writer::{TableWriter, UpsertNormalize, UpsertSpec};
use crate::operator::{Epoch, Operator, OperatorInfo, StateDelta};
use crate::plan::Kind;
use crate::runtime::dataflow::{Dataflow, FlowNode, Role};
use crate::sink::Sink;
use crate::watermark::Bound;

/// What a node is in one slot.
pub enum Instance {
    /// Passes everything on.
    Pass,
    /// Passes some columns on.
    Project(Vec<usize>),
    /// Runs an operator.
    Operator(Box<dyn Operator>),
    /// Collects a table's changes.
    Table {
        /// The table.
        table: ObjectId,
        /// Changes since the last checkpoint.
        writer: TableWriter,
    },
    /// Writes to a connector at the end of each epoch.
    Sink {
        /// The connector.
        sink: Box<dyn Sink>,
        /// Changes of the open epoch.
        pending: Vec<Changes>,
    },
}

/// The operator that a node runs, if it runs one.
fn operator(node: &FlowNode, flow: &Dataflow, slot: usize) -> Result<Option<Box<dyn Operator>>> {
    let input = || flow.nodes[node.inputs[0].0].schema.clone();
    let output = node.schema.clone();
    let made: Box<dyn Operator> = match &node.role {
        Role::Upsert { key, event_time, .. } => {
            let order = event_time.map(|column| (column, SortOptions::default()));
            Box::new(UpsertNormalize::new(&UpsertSpec { schema: output, key: key.clone(), order })?)
        }
        Role::Operator(Kind::Map { predicate, expressions }) => {
            let (predicate, expressions) = (predicate.clone(), expressions.clone());
            Box::new(Map::new(&MapSpec { input: input(), predicate, expressions, output })?)
        }
        Role::Operator(Kind::Unnest(spec)) => Box::new(Unnest::new(spec)?),
        Role::Operator(Kind::Repeat { number }) => Box::new(Repeat::new(&input(), *number, output)?),
        Role::Operator(Kind::AsOf(spec)) => Box::new(AsOf::new(spec)?),
        Role::Operator(Kind::Aggregate(spec)) => Box::new(Aggregate::new(spec.clone(), slot == 0)?),
        Role::Operator(Kind::Join(spec)) => Box::new(Join::instance(spec, slot == 0)?),
        Role::Operator(Kind::TopN(spec)) => Box::new(TopN::new(spec)?),
        Role::Operator(Kind::Over(spec)) => Box::new(Over::new(spec)?),
        Role::Operator(Kind::Temporal(spec)) => Box::new(Temporal::new(spec)?),
        Role::Operator(Kind::Stamp(spec)) => Box::new(Stamp::new(spec)),
        Role::Operator(Kind::EmitOnClose(spec)) => Box::new(EmitOnClose::new(spec)?),
        Role::Operator(Kind::Scan { .. } | Kind::Values(_) | Kind::Union)
        | Role::Source { .. }
        | Role::Feed { .. }
        | Role::TableOutput { .. }
        | Role::LateOutput { .. }
        | Role::SinkOutput(_) => return Ok(None),
    };
    Ok(Some(observed(made, node, flow)))
}

/// Wraps an operator with the contract checks in debug builds.
fn observed(operator: Box<dyn Operator>, node: &FlowNode, flow: &Dataflow) -> Box<dyn Operator> {
    if cfg!(debug_assertions) {
        let inputs = node.inputs.iter().map(|(from, _)| flow.nodes[*from].schema.clone()).collect();
        Box::new(Checked::new(operator, inputs))
    } else {
        operator
    }
}

impl Instance {
    /// The instance of `node` in slot number `slot`.
    pub fn new(node: &FlowNode, flow: &Dataflow, slot: usize) -> Result<Self> {
        if let Some(operator) = operator(node, flow, slot)? {
            return Ok(Self::Operator(operator));
        }
        Ok(match &node.role {
            Role::Feed { projection } => Self::Project(projection.clone()),
            Role::TableOutput { table, insert_only } => {
                Self::Table { table: table.id, writer: TableWriter::new(node.schema.clone(), *insert_only) }
            }
            Role::LateOutput { table } => {
                Self::Table { table: table.id, writer: TableWriter::new(node.schema.clone(), true) }
            }
            Role::SinkOutput(factory) => Self::Sink { sink: factory.open(slot)?, pending: vec![] },
            Role::Source { .. } | Role::Operator(_) | Role::Upsert { .. } => Self::Pass,
        })
    }

    /// The facts about a node's operator, if it runs one.
    pub fn info(node: &FlowNode, flow: &Dataflow) -> Result<Option<OperatorInfo>> {
        Ok(operator(node, flow, 0)?.map(|operator| operator.info()))
    }

    /// Whether changes leave the pipeline here.
    pub fn is_output(&self) -> bool {
        matches!(self, Self::Table { .. } | Self::Sink { .. })
    }

    /// Rows of state, and an estimate of their bytes.
    pub fn state_size(&self) -> (usize, usize) {
        match self {
            Self::Operator(operator) => (operator.state_rows(), operator.state_bytes()),
            _ => (0, 0),
        }
    }

    /// See [`Operator::on_changes`].
    pub fn on_changes(&mut self, input: usize, changes: Changes, out: &mut Vec<Changes>) -> Result<()> {
        match self {
            Self::Pass => out.push(changes),
            Self::Project(columns) => {
                let rows = changes.rows().project(columns)?;
                out.push(changes.with_rows(rows));
            }
            Self::Operator(operator) => operator.on_changes(input, changes, out)?,
            Self::Table { writer, .. } => writer.on_changes(changes)?,
            Self::Sink { pending, .. } => pending.push(changes),
        }
        Ok(())
    }

    /// See [`Operator::on_watermark`].
    pub fn on_watermark(&mut self, input: usize, bounds: &[Bound]) -> Result<()> {
        match self {
            Self::Operator(operator) => operator.on_watermark(input, bounds),
            _ => Ok(()),
        }
    }

    /// See [`Operator::next_moment`].
    pub fn next_moment(&self) -> Option<i64> {
        match self {
            Self::Operator(operator) => operator.next_moment(),
            _ => None,
        }
    }

    /// See [`Operator::close_epoch`].
    pub fn close_epoch(&mut self, epoch: Epoch, out: &mut Vec<Changes>) -> Result<()> {
        match self {
            Self::Operator(operator) => operator.close_epoch(epoch, out),
            Self::Sink { sink, pending, .. } if !pending.is_empty() => sink.write(epoch, &std::mem::take(pending)),
            Self::Table { writer, .. } => writer.close_epoch(epoch),
            Self::Pass | Self::Project(_) | Self::Sink { .. } => Ok(()),
        }
    }

    /// See [`Operator::checkpoint`].
    pub fn checkpoint(&mut self) -> Result<Vec<StateDelta>> {
        match self {
            Self::Operator(operator) => operator.checkpoint(),
            _ => Ok(vec![]),
        }
    }

    /// See [`Operator::restore`].
    pub fn restore(&mut self, delta: StateDelta) -> Result<()> {
        match self {
            Self::Operator(operator) => operator.restore(delta),
            _ => Ok(()),
        }
    }

    /// The changes of a table since the last checkpoint.
    pub fn take_output(&mut self) -> Result<Option<(ObjectId, Vec<Changes>)>> {
        match self {
            Self::Table { table, writer, .. } => Ok(Some((*table, writer.take()?))),
            _ => Ok(None),
        }
    }
}
