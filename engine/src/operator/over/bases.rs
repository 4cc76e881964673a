//! What running aggregates hold of rows that were forgotten: from there they go on.

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::scalar::ScalarValue;

use super::age::Ages;
use super::running::{Snapshot, aggregate_of};
use super::{Over, OverSpec, Partition, running};
use crate::error::{Error, Result};
use crate::hash;
use crate::operator::ledger::Ledger;
use crate::operator::{StateDelta, StateTable, columns};
use crate::rows::KeyIndex;

/// Number of the state table.
pub(super) const TABLE: usize = 1;

/// The book of the partitions whose first rows were forgotten. State table: `forgotten`, keyed by a row number, with the
/// partition's columns and what each running aggregate holds.
#[derive(Debug)]
pub(super) struct Bases {
    schema: SchemaRef,
    /// Number of partition columns.
    keys: usize,
    /// By running aggregate the number of its values.
    widths: Vec<usize>,
    /// By partition.
    ledger: Ledger,
    len: usize,
}

impl Bases {
    /// Nothing for an operator without running aggregates, or one that never forgets rows by their order.
    pub(super) fn new(spec: &OverSpec) -> Result<Option<Self>> {
        let calls = running(spec);
        if calls.is_empty() || Ages::of(spec).is_none() {
            return Ok(None);
        }
        let (mut extra, mut widths) = (Vec::new(), Vec::new());
        for call in calls {
            let fields = aggregate_of(&spec.calls[call])?.state_fields()?;
            widths.push(fields.len());
            let named = fields.iter().enumerate().map(|(n, f)| (format!("__{call}_{n}"), f.data_type().clone()));
            extra.extend(named);
        }
        let partition = columns::schema_of(&spec.input, &spec.partition)?;
        let extra = extra.iter().map(|(name, of)| (name.as_str(), of.clone())).collect::<Vec<_>>();
        let schema = columns::state_schema(&[("__row", DataType::UInt64)], partition.fields(), &extra);
        Ok(Some(Self { schema, keys: spec.partition.len(), widths, ledger: Ledger::default(), len: 0 }))
    }

    pub(super) fn table(&self) -> StateTable {
        StateTable { name: "forgotten", schema: self.schema.clone(), key_len: 1 }
    }

    /// Number of partitions.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Estimate of the memory held, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.ledger.bytes() + self.len * self.widths.iter().sum::<usize>() * size_of::<ScalarValue>()
    }

    /// Ends restoring.
    pub(super) fn start(&mut self) {
        self.ledger.start();
    }

    /// A partition's aggregates go on from somewhere else.
    pub(super) fn change(&mut self, partition: u32, keys: &KeyIndex) {
        if !self.ledger.holds(partition) {
            self.ledger.add(partition, hash::vnode(keys.hash(partition)));
            self.len += 1;
        }
        self.ledger.change(partition);
    }

    /// A partition is no more.
    pub(super) fn remove(&mut self, partition: u32) {
        if self.ledger.holds(partition) {
            self.ledger.remove(partition);
            self.len -= 1;
        }
    }

    pub(super) fn checkpoint(&mut self, keys: &KeyIndex, partitions: &[Partition]) -> Result<Vec<StateDelta>> {
        let mut deltas = self.ledger.deletions(TABLE, &self.schema)?.into_iter().collect::<Vec<_>>();
        let slots = self.ledger.take_changed();
        deltas.extend(self.ledger.changes(TABLE, &self.schema, &slots, |slots| {
            let mut arrays = keys.keys().gather(slots)?;
            let states = |slot: &u32| partitions[*slot as usize].base.as_ref().map(Snapshot::states);
            let states = slots.iter().filter_map(states).collect::<Vec<_>>();
            for (call, width) in self.widths.iter().enumerate() {
                for value in 0..*width {
                    arrays.push(ScalarValue::iter_to_array(states.iter().map(|state| state[call][value].clone()))?);
                }
            }
            Ok(arrays)
        })?);
        Ok(deltas)
    }

    /// Begins to restore a delta: the partitions that are there no more, and the rest of it.
    pub(super) fn restore(&mut self, delta: StateDelta) -> Result<(Vec<u32>, StateDelta)> {
        let (gone, rest) = self.ledger.restore(&self.schema, delta)?;
        self.len -= gone.len();
        Ok((gone, rest))
    }

    /// The columns of a delta that tell partitions apart.
    pub(super) fn partition_columns<'a>(&self, delta: &'a StateDelta) -> &'a [ArrayRef] {
        &delta.rows.columns()[1..=self.keys]
    }

    /// What the aggregates of each partition of a delta hold.
    pub(super) fn adopt(&mut self, delta: &StateDelta, slots: &[u32]) -> Result<Vec<Vec<Vec<ScalarValue>>>> {
        self.len += slots.iter().filter(|slot| !self.ledger.holds(**slot)).count();
        self.ledger.adopt(delta, slots)?;
        let values = &delta.rows.columns()[1 + self.keys..];
        let of_row = |row: usize| {
            let mut values = values.iter().map(|values: &ArrayRef| {
                debug_assert!(row < values.len());
                ScalarValue::try_from_array(values, row)
            });
            let call = |width: &usize| values.by_ref().take(*width).collect::<Result<Vec<_>, _>>();
            Ok(self.widths.iter().map(call).collect::<Result<Vec<_>, _>>()?)
        };
        (0..slots.len()).map(of_row).collect()
    }
}

impl Over {
    /// Puts back what running aggregates hold of forgotten rows.
    pub(super) fn restore_bases(&mut self, delta: StateDelta) -> Result<()> {
        let heads = Ages::of(&self.spec).map_or(0, |ages| ages.heads());
        let Some(mut bases) = self.bases.take() else {
            return Err(Error::internal("a window without running aggregates has one state table"));
        };
        let (gone, delta) = bases.restore(delta)?;
        gone.into_iter().for_each(|partition| self.partitions[partition as usize].base = None);
        let partitions = self.number_partitions(bases.partition_columns(&delta), delta.rows.num_rows())?;
        for (partition, states) in partitions.iter().zip(bases.adopt(&delta, &partitions)?) {
            self.partitions[*partition as usize].base = Some(Snapshot::new(heads, states));
        }
        self.bases = Some(bases);
        Ok(())
    }
}
