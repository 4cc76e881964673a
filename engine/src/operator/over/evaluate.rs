//! Evaluation of touched rows, many partitions at once.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, UInt64Type};

use super::call::{Start, WindowCall};
use super::emit::Emission;
use super::reach::{Gap, united};
use super::running::OnFailure;
use super::{Over, batch_of, running};
use crate::error::{Error, Result};
use crate::operator::columns::encoded_as;
use crate::operator::failure::row_text;

/// Rows of one partition whose results are wanted.
#[derive(Debug)]
struct Task {
    partition: u32,
    /// The rows.
    wanted: Range<usize>,
    /// By function the rows that it is evaluated over.
    contexts: Vec<Range<usize>>,
    /// All rows of the contexts.
    gathered: Range<usize>,
}

/// Tasks that are evaluated together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    tasks: Vec<Task>,
    rows: usize,
}

impl Batch {
    pub(super) fn rows(&self) -> usize {
        self.rows
    }
}

impl Over {
    /// Adds what is to be evaluated after rows came and went in a partition.
    pub(super) fn plan(&mut self, partition: u32, gaps: &[Gap], batch: &mut Batch) -> Result<()> {
        let at = partition as usize;
        let mut ranges = Vec::with_capacity(gaps.len() * self.spec.calls.len());
        let sorted = self.partitions[at].sorted(&self.rows, &self.order);
        for gap in gaps {
            for call in &self.spec.calls {
                ranges.push(call.affected(&sorted, *gap)?);
            }
        }
        let ranges = united(ranges);
        let by_peers =
            self.spec.calls.iter().any(|call| call.start == Start::Running && call.ahead != super::Reach::Rows(0));
        for wanted in ranges {
            let sorted = self.partitions[at].sorted(&self.rows, &self.order);
            let mut contexts =
                self.spec.calls.iter().map(|call| call.context(&sorted, &wanted)).collect::<Result<Vec<_>>>()?;
            let running = running(&self.spec);
            if !running.is_empty() {
                let first = if by_peers { sorted.peers_start(wanted.start) } else { wanted.start };
                let from = super::running::resume_at(&mut self.partitions[at], first);
                running.into_iter().for_each(|call| contexts[call].start = from);
            }
            let start = contexts.iter().map(|context| context.start).min().unwrap_or(wanted.start);
            let end = contexts.iter().map(|context| context.end).max().unwrap_or(wanted.end);
            batch.rows += end - start + self.head();
            batch.tasks.push(Task { partition, wanted, contexts, gathered: start..end });
        }
        Ok(())
    }

    /// How many first rows of every partition are evaluated along.
    fn head(&self) -> usize {
        let head = |call: &WindowCall| if let Start::Head(rows) = call.start { rows } else { 0 };
        self.spec.calls.iter().map(head).max().unwrap_or(0)
    }

    /// Evaluates tasks and keeps the results that differ.
    pub(super) fn evaluate(&mut self, batch: Batch, emissions: &mut Vec<Emission>) -> Result<()> {
        if batch.tasks.is_empty() {
            return Ok(());
        }
        #[cfg(test)]
        {
            self.evaluated += batch.rows;
        }
        let head = self.head();
        let mut gathered = Vec::with_capacity(batch.rows);
        let mut wanted = Vec::new();
        for task in &batch.tasks {
            let slots = &self.partitions[task.partition as usize].slots;
            gathered.extend_from_slice(&slots[..head.min(slots.len())]);
            gathered.extend_from_slice(&slots[task.gathered.clone()]);
            wanted.extend_from_slice(&slots[task.wanted.clone()]);
        }
        let rows = batch_of(&self.spec, &self.rows, &gathered)?;
        let fields = &self.spec.output.fields()[self.width()..];
        let mut results: Vec<Vec<ArrayRef>> = vec![Vec::with_capacity(batch.tasks.len()); self.spec.calls.len()];
        let running = running(&self.spec);
        let mut offset = 0;
        for task in &batch.tasks {
            let heads = head.min(self.partitions[task.partition as usize].slots.len());
            let first_rows = rows.slice(offset, heads);
            offset += heads;
            let part = |range: &Range<usize>| rows.slice(offset + range.start - task.gathered.start, range.len());
            for (place, call) in self.spec.calls.iter().enumerate().filter(|(_, call)| call.start != Start::Running) {
                let context = &task.contexts[place];
                let before = self.count_before(call, place, task)?;
                let whole = || call.evaluate(&part(context), context, &task.wanted, &first_rows, before);
                if !matches!(call.start, Start::Reach | Start::Head(_)) {
                    results[place].push(whole()?);
                    continue;
                }
                let slots = &self.partitions[task.partition as usize].slots;
                let sorted = self.partitions[task.partition as usize].sorted(&self.rows, &self.order);
                let mut some = |places: &[usize]| match places {
                    [] => whole(),
                    all if all.len() == task.wanted.len() => whole(),
                    [first, ..] => {
                        let wanted = *first..*first + places.len();
                        let context = call.context(&sorted, &wanted)?;
                        call.evaluate(&part(&context), &context, &wanted, &first_rows, 0)
                    }
                };
                let explain = |place: &usize, error| self.explain(call, slots[*place], error);
                let (wanted, of) = (task.wanted.clone().collect::<Vec<_>>(), fields[place].data_type());
                results[place].push(self.spec.failing.results(&wanted, of, &mut some, &explain)?);
            }
            if let Some(first) = running.first() {
                let calls = running.iter().map(|place| &self.spec.calls[*place]).collect::<Vec<_>>();
                let at = task.partition as usize;
                let mut snapshots = std::mem::take(&mut self.partitions[at].snapshots);
                let (sorted, base) =
                    (self.partitions[at].sorted(&self.rows, &self.order), self.partitions[at].base.as_ref());
                let (context, start) = (part(&task.contexts[*first]), task.wanted.start);
                let wanted = &self.partitions[at].slots[start..];
                let explain = |call: &WindowCall, row: usize, error| self.explain(call, wanted[row], error);
                let failing = OnFailure { failing: &self.spec.failing, explain: &explain };
                let arrays =
                    super::running::evaluate(&calls, &sorted, base, &mut snapshots, &context, start, &failing)?;
                running.iter().zip(arrays).for_each(|(place, array)| results[*place].push(array));
                self.partitions[at].snapshots = snapshots;
            }
            offset += task.gathered.len();
        }
        let results = results.iter().zip(fields).map(|(arrays, field)| {
            let arrays = arrays.iter().map(AsRef::as_ref).collect::<Vec<_>>();
            encoded_as(concat(&arrays)?, field.data_type())
        });
        let results = results.collect::<Result<Vec<_>>>()?;
        self.keep(&wanted, &results, emissions)
    }

    /// The error of a function that cannot be computed for a row.
    fn explain(&self, call: &WindowCall, slot: u32, error: Error) -> Error {
        let row = batch_of(&self.spec, &self.rows, &[slot]).map(|row| row_text(&row, call.reads.clone()));
        error.with("window", call.function.name()).with("row", row.unwrap_or_default()).hint(
            "change or delete rows in their table and RESUME JOB, or drop the view and create it over a wider type; SET \
             job.on-error = 'null' before CREATE gives NULL instead",
        )
    }

    /// How far a function that counts had come before its context. Taken from the results and not from positions, since the
    /// first rows of a partition may be forgotten.
    fn count_before(&self, call: &WindowCall, place: usize, task: &Task) -> Result<u64> {
        let counts = matches!(call.start, Start::Position | Start::Rank | Start::DenseRank);
        let Some(last) = task.contexts[place].start.checked_sub(1).filter(|_| counts) else { return Ok(0) };
        let partition = &self.partitions[task.partition as usize];
        let result = self.results.gather_column(place, &[self.result_of[partition.slots[last] as usize]])?;
        let result = cast(&result, &DataType::UInt64)?;
        let number = result.as_primitive_opt::<UInt64Type>().filter(|result| result.is_valid(0));
        let number = number.map(|result| result.value(0)).ok_or_else(|| {
            Error::internal("a row before others has no number").with("function", call.function.name())
        })?;
        if call.start != Start::Rank {
            return Ok(number);
        }
        let peers = last - partition.sorted(&self.rows, &self.order).peers_start(last);
        Ok(number + peers as u64)
    }
}
