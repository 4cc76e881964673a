//! Temporal filters: rows that pass a condition on the time of the epoch, such as `ts > now() - INTERVAL '1' HOUR`.
//!
//! Every row passes during one span of time, which is known when it comes: `[from, until)`. It is emitted when the span
//! begins and taken back when it ends, without any input; the operator says at which moment it has to be asked next. Only
//! rows for which such a moment is still to come are held.

use std::collections::BTreeSet;

use arrow::array::{ArrayRef, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};

use crate::change::Changes;
use crate::error::Result;
use crate::operator::columns::{self, compact};
use crate::operator::held::HeldRows;
use crate::operator::on_close::encoded;
use crate::operator::{Epoch, Operator, OperatorInfo, StateDelta};
use crate::rows::vec_bytes;
use crate::watermark::ordinals;

/// Rows that are gathered at once.
const CHUNK: usize = 8192;
/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// Which end of a row's span a bound is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It passes from this time on.
    From,
    /// It passes before this time.
    Until,
}

/// To which midnight a time is moved first, for conditions on the current date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Midnight {
    /// To none.
    None,
    /// To the one before it, or its own.
    Before,
    /// To the one after it, or its own.
    After,
}

/// One end of a row's span: a column (a time or a date), plus something, moved to midnight, plus something; in microseconds.
/// A row whose column is NULL never passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TemporalBound {
    /// The column.
    pub column: usize,
    /// Which end.
    pub end: End,
    /// Is added to the column's value.
    pub plus: i64,
    /// Where it is moved then.
    pub midnight: Midnight,
    /// Is added last.
    pub then: i64,
}

impl TemporalBound {
    /// The time of the bound, in ms since the Unix epoch: times of epochs are whole ms, so it is rounded up.
    fn moment(&self, value: i64) -> i64 {
        let time = value.saturating_add(self.plus);
        let since = time.rem_euclid(DAY);
        let time = match self.midnight {
            Midnight::None => time,
            Midnight::Before => time.saturating_sub(since),
            Midnight::After if since == 0 => time,
            Midnight::After => time.saturating_sub(since).saturating_add(DAY),
        };
        let time = time.saturating_add(self.then);
        time.div_euclid(1000) + i64::from(time.rem_euclid(1000) > 0)
    }
}

/// What a [`Temporal`] does.
#[derive(Debug, Clone)]
pub struct TemporalSpec {
    /// Columns of the input: those of the output, then others that the bounds need.
    pub input: SchemaRef,
    /// All must hold.
    pub bounds: Vec<TemporalBound>,
    /// The columns by whose hash rows are routed; none: all rows are in one task.
    pub route: Vec<usize>,
    /// Columns of the output.
    pub output: SchemaRef,
}

/// The span of time (ms since the Unix epoch) in which a row passes: from the first, before the second.
type Span = (i64, i64);

/// A filter on the time of the epoch. Stateful.
#[derive(Debug)]
pub struct Temporal {
    spec: TemporalSpec,
    rows: HeldRows,
    spans: Vec<Span>,
    /// The next moment of every held row.
    agenda: BTreeSet<(i64, u32)>,
    unsorted: bool,
}

impl Temporal {
    /// An instance.
    ///
    /// # Errors
    /// `Sql` if a column's type cannot be kept.
    pub fn new(spec: &TemporalSpec) -> Result<Self> {
        let rows = HeldRows::new(&spec.input, &spec.route)?;
        Ok(Self { spec: spec.clone(), rows, spans: Vec::new(), agenda: BTreeSet::new(), unsorted: false })
    }

    /// The span of every row.
    fn spans(&self, columns: &[ArrayRef], rows: usize) -> Result<Vec<Span>> {
        let mut spans = vec![(i64::MIN, i64::MAX); rows];
        for bound in &self.spec.bounds {
            let times = micros(&columns[bound.column])?;
            for (span, time) in spans.iter_mut().zip(&times) {
                match (time.map(|time| bound.moment(time)), bound.end) {
                    (None, _) => *span = (i64::MAX, i64::MIN),
                    (Some(from), End::From) => span.0 = span.0.max(from),
                    (Some(until), End::Until) => span.1 = span.1.min(until),
                }
            }
        }
        Ok(spans)
    }

    fn remember(&mut self, slot: u32, span: Span) {
        if slot as usize >= self.spans.len() {
            self.spans.resize(slot as usize + 1, (i64::MAX, i64::MIN));
        }
        self.spans[slot as usize] = span;
    }

    /// Puts restored rows on the agenda.
    fn sort(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.unsorted) {
            return Ok(());
        }
        let slots = self.rows.all();
        let spans = self.spans(&self.rows.gather(&slots)?, slots.len())?;
        for (slot, span) in slots.into_iter().zip(spans) {
            self.remember(slot, span);
            // A row that is shown waits for its end, any other for its beginning; that may have come while nobody was here.
            let next = if self.rows.get(slot).shown == 0 { span.0 } else { span.1 };
            self.agenda.insert((next, slot));
        }
        Ok(())
    }

    fn emit(&self, changed: &[(u32, i64)], out: &mut Vec<Changes>) -> Result<()> {
        for chunk in changed.chunks(CHUNK) {
            let slots: Vec<u32> = chunk.iter().map(|(slot, _)| *slot).collect();
            let mut arrays = encoded(&self.rows, &slots, &self.spec.input)?;
            arrays.truncate(self.spec.output.fields().len());
            let rows = columns::batch(&self.spec.output, arrays, slots.len())?;
            out.push(Changes::new(rows, compact(chunk.iter().map(|(_, weight)| *weight).collect())));
        }
        Ok(())
    }
}

/// A column of times or dates in microseconds.
fn micros(column: &ArrayRef) -> Result<Int64Array> {
    ordinals(&cast(column, &DataType::Timestamp(TimeUnit::Microsecond, None))?)
}

impl Operator for Temporal {
    // State table: `rows`, keyed by a row number.
    fn info(&self) -> OperatorInfo {
        OperatorInfo { name: "TemporalFilter", schema: self.spec.output.clone(), state: vec![self.rows.table()] }
    }

    fn on_changes(&mut self, _input: usize, changes: Changes, _out: &mut Vec<Changes>) -> Result<()> {
        self.sort()?;
        let spans = self.spans(changes.rows().columns(), changes.len())?;
        for (row, slot) in self.rows.apply(&changes)? {
            self.remember(slot, spans[row]);
        }
        Ok(())
    }

    fn close_epoch(&mut self, epoch: Epoch, out: &mut Vec<Changes>) -> Result<()> {
        self.sort()?;
        let now = epoch.timestamp_ms;
        while let Some((_, slot)) = self.agenda.first().copied().filter(|(moment, _)| *moment <= now) {
            self.agenda.pop_first();
            self.rows.touch(slot);
        }
        let touched = self.rows.take_touched();
        let passes = |span: Span| span.0 <= now && now < span.1;
        let target = |rows: &HeldRows, slot: u32| {
            if passes(self.spans[slot as usize]) { rows.get(slot).weight } else { 0 }
        };
        let changed = touched.iter().map(|slot| (*slot, target(&self.rows, *slot) - self.rows.get(*slot).shown));
        let changed: Vec<_> = changed.filter(|(_, weight)| *weight != 0).collect();
        self.emit(&changed, out)?;
        for slot in touched {
            let (span, held) = (self.spans[slot as usize], self.rows.get(slot));
            let shown = if passes(span) { held.weight } else { 0 };
            let next = if now < span.0 { span.0 } else { span.1 };
            self.agenda.remove(&(span.0, slot));
            self.agenda.remove(&(span.1, slot));
            // Nothing is still to come: its end is passed, will never be, or comes before its beginning.
            if held.weight == 0 || next <= now || next == i64::MAX || span.0 >= span.1 {
                self.rows.remove(slot);
            } else {
                self.rows.keep(slot, shown);
                self.agenda.insert((next, slot));
            }
        }
        Ok(())
    }

    fn next_moment(&self) -> Option<i64> {
        self.agenda.first().map(|(moment, _)| *moment)
    }

    fn checkpoint(&mut self) -> Result<Vec<StateDelta>> {
        self.rows.checkpoint()
    }

    fn restore(&mut self, delta: StateDelta) -> Result<()> {
        self.unsorted = true;
        self.rows.restore(delta)
    }

    fn state_rows(&self) -> usize {
        self.rows.len()
    }

    fn state_bytes(&self) -> usize {
        self.rows.bytes() + vec_bytes(&self.spans) + self.agenda.len() * size_of::<(i64, u32)>()
    }
}

#[cfg(test)]
mod tests;
