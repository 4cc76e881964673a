//! Repetition: every row as often as one of its columns says, without that column. Stateless.
//!
//! A row's weight is multiplied by the number, so a change costs the same however often the row is repeated. What set
//! operations over multisets (INTERSECT ALL, EXCEPT ALL) end with.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};

use crate::change::Changes;
use crate::error::{Error, Result};
use crate::operator::{Operator, OperatorInfo, columns};

/// Gives each row `n` times, where `n` is a column: never if it is NULL or less than 1. Stateless.
#[derive(Debug)]
pub struct Repeat {
    number: usize,
    output: SchemaRef,
}

impl Repeat {
    /// An instance. `number` is the column of the input that says how often (BIGINT); `output` has all other columns.
    ///
    /// # Errors
    /// `Internal` if there is no such column.
    pub fn new(input: &SchemaRef, number: usize, output: SchemaRef) -> Result<Self> {
        let field = input.fields().get(number);
        if field.is_none_or(|field| *field.data_type() != DataType::Int64) {
            return Err(Error::internal("there is no number of repetitions").with("input", input));
        }
        Ok(Self { number, output })
    }
}

impl Operator for Repeat {
    fn info(&self) -> OperatorInfo {
        OperatorInfo { name: "Repeat", schema: self.output.clone(), state: vec![] }
    }

    fn on_changes(&mut self, _input: usize, changes: Changes, out: &mut Vec<Changes>) -> Result<()> {
        let numbers = changes.rows().column(self.number).as_primitive::<Int64Type>();
        let often = |row: &u32| {
            let row = *row as usize;
            if numbers.is_valid(row) { numbers.value(row).max(0) } else { 0 }
        };
        let kept = (0..changes.len() as u32).filter(|row| often(row) > 0).collect::<Vec<_>>();
        if kept.is_empty() {
            return Ok(());
        }
        let weights = kept.iter().map(|row| changes.weight(*row as usize) * often(row)).collect();
        let part = changes.take(&kept.into())?;
        let arrays = part.rows().columns().iter().enumerate().filter(|(column, _)| *column != self.number);
        let arrays = arrays.map(|(_, array)| array.clone()).collect();
        let rows = columns::batch(&self.output, arrays, part.len())?;
        out.push(Changes::new(rows, columns::compact(weights)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{Field, Schema};

    use super::*;
    use crate::operator::law::{Input, Law, ZSet, add};

    #[test]
    fn obeys_the_law() {
        let field = |name: &str| Field::new(name, DataType::Int64, true);
        let input: SchemaRef = Arc::new(Schema::new(vec![field("a"), field("n"), field("b")]));
        let output: SchemaRef = Arc::new(Schema::new(vec![field("a"), field("b")]));
        let schema = input.clone();
        let make = move || {
            let repeat = Repeat::new(&schema, 1, output.clone()).unwrap();
            Box::new(repeat) as Box<dyn Operator>
        };
        let law = Law::new(vec![Input::new(input, &[0])], make, |seen| {
            let mut answer = ZSet::new();
            for (row, weight) in &seen.totals[0] {
                let times = row[1].int().unwrap_or(0).max(0);
                if times > 0 {
                    add(&mut answer, vec![row[0].clone(), row[2].clone()], weight * times);
                }
            }
            answer
        });
        law.check(64);
    }
}
