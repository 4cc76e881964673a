//! State files come back whole or not at all; folding equals a map from keys to rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Int64Array, StringViewArray, UInt8Array};
use arrow::datatypes::{DataType, Field, Schema};
use proptest::prelude::*;

use super::*;
use crate::testing::memory_warehouse;

type Row = (u8, i64, Option<String>);

fn section(table: u32, rows: &[Row]) -> StateSection {
    let schema = Schema::new(vec![
        Field::new(VNODE_COLUMN, DataType::UInt8, false),
        Field::new(DELETED_COLUMN, DataType::Boolean, false),
        Field::new("k", DataType::Int64, false),
        Field::new("v", DataType::Utf8View, true),
    ]);
    let batch = RecordBatch::try_new(
        Arc::new(schema),
        vec![
            Arc::new(rows.iter().map(|row| row.0).collect::<UInt8Array>()),
            Arc::new(rows.iter().map(|row| Some(row.2.is_none())).collect::<BooleanArray>()),
            Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|row| row.2.as_deref()).collect::<StringViewArray>()),
        ],
    );
    StateSection { operator: 1, table, batch: batch.unwrap() }
}

fn rows(sections: &[StateSection], table: u32) -> Vec<Row> {
    let mut rows = Vec::new();
    for section in sections.iter().filter(|section| section.table == table) {
        let vnodes = section.batch.column(0).as_primitive::<UInt8Type>();
        let keys = section.batch.column(2).as_primitive::<arrow::datatypes::Int64Type>();
        let values = section.batch.column(3).as_string_view();
        let value = |row| arrow::array::Array::is_valid(values, row).then(|| values.value(row).to_string());
        rows.extend((0..section.batch.num_rows()).map(|row| (vnodes.value(row), keys.value(row), value(row))));
    }
    rows
}

fn row(vnode: u8, key: i64, value: &str) -> Row {
    (vnode, key, Some(value.to_string()))
}

#[tokio::test]
async fn sections_come_back_by_vnode() {
    let warehouse = memory_warehouse().await;
    let sections = vec![
        section(0, &[row(3, 1, "a"), row(200, 2, "b"), (3, 9, None)]),
        section(1, &[]),
        section(2, &[row(7, 1, "c")]),
    ];
    let file = write_state(&warehouse, ObjectId(5), sections.clone()).await.unwrap();
    assert!(file.path.starts_with("_state/5/"), "{}", file.path);
    assert_eq!(file.rows, 4);
    let all = read_state(&warehouse, &file, None).await.unwrap();
    assert_eq!(all, [sections[0].clone(), sections[2].clone()]);
    let low = read_state(&warehouse, &file, Some(0..=3)).await.unwrap();
    assert_eq!(rows(&low, 0), [row(3, 1, "a"), (3, 9, None)]);
    assert_eq!(rows(&low, 2), []);
    let serialized = serde_json::to_string(&file).unwrap();
    assert_eq!(serde_json::from_str::<StateFile>(&serialized).unwrap(), file);
}

#[tokio::test]
async fn every_changed_byte_is_noticed() {
    let warehouse = memory_warehouse().await;
    let file = write_state(&warehouse, ObjectId(5), vec![section(0, &[row(3, 1, "a")])]).await.unwrap();
    let bytes = warehouse.get(&file.path).await.unwrap();
    for at in 8..bytes.len() {
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 0x40;
        warehouse.put(&file.path, damaged.into()).await.unwrap();
        let error = read_state(&warehouse, &file, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}: {error}");
        assert!(error.to_string().contains(&file.path), "{error}");
    }
    for length in [0, 8, 20, bytes.len() - 1] {
        warehouse.put(&file.path, bytes.slice(..length)).await.unwrap();
        read_state(&warehouse, &file, None).await.unwrap_err();
    }
}

#[tokio::test]
async fn large_tables_are_cut_so_that_restores_read_their_share() {
    let warehouse = memory_warehouse().await;
    let many = (0..70_000).map(|key| row((key % 256) as u8, key, "x")).collect::<Vec<_>>();
    let file = write_state(&warehouse, ObjectId(5), vec![section(0, &many)]).await.unwrap();
    let keys = BTreeMap::from([((1, 0), 1)]);
    let folded = fold_state(&warehouse, ObjectId(5), &[file], &keys).await.unwrap();
    let entries = read_index(&warehouse, &folded).await.unwrap();
    assert_eq!(entries.len(), 16);
    let some = read_state(&warehouse, &folded, Some(16..=31)).await.unwrap();
    assert_eq!(some.len(), 1);
    assert!(rows(&some, 0).iter().all(|row| (16..=31).contains(&row.0)));
    assert_eq!(folded.rows, 70_000);
}

#[tokio::test]
async fn an_unknown_table_is_refused() {
    let warehouse = memory_warehouse().await;
    let file = write_state(&warehouse, ObjectId(5), vec![section(0, &[row(3, 1, "a")])]).await.unwrap();
    let error = fold_state(&warehouse, ObjectId(5), &[file], &BTreeMap::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

fn a_row() -> impl Strategy<Value = Row> {
    (0_u8..4, 0_i64..6, proptest::option::of("[a-c]{0,14}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::testing::cases(48), ..ProptestConfig::default() })]
    #[test]
    fn folding_equals_a_map(files in proptest::collection::vec(proptest::collection::vec(a_row(), 0..20), 1..5)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let warehouse = memory_warehouse().await;
            let (mut written, mut model) = (Vec::new(), BTreeMap::new());
            for file in &files {
                for (vnode, key, value) in file {
                    match value {
                        Some(value) => model.insert((*vnode, *key), value.clone()),
                        None => model.remove(&(*vnode, *key)),
                    };
                }
                written.push(write_state(&warehouse, ObjectId(5), vec![section(0, file)]).await.unwrap());
            }
            let keys = BTreeMap::from([((1, 0), 1)]);
            let folded = fold_state(&warehouse, ObjectId(5), &written, &keys).await.unwrap();
            let got = rows(&read_state(&warehouse, &folded, None).await.unwrap(), 0);
            assert!(got.is_sorted_by_key(|row| row.0));
            let mut got = got;
            got.sort();
            let expected = model.into_iter().map(|((vnode, key), value)| (vnode, key, Some(value))).collect::<Vec<_>>();
            assert_eq!(got, expected);
        });
    }
}
