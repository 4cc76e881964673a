//! Generated rows: kinds of fields, rates, bounds, resumption.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, Schema, TimeUnit, TimestampMicrosecondType};
use catalog::ManualClock;

use super::*;

const TIME: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

fn create(fields: &[(&str, DataType)], options: &[(&str, &str)]) -> Result<(Datagen, Arc<ManualClock>)> {
    let fields = fields.iter().map(|(n, t)| arrow::datatypes::Field::new(*n, t.clone(), true)).collect::<Vec<_>>();
    let mut map: BTreeMap<String, String> = options.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
    map.insert("connector".into(), "datagen".into());
    map.entry("rows-per-second".into()).or_insert("0".into());
    let clock = Arc::new(ManualClock::new(1_000, 0));
    Ok((Datagen::create(&Options::parse(&map)?, Arc::new(Schema::new(fields)), clock.clone())?, clock))
}

fn read(source: &Datagen, split: usize, from: u64, max_rows: usize) -> RecordBatch {
    let every: Vec<usize> = (0..source.schema.fields().len()).collect();
    let from = SplitPosition { rows: from, ..SplitPosition::default() };
    let mut reader = source.open(&source.splits().unwrap()[split], from, &every).unwrap();
    let mut batches = Vec::new();
    while let Read::Rows(batch) = reader.read(max_rows).unwrap() {
        batches.push(batch);
    }
    assert!(reader.position().ended);
    concat_batches(&source.schema, &batches).unwrap()
}

#[test]
fn every_kind_of_column() {
    let columns = [
        ("id", DataType::Int64),
        ("small", DataType::Int32),
        ("share", DataType::Float64),
        ("name", DataType::Utf8View),
        ("ok", DataType::Boolean),
        ("at", TIME),
        ("day", DataType::Date32),
        ("price", DataType::Decimal128(10, 2)),
        ("rare", DataType::Int64),
        ("seen", TIME),
    ];
    let options = [
        ("number-of-rows", "1000"),
        ("splits", "1"),
        ("fields.id.kind", "sequence"),
        ("fields.id.start", "-5"),
        ("fields.small.min", "10"),
        ("fields.small.max", "19"),
        ("fields.share.max", "2.5"),
        ("fields.name.length", "7"),
        ("fields.at.step", "1 s"),
        ("fields.day.kind", "random"),
        ("fields.rare.null-rate", "0.9"),
        ("fields.seen.kind", "now"),
    ];
    let (source, _) = create(&columns, &options).unwrap();
    let rows = read(&source, 0, 0, 300);
    assert_eq!(rows.num_rows(), 1000);
    let ids = rows.column(0).as_primitive::<Int64Type>();
    assert_eq!((ids.value(0), ids.value(999)), (-5, 994));
    let mut counts = [0; 10];
    rows.column(1).as_primitive::<Int32Type>().values().iter().for_each(|v| counts[*v as usize - 10] += 1);
    assert!(counts.iter().all(|count| (60..150).contains(count)), "{counts:?}");
    let shares = rows.column(2).as_primitive::<Float64Type>().values();
    assert!(shares.iter().all(|v| (0.0..2.5).contains(v)) && shares.iter().any(|v| *v > 2.0));
    assert!(rows.column(3).as_string_view().iter().all(|v| v.unwrap().len() == 7));
    assert!((400..600).contains(&rows.column(4).as_boolean().true_count()));
    let times = rows.column(5).as_primitive::<TimestampMicrosecondType>();
    assert_eq!(times.value(10) - times.value(0), 10_000_000);
    assert!((850..950).contains(&rows.column(8).null_count()));
    assert_eq!(rows.column(9).as_primitive::<TimestampMicrosecondType>().value(0), 1_000_000);
}

#[test]
fn rows_do_not_depend_on_splits_or_resumption() {
    let columns = [("a", DataType::Int64), ("b", DataType::Utf8View)];
    let options = |splits| [("number-of-rows", "101"), ("splits", splits), ("seed", "7")];
    let (one, _) = create(&columns, &options("1")).unwrap();
    let whole = read(&one, 0, 0, 10);
    assert_eq!(whole.num_rows(), 101);
    let (four, _) = create(&columns, &options("4")).unwrap();
    for split in 0..4 {
        let part = read(&four, split, 0, 3);
        for row in 0..part.num_rows() {
            assert_eq!(part.slice(row, 1), whole.slice(row * 4 + split, 1));
        }
        for from in 0..part.num_rows() {
            assert_eq!(read(&four, split, from as u64, 5), part.slice(from, part.num_rows() - from));
        }
    }
    let (other, _) = create(&columns, &[("number-of-rows", "101"), ("splits", "1")]).unwrap();
    assert_ne!(read(&other, 0, 0, 10), whole);
}

#[test]
fn sequences_end_and_bound_the_table() {
    let options =
        [("fields.a.kind", "sequence"), ("fields.a.start", "10"), ("fields.a.end", "1"), ("fields.a.step", "-3")];
    let (source, _) = create(&[("a", DataType::Int64)], &options).unwrap();
    assert_eq!((source.bounded(), source.estimated_rows()), (true, Some(4)));
    let (source, _) = create(&[("a", DataType::Int64)], &[]).unwrap();
    assert!(!source.bounded());
}

#[test]
fn rows_appear_at_the_rate() {
    let options = [("rows-per-second", "100"), ("splits", "2")];
    let (source, clock) = create(&[("a", DataType::Int64)], &options).unwrap();
    let splits = source.splits().unwrap();
    let mut readers = [0, 1].map(|s: usize| source.open(&splits[s], SplitPosition::default(), &[0]).unwrap());
    let mut rows = 0;
    for _ in 0..20 {
        clock.advance(Duration::from_millis(50));
        for reader in &mut readers {
            while let Read::Rows(batch) = reader.read(3).unwrap() {
                rows += batch.num_rows();
            }
        }
    }
    assert!((99..=101).contains(&rows), "{rows}");
}

#[test]
fn options_are_checked() {
    let error = |options: &[(&str, &str)]| {
        create(&[("count", DataType::Int64), ("at", TIME), ("ok", DataType::Boolean)], options).unwrap_err().to_string()
    };
    assert!(error(&[("fields.cuont.min", "1")]).contains("did you mean count?"));
    assert!(error(&[("fields.count.min", "x")]).contains("a whole number"));
    assert!(error(&[("fields.count.min", "5"), ("fields.count.max", "4")]).contains("fields.count.max"));
    assert!(error(&[("fields.count.length", "5")]).contains("does not apply"));
    assert!(error(&[("fields.count.kind", "now")]).contains("no timestamp"));
    assert!(error(&[("fields.ok.kind", "sequence")]).contains("random"));
    assert!(error(&[("fields.at.start", "5")]).contains("a timestamp"));
    assert!(error(&[("fields.at.step", "5")]).contains("a duration"));
    assert!(error(&[("fields.count.null-rate", "1.5")]).contains("between 0 and 1"));
    assert!(error(&[("rate.period", "5s")]).contains("'rate.shape' = 'sine'"));
    assert!(error(&[("rate.shape", "sine")]).contains("rows-per-second"));
    let sine = [("rate.shape", "sine"), ("rows-per-second", "10"), ("rate.amplitude", "2")];
    assert!(error(&sine).contains("between 0 and 1"));
    let field = create(&[("b", DataType::Binary)], &[]).unwrap_err().to_string();
    assert!(field.contains("column: b"), "{field}");
}
