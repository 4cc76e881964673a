//! From DataFusion's optimised logical plan to incremental operators, deriving key, insert-only, watermark and distribution.
//!
//! Every construct without an incremental form is refused here, when the statement is planned.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use catalog::Object;
use datafusion::common::DFSchema;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan};
use datafusion::physical_expr::create_physical_expr;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::physical_plan::expressions::{CastExpr, Column};

use self::columns::Columns;
use self::derive::{moved_properties, widens};
use self::rank::RankLimit;
use super::{Distribution, IncrementalPlan, Kind, Node, Properties, Route};
use crate::error::{Error, Result};
use crate::operator::on_close::EmitOnCloseSpec;
use crate::plan::clock::reads_clock;

mod aggregate;
mod columns;
mod derive;
mod extension;
mod join;
mod limit;
mod over;
mod rank;
mod scan;
mod stamp;
mod temporal;
mod unnest;
mod window;

/// Finds the object behind a table scan of the logical plan.
pub type Resolve<'a> = &'a dyn Fn(&TableScan) -> Result<Arc<Object>>;

/// How a continuous query shows its result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Emission {
    /// `EMIT ON WINDOW CLOSE`: rows come out when they are final, once.
    pub on_window_close: bool,
    /// The result may hold the time at which rows were processed: it is written (INSERT) and not kept up to date (a view).
    pub processing_time: bool,
}

/// Builds the incremental plan of a query.
///
/// `columns` are the names and types that the result is to have: the last node renames and casts to them.
pub fn build(
    state: &SessionState,
    logical: &LogicalPlan,
    resolve: Resolve<'_>,
    columns: &Schema,
    emission: Emission,
) -> Result<IncrementalPlan> {
    let mut builder = Builder {
        state,
        resolve,
        processing_time: emission.processing_time,
        plan: IncrementalPlan::default(),
        known: HashMap::new(),
        shared: HashSet::new(),
    };
    let mut root = builder.plan_node(logical)?;
    if emission.on_window_close {
        root = builder.emit_on_close(root)?;
    }
    builder.finish(root, columns)?;
    Ok(builder.plan)
}

/// `schema` as it is inside the dataflow: every column nullable, no metadata.
pub fn internal_schema(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(
        schema.fields().iter().map(|f| Field::new(f.name(), f.data_type().clone(), true)).collect::<Vec<_>>(),
    ))
}

struct Builder<'a> {
    state: &'a SessionState,
    resolve: Resolve<'a>,
    /// See [`Emission`].
    processing_time: bool,
    plan: IncrementalPlan,
    /// Every node by all that it is, so that equal subqueries become one.
    known: HashMap<String, usize>,
    /// Nodes that were found again: they have more than one consumer and must stay as they are.
    shared: HashSet<usize>,
}

impl Builder<'_> {
    fn push(
        &mut self,
        kind: Kind,
        inputs: Vec<(usize, Distribution)>,
        schema: SchemaRef,
        properties: Properties,
    ) -> usize {
        let inputs = inputs
            .into_iter()
            .map(|(from, wanted)| (from, self.plan.nodes[from].properties.distribution.route_to(&wanted)))
            .collect();
        self.push_node(Node { kind, inputs, schema, properties })
    }

    /// Adds a node, or finds the one that does the same.
    fn push_node(&mut self, node: Node) -> usize {
        let what = identity(&node);
        if let Some(place) = self.known.get(&what) {
            self.shared.insert(*place);
            return *place;
        }
        self.plan.nodes.push(node);
        let place = self.plan.nodes.len() - 1;
        self.known.insert(what, place);
        place
    }

    fn properties(&self, node: usize) -> &Properties {
        &self.plan.nodes[node].properties
    }

    fn schema(&self, node: usize) -> &SchemaRef {
        &self.plan.nodes[node].schema
    }

    fn physical(&self, expr: &Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
        if reads_clock(expr) {
            return Err(temporal::refused(expr));
        }
        create_physical_expr(expr, schema, self.state.execution_props()).map_err(|error| {
            let error = Error::from(error);
            Error::sql(format!("`{expr}` cannot be computed in a continuous query")).because(error)
        })
    }

    fn plan_node(&mut self, plan: &LogicalPlan) -> Result<usize> {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::Projection(projection) => {
                let input = self.plan_node(&projection.input)?;
                let schema = internal_schema(projection.schema.as_arrow());
                self.project(input, &projection.expr, projection.input.schema(), schema)
            }
            LogicalPlan::Filter(filter) => self.filter(filter),
            LogicalPlan::SubqueryAlias(alias) => self.plan_node(&alias.input),
            LogicalPlan::Subquery(subquery) => self.plan_node(&subquery.subquery),
            LogicalPlan::Repartition(repartition) => self.plan_node(&repartition.input),
            LogicalPlan::Union(union) => self.union(&union.inputs, internal_schema(union.schema.as_arrow())),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Distinct(datafusion::logical_expr::Distinct::All(input)) => {
                let input = self.plan_node(input)?;
                self.distinct(input)
            }
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Window(window) => self.window(window, &RankLimit::default()),
            LogicalPlan::Sort(sort) => self.sort(sort),
            LogicalPlan::Limit(limit) => self.limit(limit),
            LogicalPlan::Unnest(unnest) => self.unnest(unnest),
            LogicalPlan::Extension(extension) => self.extension(extension.node.as_ref()),
            LogicalPlan::Values(values) => self.values(&values.values, internal_schema(values.schema.as_arrow())),
            LogicalPlan::EmptyRelation(empty) => {
                let rows = if empty.produce_one_row { vec![vec![]] } else { vec![] };
                self.values(&rows, internal_schema(empty.schema.as_arrow()))
            }
            LogicalPlan::RecursiveQuery(_) => Err(unsupported("WITH RECURSIVE")
                .hint("its result can depend on itself without bound: write as many joins as there are levels, or ask it as an ad-hoc query")),
            // `plan::ties` has made a row number of it.
            LogicalPlan::Distinct(_) => Err(Error::internal("DISTINCT ON in an optimised plan")),
            other => Err(unsupported(&other.display().to_string())),
        }
    }

    /// Adds a projection; passes the properties of columns that are only moved.
    fn project(&mut self, input: usize, exprs: &[Expr], input_schema: &DFSchema, schema: SchemaRef) -> Result<usize> {
        if exprs.iter().any(reads_clock) {
            return self.stamped(input, exprs, input_schema, schema);
        }
        let expressions = exprs.iter().map(|e| self.physical(e, input_schema)).collect::<Result<Vec<_>>>()?;
        Ok(self.map(input, None, Some(expressions), schema))
    }

    fn select(&mut self, input: usize, predicate: &Expr, input_schema: &DFSchema) -> Result<usize> {
        let conditions = temporal::conditions(predicate)?;
        let mut node = input;
        if let Some(rest) = &conditions.rest {
            let predicate = self.physical(rest, input_schema)?;
            let schema = self.schema(input).clone();
            node = self.map(input, Some(predicate), None, schema);
        }
        self.temporal(node, &conditions, input_schema)
    }

    /// Adds filter and projection, or folds them into a filter that is already there.
    fn map(
        &mut self,
        input: usize,
        predicate: Option<Arc<dyn PhysicalExpr>>,
        expressions: Option<Vec<Arc<dyn PhysicalExpr>>>,
        schema: SchemaRef,
    ) -> usize {
        let properties = match &expressions {
            Some(expressions) => moved_properties(self.properties(input), expressions),
            None => self.properties(input).clone(),
        };
        let own = input + 1 == self.plan.nodes.len() && !self.shared.contains(&input);
        if own
            && predicate.is_none()
            && let Some(expressions) = &expressions
            && let Kind::Map { predicate, expressions: below } = &self.plan.nodes[input].kind
            && let Some(expressions) = composed(below.as_deref(), expressions)
        {
            let kind = Kind::Map { predicate: predicate.clone(), expressions: Some(expressions) };
            let inputs = self.plan.nodes[input].inputs.clone();
            self.known.remove(&identity(&self.plan.nodes[input]));
            self.plan.nodes.truncate(input);
            return self.push_node(Node { kind, inputs, schema, properties });
        }
        self.push(Kind::Map { predicate, expressions }, vec![(input, Distribution::Arbitrary)], schema, properties)
    }

    fn union(&mut self, inputs: &[Arc<LogicalPlan>], schema: SchemaRef) -> Result<usize> {
        let mut nodes = Vec::new();
        for input in inputs {
            let node = self.plan_node(input)?;
            nodes.push(self.cast_to(node, &schema)?);
        }
        let insert_only = nodes.iter().all(|node| self.properties(*node).insert_only);
        let properties = Properties { insert_only, ..Properties::default() };
        let inputs = nodes.into_iter().map(|node| (node, Distribution::Arbitrary)).collect();
        Ok(self.push(Kind::Union, inputs, schema, properties))
    }

    /// Casts columns whose type differs from the wanted schema and takes its names.
    fn cast_to(&mut self, node: usize, schema: &SchemaRef) -> Result<usize> {
        let have = self.schema(node).clone();
        if have.fields().len() != schema.fields().len() {
            return Err(Error::internal("inputs of a UNION differ in their number of columns"));
        }
        let types_differ = have.fields().iter().zip(schema.fields()).any(|(a, b)| a.data_type() != b.data_type());
        let names_differ = have.fields().iter().zip(schema.fields()).any(|(a, b)| a.name() != b.name());
        if !types_differ && !names_differ {
            return Ok(node);
        }
        let expressions = have
            .fields()
            .iter()
            .zip(schema.fields())
            .enumerate()
            .map(|(i, (from, to))| {
                let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(from.name(), i));
                if from.data_type() == to.data_type() {
                    column
                } else {
                    Arc::new(CastExpr::new(column, to.data_type().clone(), None)) as Arc<dyn PhysicalExpr>
                }
            })
            .collect::<Vec<_>>();
        let mut properties = moved_properties(self.properties(node), &expressions);
        // Widening keeps values apart, so a key survives it.
        let widening = |column: &usize| widens(have.field(*column).data_type(), schema.field(*column).data_type());
        let key = self.properties(node).key.clone();
        properties.key = key.filter(|key| key.iter().all(widening));
        let mapped = self.map(node, None, Some(expressions), schema.clone());
        self.plan.nodes[mapped].properties = properties;
        Ok(mapped)
    }

    /// Adds the projection that computes `columns`, unless the input has just these.
    fn columns_below(&mut self, input: usize, columns: Columns) -> usize {
        let fields = columns.fields;
        let identity = fields.len() == self.schema(input).fields().len()
            && columns.expressions.iter().enumerate().all(|(i, e)| column_index(e) == Some(i));
        if identity {
            return input;
        }
        self.map(input, None, Some(columns.expressions), Arc::new(Schema::new(fields)))
    }

    /// EMIT ON WINDOW CLOSE: holds the rows of the result until the watermark has passed them.
    fn emit_on_close(&mut self, root: usize) -> Result<usize> {
        let timed = super::watermark::columns(&self.plan);
        let keeps = |node: &Node| {
            !matches!(
                node.kind,
                Kind::Scan { .. } | Kind::Values(_) | Kind::Map { .. } | Kind::Union | Kind::Unnest { .. }
            )
        };
        let Some(time) = timed[root].first().copied().filter(|_| self.plan.nodes.iter().any(keeps)) else {
            return Err(Error::sql("EMIT ON WINDOW CLOSE needs a column of the result by which it is known to be final")
                .hint("group (or partition) by the window of a column with a WATERMARK, as in GROUP BY window_start, and select it; the tables read must be connectors or APPEND ONLY"));
        };
        let schema = self.schema(root).clone();
        let (distribution, route) = self.one_place(root, schema.fields().len());
        let before = self.properties(root).clone();
        let properties = Properties { insert_only: true, distribution: distribution.clone(), ..before };
        let spec = EmitOnCloseSpec { schema: schema.clone(), time, route };
        Ok(self.push(Kind::EmitOnClose(spec), vec![(root, distribution)], schema, properties))
    }

    /// Ends the plan with the names and types that the result is to have.
    fn finish(&mut self, root: usize, columns: &Schema) -> Result<()> {
        let wanted = internal_schema(columns);
        let root = self.cast_to(root, &wanted)?;
        if root + 1 != self.plan.nodes.len() {
            let Node { schema, properties, .. } = self.plan.nodes[root].clone();
            let kind = Kind::Map { predicate: None, expressions: None };
            self.plan.nodes.push(Node { kind, inputs: vec![(root, Route::Local)], schema, properties });
        }
        self.plan.warnings.dedup();
        Ok(())
    }
}

/// All that a node is, as text: nodes with equal texts do the same.
fn identity(node: &Node) -> String {
    format!("{:?} {:?} {:?}", node.kind, node.inputs, node.schema)
}

/// The expressions over the input of a projection that is `below`, if they can stand there without computing anything
/// twice: any over no projection, moved columns over any.
fn composed(
    below: Option<&[Arc<dyn PhysicalExpr>]>,
    expressions: &[Arc<dyn PhysicalExpr>],
) -> Option<Vec<Arc<dyn PhysicalExpr>>> {
    match below {
        None => Some(expressions.to_vec()),
        Some(below) => expressions.iter().map(|e| column_index(e).map(|column| below[column].clone())).collect(),
    }
}

fn unsupported(what: &str) -> Error {
    Error::sql(format!("{what} is not supported in a continuous query"))
}

fn column(schema: &Schema, index: usize) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new(schema.field(index).name(), index))
}

/// The input column that an expression passes on unchanged.
pub(super) fn column_index(expression: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    expression.as_any().downcast_ref::<Column>().map(Column::index)
}
