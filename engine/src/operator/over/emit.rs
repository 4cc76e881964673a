//! What comes out: rows whose results differ from those that were emitted for them.

use super::partition::Touched;
use super::{CHUNK, NO_SLOT, Over};
use crate::change::{Changes, consolidate};
use crate::error::Result;
use crate::operator::columns::{self, compact};
use arrow::array::ArrayRef;

/// A row with results, to be emitted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Emission {
    pub row: u32,
    pub result: u32,
    pub weight: i64,
}

impl Over {
    /// Keeps the results of evaluated rows that differ from those emitted before.
    pub(super) fn keep(&mut self, slots: &[u32], results: &[ArrayRef], emissions: &mut Vec<Emission>) -> Result<()> {
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

    pub(super) fn emit(&self, emissions: &[Emission], out: &mut Vec<Changes>) -> Result<()> {
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
    pub(super) fn forget(&mut self, emissions: &[Emission], touched: &[Touched], removed: &[u32]) {
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
            self.remove_unused(run[0].partition);
        }
    }
}
