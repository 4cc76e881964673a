//! What the statements that write a table know of its columns: where values come from that nobody gives.
//!
//! The catalog keeps DEFAULT and computed expressions in canonical SQL among the object's properties. The values of a
//! stored table are computed when a row is written, those of a connector table when it is read.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use catalog::{Object, ObjectKind};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema};
use datafusion::datasource::TableProvider;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, lit};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast;
use storage::types::arrow_schema;

use crate::error::{Error, Result};
use crate::sql::context::{Mode, Planned, Planner, name_columns};
use crate::sql::functions;
use crate::sql::parse::{digits, parse_type, stored_expression};
use crate::sql::statement::Insert;
use crate::sql::types::sql_name;

/// Property with the DEFAULT of the column whose name follows.
pub const DEFAULT: &str = "frazil.default.";
/// Property with the expression of the computed column whose name follows.
pub const COMPUTED: &str = "frazil.computed.";

/// A column of a table.
#[derive(Debug, Clone)]
pub struct TableColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
    /// Whether it may hold NULL.
    pub nullable: bool,
    /// `DEFAULT expression`.
    pub default: Option<String>,
    /// `AS expression`.
    pub computed: Option<String>,
}

/// The columns of a table that statements write.
#[derive(Debug, Clone)]
pub struct TableColumns {
    /// The table's name.
    pub table: String,
    /// All columns, in order.
    pub all: Vec<TableColumn>,
    /// Names of the key columns.
    pub key: Vec<String>,
}

impl TableColumns {
    /// The columns of an object.
    pub fn of(object: &Object) -> Result<Self> {
        let schema = arrow_schema(object)?;
        let property = |prefix: &str, name: &str| object.properties.get(&format!("{prefix}{name}")).cloned();
        let column = |field: &Arc<Field>| TableColumn {
            name: field.name().clone(),
            data_type: field.data_type().clone(),
            nullable: field.is_nullable(),
            default: property(DEFAULT, field.name()),
            computed: property(COMPUTED, field.name()),
        };
        let all = schema.fields().iter().map(column).collect();
        Ok(Self { table: object.name.clone(), all, key: object.key.clone() })
    }

    /// The columns that statements write: all but the computed ones.
    pub fn given(&self) -> impl Iterator<Item = &TableColumn> {
        self.all.iter().filter(|column| column.computed.is_none())
    }

    /// Whether some column is computed.
    pub fn any_computed(&self) -> bool {
        self.all.iter().any(|column| column.computed.is_some())
    }

    /// Whether the key may change with this column.
    pub fn decides_key(&self, name: &str) -> bool {
        let computed = |key: &String| self.all.iter().any(|column| column.name == *key && column.computed.is_some());
        self.key.iter().any(|key| key == name || computed(key))
    }

    /// Fails unless there is such a column and statements may write it.
    pub fn writable(&self, name: &str) -> Result<()> {
        match self.all.iter().find(|column| column.name == name) {
            None => {
                let names = || self.all.iter().map(|column| column.name.as_str());
                let error = Error::sql(format!("the table {} has no column {name}", self.table));
                Err(match crate::options::nearest(name, names()) {
                    Some(nearest) => error.hint(format!("did you mean {nearest}?")),
                    None => error.hint(format!("its columns are: {}", names().collect::<Vec<_>>().join(", "))),
                })
            }
            Some(column) if column.computed.is_some() => {
                Err(Error::sql(format!("the column {name} of {} is computed and cannot be written", self.table))
                    .hint("write the columns that it is computed from"))
            }
            Some(_) => Ok(()),
        }
    }

    /// The schema of the columns that statements write, all nullable.
    pub fn given_schema(&self) -> Schema {
        Schema::new(self.given().map(|c| Field::new(&c.name, c.data_type.clone(), true)).collect::<Vec<_>>())
    }
}

/// The columns that are written to and read from whatever holds an object's rows: a connector knows no computed ones.
pub fn physical_schema(object: &Object) -> Result<SchemaRef> {
    let schema = arrow_schema(object)?;
    if object.kind != ObjectKind::Connector {
        return Ok(schema);
    }
    let physical = |field: &&Arc<Field>| !object.properties.contains_key(&format!("{COMPUTED}{}", field.name()));
    Ok(Arc::new(Schema::new(schema.fields().iter().filter(physical).cloned().collect::<Vec<_>>())))
}

impl Planner {
    /// The rows that an INSERT brings, with the columns that its table has to be given. `tables`: what its query finds besides
    /// the tables of the warehouse.
    pub async fn inserted(
        &self,
        insert: &Insert,
        table: &Object,
        mode: Mode,
        tables: &[(&str, Arc<dyn TableProvider>)],
    ) -> Result<Planned> {
        let query = fitted_values(name_columns(&insert.query), &TableColumns::of(table)?, &insert.columns)?;
        let mut planned = self.query_over(&query, mode, tables).await?;
        planned.logical = self.fit(&planned.state, planned.logical, table, &insert.columns)?;
        Ok(planned)
    }

    /// Plans a stored expression over columns. It reads no tables and no more than one row.
    pub fn expression(&self, state: &SessionState, text: &str, columns: &Schema) -> Result<Expr> {
        let mut expr = stored_expression(text)?;
        self.inline(&mut expr)?;
        let expr = ast::ExprWithAlias { expr, alias: None };
        let schema = DFSchema::try_from(columns.clone())?;
        let planned = state.create_logical_expr_from_sql_expr(expr, &schema)?;
        let foreign = planned.exists(|expr| {
            Ok(matches!(
                expr,
                Expr::AggregateFunction(_)
                    | Expr::WindowFunction(_)
                    | Expr::ScalarSubquery(_)
                    | Expr::Exists(_)
                    | Expr::InSubquery(_)
                    | Expr::Unnest(_)
            ))
        })?;
        if foreign {
            return Err(Error::sql(format!("`{text}` does not belong to one row"))
                .hint("aggregates, window functions, unnest and subqueries belong into a view over the table"));
        }
        Ok(planned)
    }

    /// The type that an expression over columns gives.
    pub fn expression_type(&self, state: &SessionState, text: &str, columns: &Schema) -> Result<DataType> {
        let expr = self.expression(state, text, columns)?;
        let empty = LogicalPlan::EmptyRelation(datafusion::logical_expr::EmptyRelation {
            produce_one_row: false,
            schema: Arc::new(DFSchema::try_from(columns.clone())?),
        });
        let plan = LogicalPlanBuilder::from(empty).project([expr.alias("value")])?.build()?;
        Ok(state.optimize(&plan)?.schema().field(0).data_type().clone())
    }

    /// Brings a query's columns into the order and types of a table and adds what is computed. `columns` names the
    /// targets in the query's order; empty: all that are not computed.
    pub fn fit(
        &self,
        state: &SessionState,
        plan: LogicalPlan,
        table: &Object,
        columns: &[String],
    ) -> Result<LogicalPlan> {
        let target = TableColumns::of(table)?;
        columns.iter().try_for_each(|name| target.writable(name))?;
        let all: Vec<String> = target.given().map(|column| column.name.clone()).collect();
        let names = if columns.is_empty() { &all } else { columns };
        let given = plan.schema().columns();
        if given.len() != names.len() {
            return Err(Error::sql(format!(
                "INSERT INTO {} has {} columns, but its query gives {}",
                table.name,
                names.len(),
                given.len()
            ))
            .hint(format!("the columns of {} are: {}", table.name, all.join(", "))));
        }
        let mut fitted = Vec::new();
        for column in target.given() {
            let value = match (names.iter().position(|name| *name == column.name), &column.default) {
                (Some(place), _) => {
                    castable(plan.schema().field(place).data_type(), column)?;
                    Expr::Column(given[place].clone())
                }
                (None, Some(default)) => self.expression(state, default, &Schema::empty())?,
                (None, None) => lit(ScalarValue::Null),
            };
            fitted.push(cast(value, column.data_type.clone()).alias(&column.name));
        }
        let plan = LogicalPlanBuilder::from(plan).project(fitted)?.build()?;
        if table.kind == ObjectKind::Connector || !target.any_computed() {
            return Ok(plan);
        }
        let completed = self.completed(state, &target, Column::new_unqualified)?;
        Ok(LogicalPlanBuilder::from(plan).project(completed)?.build()?)
    }

    /// All columns of a table, given those that are not computed; `place` says where a column that is not computed
    /// is found.
    pub fn completed(
        &self,
        state: &SessionState,
        target: &TableColumns,
        place: impl Fn(String) -> Column,
    ) -> Result<Vec<Expr>> {
        let given = target.given_schema();
        let complete = |column: &TableColumn| {
            let value = match &column.computed {
                None => Expr::Column(place(column.name.clone())),
                Some(text) => {
                    let computed = self.expression(state, text, &given)?;
                    let moved = computed.transform(|expr| {
                        Ok(match expr {
                            Expr::Column(column) => Transformed::yes(Expr::Column(place(column.name))),
                            other => Transformed::no(other),
                        })
                    })?;
                    cast(moved.data, column.data_type.clone())
                }
            };
            Ok(value.alias(&column.name))
        };
        target.all.iter().map(complete).collect()
    }
}

/// Fails if a value of a type can never be stored in a column.
pub fn castable(from: &DataType, column: &TableColumn) -> Result<()> {
    if functions::cast::castable(from, &column.data_type) {
        return Ok(());
    }
    Err(Error::sql(format!(
        "a value of type {} does not fit the column {} of type {}",
        sql_name(from),
        column.name,
        sql_name(&column.data_type)
    )))
}

/// The query of an INSERT with VALUES as its columns need them: DEFAULT is replaced by what it stands for, and literals that
/// would lose something are cast: an empty array or a NULL within a struct has no type of its own, a number with a point
/// becomes a DOUBLE. `columns` names the targets; empty: all that are not computed.
fn fitted_values(mut query: ast::Query, target: &TableColumns, columns: &[String]) -> Result<ast::Query> {
    let ast::SetExpr::Values(values) = query.body.as_mut() else { return Ok(query) };
    let given: Vec<&TableColumn> = match columns.is_empty() {
        true => target.given().collect(),
        false => columns.iter().filter_map(|name| target.all.iter().find(|column| column.name == *name)).collect(),
    };
    for row in &mut values.rows {
        for (value, column) in row.iter_mut().zip(&given) {
            let default = matches!(value, ast::Expr::Identifier(i) if i.quote_style.is_none() && i.value == "default");
            if default {
                *value = match &column.default {
                    Some(default) => ast::Expr::Nested(Box::new(stored_expression(default)?)),
                    None => ast::Expr::value(ast::Value::Null),
                };
            } else {
                type_literal(value, &column.data_type)?;
            }
        }
    }
    Ok(query)
}

/// Casts a literal to a type that it would not come to without loss.
fn type_literal(value: &mut ast::Expr, data_type: &DataType) -> Result<()> {
    if matches!(data_type, DataType::Decimal128(..)) {
        if let Some(digits) = digits(value) {
            *value = digits;
        } else {
            return Ok(());
        }
    } else if !data_type.is_nested() {
        return Ok(());
    }
    let expr = Box::new(std::mem::replace(value, ast::Expr::value(ast::Value::Null)));
    let data_type = parse_type(&sql_name(data_type))?;
    *value = ast::Expr::Cast { kind: ast::CastKind::Cast, expr, data_type, array: false, format: None };
    Ok(())
}
