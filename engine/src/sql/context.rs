//! Plans queries against one catalog snapshot: names become table providers, ASTs become logical plans.
//!
//! The same query is planned in one of two modes. In batch mode tables can be scanned; in continuous mode they only have
//! a schema, and `plan::build` turns the logical plan into incremental operators.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use catalog::{Object, ObjectId, ObjectKind, Snapshot};
use datafusion::catalog::Session;
use datafusion::common::Column;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::{TableProvider, ViewTable, provider_as_source, source_as_provider};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableScan, TableType, Volatility};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement as DataFusionStatement;
use datafusion::sql::sqlparser::ast::{self, visit_expressions_mut, visit_relations};
use futures::future::BoxFuture;
use storage::Warehouse;
use storage::scan::DynamicTable;
use storage::types::storable_schema;

use crate::connector::{self, ConnectorTable};
use crate::error::{Error, Position, Result};
use crate::plan::build::{Emission, build};
use crate::plan::stable::stable;
use crate::plan::ties::break_ties;
use crate::plan::{IncrementalPlan, physical};
use crate::source::batch::{Positions, SourceTable};
use crate::sql::exact::ExactExpressions;
use crate::sql::statement::Statement;
use crate::sql::table::{TableColumns, physical_schema};
use crate::sql::types::QueryTypes;
use crate::sql::{aggregates, clock, functions, rewrite, spans};

/// Property of a connector table: the directory in which relative paths started when it was created.
pub const BASE_DIR: &str = "frazil.base-dir";

/// How a query is to be executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Once, over what the tables hold at the snapshot's version.
    Batch,
    /// As a job.
    Continuous,
}

/// What is needed to plan queries.
#[derive(Clone)]
pub struct Planner {
    /// Where tables are.
    pub warehouse: Arc<Warehouse>,
    /// Which objects exist.
    pub snapshot: Arc<Snapshot>,
    /// Where relative paths of connector tables start, if not in the directory that was noted at their creation.
    pub base_dirs: Arc<BTreeMap<ObjectId, PathBuf>>,
    /// Partitions of batch plans.
    pub partitions: usize,
    /// How far connectors are read in batch; those that are not named are not read. `None`: to their ends.
    pub read_up_to: Option<Arc<BTreeMap<ObjectId, Positions>>>,
    /// Memory that a batch query may take for what it has to keep, in bytes.
    pub memory: usize,
}

/// A planned query.
pub struct Planned {
    /// The plan, not optimised.
    pub logical: LogicalPlan,
    /// What it was planned with.
    pub state: SessionState,
    /// Objects that the query names, views included.
    pub reads: Vec<Arc<Object>>,
    /// How a continuous query shows its result.
    pub emission: Emission,
}

/// A table of a continuous query: it has columns and cannot be scanned.
#[derive(Debug)]
struct ContinuousTable {
    object: Arc<Object>,
    schema: SchemaRef,
}

#[async_trait]
impl TableProvider for ContinuousTable {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        _: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
        Err(datafusion::error::DataFusionError::Internal(format!(
            "{} is scanned in a continuous plan",
            self.object.name
        )))
    }
}

/// The names that a query or a part of one reads, with the place where each is first read. Names of its own CTEs are left out.
pub fn relations(query: &impl ast::Visit) -> Vec<(String, Option<Position>)> {
    let mut own = BTreeSet::new();
    collect_ctes(query, &mut own);
    let mut seen: Vec<(String, Option<Position>)> = Vec::new();
    let _ = visit_relations(query, |name| {
        if let Some(ident) = name.0.last().and_then(|part| part.as_ident()) {
            let text = if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() };
            if !own.contains(&text) && !seen.iter().any(|(known, _)| *known == text) {
                let start = ident.span.start;
                let position = (start.line > 0).then_some(Position { line: start.line, column: start.column });
                seen.push((text, position));
            }
        }
        std::ops::ControlFlow::<()>::Continue(())
    });
    seen
}

fn collect_ctes(query: &impl ast::Visit, names: &mut BTreeSet<String>) {
    struct Ctes<'a>(&'a mut BTreeSet<String>);
    impl ast::Visitor for Ctes<'_> {
        type Break = ();
        fn pre_visit_query(&mut self, query: &ast::Query) -> std::ops::ControlFlow<()> {
            for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
                let name = &cte.alias.name;
                self.0.insert(if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() });
            }
            std::ops::ControlFlow::Continue(())
        }
    }
    let _ = query.visit(&mut Ctes(names));
}

impl Planner {
    /// What statements are planned and run with.
    pub fn state(&self, mode: Mode) -> Result<SessionState> {
        let mut config = SessionConfig::new()
            .with_target_partitions(self.partitions)
            .with_information_schema(false)
            .set_bool("datafusion.sql_parser.collect_spans", true)
            .set_bool("datafusion.sql_parser.map_string_types_to_utf8view", true)
            // It loses the group of NULL: SELECT DISTINCT a FROM t ORDER BY a LIMIT 2.
            .set_bool("datafusion.optimizer.enable_topk_aggregation", false)
            // It refuses FILTER (WHERE a < 1 IS TRUE): common parts of expressions are nullable in one schema and not in the other.
            .set_bool("datafusion.execution.skip_physical_aggregate_schema_check", true);
        config.options_mut().sql_parser.dialect = datafusion::config::Dialect::PostgreSQL;
        let exact = aggregates::ExactAggregates { batch: mode == Mode::Batch };
        let mut props = ExecutionProps::new();
        if mode == Mode::Batch {
            // One time for the whole statement.
            props = props.with_query_execution_start_time(clock::instant(self.warehouse.clock().now_ms())?);
        }
        let memory = Arc::new(GreedyMemoryPool::new(self.memory));
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(memory).build_arc()?;
        let mut builder = SessionStateBuilder::new()
            .with_runtime_env(runtime)
            .with_config(config)
            .with_execution_props(props)
            .with_default_features()
            .with_query_planner(Arc::new(crate::plan::batch::Planner))
            .with_physical_optimizer_rules(physical::rules())
            .with_type_planner(Arc::new(QueryTypes))
            .with_analyzer_rule(Arc::new(exact))
            .with_analyzer_rule(Arc::new(ExactExpressions));
        // Before the planners that take any operator.
        builder.expr_planners().get_or_insert_default().insert(0, Arc::new(functions::planner::Operators));
        let mut rules = datafusion::optimizer::Optimizer::new().rules;
        // The first two take fields of structs down the plan, and lose columns on the way through outer joins. The last one makes
        // GROUP BY of a constant an aggregate without groups, which has a row over no input too.
        let wrong = ["extract_leaf_expressions", "push_down_leaf_projections", "eliminate_group_by_constant"];
        rules.retain(|rule| !wrong.contains(&rule.name()));
        if mode == Mode::Continuous {
            // Two aggregates in place of one DISTINCT would only keep more state.
            rules.retain(|rule| rule.name() != "single_distinct_aggregation_to_group_by");
        }
        builder = builder.with_optimizer_rules(rules.into_iter().map(aggregates::respected).collect());
        let mut state = builder.build();
        functions::register(&mut state)?;
        rewrite::register(&mut state)?;
        clock::register(&mut state)?;
        self.warehouse.register(state.runtime_env());
        Ok(state)
    }

    /// The object of that name, or an error that names the nearest.
    pub fn object(&self, name: &str, position: Option<Position>) -> Result<Arc<Object>> {
        if let Some(object) = self.snapshot.object(name) {
            return Ok(object.clone());
        }
        let error = Error::sql(format!("there is no table or view named {name}")).at(position);
        let readable = self.snapshot.objects.values().filter(|o| o.kind != ObjectKind::Function);
        let nearest = crate::options::nearest(name, readable.map(|o| o.name.as_str()));
        Err(match nearest {
            Some(nearest) => error.hint(format!("did you mean {nearest}?")),
            None => error.hint("SHOW TABLES lists what there is"),
        })
    }

    /// The time attribute of a table: the column of its WATERMARK.
    fn time_column(&self, table: &str) -> Option<String> {
        self.snapshot.object(table)?.properties.get(crate::plan::watermark::COLUMN).cloned()
    }

    /// The connector behind a connector table.
    pub fn connector(&self, object: &Object) -> Result<ConnectorTable> {
        let schema = physical_schema(object)?;
        let noted = object.properties.get(BASE_DIR).map(PathBuf::from);
        let base_dir = self.base_dirs.get(&object.id).cloned().or(noted).unwrap_or_default();
        connector::create(&object.properties, schema, self.warehouse.clock().clone(), &base_dir)
            .map_err(|error| error.with("table", &object.name))
    }

    /// Plans a query.
    pub fn query<'a>(&'a self, query: &'a ast::Query, mode: Mode) -> BoxFuture<'a, Result<Planned>> {
        self.query_over(query, mode, &[])
    }

    /// Plans a query that may read tables which are not in the catalog.
    pub fn query_over<'a>(
        &'a self,
        query: &'a ast::Query,
        mode: Mode,
        tables: &'a [(&'a str, Arc<dyn TableProvider>)],
    ) -> BoxFuture<'a, Result<Planned>> {
        Box::pin(async move {
            let state = self.state(mode)?;
            let mut query = query.clone();
            let mut reads = self.inline(&mut query)?;
            let catalog = state.config_options().catalog.clone();
            let schema = state
                .catalog_list()
                .catalog(&catalog.default_catalog)
                .and_then(|c| c.schema(&catalog.default_schema))
                .ok_or_else(|| Error::internal("the default schema does not exist"))?;
            for (name, position) in relations(&query) {
                if let Some((_, table)) = tables.iter().find(|(own, _)| *own == name) {
                    schema.register_table(name, table.clone())?;
                    continue;
                }
                let object = self.object(&name, position)?;
                let provider = self.provider(&object, mode).await.map_err(|e| e.at(position))?;
                schema.register_table(name, provider)?;
                reads.push(object);
            }
            let mut query = name_subqueries(exact_filters(&query));
            let is_aggregate = |name: &str| state.aggregate_functions().contains_key(name);
            rewrite::syntax(&mut query, &|table| self.time_column(table), &is_aggregate)?;
            let statement = ast::Statement::Query(Box::new(query));
            let statement = DataFusionStatement::Statement(Box::new(statement));
            let logical = state.statement_to_plan(statement).await.map_err(planning_error)?;
            let logical = rewrite::plan(logical).map_err(planning_error)?;
            // The scan of a stored table is named as the query names it.
            let key_of = |scan: &TableScan| {
                let object = reads.iter().find(|object| object.name == scan.table_name.table())?;
                (object.kind.is_stored() && !object.key.is_empty()).then(|| object.key.clone())
            };
            let logical = break_ties(logical, &key_of)?;
            if mode == Mode::Continuous {
                refuse_volatile(&logical)?;
            }
            let logical = spans::rewrite(logical)?;
            let logical = if mode == Mode::Continuous { clock::to_placeholders(logical)? } else { logical };
            Ok(Planned { logical, state, reads, emission: Emission::default() })
        })
    }

    /// What a query reads an object from.
    pub(super) async fn provider(&self, object: &Arc<Object>, mode: Mode) -> Result<Arc<dyn TableProvider>> {
        let stored: Arc<dyn TableProvider> = match (object.kind, mode) {
            (ObjectKind::Function, _) => {
                return Err(Error::sql(format!("{} is a function, not a table", object.name)));
            }
            (ObjectKind::View, _) => {
                let query = view_query(object)?;
                let planned = self.query(&query, mode).await?;
                let names: Vec<_> = object.columns.iter().map(|c| c.name.clone()).collect();
                let plan = clock::of_view(rename(planned.logical, &names)?, &object.name)?;
                return Ok(Arc::new(ViewTable::new(plan, Some(object.sql.clone()))));
            }
            (_, Mode::Continuous) => {
                let schema = physical_schema(object)?;
                Arc::new(ContinuousTable { object: object.clone(), schema })
            }
            (ObjectKind::Connector, Mode::Batch) => {
                let source = self.connector(object)?.readable(&object.name)?;
                let table = match &self.read_up_to {
                    None => SourceTable::new(source),
                    Some(positions) => {
                        SourceTable::up_to(source, positions.get(&object.id).cloned().unwrap_or_default())
                    }
                };
                Arc::new(table.map_err(|e| e.with("table", &object.name))?)
            }
            (ObjectKind::Table | ObjectKind::MaterializedView, Mode::Batch) => {
                let state = self.snapshot.tables.get(&object.id).cloned().unwrap_or_default();
                Arc::new(DynamicTable::new(self.warehouse.clone(), object.clone(), state)?)
            }
        };
        if object.kind != ObjectKind::Connector {
            return Ok(stored);
        }
        let columns = TableColumns::of(object)?;
        if !columns.any_computed() {
            return Ok(stored);
        }
        // What a connector does not know is computed where it is read.
        let completed = self.completed(&self.state(mode)?, &columns, Column::new_unqualified)?;
        let scan = LogicalPlanBuilder::scan(object.name.as_str(), provider_as_source(stored), None)?;
        Ok(Arc::new(ViewTable::new(scan.project(completed)?.build()?, None)))
    }

    /// Turns a planned query into incremental operators whose result has the given columns.
    pub fn incremental(&self, planned: &Planned, columns: &Schema) -> Result<IncrementalPlan> {
        let optimised = planned.state.optimize(&planned.logical).map_err(planning_error)?;
        let optimised = stable(optimised).map_err(planning_error)?;
        build(&planned.state, &optimised, &resolve, columns, planned.emission)
    }
}

/// The query of a view's definition.
pub fn view_query(object: &Object) -> Result<ast::Query> {
    let statement = crate::sql::parse::parse(&object.sql)?.into_iter().next().map(|parsed| parsed.statement);
    match statement {
        Some(Statement::CreateView(view)) => Ok(view.query),
        _ => {
            Err(Error::new(crate::ErrorKind::Corrupt, "the catalog holds no query for a view")
                .with("view", &object.name))
        }
    }
}

fn resolve(scan: &TableScan) -> Result<Arc<Object>> {
    let provider = source_as_provider(&scan.source)?;
    match provider.as_any().downcast_ref::<ContinuousTable>() {
        Some(table) => Ok(table.object.clone()),
        None => Err(Error::sql(format!("{} cannot be read by a continuous query", scan.table_name))),
    }
}

/// Makes the condition of every `FILTER (WHERE ...)` true or false, never NULL: DataFusion 53 counts rows whose condition
/// is NULL if the value under the NULL happens to be true.
fn exact_filters(query: &ast::Query) -> ast::Query {
    let mut query = query.clone();
    let _ = visit_expressions_mut(&mut query, |expr| {
        if let ast::Expr::Function(function) = expr
            && let Some(filter) = &mut function.filter
            && !matches!(filter.as_ref(), ast::Expr::IsTrue(_))
        {
            let condition = std::mem::replace(filter.as_mut(), ast::Expr::value(ast::Value::Null));
            **filter = ast::Expr::IsTrue(Box::new(ast::Expr::Nested(Box::new(condition))));
        }
        std::ops::ControlFlow::<()>::Continue(())
    });
    query
}

/// Gives subqueries in the outermost SELECT list names of their own, since DataFusion calls them all alike.
fn name_subqueries(mut query: ast::Query) -> ast::Query {
    if let ast::SetExpr::Select(select) = query.body.as_mut() {
        for (place, item) in select.projection.iter_mut().enumerate() {
            if let ast::SelectItem::UnnamedExpr(expr @ ast::Expr::Subquery(_)) = item {
                let alias = ast::Ident::new(format!("column_{place}"));
                *item = ast::SelectItem::ExprWithAlias { expr: expr.clone(), alias };
            }
        }
    }
    query
}

/// Gives every column of a query's SELECT list a name of its own. For INSERT, where only the place of a column counts:
/// two columns of the same text, such as two NULLs, must not be taken for one.
pub fn name_columns(query: &ast::Query) -> ast::Query {
    let mut query = query.clone();
    if let ast::SetExpr::Select(select) = query.body.as_mut() {
        for (place, item) in select.projection.iter_mut().enumerate() {
            if let ast::SelectItem::UnnamedExpr(expr) = item {
                let alias = ast::Ident::new(format!("column_{place}"));
                *item = ast::SelectItem::ExprWithAlias { expr: expr.clone(), alias };
            }
        }
    }
    query
}

/// Gives a plan's columns other names; with too few or too many names it is an error.
pub fn rename(plan: LogicalPlan, names: &[String]) -> Result<LogicalPlan> {
    let columns = plan.schema().columns();
    if names.is_empty() || columns.iter().map(|c| &c.name).eq(names) {
        return Ok(plan);
    }
    if names.len() != columns.len() {
        return Err(Error::sql(format!("{} column names are given for {} columns", names.len(), columns.len())));
    }
    let renamed = columns.into_iter().zip(names).map(|(c, name)| Expr::Column(c).alias(name));
    Ok(LogicalPlanBuilder::from(plan).project(renamed)?.build()?)
}

/// The schema in which a query's result is stored. Column names must be unique.
pub fn stored_schema(plan: &LogicalPlan) -> Result<SchemaRef> {
    let schema = plan.schema().as_arrow();
    let mut names = BTreeSet::new();
    for field in schema.fields() {
        if !names.insert(field.name()) {
            return Err(Error::sql(format!("two columns of the view are named {}", field.name()))
                .hint("give one of them another name with AS"));
        }
    }
    Ok(crate::plan::build::internal_schema(&*storable_schema(schema)?))
}

/// Functions whose value changes by themselves would make a view wrong without any change of its input.
pub fn refuse_volatile(plan: &LogicalPlan) -> Result<()> {
    // Those that are known to `clock` stand for the time of the epoch.
    const CLOCK: [&str; 1] = ["current_time"];
    let known = |name: &str| matches!(name, "now" | "current_date");
    let mut found = None;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|e| {
                if let Expr::ScalarFunction(call) = e
                    && !known(call.func.name())
                    && (call.func.signature().volatility == Volatility::Volatile || CLOCK.contains(&call.func.name()))
                {
                    found = Some(call.func.name().to_string());
                    return Ok(TreeNodeRecursion::Stop);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    match found {
        None => Ok(()),
        Some(name) => Err(Error::sql(format!("{name}() is not supported in a continuous query")).hint(
            "its value changes without any change of the input; use a column of the input, such as its event time",
        )),
    }
}

/// DataFusion's error with the place in the SQL, where it tells one.
fn planning_error(error: datafusion::error::DataFusionError) -> Error {
    let position = error
        .diagnostic()
        .and_then(|diagnostic| diagnostic.span)
        .filter(|span| span.start.line > 0)
        .map(|span| Position { line: span.start.line, column: span.start.column });
    Error::from(error).at(position)
}
