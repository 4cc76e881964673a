//! The generator against a sequential run: determinism over splits and resumption, times, columns.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::array::{AsArray, Int64Array};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int64Type, Schema, TimeUnit, TimestampMicrosecondType};
use catalog::ManualClock;

use super::*;

const TIME: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

fn schema(fields: &[(&str, DataType)]) -> SchemaRef {
    Arc::new(Schema::new(fields.iter().map(|(n, t)| ArrowField::new(*n, t.clone(), false)).collect::<Vec<_>>()))
}

fn full<E: Kind>() -> SchemaRef {
    schema(&E::COLUMNS.iter().map(|(name, get)| (*name, get.data_type())).collect::<Vec<_>>())
}

fn create(schema: SchemaRef, options: &[(&str, &str)]) -> Result<(Nexmark, Arc<ManualClock>)> {
    let mut map: BTreeMap<String, String> = options.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
    map.insert("connector".into(), "nexmark".into());
    let clock = Arc::new(ManualClock::new(0, 0));
    Ok((Nexmark::create(&Options::parse(&map)?, schema, clock.clone())?, clock))
}

fn read(
    source: &Nexmark,
    split: usize,
    from: SplitPosition,
    max_rows: usize,
    at_most: usize,
) -> (RecordBatch, SplitPosition) {
    let every: Vec<usize> = (0..source.schema.fields().len()).collect();
    let mut reader = source.open(&source.splits().unwrap()[split], from, &every).unwrap();
    let (mut batches, mut rows) = (Vec::new(), 0);
    while rows < at_most {
        let Read::Rows(batch) = reader.read(max_rows.min(at_most - rows)).unwrap() else { break };
        rows += batch.num_rows();
        batches.push(batch);
    }
    (concat_batches(&source.schema, &batches).unwrap(), reader.position())
}

#[test]
fn rows_are_the_crate_s_events_in_order() {
    let config = NexmarkConfig { base_time: FIRST_EVENT_MS, ..NexmarkConfig::default() };
    let events: Vec<Event> = EventGenerator::new(config).take(5_000).collect();
    let options = |table| [("table", table), ("events.num", "5000"), ("splits", "1")];
    let (bids, _) = create(full::<Bid>(), &options("bid")).unwrap();
    let (auctions, _) = create(full::<Auction>(), &options("auction")).unwrap();
    let (persons, _) = create(full::<Person>(), &options("person")).unwrap();
    let mut rows = [0, 0, 0];
    let tables =
        [&bids, &auctions, &persons].map(|source| read(source, 0, SplitPosition::default(), 700, usize::MAX).0);
    let number = |t: usize, c: usize, row: usize| tables[t].column(c).as_primitive::<Int64Type>().value(row) as usize;
    let time =
        |t: usize, c: usize, row: usize| tables[t].column(c).as_primitive::<TimestampMicrosecondType>().value(row);
    let text = |t: usize, c: usize, row: usize| tables[t].column(c).as_string_view().value(row).to_string();
    for (i, event) in events.into_iter().enumerate() {
        let at = (FIRST_EVENT_MS as i64 + i as i64 / 10) * 1000;
        match event {
            Event::Bid(bid) => {
                let row = rows[0];
                assert_eq!(
                    (number(0, 0, row), number(0, 1, row), number(0, 2, row)),
                    (bid.auction, bid.bidder, bid.price)
                );
                assert_eq!((text(0, 3, row), text(0, 4, row), text(0, 6, row)), (bid.channel, bid.url, bid.extra));
                assert_eq!(time(0, 5, row), at);
                rows[0] += 1;
            }
            Event::Auction(auction) => {
                let row = rows[1];
                assert_eq!((number(1, 0, row), number(1, 7, row)), (auction.id, auction.seller));
                assert_eq!(time(1, 5, row), at);
                assert_eq!(time(1, 6, row) - at, (auction.expires - auction.date_time) as i64 * 1000);
                rows[1] += 1;
            }
            Event::Person(person) => {
                let row = rows[2];
                assert_eq!(
                    (number(2, 0, row), text(2, 1, row), text(2, 7, row)),
                    (person.id, person.name, person.extra)
                );
                assert_eq!(time(2, 6, row), at);
                rows[2] += 1;
            }
        }
    }
    assert_eq!(rows, [4600, 300, 100]);
    assert_eq!(rows, [0, 1, 2].map(|t| tables[t].num_rows()));
    assert_eq!(bids.estimated_rows(), Some(4600));
}

/// Rows of the table from all splits, dealt back into one order.
fn interleaved(source: &Nexmark, column: usize) -> Vec<i64> {
    let splits = source.splits as usize;
    let parts: Vec<_> = (0..splits)
        .map(|s| read(source, s, SplitPosition::default(), 100, usize::MAX).0.column(column).clone())
        .collect();
    let rows = parts.iter().map(|p| p.len()).sum();
    (0..rows).map(|i| parts[i % splits].as_primitive::<Int64Type>().value(i / splits)).collect()
}

#[test]
fn the_table_does_not_depend_on_splits_or_resumption() {
    let columns = || schema(&[("price", DataType::Int64), ("date_time", TIME), ("bidder", DataType::Int64)]);
    let make = |splits| create(columns(), &[("table", "bid"), ("events.num", "3021"), ("splits", splits)]).unwrap().0;
    let one = interleaved(&make("1"), 0);
    assert_eq!(one.len(), Table::Bid.rows_in(3021) as usize);
    for splits in ["2", "8", "13"] {
        assert_eq!(interleaved(&make(splits), 0), one);
    }
    let source = make("3");
    let (whole, end) = read(&source, 1, SplitPosition::default(), 1000, usize::MAX);
    assert!(end.ended);
    for cut in [0, 1, 45, 46, 47, 500, whole.num_rows()] {
        let (head, position) = read(&source, 1, SplitPosition::default(), 7, cut.max(1));
        assert_eq!(position.rows as usize, head.num_rows());
        let rest = whole.num_rows() - head.num_rows();
        let (tail, _) = read(&source, 1, position, 64, rest.max(1));
        assert_eq!(tail, whole.slice(head.num_rows(), rest));
    }
}

#[test]
fn far_ahead_times_stay_exact_and_skipping_is_cheap() {
    let columns = schema(&[("id", DataType::Int64), ("date_time", TIME), ("expires", TIME)]);
    let (source, _) = create(columns, &[("table", "auction"), ("event.rate", "1000000")]).unwrap();
    assert!(!source.bounded());
    let from = SplitPosition { rows: 20_000_000_000, ..SplitPosition::default() };
    let (batch, _) = read(&source, 3, from, 100, 100);
    let ids = batch.column(0).as_primitive::<Int64Type>();
    let times = batch.column(1).as_primitive::<TimestampMicrosecondType>();
    let expires = batch.column(2).as_primitive::<TimestampMicrosecondType>();
    for i in 0..100 {
        let row = (20_000_000_000 + i as u64) * 8 + 3;
        assert_eq!(ids.value(i), 1000 + row as i64);
        let number = row / 3 * 50 + 1 + row % 3;
        assert_eq!(times.value(i), (FIRST_EVENT_MS + number / 1000) as i64 * 1000);
        assert!((1000..=10_000).contains(&(expires.value(i) - times.value(i))));
    }
    assert!(times.values().is_sorted());
}

#[test]
fn blocks_join_without_a_seam() {
    let columns = schema(&[("id", DataType::Int64)]);
    let (source, _) = create(columns, &[("table", "person"), ("splits", "1"), ("events.num", "1001000")]).unwrap();
    let from = SplitPosition { rows: 19_990, ..SplitPosition::default() };
    let (batch, _) = read(&source, 0, from, 100, usize::MAX);
    let expected: Vec<i64> = (19_990..20_020).map(|row| 1000 + row).collect();
    assert_eq!(batch.column(0).as_primitive::<Int64Type>(), &Int64Array::from(expected));
}

#[test]
fn the_wall_clock_paces_all_tables_alike() {
    let columns = schema(&[("price", DataType::Int64)]);
    let (source, clock) = create(columns, &[("table", "bid"), ("events-per-second", "1000"), ("splits", "1")]).unwrap();
    let mut reader = source.open(&source.splits().unwrap()[0], SplitPosition::default(), &[0]).unwrap();
    assert!(matches!(reader.read(10_000).unwrap(), Read::Idle(_)));
    clock.advance(Duration::from_millis(500));
    let Read::Rows(batch) = reader.read(10_000).unwrap() else { panic!("rows are due") };
    assert!((450..=464).contains(&batch.num_rows()), "{}", batch.num_rows());
    assert!(matches!(reader.read(10_000).unwrap(), Read::Idle(_)));
}

#[test]
fn columns_and_options_are_checked() {
    let bid = |schema| create(schema, &[("table", "bid")]).unwrap_err().to_string();
    assert!(bid(schema(&[("prize", DataType::Int64)])).contains("did you mean price?"));
    assert!(bid(schema(&[("seller", DataType::Int64)])).contains("auction, bidder, price"));
    let text = bid(schema(&[("price", DataType::Utf8View)]));
    assert!(text.contains("BIGINT, not VARCHAR"), "{text}");
    let error = |options: &[(&str, &str)]| create(schema(&[]), options).unwrap_err().to_string();
    assert!(error(&[]).contains("needs the option 'table'"));
    assert!(error(&[("table", "bids")]).contains("'bid', 'auction', 'person'"));
    assert!(error(&[("table", "bid"), ("event.rate", "0")]).contains("event.rate"));
}
