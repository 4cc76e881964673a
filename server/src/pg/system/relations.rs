//! The system tables that say which relations there are: schemas, tables, views, their columns and keys.
//!
//! They are made from what the engine says of its tables and views, and stand in front of the tables of `datafusion-pg-catalog` of
//! the same names, which know neither keys nor materialized views nor types beyond the plain ones. A thing keeps its number (OID)
//! as long as the server runs, since clients come back with numbers that they were given before.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{ArrayRef, RecordBatch, new_empty_array};
use arrow::datatypes::{DataType, Field, Int16Type, Int32Type, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::arrow::array::{Array, ListArray};
use datafusion::catalog::SchemaProvider;
use datafusion::datasource::{MemTable, TableProvider};
use datafusion::error::Result;
use datafusion::scalar::ScalarValue;
use engine::session::{Relation, RelationKind};

use crate::pg::types::{modifier, pg_type, size};

/// `pg_namespace.oid` of `pg_catalog`, as in every PostgreSQL.
const CATALOG: i32 = 11;
/// That of `public`.
const PUBLIC: i32 = 2200;
/// That of `information_schema`.
const INFORMATION: i32 = 13212;
/// The first number that is not PostgreSQL's own.
const FIRST: i32 = 16384;
/// `pg_am.oid` of tables.
const HEAP: i32 = 2;
/// `pg_am.oid` of indexes.
const BTREE: i32 = 403;

/// A row: the columns that are not zero, false, empty or NULL.
type Row = Vec<(&'static str, ScalarValue)>;

/// The schema `pg_catalog`.
#[derive(Debug)]
pub struct Catalog {
    /// All tables that are not made here.
    base: Arc<dyn SchemaProvider>,
    made: Mutex<Made>,
}

#[derive(Debug, Default)]
struct Made {
    tables: HashMap<&'static str, Arc<dyn TableProvider>>,
    numbers: HashMap<String, i32>,
    indexes: HashMap<i32, Index>,
}

/// The index of a key, as its definition says it.
#[derive(Debug, Clone)]
pub struct Index {
    /// Its name.
    pub name: String,
    /// The table.
    pub table: String,
    /// Names of its columns.
    pub columns: Vec<String>,
}

impl Catalog {
    /// Puts tables without rows before those of `base`.
    pub async fn new(base: Arc<dyn SchemaProvider>) -> engine::Result<Self> {
        let catalog = Self { base, made: Mutex::default() };
        catalog.refresh(&BTreeMap::new()).await?;
        Ok(catalog)
    }

    /// Makes the tables anew.
    pub async fn refresh(&self, relations: &BTreeMap<String, Relation>) -> engine::Result<()> {
        let mut columns = HashMap::new();
        for name in TABLES {
            columns.insert(name, self.columns(name).await?);
        }
        let mut made = self.made();
        let rows = rows(&mut made.numbers, relations);
        made.indexes = indexes(&made.numbers, relations);
        for (name, rows) in TABLES.into_iter().zip(rows) {
            let columns = columns.remove(name).unwrap_or_else(|| Arc::new(Schema::empty()));
            made.tables.insert(name, table(columns, &rows)?);
        }
        Ok(())
    }

    /// The number of a relation.
    pub fn number(&self, name: &str) -> Option<i32> {
        self.made().numbers.get(name).copied()
    }

    /// The index of a number.
    pub fn index(&self, number: i32) -> Option<Index> {
        self.made().indexes.get(&number).cloned()
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The columns of a table: those of `base`, with what is missing there, and arrays as arrays.
    async fn columns(&self, name: &str) -> engine::Result<SchemaRef> {
        let base = self.base.table(name).await?.map(|table| table.schema());
        let base = base.ok_or_else(|| engine::Error::internal(format!("there is no system table {name}")))?;
        let mut fields: Vec<_> = base.fields().iter().cloned().collect();
        for (table, column, data_type) in more() {
            if table == name {
                fields.retain(|field| field.name() != column);
                fields.push(Arc::new(Field::new(column, data_type, true)));
            }
        }
        Ok(Arc::new(Schema::new(fields)))
    }
}

#[async_trait]
impl SchemaProvider for Catalog {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn table_names(&self) -> Vec<String> {
        self.base.table_names()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let made = self.made().tables.get(name).cloned();
        match made {
            Some(table) => Ok(Some(table)),
            None => self.base.table(name).await,
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.base.table_exist(name)
    }
}

/// The tables that are made here, in the order of [`rows`].
const TABLES: [&str; 5] = ["pg_namespace", "pg_class", "pg_attribute", "pg_constraint", "pg_index"];

/// Columns that `datafusion-pg-catalog` lacks or has as text.
fn more() -> [(&'static str, &'static str, DataType); 8] {
    let list = |item| DataType::List(Arc::new(Field::new_list_field(item, true)));
    [
        ("pg_class", "relacl", list(DataType::Utf8)),
        ("pg_class", "reloptions", list(DataType::Utf8)),
        ("pg_constraint", "conkey", list(DataType::Int16)),
        ("pg_constraint", "confkey", list(DataType::Int16)),
        ("pg_index", "indkey", list(DataType::Int16)),
        ("pg_index", "indoption", list(DataType::Int16)),
        ("pg_index", "indclass", list(DataType::Int32)),
        ("pg_index", "indcollation", list(DataType::Int32)),
    ]
}

/// The rows of [`TABLES`].
fn rows(numbers: &mut HashMap<String, i32>, relations: &BTreeMap<String, Relation>) -> [Vec<Row>; 5] {
    let mut number = |name: String| {
        let next = FIRST + numbers.len() as i32;
        *numbers.entry(name).or_insert(next)
    };
    let [mut classes, mut attributes, mut constraints, mut indexes] = [const { Vec::new() }; 4];
    for relation in relations.values() {
        let oid = number(relation.name.clone());
        classes.push(class(oid, relation));
        attributes.extend(attributes_of(oid, relation));
        if !relation.key.is_empty() {
            let name = key_name(relation);
            let (index, constraint) = (number(index_entry(&name)), number(format!("{name} constraint")));
            classes.push(index_class(index, name.clone(), relation));
            constraints.push(constraint_row(constraint, name, oid, index, relation));
            indexes.push(index_row(index, oid, relation));
        }
    }
    let namespaces = [(CATALOG, "pg_catalog"), (PUBLIC, "public"), (INFORMATION, "information_schema")];
    let namespaces = namespaces.map(|(oid, name)| vec![("oid", int(oid)), ("nspname", text(name))]);
    [namespaces.into(), classes, attributes, constraints, indexes]
}

/// The name of a key, as PostgreSQL gives it.
fn key_name(relation: &Relation) -> String {
    format!("{}_pkey", relation.name)
}

/// What an index is numbered under.
fn index_entry(name: &str) -> String {
    format!("{name} index")
}

fn indexes(numbers: &HashMap<String, i32>, relations: &BTreeMap<String, Relation>) -> HashMap<i32, Index> {
    let index = |relation: &Relation| {
        let name = key_name(relation);
        let number = *numbers.get(&index_entry(&name))?;
        Some((number, Index { name, table: relation.name.clone(), columns: relation.key.clone() }))
    };
    relations.values().filter(|relation| !relation.key.is_empty()).filter_map(index).collect()
}

fn class(oid: i32, relation: &Relation) -> Row {
    let (kind, method) = match relation.kind {
        RelationKind::Table => ("r", HEAP),
        RelationKind::View => ("v", 0),
        RelationKind::MaterializedView => ("m", HEAP),
    };
    class_row(oid, &relation.name, kind, method, relation.columns.fields().len())
}

fn index_class(oid: i32, name: String, relation: &Relation) -> Row {
    class_row(oid, &name, "i", BTREE, relation.key.len())
}

fn class_row(oid: i32, name: &str, kind: &str, method: i32, columns: usize) -> Row {
    vec![
        ("oid", int(oid)),
        ("relname", text(name)),
        ("relnamespace", int(PUBLIC)),
        ("relam", int(method)),
        ("relkind", text(kind)),
        ("relpersistence", text("p")),
        ("relreplident", text("d")),
        ("relispopulated", true.into()),
        ("relnatts", small(columns)),
    ]
}

fn attributes_of(oid: i32, relation: &Relation) -> impl Iterator<Item = Row> {
    relation.columns.fields().iter().enumerate().map(move |(place, field)| {
        let data_type = pg_type(field.data_type());
        vec![
            ("attrelid", int(oid)),
            ("attname", text(field.name())),
            ("atttypid", int(data_type.oid() as i32)),
            ("attlen", ScalarValue::Int16(Some(size(&data_type)))),
            ("attnum", small(place + 1)),
            ("atttypmod", int(modifier(field.data_type()))),
            ("attndims", int(i32::from(matches!(field.data_type(), DataType::List(_))))),
            ("attstattarget", int(-1)),
            ("attnotnull", (!field.is_nullable()).into()),
            ("attislocal", true.into()),
        ]
    })
}

fn constraint_row(oid: i32, name: String, relation: i32, index: i32, of: &Relation) -> Row {
    vec![
        ("oid", int(oid)),
        ("conname", text(&name)),
        ("connamespace", int(PUBLIC)),
        ("contype", text("p")),
        ("convalidated", true.into()),
        ("conislocal", true.into()),
        ("conrelid", int(relation)),
        ("conindid", int(index)),
        ("conkey", smalls(places(of))),
    ]
}

fn index_row(oid: i32, relation: i32, of: &Relation) -> Row {
    let columns = of.key.len();
    vec![
        ("indexrelid", int(oid)),
        ("indrelid", int(relation)),
        ("indnatts", small(columns)),
        ("indnkeyatts", small(columns)),
        ("indisunique", true.into()),
        ("indisprimary", true.into()),
        ("indimmediate", true.into()),
        ("indisvalid", true.into()),
        ("indisready", true.into()),
        ("indislive", true.into()),
        ("indkey", smalls(places(of))),
        ("indoption", smalls(vec![0; columns])),
        ("indclass", numbers_of(columns)),
        ("indcollation", numbers_of(columns)),
    ]
}

/// The numbers of the key's columns.
fn places(relation: &Relation) -> Vec<i16> {
    let place = |name: &String| relation.columns.index_of(name).ok().and_then(|place| i16::try_from(place + 1).ok());
    relation.key.iter().filter_map(place).collect()
}

fn int(value: i32) -> ScalarValue {
    ScalarValue::Int32(Some(value))
}

fn small(value: usize) -> ScalarValue {
    ScalarValue::Int16(i16::try_from(value).ok())
}

fn text(value: &str) -> ScalarValue {
    ScalarValue::Utf8(Some(value.to_owned()))
}

fn smalls(values: Vec<i16>) -> ScalarValue {
    let values = values.into_iter().map(Some);
    ScalarValue::List(Arc::new(ListArray::from_iter_primitive::<Int16Type, _, _>([Some(values)])))
}

/// So many zeros.
fn numbers_of(count: usize) -> ScalarValue {
    let zeros = std::iter::repeat_n(Some(0), count);
    ScalarValue::List(Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([Some(zeros)])))
}

/// A table of rows.
fn table(columns: SchemaRef, rows: &[Row]) -> Result<Arc<dyn TableProvider>> {
    let column = |field: &Arc<Field>| -> Result<ArrayRef> {
        if rows.is_empty() {
            return Ok(new_empty_array(field.data_type()));
        }
        let values = rows.iter().map(|row| value(row, field)).collect::<Result<Vec<_>>>()?;
        ScalarValue::iter_to_array(values)
    };
    let arrays = columns.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
    let batch = RecordBatch::try_new(columns.clone(), arrays)?;
    debug_assert!(batch.columns().iter().all(|column| column.len() == rows.len()), "a column of another length");
    Ok(Arc::new(MemTable::try_new(columns, vec![vec![batch]])?))
}

fn value(row: &Row, field: &Field) -> Result<ScalarValue> {
    let (kind, found) = (field.data_type(), row.iter().find(|(name, _)| name == field.name()));
    match found {
        Some((_, value)) => value.cast_to(kind),
        None if field.is_nullable() && (kind.is_nested() || kind.is_string()) => ScalarValue::try_new_null(kind),
        None => ScalarValue::new_default(kind),
    }
}
