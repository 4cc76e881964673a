//! OVER windows: functions of the rows around a row, kept right under retractions.
//!
//! The rows of a partition stand in order: by the window's order keys, then by all their columns, so that ties never depend on
//! when or where rows arrived. An epoch's changes are merged into that order; then every function says which rows' results the
//! changes can touch (`reach`), those are evaluated together with the rows they depend on, by DataFusion's own evaluators and
//! for many partitions in one batch, and rows whose results differ from what was emitted for them are emitted.
//!
//! State: every row, one entry per copy, with its results; behind a watermark only what later rows still look at. So what is retracted is exactly what was emitted, even where a sum of
//! floating point numbers depends on the order of additions.

mod age;
mod bases;
mod call;
mod emit;
mod evaluate;
mod expiry;
mod partition;
mod reach;
mod running;
#[cfg(test)]
mod tests;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Schema, SchemaRef};

pub use age::{Ages, order_delay};
pub use call::{Start, WindowCall};
pub use reach::Reach;
pub use running::continues;

use crate::change::{Changes, consolidate};
use crate::error::{Error, Result};
use crate::hash;
use crate::operator::columns;
use crate::operator::failure::Failing;
use crate::operator::ledger::Ledger;
use crate::operator::order::RowOrder;
use crate::operator::{Epoch, Operator, OperatorInfo, StateDelta, StateTable};
use crate::rows::{KeyIndex, NO_SLOT, RowStore, vec_bytes};
use crate::watermark::Bound;
use bases::Bases;
use emit::Emission;
use evaluate::Batch;
use expiry::OverExpiry;
use partition::{Edits, Partition, Touched};

/// Rows that are evaluated or gathered at once.
const CHUNK: usize = 8192;

/// What an [`Over`] does.
#[derive(Debug, Clone)]
pub struct OverSpec {
    /// Columns of the input.
    pub input: SchemaRef,
    /// Rows that agree in these columns form a partition. None: all rows are one.
    pub partition: Vec<usize>,
    /// By what the rows of a partition are ordered; rows equal in it are peers.
    pub order: Vec<(usize, SortOptions)>,
    /// The functions, at least one.
    pub calls: Vec<WindowCall>,
    /// Schema of the output: the input's columns, then one per function.
    pub output: SchemaRef,
    /// What becomes of results that cannot be computed.
    pub failing: Failing,
}

/// Adds the results of window functions to its input's rows. Stateful; rows are routed by the hash of the partition's columns.
#[derive(Debug)]
pub struct Over {
    spec: OverSpec,
    order: RowOrder,
    state_schema: SchemaRef,
    keys: KeyIndex,
    partitions: Vec<Partition>,
    rows: RowStore,
    results: RowStore,
    /// By row the slot of its results.
    result_of: Vec<u32>,
    /// By row its partition; only of restored rows that stand in no order yet.
    partition_of: Vec<u32>,
    unsorted: bool,
    /// Some row may be there more than once, so that two copies may swap their results.
    repeated: bool,
    ledger: Ledger,
    /// What running aggregates hold of forgotten rows.
    bases: Option<Bases>,
    /// What the watermark frees; nothing before the first watermark.
    expiry: Option<OverExpiry>,
    pending: Vec<Changes>,
    /// Rows given to evaluators so far.
    #[cfg(test)]
    evaluated: usize,
}

impl Over {
    /// An instance.
    ///
    /// # Errors
    /// `Internal` if the specification is inconsistent; `Sql` if a column's type cannot be kept or be part of a key.
    pub fn new(spec: &OverSpec) -> Result<Self> {
        let width = spec.input.fields().len();
        if spec.calls.is_empty() || spec.output.fields().len() != width + spec.calls.len() {
            return Err(Error::internal("a window's schema does not fit its functions").with("schema", &spec.output));
        }
        let results = Schema::new(spec.output.fields()[width..].to_vec());
        Ok(Self {
            order: RowOrder::new(&spec.input, &spec.order)?,
            state_schema: columns::state_schema(&[("__row", DataType::UInt64)], spec.output.fields(), &[]),
            keys: KeyIndex::new(columns::schema_of(&spec.input, &spec.partition)?.as_ref())?,
            partitions: Vec::new(),
            rows: RowStore::new(&spec.input)?,
            results: RowStore::new(&results)?,
            result_of: Vec::new(),
            partition_of: Vec::new(),
            unsorted: false,
            repeated: false,
            ledger: Ledger::default(),
            bases: Bases::new(spec)?,
            expiry: None,
            pending: Vec::new(),
            #[cfg(test)]
            evaluated: 0,
            spec: spec.clone(),
        })
    }

    fn width(&self) -> usize {
        self.spec.input.fields().len()
    }

    /// The columns that tell partitions apart.
    fn partition_columns(&self, columns: &[ArrayRef]) -> Vec<ArrayRef> {
        self.spec.partition.iter().map(|column| columns[*column].clone()).collect()
    }

    /// The partition of each row.
    fn number_partitions(&mut self, keys: &[ArrayRef], rows: usize) -> Result<Vec<u32>> {
        let (mut hashes, mut slots) = (Vec::new(), Vec::new());
        hash::hash_columns(keys, rows, &mut hashes)?;
        self.keys.find_or_insert(&hashes, keys, &mut slots, |_, _| {})?;
        if self.keys.slots() > self.partitions.len() {
            self.partitions.resize_with(self.keys.slots(), Partition::default);
        }
        Ok(slots)
    }

    /// Puts restored rows into their partitions.
    fn sort(&mut self) {
        self.ledger.start();
        self.bases.iter_mut().for_each(Bases::start);
        if !std::mem::take(&mut self.unsorted) {
            return;
        }
        for partition in &mut self.partitions {
            *partition = Partition { base: partition.base.take(), ..Partition::default() };
        }
        for slot in (0..self.rows.slots() as u32).filter(|slot| self.ledger.holds(*slot)) {
            self.partitions[self.partition_of[slot as usize] as usize].slots.push(slot);
        }
        self.partition_of = Vec::new();
        for partition in &mut self.partitions {
            self.repeated |= !partition.sort(&self.rows, &self.order, &self.ledger);
        }
        let empty = |key: &u32| self.partitions[*key as usize].is_unused();
        let unused = self.keys.iter().filter(empty).collect::<Vec<_>>();
        unused.into_iter().for_each(|key| self.keys.remove(key));
    }

    /// Stores the rows of consolidated changes, by partition and in order.
    fn take_in(&mut self, changes: &Changes) -> Result<Vec<Touched>> {
        let keys = self.partition_columns(changes.rows().columns());
        let partitions = self.number_partitions(&keys, changes.len())?;
        let view = self.rows.view(changes.rows().columns())?;
        let (mut copies, mut slots) = (Vec::with_capacity(changes.len()), Vec::with_capacity(changes.len()));
        for row in 0..changes.len() {
            copies.extend(std::iter::repeat_n(row as u32, usize::try_from(changes.weight(row)).unwrap_or(1)));
        }
        self.rows.append(&view, &copies, &mut slots);
        self.result_of.resize(self.rows.slots(), NO_SLOT);
        let mut touched = Vec::with_capacity(slots.len());
        for (slot, row) in slots.into_iter().zip(copies) {
            let weight = changes.weight(row as usize).min(1);
            let partition = partitions[row as usize];
            if weight > 0 {
                self.ledger.add(slot, hash::vnode(self.keys.hash(partition)));
            }
            touched.push(Touched { partition, slot, weight });
        }
        let (order, rows) = (&self.order, &self.rows);
        // Stable: copies of a row stay in the order of their numbers, in which a restart puts them again.
        touched.sort_by(|a, b| a.partition.cmp(&b.partition).then_with(|| order.compare(rows, a.slot, b.slot)));
        Ok(touched)
    }

    /// Takes consolidated changes in and gives what they change.
    fn update(&mut self, changes: &Changes, out: &mut Vec<Changes>) -> Result<()> {
        let touched = self.take_in(changes)?;
        let (mut removed, mut emissions) = (Vec::new(), Vec::new());
        let mut batch = Batch::default();
        for run in touched.chunk_by(|a, b| a.partition == b.partition) {
            let partition = run[0].partition;
            let edits: Edits = self.partitions[partition as usize].apply(run, &self.rows, &self.order)?;
            self.repeated |= edits.repeated;
            emissions.extend(edits.removed.iter().map(|slot| {
                let result = std::mem::replace(&mut self.result_of[*slot as usize], NO_SLOT);
                Emission { row: *slot, result, weight: -1 }
            }));
            removed.extend_from_slice(&edits.removed);
            self.plan(partition, &edits.gaps, &mut batch)?;
            if batch.rows() >= CHUNK {
                self.evaluate(std::mem::take(&mut batch), &mut emissions)?;
            }
        }
        self.evaluate(batch, &mut emissions)?;
        self.emit(&emissions, out)?;
        self.expire_later(&touched)?;
        self.forget(&emissions, &touched, &removed);
        Ok(())
    }
}

impl Operator for Over {
    // State tables: `rows`, keyed by a row number, and perhaps that of `Bases`.
    fn info(&self) -> OperatorInfo {
        let rows = StateTable { name: "rows", schema: self.state_schema.clone(), key_len: 1 };
        let state = std::iter::once(rows).chain(self.bases.as_ref().map(Bases::table)).collect();
        OperatorInfo { name: "Over", schema: self.spec.output.clone(), state }
    }

    fn on_changes(&mut self, _input: usize, changes: Changes, _out: &mut Vec<Changes>) -> Result<()> {
        self.pending.push(changes);
        Ok(())
    }

    fn on_watermark(&mut self, _input: usize, bounds: &[Bound]) -> Result<()> {
        self.advance(bounds)
    }

    fn close_epoch(&mut self, _epoch: Epoch, out: &mut Vec<Changes>) -> Result<()> {
        self.sort();
        let changes = consolidate(&self.spec.input, &std::mem::take(&mut self.pending))?;
        if !changes.is_empty() {
            self.update(&changes, out)?;
        }
        self.expire()
    }

    fn checkpoint(&mut self) -> Result<Vec<StateDelta>> {
        let mut deltas = self.ledger.deletions(0, &self.state_schema)?.into_iter().collect::<Vec<_>>();
        let slots = self.ledger.take_changed();
        deltas.extend(self.ledger.changes(0, &self.state_schema, &slots, |slots| {
            let results = slots.iter().map(|slot| self.result_of[*slot as usize]).collect::<Vec<_>>();
            Ok(self.rows.gather(slots)?.into_iter().chain(self.results.gather(&results)?).collect())
        })?);
        if let Some(bases) = &mut self.bases {
            deltas.extend(bases.checkpoint(&self.keys, &self.partitions)?);
        }
        Ok(deltas)
    }

    fn restore(&mut self, delta: StateDelta) -> Result<()> {
        self.unsorted = true;
        if delta.table == bases::TABLE {
            return self.restore_bases(delta);
        }
        let (deleted, delta) = self.ledger.restore(&self.state_schema, delta)?;
        for slot in deleted {
            self.results.free(std::mem::replace(&mut self.result_of[slot as usize], NO_SLOT));
            self.rows.free(slot);
        }
        let (width, count) = (self.width(), delta.rows.num_rows());
        let (columns, results) = (&delta.rows.columns()[1..=width], &delta.rows.columns()[width + 1..]);
        let partitions = self.number_partitions(&self.partition_columns(columns), count)?;
        let (rows_view, results_view) = (self.rows.view(columns)?, self.results.view(results)?);
        let mut slots = Vec::with_capacity(count);
        for (row, known) in self.ledger.known(&delta)?.into_iter().enumerate() {
            let slot = known.unwrap_or_else(|| self.rows.push(&rows_view, row));
            self.result_of.resize(self.rows.slots(), NO_SLOT);
            self.partition_of.resize(self.rows.slots(), 0);
            let old = self.result_of[slot as usize];
            if old != NO_SLOT {
                self.results.free(old);
            }
            self.result_of[slot as usize] = self.results.push(&results_view, row);
            self.partition_of[slot as usize] = partitions[row];
            slots.push(slot);
        }
        self.ledger.adopt(&delta, &slots)
    }

    fn state_rows(&self) -> usize {
        self.rows.len() + self.bases.as_ref().map_or(0, Bases::len)
    }

    fn state_bytes(&self) -> usize {
        // The partitions name every row once.
        let partitions = vec_bytes(&self.partitions) + self.rows.len() * size_of::<u32>();
        let places = vec_bytes(&self.result_of) + vec_bytes(&self.partition_of) + partitions;
        let bases = self.bases.as_ref().map_or(0, Bases::bytes);
        self.keys.bytes() + self.rows.bytes() + self.results.bytes() + self.ledger.bytes() + places + bases
    }
}

/// Rows of the operator's input in which columns that no function reads are NULL.
fn batch_of(spec: &OverSpec, rows: &RowStore, slots: &[u32]) -> Result<RecordBatch> {
    let read = |column: usize| spec.calls.iter().any(|call| call.reads.contains(&column));
    let arrays = spec.input.fields().iter().enumerate().map(|(column, field)| {
        if read(column) {
            columns::encoded_as(rows.gather_column(column, slots)?, field.data_type())
        } else {
            Ok(arrow::array::new_null_array(field.data_type(), slots.len()))
        }
    });
    columns::batch(&spec.input, arrays.collect::<Result<Vec<_>>>()?, slots.len())
}

/// Which functions, by place, are running aggregates.
fn running(spec: &OverSpec) -> Vec<usize> {
    (0..spec.calls.len()).filter(|call| spec.calls[*call].start == Start::Running).collect()
}
