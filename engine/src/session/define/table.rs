//! CREATE TABLE, with and without connector, and CREATE TABLE ... AS.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use catalog::{Action, Object, ObjectId, ObjectKind};
use storage::types::{columns, storable_schema};

use super::{Draft, New, distinct_ids};
use crate::error::{Error, Result};
use crate::plan::watermark::{COLUMN, EXPRESSION};
use crate::session::Inner;
use crate::sql::context::{BASE_DIR, Mode, Planner, rename, stored_schema};
use crate::sql::parse::stored_expression;
use crate::sql::statement::{ColumnDefinition, ColumnValue, CreateTable, ParsedStatement, TableQuery};
use crate::sql::table::{COMPUTED, DEFAULT, TableColumn, castable};
use crate::sql::types::sql_name;

impl Draft {
    /// `CREATE TABLE`.
    pub async fn create_table(&mut self, inner: &Inner, parsed: &ParsedStatement, table: &CreateTable) -> Result<bool> {
        let at = Some(parsed.position);
        let new = New {
            name: &table.name,
            kind: "TABLE",
            text: &parsed.text,
            if_not_exists: table.if_not_exists,
            or_replace: table.or_replace,
            position: parsed.position,
        };
        // The query of a table that takes the place of another may read that one.
        let before = self.planner(inner);
        if self.exists(&new)? {
            return Ok(false);
        }
        if let Some(query) = &table.query {
            self.create_table_as(inner, &before, parsed, table, query).await.map_err(|error| error.at(at))?;
            return Ok(true);
        }
        let connector = table.options.contains_key("connector");
        refuse_options(table, connector).map_err(|error| error.at(at))?;
        let planner = self.planner(inner);
        let schema = schema(&planner, table).map_err(|error| error.at(at))?;
        refuse_nested_key(table, &schema).map_err(|error| error.at(at))?;
        let mut properties = table.options.clone();
        if let Some(watermark) = &table.watermark {
            let column = schema.field_with_name(&watermark.column)?;
            if !matches!(column.data_type(), DataType::Timestamp(..)) {
                let found = sql_name(column.data_type());
                return Err(Error::sql(format!(
                    "the watermark's column {} must be a TIMESTAMP, it is {found}",
                    watermark.column
                ))
                .at(at));
            }
            crate::sql::watermark::delay(&watermark.column, &watermark.expression).map_err(|e| e.at(at))?;
            properties.insert(COLUMN.into(), watermark.column.clone());
            properties.insert(EXPRESSION.into(), watermark.expression.clone());
        }
        let mut functions = Vec::new();
        for column in &table.columns {
            let (property, text) = match &column.value {
                ColumnValue::Given => continue,
                ColumnValue::Default(text) => (DEFAULT, text),
                ColumnValue::Computed(text) => (COMPUTED, text),
            };
            properties.insert(format!("{property}{}", column.name), text.clone());
            functions.extend(planner.inline(&mut stored_expression(text)?)?);
        }
        if connector {
            let base_dir = self.base_dir.as_ref().unwrap_or(&inner.options.base_dir);
            let base_dir = std::path::absolute(base_dir).unwrap_or(base_dir.clone());
            properties.insert(BASE_DIR.into(), base_dir.to_string_lossy().into_owned());
        }
        let mut object = Object {
            id: inner.warehouse.catalog().allocate_ids(1).await?,
            name: table.name.clone(),
            kind: if connector { ObjectKind::Connector } else { ObjectKind::Table },
            sql: parsed.text.clone(),
            columns: columns(&schema)?,
            key: table.primary_key.clone(),
            insert_only: table.append_only && !connector,
            properties,
            depends_on: distinct_ids(functions.iter()),
        };
        if connector {
            planner.connector(&object).map_err(|e| e.at(at))?;
            let late = planner.late_table(&object).map_err(|e| e.at(at))?;
            object.depends_on.extend(late.map(|table| table.id));
        }
        self.add_object(object);
        Ok(true)
    }

    /// The table and its first rows come with the same commit.
    async fn create_table_as(
        &mut self,
        inner: &Inner,
        planner: &Planner,
        parsed: &ParsedStatement,
        table: &CreateTable,
        query: &TableQuery,
    ) -> Result<()> {
        let planned = planner.query(&query.query, Mode::Batch).await?;
        let logical = rename(planned.logical, &query.columns)?;
        let schema = stored_schema(&logical)?;
        let object = Object {
            id: inner.warehouse.catalog().allocate_ids(1).await?,
            name: table.name.clone(),
            kind: ObjectKind::Table,
            sql: parsed.text.clone(),
            columns: columns(&schema)?,
            key: vec![],
            insert_only: false,
            properties: BTreeMap::new(),
            depends_on: vec![],
        };
        let logical = planner.fit(&planned.state, logical, &object, &[])?;
        let id: ObjectId = object.id;
        let segments = inner.first_rows(planner, Arc::new(object.clone()), planned.state, logical).await?;
        self.add_object(object);
        if !segments.is_empty() {
            self.actions.push(Action::AddSegments { table: id, segments });
        }
        Ok(())
    }
}

fn refuse_options(table: &CreateTable, connector: bool) -> Result<()> {
    match table.options.keys().next() {
        Some(option) if !connector => {
            Err(Error::new(crate::ErrorKind::Option, format!("a table without a connector has no option '{option}'"))
                .hint("add 'connector' = '...', or leave out WITH (...)"))
        }
        _ => Ok(()),
    }
}

fn refuse_nested_key(table: &CreateTable, schema: &Schema) -> Result<()> {
    let nested = |field: &&Arc<Field>| field.data_type().is_nested() && table.primary_key.contains(field.name());
    match schema.fields().iter().find(nested) {
        None => Ok(()),
        Some(field) => Err(Error::sql(format!(
            "the column {} of type {} cannot be part of a PRIMARY KEY",
            field.name(),
            sql_name(field.data_type())
        ))
        .hint("use columns of plain types")),
    }
}

/// The table's columns in their stored types; every expression is tried.
fn schema(planner: &Planner, table: &CreateTable) -> Result<SchemaRef> {
    let state = planner.state(Mode::Batch)?;
    let given = |column: &&ColumnDefinition| !matches!(column.value, ColumnValue::Computed(_));
    let field = |column: &ColumnDefinition, data_type: DataType| {
        Field::new(&column.name, data_type, column.nullable && !table.primary_key.contains(&column.name))
    };
    let known = |column: &ColumnDefinition| field(column, column.data_type.clone().unwrap_or(DataType::Null));
    let row = storable_schema(&Schema::new(table.columns.iter().filter(given).map(known).collect::<Vec<_>>()))?;
    if row.fields().is_empty() {
        return Err(Error::sql(format!("all columns of {} are computed", table.name))
            .hint("declare at least one column with a type"));
    }
    let nullable = crate::plan::build::internal_schema(&row);
    let mut fields = Vec::new();
    for column in &table.columns {
        let (text, over) = match &column.value {
            ColumnValue::Given => {
                fields.push(known(column));
                continue;
            }
            ColumnValue::Default(text) => (text, &Schema::empty()),
            ColumnValue::Computed(text) => (text, nullable.as_ref()),
        };
        let gives = planner.expression_type(&state, text, over).map_err(|error| error.with("column", &column.name))?;
        let declared = column.data_type.clone().unwrap_or_else(|| gives.clone());
        castable(&gives, &table_column(&column.name, &declared))?;
        fields.push(field(column, declared));
    }
    Ok(storable_schema(&Schema::new(fields))?)
}

fn table_column(name: &str, data_type: &DataType) -> TableColumn {
    TableColumn { name: name.to_owned(), data_type: data_type.clone(), nullable: true, default: None, computed: None }
}
