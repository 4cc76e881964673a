//! The tables that other Iceberg programs read.

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Row as _};
use tempfile::tempdir;

use super::super::database::Row;
use super::{Store, commit, create, execute, open};
use crate::conformance::swap;
use crate::{Action, Catalog, ObjectId, SqlCatalog};

type TableRow = (String, String, String, Option<String>, Option<String>, Option<String>);

async fn rows(catalog: &SqlCatalog) -> Vec<TableRow> {
    let sql = "SELECT catalog_name, table_namespace, table_name, metadata_location, previous_metadata_location, \
               iceberg_type FROM iceberg_tables ORDER BY table_name";
    let mut tx = catalog.inner.database.begin_read().await.unwrap();
    let rows = tx.connection().rows(sql, &[]).await.unwrap();
    let text = |row: &Row, column| row.get(column).unwrap();
    let row = |row: &Row| {
        let maybe = |column| row.get(column).unwrap();
        (text(row, 0), text(row, 1), text(row, 2), maybe(3), maybe(4), maybe(5))
    };
    rows.iter().map(row).collect()
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
    let mut conn = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
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
    let mut conn = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    let namespaces: Vec<(String, String, String, String)> =
        sqlx::query_as("SELECT * FROM iceberg_namespace_properties").fetch_all(&mut conn).await.unwrap();
    assert_eq!(namespaces, [("frazil".into(), "default".into(), "exists".into(), "true".into())]);
}

#[tokio::test]
async fn rows_follow_the_pointers() {
    for store in [Store::file(), Store::server()] {
        let catalog = store.open().await.unwrap();
        let (t, u) = (ObjectId(1), ObjectId(2));
        catalog.commit(commit(vec![create(1, "t"), create(2, "u")])).await.unwrap();
        assert_eq!(rows(&catalog).await, []);
        catalog.commit(commit(vec![swap(t, None, "m1", &[]), swap(u, None, "n1", &[])])).await.unwrap();
        assert_eq!(rows(&catalog).await, [row("t", "m1", None), row("u", "n1", None)]);
        catalog.commit(commit(vec![swap(t, Some("m1"), "m2", &[])])).await.unwrap();
        assert_eq!(rows(&catalog).await, [row("t", "m2", Some("m1")), row("u", "n1", None)]);
        // Replaced under the same name: nothing of the old table is left.
        let again = vec![Action::DropObject(t), create(3, "t"), swap(ObjectId(3), None, "o1", &[])];
        catalog.commit(commit(again)).await.unwrap();
        assert_eq!(rows(&catalog).await, [row("t", "o1", None), row("u", "n1", None)]);
        catalog.commit(commit(vec![Action::DropObject(ObjectId(3))])).await.unwrap();
        assert_eq!(rows(&catalog).await, [row("u", "n1", None)]);
    }
}

#[tokio::test]
async fn other_programs_cannot_move_our_pointers() {
    for store in [Store::file(), Store::server()] {
        let catalog = store.open().await.unwrap();
        catalog.commit(commit(vec![create(1, "t"), swap(ObjectId(1), None, "m1", &[])])).await.unwrap();
        for sql in [
            "UPDATE iceberg_tables SET metadata_location = 'foreign' WHERE table_name = 't'",
            "UPDATE iceberg_tables SET metadata_location = NULL WHERE table_name = 't'",
            "UPDATE iceberg_tables SET table_name = 'u' WHERE table_name = 't'",
            "UPDATE iceberg_tables SET catalog_name = 'other' WHERE table_name = 't'",
            "DELETE FROM iceberg_tables",
            "INSERT INTO iceberg_tables VALUES ('frazil', 'default', 'mine', 'm', NULL, 'TABLE')",
        ] {
            let error = execute(&catalog, sql).await.unwrap_err();
            assert!(error.to_string().contains("written by Frazil"), "{sql}: {error}");
        }
        // Catalogs and namespaces of others in the same database are theirs.
        for sql in [
            "INSERT INTO iceberg_tables VALUES ('other', 'default', 't', 'm', NULL, 'TABLE')",
            "UPDATE iceberg_tables SET metadata_location = 'n' WHERE catalog_name = 'other'",
            "DELETE FROM iceberg_tables WHERE catalog_name = 'other'",
            "INSERT INTO iceberg_tables VALUES ('frazil', 'mine', 't', 'm', NULL, 'TABLE')",
        ] {
            execute(&catalog, sql).await.unwrap();
        }
        catalog.commit(commit(vec![swap(ObjectId(1), Some("m1"), "m2", &[])])).await.unwrap();
    }
}
