//! `bool_and` (`every`) and `bool_or`: how many values are true and how many false, which can be taken back.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray};
use arrow::datatypes::{DataType, Field, Int64Type};

use super::accumulator::{Accumulator, Feed, gather_i64, grow, only, state_column};
use crate::error::{Error, Result};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantifier {
    /// `bool_and`
    All,
    /// `bool_or`
    Any,
}

/// True and false values of each group.
pub(super) struct Truths {
    quantifier: Quantifier,
    counts: Vec<[i64; 2]>,
}

impl Truths {
    pub(super) fn new(quantifier: Quantifier) -> Self {
        Self { quantifier, counts: Vec::new() }
    }

    fn value(&self, group: u32) -> Option<bool> {
        match (self.quantifier, self.counts[group as usize]) {
            (_, [0, 0]) => None,
            (Quantifier::All, [no, _]) => Some(no == 0),
            (Quantifier::Any, [_, yes]) => Some(yes != 0),
        }
    }
}

impl Accumulator for Truths {
    fn resize(&mut self, groups: usize) {
        grow(&mut self.counts, groups);
    }

    fn update(&mut self, groups: &[u32], arguments: &[ArrayRef], feed: &Feed<'_>) -> Result<()> {
        let values = only(arguments)?.as_boolean_opt();
        let values = values.ok_or_else(|| Error::internal("bool_and and bool_or take BOOLEAN"))?.values();
        feed.each(groups.len(), |row, weight| {
            self.counts[groups[row] as usize][usize::from(values.value(row))] += weight;
        });
        Ok(())
    }

    fn clear(&mut self, group: u32) {
        self.counts[group as usize] = [0, 0];
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        Ok(Arc::new(groups.iter().map(|group| self.value(*group)).collect::<BooleanArray>()))
    }

    fn fields(&self) -> Vec<Field> {
        ["false", "true"].map(|name| Field::new(name, DataType::Int64, true)).into()
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok([0, 1].map(|at| gather_i64(groups, |group| self.counts[group][at])).into())
    }

    fn restore(&mut self, groups: &[u32], columns: &[ArrayRef]) -> Result<()> {
        groups.iter().for_each(|group| self.clear(*group));
        self.merge(groups, columns)
    }

    fn merge(&mut self, groups: &[u32], columns: &[ArrayRef]) -> Result<()> {
        for at in [0, 1] {
            let counts = state_column(columns, at)?.as_primitive::<Int64Type>();
            groups.iter().zip(counts.values()).for_each(|(group, count)| self.counts[*group as usize][at] += *count);
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.counts.capacity() * 16
    }
}
