//! What other programs see: all types, deletes and rewrites, read by PyIceberg and DuckDB.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int32Array,
    Int64Array, ListBuilder, MapBuilder, RecordBatch, StringViewArray, StringViewBuilder, StructArray,
    Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::array::{Int32Builder, MapFieldNames};
use arrow::datatypes::{DataType, Field, Schema};
use catalog::{Object, SystemClock};
use serde_json::json;

use super::*;
use crate::change::Changes;
use crate::scan::read_all;
use crate::testing::{change, create, printed, state, table};
use crate::tiering::{TieringPolicy, tier};
use crate::types;

/// One column of every storable type, `id` first.
fn every_type(ids: std::ops::Range<i64>) -> RecordBatch {
    let n = (ids.end - ids.start) as usize;
    let each = || ids.clone();
    let null_every_third = |id: i64| id % 3 == 2;
    let mut tags =
        ListBuilder::new(StringViewBuilder::new()).with_field(Field::new("element", DataType::Utf8View, true));
    let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
    let mut map = MapBuilder::new(Some(names), StringViewBuilder::new(), Int32Builder::new());
    for id in each() {
        tags.values().append_value(format!("tag {id}"));
        tags.values().append_null();
        tags.append(!null_every_third(id));
        map.keys().append_value(format!("key {id}"));
        map.values().append_value(id as i32);
        map.append(true).unwrap();
    }
    let x: ArrayRef = Arc::new(Float64Array::from_iter_values(each().map(|id| id as f64 / 4.0)));
    let y: ArrayRef = Arc::new(Int64Array::from_iter(each().map(|id| (!null_every_third(id)).then_some(id))));
    let fields = vec![Field::new("x", DataType::Float64, true), Field::new("y", DataType::Int64, true)];
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from_iter_values(each()))),
        ("b", Arc::new(BooleanArray::from_iter(each().map(|id| Some(id % 2 == 0))))),
        ("i", Arc::new(Int32Array::from_iter(each().map(|id| (!null_every_third(id)).then_some(id as i32 - 7))))),
        ("f", Arc::new(Float32Array::from_iter_values(each().map(|id| id as f32 * 0.5)))),
        ("d", Arc::new(Float64Array::from_iter_values(each().map(|id| if id == 4 { f64::NAN } else { -(id as f64) })))),
        ("small", Arc::new(decimals(each(), 7, 2))),
        ("mid", Arc::new(decimals(each(), 16, 4))),
        ("large", Arc::new(decimals(each(), 38, 10))),
        (
            "s",
            Arc::new(StringViewArray::from_iter(
                each().map(|id| (!null_every_third(id)).then(|| "é".repeat(id as usize * 9))),
            )),
        ),
        ("raw", Arc::new(BinaryViewArray::from_iter_values(each().map(|id| vec![0xff, id as u8])))),
        ("day", Arc::new(Date32Array::from_iter_values(each().map(|id| 19_000 - id as i32)))),
        ("at", Arc::new(Time64MicrosecondArray::from_iter_values(each().map(|id| id * 1_000_001)))),
        ("ts", Arc::new(TimestampMicrosecondArray::from_iter_values(each().map(|id| id * 86_400_000_001)))),
        (
            "tz",
            Arc::new(
                TimestampMicrosecondArray::from_iter_values(each().map(|id| id * -1_000_001)).with_timezone(types::UTC),
            ),
        ),
        ("tags", Arc::new(tags.finish())),
        ("point", Arc::new(StructArray::new(fields.into(), vec![x, y], None))),
        ("counts", Arc::new(map.finish())),
    ];
    let schema = columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), *name != "id"));
    let schema = types::storable_schema(&Schema::new(schema.collect::<Vec<_>>())).unwrap();
    let batch = RecordBatch::try_new(schema, columns.into_iter().map(|(_, column)| column).collect()).unwrap();
    assert_eq!(batch.num_rows(), n);
    batch
}

fn decimals(ids: std::ops::Range<i64>, precision: u8, scale: i8) -> Decimal128Array {
    let unscaled =
        ids.map(|id| i128::from(id) * 10_i128.pow(u32::from(precision) - 3) * if id % 2 == 0 { -1 } else { 1 });
    Decimal128Array::from_iter_values(unscaled).with_precision_and_scale(precision, scale).unwrap()
}

fn every_type_table() -> Object {
    let schema = every_type(0..1).schema();
    Object {
        columns: types::columns(&schema).unwrap(),
        key: vec!["id".to_string()],
        ..table(0, "every_type", &[], &[])
    }
}

fn pairs(keys: impl IntoIterator<Item = i64>, text: &str) -> RecordBatch {
    let keys = keys.into_iter().collect::<Vec<_>>();
    let texts = keys.iter().map(|key| Some(format!("{text}{key}"))).collect::<StringViewArray>();
    let schema = Schema::new(vec![Field::new("k", DataType::Int64, false), Field::new("s", DataType::Utf8View, true)]);
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(Int64Array::from(keys)), Arc::new(texts)]).unwrap()
}

fn pair_table(name: &str, key: &[&str]) -> Object {
    table(0, name, &[("k", DataType::Int64, false), ("s", DataType::Utf8View, true)], key)
}

fn policy(rewrite: bool) -> TieringPolicy {
    let always_delta = TieringPolicy { rewrite_below_bytes: 0, rewrite_ratio: 0, ..TieringPolicy::default() };
    let policy = if rewrite { TieringPolicy::default() } else { always_delta };
    TieringPolicy {
        max_deleted_percent: 100,
        sizes: FileSizes { row_group_rows: 40, ..FileSizes::default() },
        ..policy
    }
}

async fn tiered(warehouse: &Arc<Warehouse>, object: &Object, rows: &[Changes], rewrite: bool) {
    change(warehouse, object, rows).await;
    tier(warehouse, object.id, &policy(rewrite), true).await.unwrap().unwrap();
}

/// Tables in the states that tiering leaves behind; each with whether other readers are compared on all columns.
async fn make_tables(warehouse: &Arc<Warehouse>) -> Vec<(Arc<Object>, bool)> {
    let every = create(warehouse, every_type_table()).await;
    tiered(warehouse, &every, &[Changes::inserts(every_type(0..8))], false).await;
    let old = Changes::inserts(every_type(3..5)).negated();
    tiered(warehouse, &every, &[old, Changes::inserts(every_type(20..22))], false).await;
    let deltas = create(warehouse, pair_table("deltas", &["k"])).await;
    tiered(warehouse, &deltas, &[Changes::inserts(pairs(0..100, "a"))], false).await;
    tiered(warehouse, &deltas, &[Changes::inserts(pairs((0..100).step_by(7), "b"))], false).await;
    let gone = Changes::inserts(pairs((1..100).step_by(7), "a")).negated();
    tiered(warehouse, &deltas, &[gone, Changes::inserts(pairs([200], "c"))], false).await;
    let rewritten = create(warehouse, pair_table("rewritten", &["k"])).await;
    tiered(warehouse, &rewritten, &[Changes::inserts(pairs(0..10, "a"))], true).await;
    tiered(warehouse, &rewritten, &[Changes::inserts(pairs(5..15, "b"))], true).await;
    let appended = create(warehouse, Object { insert_only: true, ..pair_table("appended", &[]) }).await;
    for i in 0..20 {
        tiered(warehouse, &appended, &[Changes::inserts(pairs(i..i + 3, "a"))], true).await;
    }
    let empty = create(warehouse, pair_table("empty", &[])).await;
    tier(warehouse, empty.id, &policy(true), true).await.unwrap().unwrap();
    let emptied = create(warehouse, pair_table("emptied", &[])).await;
    tiered(warehouse, &emptied, &[Changes::inserts(pairs(0..3, "a"))], true).await;
    tiered(warehouse, &emptied, &[Changes::inserts(pairs(0..3, "a")).negated()], true).await;
    vec![(every, true), (deltas, true), (rewritten, true), (appended, false), (empty, true), (emptied, true)]
}

#[tokio::test]
async fn every_type_survives_the_hot_and_the_cold_tier() {
    let warehouse = crate::testing::memory_warehouse().await;
    let object = create(&warehouse, every_type_table()).await;
    change(&warehouse, &object, &[Changes::inserts(every_type(0..8))]).await;
    let hot = printed(&read_all(&warehouse, &object, &state(&warehouse, &object).await).await.unwrap());
    assert_eq!(hot, printed(&[every_type(0..8)]));
    tier(&warehouse, object.id, &policy(true), true).await.unwrap().unwrap();
    let now = state(&warehouse, &object).await;
    assert_eq!(printed(&read_all(&warehouse, &object, &now).await.unwrap()), hot);

    let loaded = LoadedTable::load(&warehouse, now.metadata_location.as_ref().unwrap()).await.unwrap();
    let file = &loaded.files[0].file;
    let id = |name| loaded.metadata.current_schema().field_id_by_name(name).unwrap();
    let bounds = |name| [file.lower_bounds(), file.upper_bounds()].map(|b| b[&id(name)].to_human_string());
    assert_eq!(bounds("id"), ["0", "7"]);
    assert_eq!(bounds("i"), ["-7", "0"]);
    assert_eq!(bounds("small"), ["-600.00", "700.00"]);
    assert_eq!(bounds("large")[1], format!("7{}.0000000000", "0".repeat(25)));
    assert_eq!(file.null_value_counts()[&id("s")], 2);
    assert_eq!(file.value_counts()[&id("s")], 8);
}

#[tokio::test]
async fn snapshots_say_what_they_did() {
    let warehouse = crate::testing::memory_warehouse().await;
    make_tables(&warehouse).await;
    let snapshot = warehouse.catalog().snapshot(None).await.unwrap();
    let object = snapshot.object("deltas").unwrap();
    let location = snapshot.tables[&object.id].metadata_location.as_ref().unwrap();
    let loaded = LoadedTable::load(&warehouse, location).await.unwrap();
    let mut snapshots = loaded.metadata.snapshots().collect::<Vec<_>>();
    snapshots.sort_by_key(|snapshot| snapshot.sequence_number());
    let operations = snapshots.iter().map(|snapshot| snapshot.summary().operation.as_str()).collect::<Vec<_>>();
    assert_eq!(operations, ["append", "overwrite", "overwrite"]);
    for pair in snapshots.windows(2) {
        assert_eq!(pair[1].parent_snapshot_id(), Some(pair[0].snapshot_id()));
        assert_eq!(pair[1].sequence_number(), pair[0].sequence_number() + 1);
    }
    let summary = &snapshots[2].summary().additional_properties;
    assert_eq!(summary["added-position-deletes"], "15");
    assert_eq!(summary["total-position-deletes"], "30");
    assert_eq!(summary["total-records"], "116");
    assert_eq!(loaded.metadata.metadata_log().len(), 2);
}

/// Run with `FRAZIL_READERS_PYTHON` set to a Python that has the packages named in `readers/check.py`.
#[tokio::test]
#[ignore = "needs PyIceberg and DuckDB"]
async fn other_programs_read_the_same() {
    let python = std::env::var("FRAZIL_READERS_PYTHON").unwrap_or_else(|_| "python3".to_string());
    let directory = tempfile::tempdir().unwrap();
    let warehouse = Warehouse::open(directory.path().to_str().unwrap(), Arc::new(SystemClock::new())).await.unwrap();
    let mut expected = serde_json::Map::new();
    for (object, all_columns_agree) in make_tables(&warehouse).await {
        let state = state(&warehouse, &object).await;
        let rows = read_all(&warehouse, &object, &state).await.unwrap();
        let rows = rows.iter().map(|batch| batch.project(&[0]).unwrap()).collect::<Vec<_>>();
        let above = printed(&rows).iter().filter(|key| key.parse::<i64>().unwrap() >= 7).count();
        let entry = json!({
            "filter": format!("{} >= 7", object.columns[0].name),
            "filtered": above,
            "metadata": state.metadata_location,
            "columns": [object.columns[0].name],
            "rows": printed(&rows),
            "all_columns_agree": all_columns_agree,
        });
        expected.insert(object.name.clone(), entry);
    }
    let file = directory.path().join("expected.json");
    std::fs::write(&file, serde_json::to_vec(&expected).unwrap()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("readers/check.py");
    let mut command = std::process::Command::new(python);
    let status = command.arg(script).arg(directory.path().canonicalize().unwrap()).arg(file).status().unwrap();
    assert!(status.success());
}
