//! Top-N, row numbers and ranks: the first rows of each partition in some order, kept right under retractions.
//!
//! The order is total: rows that the given columns leave equal are ordered by all their columns, from left to right,
//! ascending and NULL last. So the answer depends only on what the rows are, never on when or where they arrived.
//!
//! Each partition is a sorted vector of slots. The rows that an epoch brings are merged into it in one go, and one walk
//! over the touched part gives both the old and the new position of every row, hence the changes. An insert-only input
//! needs only the rows that are visible or before them; all others are dropped, most of them on arrival.

mod expiry;
mod partition;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, UInt32Array, UInt64Array};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};

use crate::change::{Changes, WEIGHT_COLUMN};
use crate::error::{Error, Result};
use crate::hash;
use crate::operator::columns::{self, compact};
use crate::operator::ledger::{Ledger, damaged};
use crate::operator::order::RowOrder;
use crate::operator::{Epoch, Operator, OperatorInfo, StateDelta, StateTable};
use crate::rows::{KeyIndex, vec_bytes};
use crate::watermark::Bound;
use expiry::PartitionExpiry;
use partition::{Partition, Record, Window};

/// Rows that are gathered at once.
const CHUNK: usize = 8192;

/// Whether the position of a row is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// No.
    None,
    /// `ROW_NUMBER()`, counted from 1 in the whole partition, as a last column of type `Int64` or `UInt64`.
    RowNumber,
    /// `RANK()`: rows with equal order keys share the position of the first of them. Offset and limit count ranks.
    Rank,
    /// `DENSE_RANK()`: as `Rank`, without holes.
    DenseRank,
}

/// What a [`TopN`] does.
#[derive(Debug, Clone)]
pub struct TopNSpec {
    /// Columns of the input.
    pub input: SchemaRef,
    /// Rows that agree in these columns form a partition. None: all rows are one.
    pub partition: Vec<usize>,
    /// By what the rows of a partition are ordered.
    pub order: Vec<(usize, SortOptions)>,
    /// So many first positions are left out.
    pub offset: usize,
    /// At most so many positions after these are given.
    pub limit: Option<usize>,
    /// Whether the position is shown.
    pub rank: Rank,
    /// The input never retracts.
    pub insert_only: bool,
    /// Schema of the output: the input's columns, then the row number if it is shown.
    pub output: SchemaRef,
}

/// The first rows of each partition. Stateful; rows are routed by the hash of the partition's columns.
#[derive(Debug)]
pub struct TopN {
    spec: TopNSpec,
    window: Window,
    order: RowOrder,
    state_schema: SchemaRef,
    keys: KeyIndex,
    partitions: Vec<Partition>,
    rows: KeyIndex,
    records: Vec<Record>,
    touched: Vec<u32>,
    ledger: Ledger,
    /// Rows were restored that stand in no partition yet.
    unsorted: bool,
    hashes: Vec<u64>,
    key_slots: Vec<u32>,
    slots: Vec<u32>,
    /// Which partitions a watermark will pass, once there is one.
    expiry: Option<PartitionExpiry>,
    /// Partitions that came since the last epoch, if they are kept by their time.
    new_partitions: Vec<u32>,
    /// Rows looked at: what tests count.
    #[cfg(test)]
    walked: usize,
}

impl TopN {
    /// An instance.
    ///
    /// # Errors
    /// `Internal` if the specification is inconsistent; `Sql` if a column's type cannot be kept or be part of a key.
    pub fn new(spec: &TopNSpec) -> Result<Self> {
        let width = spec.input.fields().len();
        let ranked = usize::from(spec.rank != Rank::None);
        let rank_type = spec.output.fields().last().map(|field| field.data_type());
        if spec.output.fields().len() != width + ranked
            || ranked == 1 && !matches!(rank_type, Some(DataType::Int64 | DataType::UInt64))
        {
            return Err(Error::internal("a top-N's schema does not fit its input").with("schema", &spec.output));
        }
        let state_schema = columns::state_schema(
            &[("__row", DataType::UInt64)],
            spec.input.fields(),
            &[(WEIGHT_COLUMN, DataType::Int64)],
        );
        Ok(Self {
            window: Window::new(spec.offset, spec.limit),
            order: RowOrder::new(&spec.input, &spec.order)?,
            state_schema,
            keys: KeyIndex::new(columns::schema_of(&spec.input, &spec.partition)?.as_ref())?,
            partitions: Vec::new(),
            rows: KeyIndex::new(&spec.input)?,
            records: Vec::new(),
            touched: Vec::new(),
            ledger: Ledger::default(),
            unsorted: false,
            hashes: Vec::new(),
            key_slots: Vec::new(),
            slots: Vec::new(),
            expiry: None,
            new_partitions: Vec::new(),
            #[cfg(test)]
            walked: 0,
            spec: spec.clone(),
        })
    }

    /// Whether rows beyond the window can be forgotten, since nothing before them ever disappears.
    fn forgets(&self) -> bool {
        self.spec.insert_only && self.spec.limit.is_some()
    }

    /// Numbers the partitions of a batch's rows.
    fn number_partitions(&mut self, columns: &[ArrayRef], rows: usize) -> Result<()> {
        let keys = self.spec.partition.iter().map(|column| columns[*column].clone()).collect::<Vec<_>>();
        hash::hash_columns(&keys, rows, &mut self.hashes)?;
        let (timed, new) = (self.expiry.is_some(), &mut self.new_partitions);
        self.keys.find_or_insert(&self.hashes, &keys, &mut self.key_slots, |key, _| {
            if timed {
                new.push(key);
            }
        })?;
        if self.keys.slots() > self.partitions.len() {
            self.partitions.resize_with(self.keys.slots(), Partition::default);
        }
        Ok(())
    }

    /// Finds or stores the rows of a batch whose partitions are numbered.
    fn place(&mut self, columns: &[ArrayRef], rows: usize) -> Result<()> {
        let view = self.rows.view(columns)?;
        self.rows.keys().hash(columns, &view, rows, &mut self.hashes)?;
        self.rows.find_or_insert(&self.hashes, columns, &mut self.slots, |_, _| {})?;
        if self.rows.slots() > self.records.len() {
            self.records.resize(self.rows.slots(), Record::default());
        }
        Ok(())
    }

    /// Leaves out rows that are sure to stay beyond a full window.
    fn prune(&self, changes: Changes) -> Result<(Changes, Option<Vec<u32>>)> {
        if !self.forgets() {
            return Ok((changes, None));
        }
        let cutoffs =
            self.key_slots.iter().map(|key| self.partitions[*key as usize].last(&self.window, self.spec.rank));
        let cutoffs = cutoffs.collect::<Vec<_>>();
        let Some(beyond) = self.order.surely_after(self.rows.keys(), changes.rows(), &cutoffs)? else {
            return Ok((changes, None));
        };
        let kept = (0..changes.len() as u32).filter(|row| !beyond[*row as usize]).collect::<Vec<_>>();
        if kept.len() == changes.len() {
            return Ok((changes, None));
        }
        let keys = kept.iter().map(|row| self.key_slots[*row as usize]).collect();
        Ok((changes.take(&UInt32Array::from(kept))?, Some(keys)))
    }

    /// Puts restored rows into their partitions.
    fn sort(&mut self) {
        self.ledger.start();
        if !std::mem::take(&mut self.unsorted) {
            return;
        }
        self.partitions.iter_mut().for_each(Partition::clear);
        for slot in self.rows.iter() {
            let record = &self.records[slot as usize];
            self.partitions[record.partition as usize].push(slot, record.weight);
        }
        for partition in &mut self.partitions {
            partition.sort(&self.order, self.rows.keys());
        }
        let unused = self.keys.iter().filter(|key| self.partitions[*key as usize].is_empty()).collect::<Vec<_>>();
        unused.into_iter().for_each(|key| self.keys.remove(key));
    }

    /// Touched rows whose weight changed, by partition and in order; and those that came and went.
    fn settle(&mut self) -> (Vec<u32>, Vec<u32>) {
        let mut touched = std::mem::take(&mut self.touched);
        let mut vanished = Vec::new();
        touched.retain(|slot| {
            let record = &mut self.records[*slot as usize];
            let changed = record.weight != record.before;
            if !changed {
                record.touched = false;
                if record.weight == 0 {
                    vanished.push(*slot);
                }
            }
            changed
        });
        let records = &self.records;
        let (order, rows) = (&self.order, self.rows.keys());
        touched.sort_unstable_by(|a, b| {
            let partitions = records[*a as usize].partition.cmp(&records[*b as usize].partition);
            partitions.then_with(|| order.compare(rows, *a, *b))
        });
        (touched, vanished)
    }

    /// Forgets rows that stand in no partition's list any more, and the partitions that are empty then.
    fn forget(&mut self, slots: &[u32]) {
        let mut partitions = slots.iter().map(|slot| self.records[*slot as usize].partition).collect::<Vec<_>>();
        for slot in slots {
            self.records[*slot as usize] = Record::default();
            self.ledger.remove(*slot);
            self.rows.remove(*slot);
        }
        partitions.sort_unstable();
        partitions.dedup();
        partitions.retain(|partition| self.partitions[*partition as usize].is_empty());
        partitions.into_iter().for_each(|partition| self.keys.remove(partition));
    }

    fn emit(&self, visible: &partition::Visible, out: &mut Vec<Changes>) -> Result<()> {
        for start in (0..visible.slots.len()).step_by(CHUNK) {
            let range = start..(start + CHUNK).min(visible.slots.len());
            let mut arrays = self.rows.keys().gather(&visible.slots[range.clone()])?;
            if self.spec.rank != Rank::None {
                let ranks = visible.ranks[range.clone()].iter();
                arrays.push(match self.spec.output.field(arrays.len()).data_type() {
                    DataType::Int64 => Arc::new(Int64Array::from_iter_values(ranks.map(|rank| *rank as i64))),
                    _ => Arc::new(UInt64Array::from_iter_values(ranks.copied())),
                });
            }
            let fields = self.spec.output.fields().iter();
            let arrays =
                arrays.into_iter().zip(fields).map(|(array, field)| columns::encoded_as(array, field.data_type()));
            let batch = columns::batch(&self.spec.output, arrays.collect::<Result<Vec<_>>>()?, range.len())?;
            out.push(Changes::new(batch, compact(visible.weights[range].to_vec())));
        }
        Ok(())
    }
}

impl Operator for TopN {
    // State table: `rows`, keyed by a row number.
    fn info(&self) -> OperatorInfo {
        let table = StateTable { name: "rows", schema: self.state_schema.clone(), key_len: 1 };
        OperatorInfo { name: "TopN", schema: self.spec.output.clone(), state: vec![table] }
    }

    fn on_changes(&mut self, _input: usize, changes: Changes, _out: &mut Vec<Changes>) -> Result<()> {
        self.sort();
        self.number_partitions(changes.rows().columns(), changes.len())?;
        let (changes, keys) = self.prune(changes)?;
        if let Some(keys) = keys {
            self.key_slots = keys;
        }
        self.place(changes.rows().columns(), changes.len())?;
        for row in 0..changes.len() {
            let (slot, key) = (self.slots[row], self.key_slots[row]);
            let record = &mut self.records[slot as usize];
            if !self.ledger.holds(slot) {
                self.ledger.add(slot, hash::vnode(self.keys.hash(key)));
                record.partition = key;
            }
            if !record.touched {
                (record.touched, record.before) = (true, record.weight);
                self.touched.push(slot);
            }
            record.weight += changes.weight(row);
        }
        Ok(())
    }

    fn on_watermark(&mut self, _input: usize, bounds: &[Bound]) -> Result<()> {
        self.advance(bounds)
    }

    fn close_epoch(&mut self, _epoch: Epoch, out: &mut Vec<Changes>) -> Result<()> {
        self.sort();
        let (touched, mut gone) = self.settle();
        let mut visible = partition::Visible::default();
        let keep = self.forgets().then_some(self.window.end);
        for run in touched.chunk_by(|a, b| self.records[*a as usize].partition == self.records[*b as usize].partition) {
            let partition = &mut self.partitions[self.records[run[0] as usize].partition as usize];
            let mut merge = partition::Merge { order: &self.order, rows: self.rows.keys(), records: &self.records };
            merge.insert(partition, run);
            match self.spec.rank {
                Rank::None | Rank::RowNumber => merge.walk(partition, run, self.window, self.spec.rank, &mut visible),
                Rank::Rank | Rank::DenseRank => {
                    merge.walk_ranks(partition, run, self.window, self.spec.rank, &mut visible);
                }
            }
            merge.remove(partition, run, keep, self.spec.rank, &mut gone);
        }
        #[cfg(test)]
        {
            self.walked += visible.walked;
        }
        self.emit(&visible, out)?;
        for slot in touched {
            self.records[slot as usize].touched = false;
            if self.records[slot as usize].weight != 0 {
                self.ledger.change(slot);
            }
        }
        self.forget(&gone);
        self.expire()
    }

    fn checkpoint(&mut self) -> Result<Vec<StateDelta>> {
        let mut deltas = self.ledger.deletions(0, &self.state_schema)?.into_iter().collect::<Vec<_>>();
        let slots = self.ledger.take_changed();
        deltas.extend(self.ledger.changes(0, &self.state_schema, &slots, |slots| {
            let mut arrays = self.rows.keys().gather(slots)?;
            let weights = slots.iter().map(|slot| self.records[*slot as usize].weight);
            arrays.push(Arc::new(Int64Array::from_iter_values(weights)));
            Ok(arrays)
        })?);
        Ok(deltas)
    }

    fn restore(&mut self, delta: StateDelta) -> Result<()> {
        self.unsorted = true;
        let (deleted, delta) = self.ledger.restore(&self.state_schema, delta)?;
        for slot in deleted {
            self.rows.remove(slot);
            self.records[slot as usize] = Record::default();
        }
        let (rows, width) = (delta.rows.num_rows(), self.spec.input.fields().len());
        let columns = delta.rows.columns()[1..=width].to_vec();
        let weights = delta.rows.column(width + 1).as_primitive_opt::<Int64Type>();
        let weights = weights.ok_or_else(|| damaged(&delta.rows))?.values().clone();
        self.number_partitions(&columns, rows)?;
        self.place(&columns, rows)?;
        self.ledger.adopt(&delta, &self.slots)?;
        for (row, slot) in self.slots.iter().enumerate() {
            let record = Record { weight: weights[row], partition: self.key_slots[row], ..Record::default() };
            self.records[*slot as usize] = record;
        }
        Ok(())
    }

    fn state_rows(&self) -> usize {
        self.rows.len()
    }

    fn state_bytes(&self) -> usize {
        // The partitions name every row once.
        let partitions = vec_bytes(&self.partitions) + self.rows.len() * size_of::<u32>();
        self.keys.bytes() + self.rows.bytes() + vec_bytes(&self.records) + self.ledger.bytes() + partitions
    }
}
