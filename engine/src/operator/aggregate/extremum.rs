//! `min` and `max` where rows never leave: only the extremum itself is kept.
//!
//! NULLs are ignored; NaN is greater than every number (so `max` is NaN as soon as there is one, `min` only if there is
//! nothing else), where a batch query's answer would depend on the order of rows.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowNativeTypeOp, AsArray, PrimitiveArray, downcast_primitive};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Field, Schema};

use super::accumulator::{Accumulator, Feed, canonical, grow, state_column};
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
            Ok(Box::new(StoredExtremum { end, store: RowStore::new(&schema)?, best: Vec::new() }))
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

    fn update(&mut self, groups: &[u32], argument: Option<&ArrayRef>, feed: &Feed<'_>) -> Result<()> {
        let argument = canonical(argument.ok_or_else(|| Error::internal("an extremum without argument"))?);
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
}

/// Extremum of strings and all other types: the slot of a stored value per group.
struct StoredExtremum {
    end: End,
    store: RowStore,
    best: Vec<u32>,
}

impl StoredExtremum {
    fn replace(&mut self, group: u32, slot: u32) {
        let old = std::mem::replace(&mut self.best[group as usize], slot);
        if old != NO_SLOT {
            self.store.free(old);
        }
    }
}

impl Accumulator for StoredExtremum {
    fn resize(&mut self, groups: usize) {
        if groups > self.best.len() {
            self.best.resize(groups, NO_SLOT);
        }
    }

    fn update(&mut self, groups: &[u32], argument: Option<&ArrayRef>, feed: &Feed<'_>) -> Result<()> {
        let argument = argument.ok_or_else(|| Error::internal("an extremum without argument"))?;
        let view = self.store.view(std::slice::from_ref(argument))?;
        feed.each(groups.len(), |row, _| {
            let best = self.best[groups[row] as usize];
            if best == NO_SLOT || self.end.beats(self.store.cmp_row(0, best, &view, row).reverse()) {
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
        let slots = groups.iter().map(|group| self.best[*group as usize]).collect::<Vec<_>>();
        self.store.gather_column(0, &slots)
    }

    fn fields(&self) -> Vec<Field> {
        vec![Field::new("extremum", self.store.schema().field(0).data_type().clone(), true)]
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(groups)?])
    }

    fn restore(&mut self, groups: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let values = state_column(columns, 0)?;
        let view = self.store.view(std::slice::from_ref(values))?;
        for (row, group) in groups.iter().enumerate() {
            let slot = if view.any_null(row) { NO_SLOT } else { self.store.push(&view, row) };
            self.replace(*group, slot);
        }
        Ok(())
    }
}
