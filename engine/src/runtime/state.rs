//! Between operators' state deltas and state files: vnode and deletion flag become columns, rows go to the slot that owns them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, UInt8Array, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema, UInt8Type};
use catalog::{Object, Snapshot, TableState};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt;
use storage::Warehouse;
use storage::scan::DynamicTable;
use storage::state::{StateFile, StateSection, read_state};

use crate::error::{Error, Result};
use crate::hash::{hash_columns, vnode};
use crate::operator::StateDelta;
use crate::plan::Kind;
use crate::runtime::dataflow::{Dataflow, FlowNode, NodeId, Role};
use crate::runtime::exchange::owner;

/// State of the own slots of a [`Division`], in its order; of each in the order in which it was written.
pub type SlotState = Vec<Vec<(NodeId, StateDelta)>>;

/// How a pipeline's state is divided, and whose part is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Division<'a> {
    /// Among how many slots.
    pub slots: usize,
    /// The slots whose state is wanted.
    pub own: &'a [usize],
}

/// A delta as a section of a state file.
pub fn to_section(operator: u32, delta: StateDelta) -> Result<StateSection> {
    let schema = delta.rows.schema();
    let system = [Field::new("__vnode", DataType::UInt8, false), Field::new("__deleted", DataType::Boolean, false)];
    let fields: Vec<_> = system.into_iter().map(Arc::new).chain(schema.fields().iter().cloned()).collect();
    let mut columns: Vec<ArrayRef> =
        vec![Arc::new(UInt8Array::from(delta.vnodes)), Arc::new(BooleanArray::from(delta.deleted))];
    columns.extend(delta.rows.columns().iter().cloned());
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
    Ok(StateSection { operator, table: delta.table as u32, batch })
}

fn from_section(section: &StateSection) -> Result<StateDelta> {
    let batch = &section.batch;
    let damaged = || Error::internal("a state section without its system columns").with("operator", section.operator);
    let vnodes = batch.column(0).as_primitive_opt::<UInt8Type>().ok_or_else(damaged)?;
    let deleted = batch.column(1).as_boolean_opt().ok_or_else(damaged)?;
    let rows = batch.project(&(2..batch.num_columns()).collect::<Vec<_>>())?;
    let vnodes = vnodes.values().to_vec();
    let deleted = (0..deleted.len()).map(|row| deleted.value(row)).collect();
    Ok(StateDelta { table: section.table as usize, vnodes, deleted, rows })
}

/// Splits a delta by the slot that owns each row; gives the place of that slot among the own ones. The other rows are left out.
fn by_slot(delta: StateDelta, division: Division) -> Result<Vec<(usize, StateDelta)>> {
    if division.slots == 1 {
        return Ok(vec![(0, delta)]);
    }
    let mut places = vec![None; division.slots];
    for (place, slot) in division.own.iter().enumerate() {
        places[*slot] = Some(place);
    }
    let mut rows = vec![Vec::new(); division.own.len()];
    for (row, vnode) in delta.vnodes.iter().enumerate() {
        if let Some(place) = places[owner(*vnode, division.slots)] {
            rows[place].push(row as u32);
        }
    }
    let mut split = Vec::new();
    for (slot, rows) in rows.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
        let vnodes = rows.iter().map(|row| delta.vnodes[*row as usize]).collect();
        let deleted = rows.iter().map(|row| delta.deleted[*row as usize]).collect();
        let indices = UInt32Array::from(rows);
        let columns = arrow::compute::take_arrays(delta.rows.columns(), &indices, None)?;
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(indices.len()));
        let part = RecordBatch::try_new_with_options(delta.rows.schema(), columns, &options)?;
        split.push((slot, StateDelta { table: delta.table, vnodes, deleted, rows: part }));
    }
    Ok(split)
}

/// The state table of a node of which every slot has all rows, if there is one: the broadcast side of a join.
fn replicated(node: &FlowNode) -> Option<usize> {
    match &node.role {
        Role::Operator(Kind::Join(spec)) => spec.broadcast.as_ref().map(|broadcast| broadcast.side),
        _ => None,
    }
}

/// Reads the state of all jobs back: `files` are those of each job, oldest first.
pub async fn restore(
    warehouse: &Warehouse,
    flow: &Dataflow,
    files: &[Vec<StateFile>],
    division: Division<'_>,
) -> Result<SlotState> {
    let nodes: BTreeMap<(usize, u32), NodeId> =
        flow.nodes.iter().enumerate().map(|(place, node)| ((node.job, node.operator), place)).collect();
    let mut state: SlotState = vec![Vec::new(); division.own.len()];
    for (job, files) in files.iter().enumerate() {
        for file in files {
            for section in read_state(warehouse, file, None).await? {
                let node = *nodes.get(&(job, section.operator)).ok_or_else(|| {
                    Error::internal("state of an operator that does not exist").with("file", &file.path)
                })?;
                let delta = from_section(&section)?;
                if replicated(&flow.nodes[node]) == Some(delta.table) {
                    state.iter_mut().for_each(|slot| slot.push((node, delta.clone())));
                    continue;
                }
                for (slot, delta) in by_slot(delta, division)? {
                    state[slot].push((node, delta));
                }
            }
        }
    }
    Ok(state)
}

/// Gives upserts the rows that their tables hold now. `state` is what [`restore`] returned.
pub async fn read_upserted(
    warehouse: &Arc<Warehouse>,
    flow: &Dataflow,
    snapshot: &Snapshot,
    division: Division<'_>,
    state: &mut SlotState,
) -> Result<()> {
    for (node, flow_node) in flow.nodes.iter().enumerate() {
        let Role::Upsert { table, key, .. } = &flow_node.role else { continue };
        let Some(held) = snapshot.tables.get(&table.id) else { continue };
        // The operator's state table has the key columns first.
        let columns: Vec<_> =
            key.iter().copied().chain((0..table.columns.len()).filter(|c| !key.contains(c))).collect();
        let mut rows = stream(warehouse, table, held).await?;
        let mut hashes = Vec::new();
        while let Some(batch) = rows.next().await {
            let rows = batch?.project(&columns)?;
            hash_columns(&rows.columns()[..key.len()], rows.num_rows(), &mut hashes)?;
            let vnodes = hashes.iter().map(|hash| vnode(*hash)).collect();
            let deleted = vec![false; rows.num_rows()];
            for (slot, delta) in by_slot(StateDelta { table: 0, vnodes, deleted, rows }, division)? {
                state[slot].push((node, delta));
            }
        }
    }
    Ok(())
}

/// All rows of a table, in batches.
pub async fn stream(
    warehouse: &Arc<Warehouse>,
    object: &Arc<Object>,
    state: &Arc<TableState>,
) -> Result<SendableRecordBatchStream> {
    let table = DynamicTable::new(warehouse.clone(), object.clone(), state.clone())?;
    let session = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    Ok(session.read_table(Arc::new(table))?.execute_stream().await?)
}
