//! OVER windows: functions of the rows around a row, kept right under retractions.
//!
//! The rows of a partition stand in order: by the window's order keys, then by all their columns, so that ties never depend on
//! when or where rows arrived. An epoch's changes are merged into that order; then every function says which rows' results the
//! changes can touch (`reach`), those are evaluated together with the rows they depend on, by DataFusion's own evaluators and
//! for many partitions in one batch, and rows whose results differ from what was emitted for them are emitted.
//!
//! State: every row, one entry per copy, with its results. So what is retracted is exactly what was emitted, even where a sum of
//! floating point numbers depends on the order of additions.

mod call;
mod evaluate;
mod partition;
mod reach;
mod running;
#[cfg(test)]
mod tests;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Schema, SchemaRef};

pub use call::{Start, WindowCall};
pub use reach::Reach;
pub use running::continues;

use crate::change::{Changes, consolidate};
use crate::error::{Error, Result};
use crate::hash;
use crate::operator::columns::{self, compact};
use crate::operator::ledger::Ledger;
use crate::operator::order::RowOrder;
use crate::operator::{Epoch, Operator, OperatorInfo, StateDelta, StateTable};
use crate::rows::{KeyIndex, NO_SLOT, RowStore, vec_bytes};
use evaluate::Batch;
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
    pending: Vec<Changes>,
    /// Rows given to evaluators so far.
    #[cfg(test)]
    evaluated: usize,
}

/// A row with results, to be emitted.
#[derive(Debug, Clone, Copy)]
struct Emission {
    row: u32,
    result: u32,
    weight: i64,
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
            pending: Vec::new(),
            #[cfg(test)]
            evaluated: 0,
            spec: spec.clone(),
        })
    }

    fn width(&self) -> usize {
        self.spec.input.fields().len()
    }

    /// The partition of each row.
    fn number_partitions(&mut self, columns: &[ArrayRef], rows: usize) -> Result<Vec<u32>> {
        let keys = self.spec.partition.iter().map(|column| columns[*column].clone()).collect::<Vec<_>>();
        let (mut hashes, mut slots) = (Vec::new(), Vec::new());
        hash::hash_columns(&keys, rows, &mut hashes)?;
        self.keys.find_or_insert(&hashes, &keys, &mut slots, |_, _| {})?;
        if self.keys.slots() > self.partitions.len() {
            self.partitions.resize_with(self.keys.slots(), Partition::default);
        }
        Ok(slots)
    }

    /// Puts restored rows into their partitions.
    fn sort(&mut self) {
        self.ledger.start();
        if !std::mem::take(&mut self.unsorted) {
            return;
        }
        for partition in &mut self.partitions {
            *partition = Partition::default();
        }
        for slot in (0..self.rows.slots() as u32).filter(|slot| self.ledger.holds(*slot)) {
            self.partitions[self.partition_of[slot as usize] as usize].slots.push(slot);
        }
        self.partition_of = Vec::new();
        for partition in &mut self.partitions {
            self.repeated |= !partition.sort(&self.rows, &self.order, &self.ledger);
        }
        let empty = |key: &u32| self.partitions[*key as usize].slots.is_empty();
        let unused = self.keys.iter().filter(empty).collect::<Vec<_>>();
        unused.into_iter().for_each(|key| self.keys.remove(key));
    }

    /// Stores the rows of consolidated changes, by partition and in order.
    fn take_in(&mut self, changes: &Changes) -> Result<Vec<Touched>> {
        let partitions = self.number_partitions(changes.rows().columns(), changes.len())?;
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

    /// Keeps the results of evaluated rows that differ from those emitted before.
    fn keep(&mut self, slots: &[u32], results: &[ArrayRef], emissions: &mut Vec<Emission>) -> Result<()> {
        let view = self.results.view(results)?;
        let (mut changed, mut new) = (Vec::new(), Vec::new());
        for (row, slot) in slots.iter().enumerate() {
            let old = self.result_of[*slot as usize];
            if old == NO_SLOT || !self.results.eq(old, &view, row) {
                changed.push(row as u32);
            }
        }
        self.results.append(&view, &changed, &mut new);
        for (row, result) in changed.into_iter().zip(new) {
            let row = slots[row as usize];
            let old = std::mem::replace(&mut self.result_of[row as usize], result);
            if old != NO_SLOT {
                emissions.push(Emission { row, result: old, weight: -1 });
            }
            emissions.push(Emission { row, result, weight: 1 });
            self.ledger.change(row);
        }
        Ok(())
    }

    fn emit(&self, emissions: &[Emission], out: &mut Vec<Changes>) -> Result<()> {
        let mut emitted = Vec::with_capacity(emissions.len().div_ceil(CHUNK));
        for part in emissions.chunks(CHUNK) {
            let rows = part.iter().map(|emission| emission.row).collect::<Vec<_>>();
            let results = part.iter().map(|emission| emission.result).collect::<Vec<_>>();
            let arrays = self.rows.gather(&rows)?.into_iter().chain(self.results.gather(&results)?);
            let arrays = arrays.zip(self.spec.output.fields());
            let arrays = arrays.map(|(array, field)| columns::encoded_as(array, field.data_type()));
            let batch = columns::batch(&self.spec.output, arrays.collect::<Result<Vec<_>>>()?, part.len())?;
            emitted.push(Changes::new(batch, compact(part.iter().map(|emission| emission.weight).collect())));
        }
        if self.repeated {
            emitted = vec![consolidate(&self.spec.output, &emitted)?];
        }
        out.extend(emitted.into_iter().filter(|changes| !changes.is_empty()));
        Ok(())
    }

    /// Gives back the slots of results that were replaced and of rows that are gone.
    fn forget(&mut self, emissions: &[Emission], touched: &[Touched], removed: &[u32]) {
        for emission in emissions.iter().filter(|emission| emission.weight < 0) {
            self.results.free(emission.result);
        }
        for slot in removed {
            self.result_of[*slot as usize] = NO_SLOT;
            self.ledger.remove(*slot);
            self.rows.free(*slot);
        }
        touched.iter().filter(|touched| touched.weight < 0).for_each(|touched| self.rows.free(touched.slot));
        for run in touched.chunk_by(|a, b| a.partition == b.partition) {
            if self.partitions[run[0].partition as usize].slots.is_empty() {
                self.partitions[run[0].partition as usize] = Partition::default();
                self.keys.remove(run[0].partition);
            }
        }
    }
}

impl Operator for Over {
    // State table: `rows`, keyed by a row number.
    fn info(&self) -> OperatorInfo {
        let table = StateTable { name: "rows", schema: self.state_schema.clone(), key_len: 1 };
        OperatorInfo { name: "Over", schema: self.spec.output.clone(), state: vec![table] }
    }

    fn on_changes(&mut self, _input: usize, changes: Changes, _out: &mut Vec<Changes>) -> Result<()> {
        self.pending.push(changes);
        Ok(())
    }

    fn close_epoch(&mut self, _epoch: Epoch, out: &mut Vec<Changes>) -> Result<()> {
        self.sort();
        let changes = consolidate(&self.spec.input, &std::mem::take(&mut self.pending))?;
        if changes.is_empty() {
            return Ok(());
        }
        let touched = self.take_in(&changes)?;
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
        self.forget(&emissions, &touched, &removed);
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<Vec<StateDelta>> {
        let mut deltas = self.ledger.deletions(0, &self.state_schema)?.into_iter().collect::<Vec<_>>();
        let slots = self.ledger.take_changed();
        deltas.extend(self.ledger.changes(0, &self.state_schema, &slots, |slots| {
            let results = slots.iter().map(|slot| self.result_of[*slot as usize]).collect::<Vec<_>>();
            Ok(self.rows.gather(slots)?.into_iter().chain(self.results.gather(&results)?).collect())
        })?);
        Ok(deltas)
    }

    fn restore(&mut self, delta: StateDelta) -> Result<()> {
        self.unsorted = true;
        let (deleted, delta) = self.ledger.restore(&self.state_schema, delta)?;
        for slot in deleted {
            self.results.free(std::mem::replace(&mut self.result_of[slot as usize], NO_SLOT));
            self.rows.free(slot);
        }
        let (width, count) = (self.width(), delta.rows.num_rows());
        let (columns, results) = (&delta.rows.columns()[1..=width], &delta.rows.columns()[width + 1..]);
        let partitions = self.number_partitions(columns, count)?;
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
        self.rows.len()
    }

    fn state_bytes(&self) -> usize {
        // The partitions name every row once.
        let partitions = vec_bytes(&self.partitions) + self.rows.len() * size_of::<u32>();
        let places = vec_bytes(&self.result_of) + vec_bytes(&self.partition_of) + partitions;
        self.keys.bytes() + self.rows.bytes() + self.results.bytes() + self.ledger.bytes() + places
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
