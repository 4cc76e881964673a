//! Queries of PostgreSQL's own tables: `pg_catalog` and `information_schema`, by which clients find out what there is.
//!
//! They are answered apart from the engine, by `datafusion-pg-catalog` over the names, kinds and columns of the warehouse's tables
//! and views. No such query reads rows of the warehouse.

mod functions;
mod relations;
mod rewrite;
mod users;

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::types::OIDS;
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider, SchemaProvider, Session};
use datafusion::datasource::TableProvider;
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Expr, LogicalPlan, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::sqlparser::ast::{Expr as Ast, ObjectName, Statement, visit_expressions, visit_relations};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use datafusion_pg_catalog::pg_catalog::setup_pg_catalog;
use datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use engine::session::{Engine, Relation, RelationKind};
use engine::sql::parse::parameter_number;
use relations::Catalog;
use users::Users;

/// The database that clients see.
pub const DATABASE: &str = "frazil";
/// The schema in which clients see all tables.
const SCHEMA: &str = "public";
/// The schema of most system tables.
const SYSTEM: &str = "pg_catalog";

/// Functions that ask about the server or the session.
const FUNCTIONS: [&str; 15] = [
    "current_role",
    "quote_literal",
    "to_regtype",
    "version",
    "current_database",
    "current_catalog",
    "current_schema",
    "current_schemas",
    "current_setting",
    "current_user",
    "session_user",
    "set_config",
    "format_type",
    "has_table_privilege",
    "has_schema_privilege",
];

/// Whether a text is one query of system tables, or of nothing but what the server is.
pub fn is_system(sql: &str) -> bool {
    // Most statements are none, and are not parsed twice.
    let text = sql.to_ascii_lowercase();
    if !text.contains("pg_")
        && !text.contains("information_schema")
        && !FUNCTIONS.iter().any(|name| text.contains(name))
    {
        return false;
    }
    let Ok(statements) = Parser::parse_sql(&PostgreSqlDialect {}, sql) else {
        // What only PostgreSQL's grammar knows, such as OPERATOR(pg_catalog.~).
        return text.contains("pg_catalog.");
    };
    let [statement @ Statement::Query(_)] = statements.as_slice() else { return false };
    let mut relations = Vec::new();
    let _ = visit_relations(statement, |name| {
        relations.push(is_system_name(name));
        ControlFlow::<()>::Continue(())
    });
    if !relations.is_empty() {
        return relations.contains(&true);
    }
    let found = visit_expressions(statement, |expr| match expr {
        Ast::Function(function) if is_system_function(&function.name) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

fn parts(name: &ObjectName) -> Vec<String> {
    name.0.iter().filter_map(|part| part.as_ident()).map(|ident| ident.value.to_ascii_lowercase()).collect()
}

fn is_system_name(name: &ObjectName) -> bool {
    let parts = parts(name);
    let schema = parts.iter().rev().nth(1).map(String::as_str);
    match schema {
        Some(schema) => matches!(schema, "pg_catalog" | "information_schema"),
        None => parts.last().is_some_and(|name| name.starts_with("pg_")),
    }
}

fn is_system_function(name: &ObjectName) -> bool {
    let parts = parts(name);
    let last = parts.last().map_or("", String::as_str);
    parts.len() > 1 && parts[0] == "pg_catalog" || last.starts_with("pg_") || FUNCTIONS.contains(&last)
}

/// Replaces the parameters of a text by values, given as SQL.
pub fn bound(sql: &str, values: &[String]) -> String {
    let dialect = PostgreSqlDialect {};
    let Ok(tokens) = Tokenizer::new(&dialect, sql).with_unescape(false).tokenize() else { return sql.to_owned() };
    let value = |token: &Token| match token {
        Token::Placeholder(name) => values.get(parameter_number(name)?.checked_sub(1)?).cloned(),
        _ => None,
    };
    tokens.iter().map(|token| value(token).unwrap_or_else(|| token.to_string())).collect()
}

/// Answers system queries. One for all connections, since clients ask about numbers (OIDs) that they were given before.
pub struct System {
    engine: Engine,
    context: SessionContext,
    schema: Arc<MemorySchemaProvider>,
    relations: Arc<Catalog>,
    /// What `schema` holds, by name.
    known: Mutex<BTreeMap<String, Relation>>,
}

impl System {
    /// System tables of a warehouse.
    pub async fn new(engine: Engine) -> engine::Result<Self> {
        let mut config =
            SessionConfig::new().with_information_schema(true).with_default_catalog_and_schema(DATABASE, SCHEMA);
        config.options_mut().catalog.create_default_catalog_and_schema = false;
        let context = SessionContext::new_with_config(config);
        let schema = Arc::new(MemorySchemaProvider::new());
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema(SCHEMA, schema.clone())?;
        context.register_catalog(DATABASE, Arc::new(catalog));
        setup_pg_catalog(&context, DATABASE, Users(engine.clone())).map_err(|error| engine::Error::from(*error))?;
        let catalog = context.catalog(DATABASE).ok_or_else(|| engine::Error::internal("there is no system catalog"))?;
        let base = catalog.schema(SYSTEM).ok_or_else(|| engine::Error::internal("there are no system tables"))?;
        let relations = Arc::new(Catalog::new(base).await?);
        catalog.register_schema(SYSTEM, relations.clone())?;
        functions::register(&context, &relations);
        Ok(Self { engine, context, schema, relations, known: Mutex::default() })
    }

    /// The columns of a system query's result, with these values for its parameters meanwhile.
    pub async fn describe(&self, sql: &str, nulls: &[String], user: &str) -> engine::Result<SchemaRef> {
        let plan = self.plan(&bound(sql, nulls), user).await?;
        Ok(numbers(plan.schema().as_arrow()))
    }

    /// Runs a system query of a user.
    pub async fn run(&self, sql: &str, user: &str) -> engine::Result<SendableRecordBatchStream> {
        let plan = self.plan(sql, user).await?;
        let rows = self.context.execute_logical_plan(plan).await?.execute_stream().await?;
        Ok(Box::pin(RecordBatchStreamAdapter::new(numbers(&rows.schema()), rows)))
    }

    async fn plan(&self, sql: &str, user: &str) -> engine::Result<LogicalPlan> {
        self.refresh().await?;
        let mut statements =
            PostgresCompatibilityParser::new().parse(sql).map_err(|error| engine::Error::sql(error.to_string()))?;
        let (Some(statement), true) = (statements.pop(), statements.is_empty()) else {
            return Err(engine::Error::sql("one query of system tables was expected"));
        };
        let mut statement = statement;
        rewrite::rewrite(&mut statement, user);
        let statement = datafusion::sql::parser::Statement::Statement(Box::new(statement));
        Ok(self.context.state().statement_to_plan(statement).await?)
    }

    /// Takes up what was created, changed or dropped since the last query.
    async fn refresh(&self) -> engine::Result<()> {
        let now: BTreeMap<_, _> =
            self.engine.relations().await?.into_iter().map(|relation| (relation.name.clone(), relation)).collect();
        let unchanged = *self.known() == now;
        if unchanged {
            return Ok(());
        }
        self.relations.refresh(&now).await?;
        let mut known = self.known();
        for name in known.keys().filter(|name| known.get(*name) != now.get(*name)) {
            self.schema.deregister_table(name)?;
        }
        for (name, relation) in now.iter().filter(|(name, relation)| known.get(*name) != Some(*relation)) {
            self.schema.register_table(name.clone(), Arc::new(Named::new(relation)))?;
        }
        *known = now;
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Relation>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The columns of a result, with those marked that PostgreSQL has as `oid[]`: every array of such numbers in its system tables.
fn numbers(columns: &Schema) -> SchemaRef {
    let mark = |field: &FieldRef| match field.data_type() {
        DataType::List(item) if *item.data_type() == DataType::Int32 => {
            let marked = [(OIDS.to_owned(), String::new())];
            Arc::new(field.as_ref().clone().with_metadata(marked.into()))
        }
        _ => field.clone(),
    };
    Arc::new(Schema::new(columns.fields().iter().map(mark).collect::<Vec<_>>()))
}

/// A table or view of which only the name, the kind and the columns are known here.
#[derive(Debug)]
struct Named {
    schema: SchemaRef,
    kind: TableType,
}

impl Named {
    fn new(relation: &Relation) -> Self {
        let kind = match relation.kind {
            RelationKind::Table => TableType::Base,
            RelationKind::View | RelationKind::MaterializedView => TableType::View,
        };
        Self { schema: Arc::new(Schema::new(relation.columns.fields().clone())), kind }
    }
}

#[async_trait]
impl TableProvider for Named {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        self.kind
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = projection.map_or_else(|| Ok(self.schema.clone()), |p| self.schema.project(p).map(Arc::new))?;
        Ok(Arc::new(EmptyExec::new(schema)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_queries_are_told_from_others() {
        for sql in [
            "SELECT relname FROM pg_catalog.pg_class",
            "select * from information_schema.tables where table_name = $1",
            "SELECT pg_catalog.version()",
            "select version()",
            "select current_schema(), 1",
            "SELECT c.oid FROM pg_class c WHERE c.relname OPERATOR(pg_catalog.~) '^(t)$'",
        ] {
            assert!(is_system(sql), "{sql}");
        }
        for sql in [
            "SELECT version FROM releases",
            "SELECT 'pg_class'",
            "INSERT INTO t SELECT version()",
            "SELECT 1; SELECT version()",
        ] {
            assert!(!is_system(sql), "{sql}");
        }
    }

    #[test]
    fn parameters_are_replaced_where_they_stand() {
        assert_eq!(
            bound("SELECT '$1', $1, $2 -- $1", &["'it''s'".into(), "7".into()]),
            "SELECT '$1', 'it''s', 7 -- $1"
        );
    }
}
