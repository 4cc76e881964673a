//! The state of an aggregate as tables: `groups`, and one table of values for each multiset.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};

use super::accumulator::gather_i64;
use super::calls::{Call, Calls};
use super::{Aggregate, AggregateSpec};
use crate::change::batch;
use crate::error::{Error, Result};
use crate::operator::{StateDelta, StateTable};

/// Names of the state tables of multisets.
pub(super) const NAMES: [&str; 32] = [
    "values_0",
    "values_1",
    "values_2",
    "values_3",
    "values_4",
    "values_5",
    "values_6",
    "values_7",
    "values_8",
    "values_9",
    "values_10",
    "values_11",
    "values_12",
    "values_13",
    "values_14",
    "values_15",
    "values_16",
    "values_17",
    "values_18",
    "values_19",
    "values_20",
    "values_21",
    "values_22",
    "values_23",
    "values_24",
    "values_25",
    "values_26",
    "values_27",
    "values_28",
    "values_29",
    "values_30",
    "values_31",
];

/// `groups`: group columns, weight, states of the calls. `values_n`: group columns and value columns, count.
pub(super) fn state_tables(spec: &AggregateSpec, calls: &Calls) -> Result<Vec<StateTable>> {
    let key = spec.input.project(&spec.group)?;
    let key: Vec<Field> = key.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    let mut fields = key.clone();
    fields.push(Field::new("__rows", DataType::Int64, true));
    for (at, accumulator) in calls.accumulators() {
        let named = |field: Field| {
            let name = format!("__call{at}_{}", field.name());
            field.with_name(name)
        };
        fields.extend(accumulator.fields().into_iter().map(named));
    }
    let mut tables = vec![StateTable { name: "groups", schema: Arc::new(Schema::new(fields)), key_len: key.len() }];
    for (name, (_, source)) in NAMES.iter().zip(&calls.multisets) {
        let columns = &calls.sources[*source].columns;
        let mut fields = key.clone();
        for (at, column) in columns.iter().enumerate() {
            fields.push(Field::new(format!("__value{at}"), spec.input.field(*column).data_type().clone(), true));
        }
        fields.push(Field::new("__count", DataType::Int64, true));
        let schema = Arc::new(Schema::new(fields));
        tables.push(StateTable { name, schema, key_len: key.len() + columns.len() });
    }
    Ok(tables)
}

impl Aggregate {
    pub(super) fn save(&mut self) -> Result<Vec<StateDelta>> {
        let mut deltas = Vec::new();
        self.save_values(&mut deltas)?;
        let (slots, deleted) = self.groups.take_dirty();
        if slots.is_empty() {
            return Ok(deltas);
        }
        let mut columns = self.groups.keys(&slots)?;
        columns.push(gather_i64(&slots, |group| self.groups.weight(group as u32)));
        for (_, accumulator) in self.calls.accumulators() {
            columns.extend(accumulator.state(&slots)?);
        }
        let ended: Vec<u32> = slots.iter().zip(&deleted).filter(|(_, deleted)| **deleted).map(|(s, _)| *s).collect();
        let vnodes = self.groups.vnodes(&slots)?;
        let rows = batch(&self.info.state[0].schema, columns, slots.len())?;
        deltas.push(StateDelta { table: 0, vnodes, deleted, rows });
        for group in ended {
            self.groups.forget(group);
            self.clear(group);
        }
        Ok(deltas)
    }

    fn save_values(&mut self, deltas: &mut Vec<StateDelta>) -> Result<()> {
        for (at, (multiset, _)) in self.calls.multisets.iter_mut().enumerate() {
            let dirty = multiset.take_dirty()?;
            if dirty.groups.is_empty() {
                continue;
            }
            let mut columns = self.groups.keys(&dirty.groups)?;
            columns.extend(dirty.values);
            columns.push(Arc::new(Int64Array::from(dirty.counts)) as ArrayRef);
            deltas.push(StateDelta {
                table: at + 1,
                vnodes: self.groups.vnodes(&dirty.groups)?,
                rows: batch(&self.info.state[at + 1].schema, columns, dirty.groups.len())?,
                deleted: dirty.deleted,
            });
        }
        Ok(())
    }

    pub(super) fn load(&mut self, delta: &StateDelta) -> Result<()> {
        let width = self.spec.group.len();
        let mut slots = Vec::new();
        let (keys, columns) = delta.rows.columns().split_at(width.min(delta.rows.num_columns()));
        self.groups.resolve(keys, delta.rows.num_rows(), &mut slots)?;
        self.resize();
        if delta.table == 0 {
            return self.load_groups(delta, &slots, columns);
        }
        let multiset = self.calls.multisets.get_mut(delta.table - 1);
        let (Some((multiset, _)), Some((counts, values))) = (multiset, columns.split_last()) else {
            return Err(Error::internal(format!("an aggregate has no state table {}", delta.table)));
        };
        let counts = counts.as_primitive_opt::<Int64Type>();
        let counts = counts.ok_or_else(|| Error::internal("counts of values are not BIGINT"))?;
        let counts = (0..slots.len()).map(|row| if delta.deleted[row] { 0 } else { counts.value(row) });
        multiset.restore(&slots, values, counts)
    }

    fn load_groups(&mut self, delta: &StateDelta, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let (weights, mut states) = columns.split_first().ok_or_else(|| Error::internal("groups without weight"))?;
        let weights = weights.as_primitive_opt::<Int64Type>();
        let weights = weights.ok_or_else(|| Error::internal("weights of groups are not BIGINT"))?;
        for accumulator in self.calls.accumulators_mut() {
            let (own, rest) = states.split_at(accumulator.fields().len().min(states.len()));
            accumulator.restore(slots, own)?;
            states = rest;
        }
        for (row, slot) in slots.iter().enumerate() {
            if !delta.deleted[row] {
                self.groups.restore(*slot, Some(weights.value(row)));
                continue;
            }
            self.groups.restore(*slot, None);
            self.calls.accumulators_mut().for_each(|accumulator| accumulator.clear(*slot));
        }
        Ok(())
    }

    pub(super) fn clear(&mut self, group: u32) {
        self.calls.multisets.iter_mut().for_each(|(multiset, _)| multiset.clear(group));
        self.calls.accumulators_mut().for_each(|accumulator| accumulator.clear(group));
    }

    /// Makes room for all groups there are.
    pub(super) fn resize(&mut self) {
        let groups = self.groups.slots();
        self.calls.multisets.iter_mut().for_each(|(multiset, _)| multiset.resize(groups));
        for call in &mut self.calls.calls {
            if let Call::Own { accumulator, .. } = call {
                accumulator.resize(groups);
            }
        }
    }
}
