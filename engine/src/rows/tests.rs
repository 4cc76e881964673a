//! The row store against plain Arrow batches: what goes in comes out, under any order of pushes and frees.

use std::sync::Arc;

use arrow::array::{
    Array, BooleanArray, Decimal128Array, FixedSizeBinaryArray, Float32Array, Float64Array, Int32Array, Int32Builder,
    Int64Array, IntervalMonthDayNanoArray, LargeBinaryArray, ListArray, ListBuilder, MapBuilder, NullArray,
    RecordBatch, StringArray, StringBuilder, StringViewArray, StructArray, TimestampMillisecondArray, UInt8Array,
    UInt32Array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Field, Int32Type, IntervalMonthDayNano};
use proptest::prelude::*;

use super::*;
use crate::hash::hash_columns;

/// Structs with a list of strings in them.
fn pairs(seeds: &[u8]) -> ArrayRef {
    let whole: ArrayRef = Arc::new(seeds.iter().map(|s| (s % 5 != 0).then_some(i64::from(*s))).collect::<Int64Array>());
    let mut texts = ListBuilder::new(StringBuilder::new());
    for seed in seeds {
        texts.append_value((0..seed % 3).map(|i| Some(format!("{seed}.{i}"))));
    }
    let texts: ArrayRef = Arc::new(texts.finish());
    let fields = [("n", &whole), ("l", &texts)].map(|(name, a)| Field::new(name, a.data_type().clone(), true));
    let nulls = NullBuffer::from_iter(seeds.iter().map(|s| !s.is_multiple_of(7)));
    Arc::new(StructArray::new(fields.to_vec().into(), vec![whole, texts], Some(nulls)))
}

/// Maps of integers by strings.
fn maps(seeds: &[u8]) -> ArrayRef {
    let mut maps = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    for seed in seeds {
        for entry in 0..seed % 4 {
            maps.keys().append_value(format!("k{entry}"));
            maps.values().append_option((entry != 2).then_some(i32::from(*seed)));
        }
        maps.append(!seed.is_multiple_of(7)).unwrap();
    }
    Arc::new(maps.finish())
}

/// A batch of many types, a function of the seeds; equal seeds give equal rows.
fn sample(seeds: &[u8]) -> RecordBatch {
    let some = |seed: &u8| !seed.is_multiple_of(7);
    let text = |seed: &u8| some(seed).then(|| format!("{seed}{}", "long ".repeat(usize::from(seed % 16))));
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(
        seeds.iter().map(|s| some(s).then(|| (0..s % 4).map(|i| (i != 2).then_some(i32::from(*s))))),
    );
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("i64", Arc::new(seeds.iter().map(|s| some(s).then_some(i64::from(*s) - 99)).collect::<Int64Array>())),
        ("u8", Arc::new(seeds.iter().map(|s| Some(*s)).collect::<UInt8Array>())),
        ("i32", Arc::new(seeds.iter().map(|s| some(s).then_some(i32::from(*s))).collect::<Int32Array>())),
        ("bool", Arc::new(seeds.iter().map(|s| some(s).then_some(s % 2 == 0)).collect::<BooleanArray>())),
        ("f64", Arc::new(seeds.iter().map(|s| some(s).then_some(f64::from(*s) / 3.0)).collect::<Float64Array>())),
        ("view", Arc::new(seeds.iter().map(text).collect::<StringViewArray>())),
        ("utf8", Arc::new(seeds.iter().map(text).collect::<StringArray>())),
        ("binary", Arc::new(seeds.iter().map(|s| text(s).map(String::into_bytes)).collect::<LargeBinaryArray>())),
        (
            "decimal",
            Arc::new(
                seeds
                    .iter()
                    .map(|s| some(s).then_some(i128::from(*s) << 70))
                    .collect::<Decimal128Array>()
                    .with_precision_and_scale(38, 3)
                    .unwrap(),
            ),
        ),
        (
            "ts",
            Arc::new(
                seeds.iter().map(|s| Some(i64::from(*s))).collect::<TimestampMillisecondArray>().with_timezone("UTC"),
            ),
        ),
        (
            "interval",
            Arc::new(
                seeds
                    .iter()
                    .map(|s| some(s).then(|| IntervalMonthDayNano::new(1, 2, i64::from(*s))))
                    .collect::<IntervalMonthDayNanoArray>(),
            ),
        ),
        ("list", Arc::new(list)),
        (
            "f16",
            cast(&seeds.iter().map(|s| some(s).then_some(f32::from(*s))).collect::<Float32Array>(), &DataType::Float16)
                .unwrap(),
        ),
        (
            "uuid",
            Arc::new(
                FixedSizeBinaryArray::try_from_iter(seeds.iter().map(|s| [*s; 16]).chain([[0; 16]]))
                    .unwrap()
                    .slice(0, seeds.len()),
            ),
        ),
        ("struct", pairs(seeds)),
        ("map", maps(seeds)),
        ("null", Arc::new(NullArray::new(seeds.len()))),
    ];
    let fields: Vec<Field> = columns.iter().map(|(name, a)| Field::new(*name, a.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, array)| array).collect()).unwrap()
}

fn taken(batch: &RecordBatch, rows: &[u32]) -> Vec<ArrayRef> {
    let rows = UInt32Array::from(rows.to_vec());
    batch.columns().iter().map(|column| take(column, &rows, None).unwrap()).collect()
}

proptest! {
    #[test]
    fn rows_come_out_as_they_went_in(
        batches in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..80), 1..12),
        frees in prop::collection::vec(any::<u16>(), 0..400),
    ) {
        let mut store = RowStore::new(&sample(&[]).schema()).unwrap();
        let mut held: Vec<(u32, u8)> = Vec::new();
        let mut frees = frees.into_iter();
        for seeds in &batches {
            let batch = sample(seeds);
            let view = store.view(batch.columns()).unwrap();
            let rows: Vec<u32> = (0..seeds.len() as u32).step_by(2).collect();
            let mut slots = Vec::new();
            store.append(&view, &rows, &mut slots);
            held.extend(slots.iter().zip(&rows).map(|(slot, row)| (*slot, seeds[*row as usize])));
            let slot = store.push(&view, 0);
            held.push((slot, seeds[0]));
            for free in frees.by_ref().take(held.len() * 2 / 3) {
                let (slot, _) = held.swap_remove(usize::from(free) % held.len());
                store.free(slot);
            }
            prop_assert_eq!(store.len(), held.len());
            let want = sample(&held.iter().map(|(_, seed)| *seed).collect::<Vec<_>>());
            let slots: Vec<u32> = held.iter().map(|(slot, _)| *slot).collect();
            prop_assert_eq!(store.gather(&slots).unwrap(), want.columns());
            let view = store.view(want.columns()).unwrap();
            for (row, (slot, seed)) in held.iter().enumerate() {
                prop_assert!(store.eq(*slot, &view, row));
                prop_assert_eq!(store.eq(*slot, &view, 0), *seed == held[0].1);
            }
        }
    }

    #[test]
    fn an_index_finds_what_was_inserted_and_not_removed(
        steps in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 1..50)), 1..20),
        columns in prop::sample::select(vec![vec![0], vec![5], vec![1], vec![0, 6, 8], vec![3, 4], vec![]]),
    ) {
        let schema = sample(&[]).schema().project(&columns).unwrap();
        let mut index = KeyIndex::new(&schema).unwrap();
        let mut model: Vec<(Vec<ArrayRef>, u32)> = Vec::new();
        let (mut hashes, mut slots) = (Vec::new(), Vec::new());
        for (insert, seeds) in &steps {
            let batch = sample(seeds).project(&columns).unwrap();
            hash_columns(batch.columns(), seeds.len(), &mut hashes).unwrap();
            if *insert {
                index.find_or_insert(&hashes, batch.columns(), &mut slots, |_, _| ()).unwrap();
            } else {
                index.find(&hashes, batch.columns(), &mut slots).unwrap();
            }
            for (row, slot) in slots.iter().enumerate() {
                let key = taken(&batch, &[row as u32]);
                let known = model.iter().position(|(other, _)| *other == key);
                match (known, insert) {
                    (Some(at), true) => prop_assert_eq!(model[at].1, *slot),
                    (None, true) => model.push((key, *slot)),
                    (Some(at), false) => {
                        let (_, had) = model.swap_remove(at);
                        prop_assert_eq!(had, *slot);
                        index.remove(had);
                    }
                    // Not there, or removed for an earlier row of this batch.
                    (None, false) => prop_assert!(*slot == NO_SLOT || slots[..row].contains(slot)),
                }
            }
            prop_assert_eq!(index.len(), model.len());
            prop_assert_eq!(index.iter().count(), model.len());
        }
    }
}

#[test]
fn no_slot_gathers_as_null() {
    let batch = sample(&[1, 2]);
    let mut store = RowStore::new(&batch.schema()).unwrap();
    let view = store.view(batch.columns()).unwrap();
    let slot = store.push(&view, 1);
    let columns = store.gather_or_null(&[NO_SLOT, slot, NO_SLOT]).unwrap();
    for (got, sample) in columns.iter().zip(batch.columns()) {
        assert_eq!(got.data_type(), sample.data_type());
        assert_eq!(got.slice(1, 1).as_ref(), sample.slice(1, 1).as_ref());
        assert_eq!(got.logical_null_count(), if *got.data_type() == DataType::Null { 3 } else { 2 });
    }
}

#[test]
fn memory_of_freed_strings_is_used_again() {
    let text = StringViewArray::from_iter_values((0..100).map(|i| format!("{i:0>100}")));
    let schema = Schema::new(vec![Field::new("s", DataType::Utf8View, true)]);
    let mut store = RowStore::new(&schema).unwrap();
    let view = store.view(&[Arc::new(text)]).unwrap();
    let rows: Vec<u32> = (0..100).collect();
    let keep = store.push(&view, 7);
    for _ in 0..200 {
        let mut slots = Vec::new();
        store.append(&view, &rows, &mut slots);
        slots.iter().for_each(|slot| store.free(*slot));
    }
    assert!(store.bytes() < 200_000, "{}", store.bytes());
    assert!(store.eq(keep, &view, 7));
}

#[test]
fn order_is_sql_order() {
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![
        Some(f64::NEG_INFINITY),
        Some(-1.5),
        Some(0.0),
        Some(2.0),
        Some(f64::INFINITY),
        Some(-f64::NAN),
        None,
    ]));
    let bytes: ArrayRef =
        Arc::new(UInt8Array::from(vec![Some(0), Some(1), Some(9), Some(127), Some(128), Some(255), None]));
    let text: ArrayRef = Arc::new(StringArray::from(vec![
        Some(""),
        Some("a"),
        Some("a long string, really"),
        Some("ab"),
        Some("b"),
        Some("ä"),
        None,
    ]));
    for array in [floats, bytes, text] {
        let mut store = RowStore::new(&Schema::new(vec![Field::new("x", array.data_type().clone(), true)])).unwrap();
        let view = store.view(&[array]).unwrap();
        let mut slots = Vec::new();
        store.append(&view, &[0, 1, 2, 3, 4, 5, 6], &mut slots);
        let view = &view;
        for (i, left) in slots.iter().enumerate() {
            for (j, right) in slots.iter().enumerate() {
                assert_eq!(store.cmp(0, *left, *right), i.cmp(&j));
                assert_eq!(store.cmp_row(0, *left, view, j), i.cmp(&j));
                assert_eq!(store.order_key(0, *left).cmp(&store.order_key(0, *right)), i.cmp(&j));
            }
        }
    }
}
