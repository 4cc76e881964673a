//! Evaluation of touched rows, many partitions at once.

use std::ops::Range;

use arrow::array::ArrayRef;
use arrow::compute::concat;

use super::call::{Start, WindowCall};
use super::reach::{Gap, united};
use super::{Emission, Over, batch_of, running};
use crate::error::Result;
use crate::operator::columns::encoded_as;

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
                let from = super::running::resume_at(&mut self.partitions[at].snapshots, first);
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
                let before = self.result_before(call, place, task)?;
                results[place].push(call.evaluate(&part(context), context, &task.wanted, &first_rows, before)?);
            }
            if let Some(first) = running.first() {
                let calls = running.iter().map(|place| &self.spec.calls[*place]).collect::<Vec<_>>();
                let mut snapshots = std::mem::take(&mut self.partitions[task.partition as usize].snapshots);
                let sorted = self.partitions[task.partition as usize].sorted(&self.rows, &self.order);
                let context = part(&task.contexts[*first]);
                let arrays = super::running::evaluate(&calls, &sorted, &mut snapshots, &context, task.wanted.start)?;
                running.iter().zip(arrays).for_each(|(place, array)| results[*place].push(array));
                self.partitions[task.partition as usize].snapshots = snapshots;
            }
            offset += task.gathered.len();
        }
        let fields = &self.spec.output.fields()[self.width()..];
        let results = results.iter().zip(fields).map(|(arrays, field)| {
            let arrays = arrays.iter().map(AsRef::as_ref).collect::<Vec<_>>();
            encoded_as(concat(&arrays)?, field.data_type())
        });
        let results = results.collect::<Result<Vec<_>>>()?;
        self.keep(&wanted, &results, emissions)
    }

    /// What a function gave for the row before its context, where it goes on from that.
    fn result_before(&self, call: &WindowCall, place: usize, task: &Task) -> Result<Option<ArrayRef>> {
        if call.start != Start::DenseRank || task.contexts[place].start == 0 {
            return Ok(None);
        }
        let row = self.partitions[task.partition as usize].slots[task.contexts[place].start - 1];
        Ok(Some(self.results.gather_column(place, &[self.result_of[row as usize]])?))
    }
}
