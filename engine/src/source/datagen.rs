//! Rows made by rule: sequences and random values, at a constant or swinging rate, the same in every run.
//!
//! A value is a function of seed, column and row number, so a split can start at any row, and the table does not
//! depend on the number of splits. Row `r` of split `s` of `n` is row `r * n + s` of the table.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use catalog::Clock;

use crate::error::{Error, ErrorKind, Result};
use crate::options::{Options, bad_value, nearest};
use crate::source::pace::{Pace, Rate};
use crate::source::{Read, Source, Split, SplitPosition, SplitReader};

mod field;

use field::Field;

/// Rows made at most at once.
const BATCH_ROWS: usize = 8 * 1024;
/// The options that concern one column.
const FIELD_OPTIONS: &[&str] = &[
    "fields.*.kind",
    "fields.*.start",
    "fields.*.end",
    "fields.*.step",
    "fields.*.min",
    "fields.*.max",
    "fields.*.length",
    "fields.*.null-rate",
];

/// A table of generated rows.
#[derive(Debug, Clone)]
pub struct Datagen {
    schema: SchemaRef,
    fields: Vec<Field>,
    rows: Option<u64>,
    rate: Rate,
    splits: u64,
    clock: Arc<dyn Clock>,
}

impl Datagen {
    /// Checks options and columns.
    pub fn create(options: &Options<'_>, schema: SchemaRef, clock: Arc<dyn Clock>) -> Result<Self> {
        check_columns(options, &schema)?;
        let rate = rate(options)?;
        let seed = options.integer("seed").unwrap_or(0);
        let step = match options.integer("rows-per-second") {
            Some(rows) if rows > 0 => (1_000_000 / rows).max(1) as i64,
            _ => 1_000,
        };
        let make = |(i, field): (usize, &Arc<arrow::datatypes::Field>)| {
            Field::create(options, field, crate::hash::mix(seed, i as u64), step)
        };
        let fields = schema.fields().iter().enumerate().map(make).collect::<Result<Vec<_>>>()?;
        let sequences = fields.iter().filter_map(Field::rows);
        let rows = options.integer("number-of-rows").into_iter().chain(sequences).min();
        let splits = options.positive("splits")?.unwrap_or(8);
        Ok(Self { schema, fields, rows, rate, splits, clock })
    }
}

/// Every `fields.x...` must speak of a column.
fn check_columns(options: &Options<'_>, schema: &SchemaRef) -> Result<()> {
    for pattern in FIELD_OPTIONS {
        for (column, option) in options.columns(pattern) {
            if schema.field_with_name(column).is_ok() {
                continue;
            }
            let names = schema.fields().iter().map(|f| f.name().as_str());
            let error =
                Error::new(ErrorKind::Option, format!("the option '{option}' speaks of a column that is not there"));
            return Err(match nearest(column, names) {
                Some(near) => error.hint(format!("did you mean {near}?")),
                None => error,
            });
        }
    }
    Ok(())
}

fn rate(options: &Options<'_>) -> Result<Rate> {
    let rows = options.integer("rows-per-second").unwrap_or(0) as f64;
    let sine = options.word("rate.shape").as_deref() == Some("sine");
    if !sine {
        for name in ["rate.amplitude", "rate.period"] {
            if options.given(name) {
                return Err(Error::new(ErrorKind::Option, format!("the option '{name}' needs 'rate.shape' = 'sine'")));
            }
        }
        return Ok(if rows == 0.0 { Rate::Unlimited } else { Rate::Constant { rows } });
    }
    if rows == 0.0 {
        return Err(bad_value("rows-per-second", "0", "a whole number greater than 0 when 'rate.shape' is 'sine'"));
    }
    let amplitude = options.number("rate.amplitude").unwrap_or(0.5);
    if !(0.0..=1.0).contains(&amplitude) {
        return Err(bad_value("rate.amplitude", &amplitude.to_string(), "a number between 0 and 1"));
    }
    let period = options.duration("rate.period").unwrap_or(Duration::from_secs(60)).as_secs_f64();
    if period == 0.0 {
        return Err(bad_value("rate.period", "0", "a duration longer than 0"));
    }
    Ok(Rate::Sine { rows, amplitude, period })
}

impl Source for Datagen {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn bounded(&self) -> bool {
        self.rows.is_some()
    }

    fn splits(&self) -> Result<Vec<Split>> {
        Ok((0..self.splits).map(|split| Split { id: split.to_string() }).collect())
    }

    fn monitor_interval(&self) -> Option<Duration> {
        None
    }

    fn open(&self, split: &Split, from: SplitPosition, projection: &[usize]) -> Result<Box<dyn SplitReader>> {
        let number = split.id.parse().ok().filter(|number| *number < self.splits);
        let number: u64 = number.ok_or_else(|| Error::internal("no such split").with("split", &split.id))?;
        Ok(Box::new(Reader {
            schema: Arc::new(self.schema.project(projection)?),
            fields: projection.iter().map(|column| self.fields[*column].clone()).collect(),
            split: number,
            splits: self.splits,
            rows: self.rows.unwrap_or(u64::MAX),
            pace: Pace::start(self.rate, self.clock.clone(), from.rows * self.splits + number),
            clock: self.clock.clone(),
            position: from,
        }))
    }

    fn repeatable(&self) -> bool {
        !self.fields.iter().any(Field::depends_on_clock)
    }

    fn unpaced(&self) -> Option<Arc<dyn Source>> {
        Some(Arc::new(Self { rate: Rate::Unlimited, ..self.clone() }))
    }

    fn estimated_rows(&self) -> Option<u64> {
        self.rows
    }
}

struct Reader {
    schema: SchemaRef,
    fields: Vec<Field>,
    split: u64,
    splits: u64,
    /// Rows of the whole table.
    rows: u64,
    pace: Pace,
    clock: Arc<dyn Clock>,
    position: SplitPosition,
}

impl Reader {
    fn batch(&mut self, rows: usize) -> Result<RecordBatch> {
        let next = self.position.rows;
        let numbers: Vec<u64> = (next..next + rows as u64).map(|row| row * self.splits + self.split).collect();
        let now_ms = self.clock.now_ms();
        let columns = self.fields.iter().map(|field| field.values(&numbers, now_ms)).collect::<Result<Vec<_>>>()?;
        self.position.rows += rows as u64;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

impl SplitReader for Reader {
    fn read(&mut self, max_rows: usize) -> Result<Read> {
        let next = self.position.rows * self.splits + self.split;
        let remaining = self.rows.saturating_sub(next).div_ceil(self.splits);
        if remaining == 0 {
            self.position.ended = true;
            return Ok(Read::End);
        }
        let allowed = self.pace.limit().saturating_sub(next).div_ceil(self.splits);
        if allowed == 0 {
            return Ok(Read::Idle(self.pace.wait()));
        }
        let rows = remaining.min(allowed).min(max_rows.clamp(1, BATCH_ROWS) as u64);
        Ok(Read::Rows(self.batch(rows as usize)?))
    }

    fn position(&self) -> SplitPosition {
        self.position
    }

    fn skipped(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests;
