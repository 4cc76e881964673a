//! `min`, `max`, `first_value` and `last_value` where rows never leave: only the extremum itself is kept.
//!
//! `min` and `max` ignore NULLs; NaN is greater than every number (so `max` is NaN as soon as there is one, `min` only if there is
//! nothing else), where a batch query's answer would depend on the order of rows.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowNativeTypeOp, AsArray, BooleanArray, PrimitiveArray, downcast_primitive};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Field, FieldRef, Schema};

use super::accumulator::{Accumulator, Feed, canonical, grow, only, state_column};
use super::order::{ASCENDING, Order};
use crate::change::Weights;
use crate::error::{Error, Result};
use crate::rows::{NO_SLOT, RowStore};

/// Which extremum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Min,
    Max,
}

impl End {
    /// Whether a value that compares so to the present extremum replaces it.
    #[inline(always)]
    pub(super) fn beats(self, ordering: Ordering) -> bool {
        match self {
            Self::Min => ordering == Ordering::Less,
            Self::Max => ordering == Ordering::Greater,
        }
    }
}

/// The accumulator of `min` or `max` over insert-only input of a type.
pub(super) fn extremum(end: End, data_type: &DataType) -> Result<Box<dyn Accumulator>> {
    macro_rules! native {
        ($type:ty) => {
            Ok(Box::new(NativeExtremum::<$type> { end, data_type: data_type.clone(), best: Vec::new() }))
        };
    }
    downcast_primitive! {
        data_type => (native),
        _ => {
            let schema = Schema::new(vec![Field::new("value", data_type.clone(), true)]);
            Ok(Box::new(StoredExtremum::new(end, &schema, Order::new(vec![(0, ASCENDING)]), 0)?))
        }
    }
}

/// Extremum of fixed-width values.
struct NativeExtremum<T: ArrowPrimitiveType> {
    end: End,
    data_type: DataType,
    best: Vec<Option<T::Native>>,
}

impl<T: ArrowPrimitiveType> NativeExtremum<T> {
    fn add(
        &mut self,
        groups: &[u32],
        values: &[T::Native],
        feed: &Feed<'_>,
        beats: impl Fn(T::Native, T::Native) -> bool,
    ) {
        feed.each(groups.len(), |row, _| {
            let (group, value) = (groups[row] as usize, values[row]);
            if self.best[group].is_none_or(|best| beats(value, best)) {
                self.best[group] = Some(value);
            }
        });
    }
}

impl<T: ArrowPrimitiveType> Accumulator for NativeExtremum<T> {
    fn resize(&mut self, groups: usize) {
        grow(&mut self.best, groups);
    }

    fn update(&mut self, groups: &[u32], arguments: &[ArrayRef], feed: &Feed<'_>) -> Result<()> {
        let argument = canonical(only(arguments)?);
        let argument = argument.as_primitive_opt::<T>();
        let values = argument.ok_or_else(|| Error::internal("an extremum got another type"))?.values();
        match self.end {
            End::Min => self.add(groups, values, feed, |value, best| value.is_lt(best)),
            End::Max => self.add(groups, values, feed, |value, best| value.is_gt(best)),
        }
        Ok(())
    }

    fn clear(&mut self, group: u32) {
        self.best[group as usize] = None;
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        let array = groups.iter().map(|group| self.best[*group as usize]).collect::<PrimitiveArray<T>>();
        Ok(Arc::new(array.with_data_type(self.data_type.clone())))
    }

    fn fields(&self) -> Vec<Field> {
        vec![Field::new("extremum", self.data_type.clone(), true)]
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(groups)?])
    }

    fn restore(&mut self, groups: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let values = state_column(columns, 0)?.as_primitive::<T>();
        for (row, group) in groups.iter().enumerate() {
            self.best[*group as usize] = values.is_valid(row).then(|| values.value(row));
        }
        Ok(())
    }

    fn merge(&mut self, groups: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let values = state_column(columns, 0)?;
        let mask = values.nulls().map(|nulls| nulls.inner());
        self.update(groups, std::slice::from_ref(values), &Feed::Batch { mask, weights: &Weights::Ones })
    }

    fn bytes(&self) -> usize {
        self.best.capacity() * size_of::<Option<T::Native>>()
    }
}

/// The first or last row in an order: the slot of a stored row per group. For strings, and for orders over several columns.
pub(super) struct StoredExtremum {
    end: End,
    store: RowStore,
    order: Order,
    /// The column that is the result.
    shown: usize,
    best: Vec<u32>,
}

impl StoredExtremum {
    /// Over rows of a schema. An order that leaves rows equal which are not would make the result a matter of chance.
    pub(super) fn new(end: End, schema: &Schema, order: Order, shown: usize) -> Result<Self> {
        Ok(Self { end, store: RowStore::new(schema)?, order, shown, best: Vec::new() })
    }

    fn replace(&mut self, group: u32, slot: u32) {
        let old = std::mem::replace(&mut self.best[group as usize], slot);
        if old != NO_SLOT {
            self.store.free(old);
        }
    }

    fn slots(&self, groups: &[u32]) -> Vec<u32> {
        groups.iter().map(|group| self.best[*group as usize]).collect()
    }
}

impl Accumulator for StoredExtremum {
    fn resize(&mut self, groups: usize) {
        if groups > self.best.len() {
            self.best.resize(groups, NO_SLOT);
        }
    }

    fn update(&mut self, groups: &[u32], arguments: &[ArrayRef], feed: &Feed<'_>) -> Result<()> {
        let columns: Vec<ArrayRef> = arguments.iter().map(canonical).collect();
        let view = self.store.view(&columns)?;
        feed.each(groups.len(), |row, _| {
            let best = self.best[groups[row] as usize];
            if best == NO_SLOT || self.end.beats(self.order.cmp_row(&self.store, &view, row, best)) {
                let slot = self.store.push(&view, row);
                self.replace(groups[row], slot);
            }
        });
        Ok(())
    }

    fn clear(&mut self, group: u32) {
        self.replace(group, NO_SLOT);
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        self.store.gather_column(self.shown, &self.slots(groups))
    }

    fn fields(&self) -> Vec<Field> {
        let named = |(at, field): (usize, &FieldRef)| Field::new(format!("value{at}"), field.data_type().clone(), true);
        let set = Field::new("set", DataType::Boolean, true);
        self.store.schema().fields().iter().enumerate().map(named).chain([set]).collect()
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let slots = self.slots(groups);
        let mut columns = self.store.gather_or_null(&slots)?;
        columns.push(Arc::new(slots.iter().map(|slot| Some(*slot != NO_SLOT)).collect::<BooleanArray>()));
        Ok(columns)
    }

    fn restore(&mut self, groups: &[u32], columns: &[ArrayRef]) -> Result<()> {
        groups.iter().for_each(|group| self.replace(*group, NO_SLOT));
        self.merge(groups, columns)
    }

    fn merge(&mut self, groups: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let width = self.store.schema().fields().len();
        let set = state_column(columns, width)?.as_boolean_opt();
        let set = set.ok_or_else(|| Error::internal("the state of an extremum does not say whether there is one"))?;
        self.update(groups, &columns[..width], &Feed::Batch { mask: Some(set.values()), weights: &Weights::Ones })
    }

    fn bytes(&self) -> usize {
        self.store.bytes() + self.best.capacity() * 4
    }
}
