//! The tables that other Iceberg programs read.

use sqlx::Row;
use tempfile::tempdir;

use super::files::{commit, create, raw};
use super::open;
use crate::conformance::swap;
use crate::{Action, Catalog, ObjectId};

type TableRow = (String, String, String, Option<String>, Option<String>, Option<String>);

async fn rows(path: &std::path::Path) -> Vec<TableRow> {
    let mut conn = raw(path).await;
    sqlx::query_as("SELECT * FROM iceberg_tables ORDER BY table_name").fetch_all(&mut conn).await.unwrap()
}

fn row(name: &str, location: &str, previous: Option<&str>) -> TableRow {
    (
        "frazil".into(),
        "default".into(),
        name.into(),
        Some(location.into()),
        previous.map(str::to_owned),
        Some("TABLE".into()),
    )
}

/// Columns as name, type, not-null, place in the primary key.
async fn columns(path: &std::path::Path, table: &str) -> Vec<(String, String, i64, i64)> {
    let mut conn = raw(path).await;
    let rows = sqlx::query(&format!("PRAGMA table_info({table})")).fetch_all(&mut conn).await.unwrap();
    rows.iter().map(|row| (row.get("name"), row.get("type"), row.get("notnull"), row.get("pk"))).collect()
}

fn column(name: &str, size: u32, not_null: i64, key: i64) -> (String, String, i64, i64) {
    (name.to_owned(), format!("VARCHAR({size})"), not_null, key)
}

#[tokio::test]
async fn the_tables_have_the_shape_of_the_sql_catalog() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("catalog.db");
    open(&path).await.unwrap().close().await;
    let expected = [
        column("catalog_name", 255, 1, 1),
        column("table_namespace", 255, 1, 2),
        column("table_name", 255, 1, 3),
        column("metadata_location", 1000, 0, 0),
        column("previous_metadata_location", 1000, 0, 0),
        column("iceberg_type", 5, 0, 0),
    ];
    assert_eq!(columns(&path, "iceberg_tables").await, expected);
    let expected = [
        column("catalog_name", 255, 1, 1),
        column("namespace", 255, 1, 2),
        column("property_key", 255, 1, 3),
        column("property_value", 1000, 1, 0),
    ];
    assert_eq!(columns(&path, "iceberg_namespace_properties").await, expected);
    let mut conn = raw(&path).await;
    let namespaces: Vec<(String, String, String, String)> =
        sqlx::query_as("SELECT * FROM iceberg_namespace_properties").fetch_all(&mut conn).await.unwrap();
    assert_eq!(namespaces, [("frazil".into(), "default".into(), "exists".into(), "true".into())]);
}

#[tokio::test]
async fn rows_follow_the_pointers() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("catalog.db");
    let catalog = open(&path).await.unwrap();
    let (t, u) = (ObjectId(1), ObjectId(2));
    catalog.commit(commit(vec![create(1, "t"), create(2, "u")])).await.unwrap();
    assert_eq!(rows(&path).await, []);
    catalog.commit(commit(vec![swap(t, None, "m1", &[]), swap(u, None, "n1", &[])])).await.unwrap();
    assert_eq!(rows(&path).await, [row("t", "m1", None), row("u", "n1", None)]);
    catalog.commit(commit(vec![swap(t, Some("m1"), "m2", &[])])).await.unwrap();
    assert_eq!(rows(&path).await, [row("t", "m2", Some("m1")), row("u", "n1", None)]);
    // Replaced under the same name: nothing of the old table is left.
    let third = ObjectId(3);
    catalog.commit(commit(vec![Action::DropObject(t), create(3, "t"), swap(third, None, "o1", &[])])).await.unwrap();
    assert_eq!(rows(&path).await, [row("t", "o1", None), row("u", "n1", None)]);
    catalog.commit(commit(vec![Action::DropObject(third)])).await.unwrap();
    assert_eq!(rows(&path).await, [row("u", "n1", None)]);
}

#[tokio::test]
async fn other_programs_cannot_move_our_pointers() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("catalog.db");
    let catalog = open(&path).await.unwrap();
    catalog.commit(commit(vec![create(1, "t"), swap(ObjectId(1), None, "m1", &[])])).await.unwrap();
    let mut conn = raw(&path).await;
    for sql in [
        "UPDATE iceberg_tables SET metadata_location = 'foreign' WHERE table_name = 't'",
        "UPDATE iceberg_tables SET table_name = 'u' WHERE table_name = 't'",
        "UPDATE iceberg_tables SET catalog_name = 'other' WHERE table_name = 't'",
        "DELETE FROM iceberg_tables",
        "INSERT INTO iceberg_tables VALUES ('frazil', 'default', 'mine', 'm', NULL, 'TABLE')",
    ] {
        let error = sqlx::query(sql).execute(&mut conn).await.unwrap_err();
        assert!(error.to_string().contains("written by Frazil"), "{sql}: {error}");
    }
    // Catalogs and namespaces of others in the same file are theirs.
    for sql in [
        "INSERT INTO iceberg_tables VALUES ('other', 'default', 't', 'm', NULL, 'TABLE')",
        "UPDATE iceberg_tables SET metadata_location = 'n' WHERE catalog_name = 'other'",
        "DELETE FROM iceberg_tables WHERE catalog_name = 'other'",
        "INSERT INTO iceberg_tables VALUES ('frazil', 'mine', 't', 'm', NULL, 'TABLE')",
    ] {
        sqlx::query(sql).execute(&mut conn).await.unwrap();
    }
    catalog.commit(commit(vec![swap(ObjectId(1), Some("m1"), "m2", &[])])).await.unwrap();
}
