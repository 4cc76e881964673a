//! The events of the Nexmark benchmark as three tables: `bid`, `auction`, `person`.
//!
//! The crate `nexmark` makes the content from the event's number alone. Event time is computed here, from that number and
//! with integers, because the crate starts at the wall clock and computes in `f32`, which is coarse after some
//! million events. So that its `f32` also stays exact inside (it decides how long auctions last), events are made in
//! blocks whose numbers restart at 0 while their ids go on.
//!
//! Row `r` of split `s` of `n` is row `r * n + s` of the table: all splits are equally far in event time, any position
//! is reached at once, and the table is the same for every number of splits.

use std::sync::Arc;

use arrow::array::TimestampMicrosecondBuilder;
use arrow::array::{ArrayRef, Int64Builder, RecordBatch, RecordBatchOptions, StringViewBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field as ArrowField, SchemaRef};
use catalog::Clock;
use nexmark::EventGenerator;
use nexmark::config::NexmarkConfig;
use nexmark::event::{Auction, Bid, Event, EventType, Person};

use crate::error::{Error, Result};
use crate::options::{Options, nearest};
use crate::source::pace::{Pace, Rate};
use crate::source::value::sql_name;
use crate::source::{Read, Source, Split, SplitPosition, SplitReader};

/// 2015-07-15 00:00:00 UTC: when event 0 happens, in ms since the Unix epoch.
const FIRST_EVENT_MS: u64 = 1_436_918_400_000;
/// Persons, auctions and bids come in groups of 50: 1, then 3, then 46.
const GROUP: u64 = 50;
/// Events after which the crate's own numbers restart; a multiple of the group.
const BLOCK: u64 = 1_000_000;
/// Rows made at most at once.
const BATCH_ROWS: usize = 8 * 1024;

/// One of the three streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Table {
    Bid,
    Auction,
    Person,
}

impl Table {
    /// Place of the stream's first event in a group, and the number of its events there.
    fn share(self) -> (u64, u64) {
        match self {
            Self::Person => (0, 1),
            Self::Auction => (1, 3),
            Self::Bid => (4, 46),
        }
    }

    /// The number, among all events, of the stream's event number `row`.
    fn event_number(self, row: u64) -> u64 {
        let (first, count) = self.share();
        row / count * GROUP + first + row % count
    }

    /// How many of the first `events` events are the stream's.
    fn rows_in(self, events: u64) -> u64 {
        let (first, count) = self.share();
        events / GROUP * count + (events % GROUP).saturating_sub(first).min(count)
    }

    fn event_type(self) -> EventType {
        match self {
            Self::Bid => EventType::Bid,
            Self::Auction => EventType::Auction,
            Self::Person => EventType::Person,
        }
    }
}

/// How a column comes out of an event.
enum Get<E> {
    Number(fn(&E) -> usize),
    Text(fn(&E) -> &str),
    /// Milliseconds after the event's own time.
    Time(fn(&E) -> u64),
}

impl<E> Get<E> {
    fn data_type(&self) -> DataType {
        match self {
            Self::Number(_) => DataType::Int64,
            Self::Text(_) => DataType::Utf8View,
            Self::Time(_) => DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None),
        }
    }

    fn fits(&self, declared: &DataType) -> bool {
        match self {
            Self::Number(_) => declared == &DataType::Int64,
            Self::Text(_) => matches!(declared, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View),
            Self::Time(_) => matches!(declared, DataType::Timestamp(_, None)),
        }
    }
}

/// An event type with its columns.
trait Kind: Sized + 'static {
    const COLUMNS: &'static [(&'static str, Get<Self>)];
    fn from_event(event: Event) -> Option<Self>;
}

impl Kind for Bid {
    const COLUMNS: &'static [(&'static str, Get<Self>)] = &[
        ("auction", Get::Number(|e| e.auction)),
        ("bidder", Get::Number(|e| e.bidder)),
        ("price", Get::Number(|e| e.price)),
        ("channel", Get::Text(|e| &e.channel)),
        ("url", Get::Text(|e| &e.url)),
        ("date_time", Get::Time(|_| 0)),
        ("extra", Get::Text(|e| &e.extra)),
    ];

    fn from_event(event: Event) -> Option<Self> {
        if let Event::Bid(bid) = event { Some(bid) } else { None }
    }
}

impl Kind for Auction {
    const COLUMNS: &'static [(&'static str, Get<Self>)] = &[
        ("id", Get::Number(|e| e.id)),
        ("item_name", Get::Text(|e| &e.item_name)),
        ("description", Get::Text(|e| &e.description)),
        ("initial_bid", Get::Number(|e| e.initial_bid)),
        ("reserve", Get::Number(|e| e.reserve)),
        ("date_time", Get::Time(|_| 0)),
        ("expires", Get::Time(|e| e.expires - e.date_time)),
        ("seller", Get::Number(|e| e.seller)),
        ("category", Get::Number(|e| e.category)),
        ("extra", Get::Text(|e| &e.extra)),
    ];

    fn from_event(event: Event) -> Option<Self> {
        if let Event::Auction(auction) = event { Some(auction) } else { None }
    }
}

impl Kind for Person {
    const COLUMNS: &'static [(&'static str, Get<Self>)] = &[
        ("id", Get::Number(|e| e.id)),
        ("name", Get::Text(|e| &e.name)),
        ("email_address", Get::Text(|e| &e.email_address)),
        ("credit_card", Get::Text(|e| &e.credit_card)),
        ("city", Get::Text(|e| &e.city)),
        ("state", Get::Text(|e| &e.state)),
        ("date_time", Get::Time(|_| 0)),
        ("extra", Get::Text(|e| &e.extra)),
    ];

    fn from_event(event: Event) -> Option<Self> {
        if let Event::Person(person) = event { Some(person) } else { None }
    }
}

/// One stream of the Nexmark benchmark.
#[derive(Debug, Clone)]
pub struct Nexmark {
    schema: SchemaRef,
    table: Table,
    /// Number of events of all three streams together.
    events: Option<u64>,
    /// Events per second of event time.
    event_rate: u64,
    pace: Rate,
    splits: u64,
    clock: Arc<dyn Clock>,
}

impl Nexmark {
    /// Checks options and columns.
    pub fn create(options: &Options<'_>, schema: SchemaRef, clock: Arc<dyn Clock>) -> Result<Self> {
        let table = match options.required("table")?.to_ascii_lowercase().as_str() {
            "bid" => Table::Bid,
            "auction" => Table::Auction,
            _ => Table::Person,
        };
        match table {
            Table::Bid => check::<Bid>(&schema, "bid"),
            Table::Auction => check::<Auction>(&schema, "auction"),
            Table::Person => check::<Person>(&schema, "person"),
        }?;
        let pace = options.positive("events-per-second")?;
        Ok(Self {
            schema,
            table,
            events: options.integer("events.num"),
            event_rate: options.positive("event.rate")?.unwrap_or(10_000),
            pace: pace.map_or(Rate::Unlimited, |events| Rate::Constant { rows: events as f64 }),
            splits: options.positive("splits")?.unwrap_or(8),
            clock,
        })
    }

    fn reader<E: Kind>(&self, split: u64, from: SplitPosition, projection: &[usize]) -> Result<Reader<E>> {
        let schema = Arc::new(self.schema.project(projection)?);
        let columns = schema.fields().iter().map(|f| column::<E>(f)).collect::<Option<Vec<_>>>();
        let first = self.table.event_number(from.rows * self.splits + split);
        Ok(Reader {
            schema,
            columns: columns.ok_or_else(|| Error::internal("a checked column is unknown"))?,
            table: self.table,
            split,
            splits: self.splits,
            rows: self.events.map_or(u64::MAX, |events| self.table.rows_in(events)),
            event_rate: self.event_rate,
            pace: Pace::start(self.pace, self.clock.clone(), first),
            generator: None,
            position: from,
        })
    }
}

fn column<E: Kind>(field: &ArrowField) -> Option<&'static Get<E>> {
    E::COLUMNS.iter().find(|(name, _)| name == field.name()).map(|(_, get)| get)
}

fn check<E: Kind>(schema: &SchemaRef, table: &str) -> Result<()> {
    let names = || E::COLUMNS.iter().map(|(name, _)| *name);
    for field in schema.fields() {
        let Some(get) = column::<E>(field) else {
            let error = Error::sql(format!("the Nexmark table '{table}' has no column {}", field.name()));
            return Err(match nearest(field.name(), names()) {
                Some(near) => error.hint(format!("did you mean {near}?")),
                None => error.hint(format!("its columns are {}", names().collect::<Vec<_>>().join(", "))),
            });
        };
        if !get.fits(field.data_type()) {
            let (wanted, found) = (get.data_type(), field.data_type());
            return Err(Error::sql(format!(
                "the column {} of the Nexmark table '{table}' is {}, not {}",
                field.name(),
                sql_name(&wanted),
                sql_name(found)
            )));
        }
    }
    Ok(())
}

impl Source for Nexmark {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn bounded(&self) -> bool {
        self.events.is_some()
    }

    fn splits(&self) -> Result<Vec<Split>> {
        Ok((0..self.splits).map(|split| Split { id: split.to_string() }).collect())
    }

    fn monitor_interval(&self) -> Option<std::time::Duration> {
        None
    }

    fn open(&self, split: &Split, from: SplitPosition, projection: &[usize]) -> Result<Box<dyn SplitReader>> {
        let number = split.id.parse().ok().filter(|number| *number < self.splits);
        let number = number.ok_or_else(|| Error::internal("no such split").with("split", &split.id))?;
        Ok(match self.table {
            Table::Bid => Box::new(self.reader::<Bid>(number, from, projection)?),
            Table::Auction => Box::new(self.reader::<Auction>(number, from, projection)?),
            Table::Person => Box::new(self.reader::<Person>(number, from, projection)?),
        })
    }

    fn repeatable(&self) -> bool {
        true
    }

    fn unpaced(&self) -> Option<Arc<dyn Source>> {
        Some(Arc::new(Self { pace: Rate::Unlimited, ..self.clone() }))
    }

    fn estimated_rows(&self) -> Option<u64> {
        self.events.map(|events| self.table.rows_in(events))
    }
}

/// Makes the content of the events of one block.
struct Generator {
    block: u64,
    events: EventGenerator,
}

struct Reader<E: Kind> {
    schema: SchemaRef,
    columns: Vec<&'static Get<E>>,
    table: Table,
    split: u64,
    splits: u64,
    /// Rows of the whole table.
    rows: u64,
    event_rate: u64,
    pace: Pace,
    generator: Option<Generator>,
    position: SplitPosition,
}

impl<E: Kind> Reader<E> {
    /// Number in the table of the next row.
    fn next_row(&self) -> u64 {
        self.position.rows * self.splits + self.split
    }

    /// The event of a row of the table, and its number.
    fn event(&mut self, row: u64) -> Option<(u64, E)> {
        let number = self.table.event_number(row);
        let block = number / BLOCK;
        let (event_rate, table, splits) = (self.event_rate, self.table, self.splits);
        let fresh = || {
            let config = NexmarkConfig {
                base_time: FIRST_EVENT_MS,
                first_rate: event_rate as usize,
                next_rate: event_rate as usize,
                first_event_id: (block * BLOCK) as usize,
                ..NexmarkConfig::default()
            };
            let offset = row - table.rows_in(block * BLOCK);
            let events = EventGenerator::new(config).with_type_filter(table.event_type());
            Generator { block, events: events.with_offset(offset).with_step(splits) }
        };
        if self.generator.as_ref().is_none_or(|g| g.block != block) {
            self.generator = Some(fresh());
        }
        let event = self.generator.as_mut()?.events.next()?;
        Some((number, E::from_event(event)?))
    }

    fn batch(&mut self, rows: usize) -> Result<RecordBatch> {
        let mut builders: Vec<Builder> = self.columns.iter().map(|get| Builder::new(get, rows)).collect();
        for _ in 0..rows {
            let missing = || Error::internal("the Nexmark generator gave no event of the wanted kind");
            let (number, event) = self.event(self.next_row()).ok_or_else(missing)?;
            let time_ms = event_time_ms(number, self.event_rate);
            for (builder, get) in builders.iter_mut().zip(&self.columns) {
                builder.append(get, &event, time_ms);
            }
            self.position.rows += 1;
        }
        let fields = self.schema.fields().iter();
        let columns = builders.into_iter().zip(fields).map(|(b, f)| b.finish(f.data_type())).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

/// When an event happens, in ms since the Unix epoch.
fn event_time_ms(number: u64, event_rate: u64) -> i64 {
    let elapsed = u128::from(number) * 1000 / u128::from(event_rate);
    (u128::from(FIRST_EVENT_MS) + elapsed) as i64
}

impl<E: Kind> SplitReader for Reader<E> {
    fn read(&mut self, max_rows: usize) -> Result<Read> {
        let remaining = self.rows.saturating_sub(self.next_row()).div_ceil(self.splits);
        if remaining == 0 {
            self.position.ended = true;
            return Ok(Read::End);
        }
        let limit = self.pace.limit();
        let allowed = if limit == u64::MAX { u64::MAX } else { self.table.rows_in(limit) };
        let allowed = allowed.saturating_sub(self.next_row()).div_ceil(self.splits);
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

/// Builds one column.
enum Builder {
    Number(Int64Builder),
    Text(StringViewBuilder),
    Time(TimestampMicrosecondBuilder),
}

impl Builder {
    fn new<E>(get: &Get<E>, rows: usize) -> Self {
        match get {
            Get::Number(_) => Self::Number(Int64Builder::with_capacity(rows)),
            Get::Text(_) => Self::Text(StringViewBuilder::with_capacity(rows).with_fixed_block_size(1 << 20)),
            Get::Time(_) => Self::Time(TimestampMicrosecondBuilder::with_capacity(rows)),
        }
    }

    fn append<E>(&mut self, get: &Get<E>, event: &E, time_ms: i64) {
        match (self, get) {
            (Self::Number(builder), Get::Number(get)) => builder.append_value(get(event) as i64),
            (Self::Text(builder), Get::Text(get)) => builder.append_value(get(event)),
            (Self::Time(builder), Get::Time(get)) => builder.append_value((time_ms + get(event) as i64) * 1000),
            _ => debug_assert!(false, "a builder is made from its column"),
        }
    }

    fn finish(self, declared: &DataType) -> Result<ArrayRef> {
        let array: ArrayRef = match self {
            Self::Number(mut builder) => Arc::new(builder.finish()),
            Self::Text(mut builder) => Arc::new(builder.finish()),
            Self::Time(mut builder) => Arc::new(builder.finish()),
        };
        Ok(if array.data_type() == declared { array } else { cast(&array, declared)? })
    }
}

#[cfg(test)]
mod tests;
