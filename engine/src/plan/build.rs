//! From DataFusion's optimised logical plan to incremental operators, deriving key, insert-only, watermark and distribution.
//!
//! Every construct without an incremental form is refused here, when the statement is planned.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use catalog::Object;
use datafusion::common::{DFSchema, JoinType, NullEquality, ScalarValue};
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::{AggregateFunction as AggregateExpr, AggregateFunctionParams};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    Aggregate, Expr, Filter, Join, Limit, LogicalPlan, Sort, SortExpr, TableScan, Unnest, Window,
};
use datafusion::physical_expr::create_physical_expr;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::physical_plan::expressions::{CastExpr, Column};

use self::columns::Columns;
use self::derive::{join_properties, moved_properties, shift_columns, widens};
use self::rank::{RankLimit, is_row_number, rank_column, rank_limit, window_below, window_field};
use super::{Distribution, IncrementalPlan, Kind, Node, Properties, Route};
use crate::error::{Error, Result};
use crate::operator::aggregate::{AggregateCall, AggregateFunction, AggregateSpec};
use crate::operator::join::{JoinKind, JoinSpec};
use crate::operator::top_n::{Rank, TopNSpec};

mod columns;
mod derive;
mod rank;

/// Finds the object behind a table scan of the logical plan.
pub type Resolve<'a> = &'a dyn Fn(&TableScan) -> Result<Arc<Object>>;

/// Builds the incremental plan of a query.
///
/// `columns` are the names and types that the result is to have: the last node renames and casts to them.
pub fn build(
    state: &SessionState,
    logical: &LogicalPlan,
    resolve: Resolve<'_>,
    columns: &Schema,
) -> Result<IncrementalPlan> {
    let mut builder =
        Builder { state, resolve, plan: IncrementalPlan::default(), known: HashMap::new(), shared: HashSet::new() };
    let root = builder.plan_node(logical)?;
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
            LogicalPlan::Window(window) => self.window(window, &RankLimit { limit: None, rest: None }),
            LogicalPlan::Sort(sort) => self.sort(sort),
            LogicalPlan::Limit(limit) => self.limit(limit),
            LogicalPlan::Unnest(unnest) => self.unnest(unnest),
            LogicalPlan::Values(values) => self.values(&values.values, internal_schema(values.schema.as_arrow())),
            LogicalPlan::EmptyRelation(empty) => {
                let rows = if empty.produce_one_row { vec![vec![]] } else { vec![] };
                self.values(&rows, internal_schema(empty.schema.as_arrow()))
            }
            LogicalPlan::RecursiveQuery(_) => Err(unsupported("WITH RECURSIVE")),
            LogicalPlan::Distinct(_) => Err(unsupported("DISTINCT ON").hint("use ROW_NUMBER() OVER (...) = 1")),
            other => Err(unsupported(&other.display().to_string())),
        }
    }

    fn scan(&mut self, scan: &TableScan) -> Result<usize> {
        let object = (self.resolve)(scan)?;
        let full = scan.source.schema();
        let projection = scan.projection.clone().unwrap_or_else(|| (0..full.fields().len()).collect());
        let schema = internal_schema(&full.project(&projection)?);
        let at = |name: &String| projection.iter().position(|column| full.field(*column).name() == name);
        // A connector's declared key is not enforced by anybody, so nothing may be built on it.
        let key = (object.kind.is_stored() && !object.key.is_empty())
            .then(|| object.key.iter().map(at).collect::<Option<Vec<_>>>())
            .flatten();
        let watermark = object.properties.get("frazil.watermark.column").and_then(at).into_iter().collect();
        let properties = Properties {
            insert_only: object.insert_only || !object.kind.is_stored(),
            key,
            watermark,
            distribution: Distribution::Arbitrary,
        };
        let node = self.push(Kind::Scan { object, projection }, vec![], schema, properties);
        match conjunction(scan.filters.iter().cloned()) {
            Some(predicate) => self.select(node, &predicate, &scan.projected_schema),
            None => Ok(node),
        }
    }

    fn values(&mut self, rows: &[Vec<Expr>], schema: SchemaRef) -> Result<usize> {
        let mut columns = Vec::new();
        let empty = DFSchema::empty();
        for (column, field) in schema.fields().iter().enumerate() {
            let mut values = Vec::with_capacity(rows.len());
            for row in rows {
                let constant = self.physical(&row[column], &empty)?;
                let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(1));
                let one = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)?;
                let value = constant.evaluate(&one)?.into_array(1)?;
                values.push(ScalarValue::try_from_array(&value, 0)?.cast_to(field.data_type())?);
            }
            columns.push(if values.is_empty() {
                arrow::array::new_empty_array(field.data_type())
            } else {
                ScalarValue::iter_to_array(values)?
            });
        }
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let batch = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
        let properties = Properties { insert_only: true, ..Properties::default() };
        Ok(self.push(Kind::Values(batch), vec![], schema, properties))
    }

    /// Adds a projection; passes the properties of columns that are only moved.
    fn project(&mut self, input: usize, exprs: &[Expr], input_schema: &DFSchema, schema: SchemaRef) -> Result<usize> {
        let expressions = exprs.iter().map(|e| self.physical(e, input_schema)).collect::<Result<Vec<_>>>()?;
        Ok(self.map(input, None, Some(expressions), schema))
    }

    fn select(&mut self, input: usize, predicate: &Expr, input_schema: &DFSchema) -> Result<usize> {
        let predicate = self.physical(predicate, input_schema)?;
        let schema = self.schema(input).clone();
        Ok(self.map(input, Some(predicate), None, schema))
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

    fn distinct(&mut self, input: usize) -> Result<usize> {
        let group = (0..self.schema(input).fields().len()).collect();
        let schema = self.schema(input).clone();
        self.push_aggregate(input, group, vec![], schema)
    }

    fn push_aggregate(
        &mut self,
        input: usize,
        group: Vec<usize>,
        calls: Vec<AggregateCall>,
        output: SchemaRef,
    ) -> Result<usize> {
        let insert_only = self.properties(input).insert_only;
        let routed_by = match &self.properties(input).distribution {
            Distribution::Hash(columns) if columns.len() < group.len() => {
                columns.iter().map(|c| group.iter().position(|g| g == c)).collect::<Option<Vec<_>>>()
            }
            _ => None,
        };
        let properties = Properties {
            insert_only: insert_only && calls.is_empty() && !group.is_empty(),
            key: Some((0..group.len()).collect()),
            watermark: (0..group.len()).filter(|i| self.properties(input).watermark.contains(&group[*i])).collect(),
            distribution: match (group.len(), &routed_by) {
                (0, _) => Distribution::Single,
                (_, Some(columns)) => Distribution::Hash(columns.clone()),
                (n, None) => Distribution::Hash((0..n).collect()),
            },
        };
        let wanted = match (group.as_slice(), &routed_by) {
            ([], _) => Distribution::Single,
            (_, Some(_)) => self.properties(input).distribution.clone(),
            (columns, None) => Distribution::Hash(columns.to_vec()),
        };
        if group.is_empty() {
            self.plan.warnings.push("an aggregate without GROUP BY runs in a single task".into());
        }
        let spec = AggregateSpec {
            input: self.schema(input).clone(),
            group,
            calls,
            output: output.clone(),
            insert_only,
            routed_by,
        };
        Ok(self.push(Kind::Aggregate(spec), vec![(input, wanted)], output, properties))
    }

    fn aggregate(&mut self, aggregate: &Aggregate) -> Result<usize> {
        if aggregate.group_expr.iter().any(|e| matches!(e, Expr::GroupingSet(_))) {
            return Err(unsupported("GROUPING SETS, ROLLUP and CUBE")
                .hint("write one GROUP BY per grouping set and combine them by UNION ALL"));
        }
        let input = self.plan_node(&aggregate.input)?;
        let input_schema = aggregate.input.schema();
        let output = internal_schema(aggregate.schema.as_arrow());
        let mut columns = Columns::default();
        let mut group = Vec::new();
        for expr in &aggregate.group_expr {
            let expr = self.physical(expr, input_schema)?;
            group.push(columns.add(expr, self.schema(input))?);
        }
        let mut calls = Vec::new();
        for expr in &aggregate.aggr_expr {
            calls.push(self.aggregate_call(expr, input, input_schema, &mut columns)?);
        }
        let input = self.columns_below(input, columns);
        self.push_aggregate(input, group, calls, output)
    }

    fn aggregate_call(
        &self,
        expr: &Expr,
        input: usize,
        input_schema: &DFSchema,
        columns: &mut Columns,
    ) -> Result<AggregateCall> {
        let expr = expr.clone().unalias_nested().data;
        let Expr::AggregateFunction(AggregateExpr { func, params }) = &expr else {
            return Err(unsupported(&format!("the aggregate expression `{expr}`")));
        };
        let AggregateFunctionParams { args, distinct, filter, order_by, null_treatment } = params;
        let function = match func.name() {
            "count" => AggregateFunction::Count,
            "sum" => AggregateFunction::Sum,
            "avg" => AggregateFunction::Avg,
            "min" => AggregateFunction::Min,
            "max" => AggregateFunction::Max,
            other => {
                return Err(unsupported(&format!("the aggregate function {other}"))
                    .hint("count, sum, avg, min and max can be kept incrementally"));
            }
        };
        if !order_by.is_empty() || null_treatment.is_some() {
            return Err(unsupported(&format!("ORDER BY or a treatment of NULLs inside {}", func.name())));
        }
        let argument = match args.as_slice() {
            [Expr::Literal(value, _)] if !value.is_null() && function == AggregateFunction::Count && !distinct => None,
            [argument] => {
                let argument = self.physical(argument, input_schema)?;
                Some(columns.add(argument, self.schema(input))?)
            }
            _ => return Err(unsupported(&format!("{} of {} arguments", func.name(), args.len()))),
        };
        let filter = match filter {
            Some(filter) => {
                let filter = self.physical(filter, input_schema)?;
                Some(columns.add(filter, self.schema(input))?)
            }
            None => None,
        };
        Ok(AggregateCall { function, distinct: *distinct, argument, filter })
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

    fn join(&mut self, join: &Join) -> Result<usize> {
        let kind = match join.join_type {
            JoinType::Inner => JoinKind::Inner,
            JoinType::Left => JoinKind::Left,
            JoinType::Right => JoinKind::Right,
            JoinType::Full => JoinKind::Full,
            JoinType::LeftSemi => JoinKind::Semi,
            JoinType::LeftAnti if !join.null_aware => JoinKind::Anti,
            JoinType::LeftMark => JoinKind::Mark,
            JoinType::LeftAnti => return Err(unsupported("NOT IN").hint("use NOT EXISTS with a comparison")),
            other => return Err(unsupported(&format!("a {other} join"))),
        };
        let (left, right) = (self.plan_node(&join.left)?, self.plan_node(&join.right)?);
        let (left_schema, right_schema) = (join.left.schema(), join.right.schema());
        let (mut left_columns, mut right_columns) = (Columns::all(self.schema(left)), Columns::all(self.schema(right)));
        let (left_width, right_width) = (left_columns.fields.len(), right_columns.fields.len());
        let mut on = Vec::new();
        for (l, r) in &join.on {
            let l = left_columns.add(self.physical(l, left_schema)?, self.schema(left))?;
            let r = right_columns.add(self.physical(r, right_schema)?, self.schema(right))?;
            on.push((l, r));
        }
        let (left, right) = (self.columns_below(left, left_columns), self.columns_below(right, right_columns));
        // Key columns that had to be computed stand behind the columns of their side; the residual must look past them.
        let both = self.schema(left).fields().len();
        let residual = match &join.filter {
            Some(filter) => {
                let schema = left_schema.join(right_schema)?;
                let residual = self.physical(filter, &schema)?;
                Some(shift_columns(residual, |c| if c < left_width { c } else { c - left_width + both })?)
            }
            None => None,
        };
        let mut output: Vec<usize> = (0..left_width).collect();
        if kind == JoinKind::Mark {
            output.push(both);
        } else if !matches!(kind, JoinKind::Semi | JoinKind::Anti) {
            output.extend((0..right_width).map(|c| c + both));
        }
        let null_equals_null = join.null_equality == NullEquality::NullEqualsNull;
        let (lp, rp) = (self.properties(left).clone(), self.properties(right).clone());
        let covers = |key: &Option<Vec<usize>>, side: &dyn Fn(&(usize, usize)) -> usize| {
            key.as_ref().is_some_and(|key| key.iter().all(|k| on.iter().any(|pair| side(pair) == *k)))
        };
        let (left_unique, right_unique) = (covers(&lp.key, &|p| p.0), covers(&rp.key, &|p| p.1));
        let output_schema = internal_schema(join.schema.as_arrow());
        let properties = join_properties(kind, &lp, &rp, &on, left_unique, right_unique, &output, both);
        let wanted = |side: &dyn Fn(&(usize, usize)) -> usize| match on.as_slice() {
            [] => Distribution::Single,
            pairs => Distribution::Hash(pairs.iter().map(side).collect()),
        };
        let inputs = vec![(left, wanted(&|p| p.0)), (right, wanted(&|p| p.1))];
        if on.is_empty() {
            self.plan.warnings.push("a join without an equality compares every pair of rows in a single task".into());
        }
        let spec = JoinSpec {
            left: self.schema(left).clone(),
            right: self.schema(right).clone(),
            on,
            kind,
            null_equals_null,
            residual,
            output,
            output_schema: output_schema.clone(),
            left_insert_only: lp.insert_only,
            right_insert_only: rp.insert_only,
            left_unique,
            right_unique,
        };
        Ok(self.push(Kind::Join(spec), inputs, output_schema, properties))
    }

    fn filter(&mut self, filter: &Filter) -> Result<usize> {
        if let Some((window, predicate)) = window_below(&filter.input, &filter.predicate)
            && let Some(rank) = rank_column(window)
        {
            let limited = rank_limit(predicate, &rank);
            if limited.limit.is_some() {
                return self.limited_window(&filter.input, &limited);
            }
        }
        let input = self.plan_node(&filter.input)?;
        self.select(input, &filter.predicate, filter.input.schema())
    }

    /// Plans what stands between a filter on a row number and its window, with the limit put into the window.
    fn limited_window(&mut self, plan: &LogicalPlan, limit: &RankLimit) -> Result<usize> {
        match plan {
            LogicalPlan::Window(window) => self.window(window, limit),
            LogicalPlan::SubqueryAlias(alias) => self.limited_window(&alias.input, limit),
            LogicalPlan::Projection(projection) => {
                let input = self.limited_window(&projection.input, limit)?;
                let schema = internal_schema(projection.schema.as_arrow());
                self.project(input, &projection.expr, projection.input.schema(), schema)
            }
            other => Err(Error::internal(format!("{} between a row number and its filter", other.display()))),
        }
    }

    fn window(&mut self, window: &Window, limit: &RankLimit) -> Result<usize> {
        let [expr] = window.window_expr.as_slice() else {
            return Err(unsupported("several OVER windows in one SELECT"));
        };
        let expr = expr.clone().unalias_nested().data;
        let function = match &expr {
            Expr::WindowFunction(function) if is_row_number(function) => function,
            other => {
                return Err(unsupported(&format!("the OVER window `{other}`"))
                    .hint("ROW_NUMBER() OVER (PARTITION BY ... ORDER BY ...) can be kept incrementally"));
            }
        };
        let input = self.plan_node(&window.input)?;
        let input_schema = window.input.schema();
        let width = self.schema(input).fields().len();
        let mut columns = Columns::all(self.schema(input));
        let mut partition = Vec::new();
        for expr in &function.params.partition_by {
            partition.push(columns.add(self.physical(expr, input_schema)?, self.schema(input))?);
        }
        let order = self.order(&function.params.order_by, input, input_schema, &mut columns)?;
        let top = self.top_n(input, columns, partition.clone(), order, 0, limit.limit, Some(window_field(window)))?;
        let input_key = self.properties(top).key.clone();
        if limit.limit.is_none() {
            self.plan.warnings.push(
                "ROW_NUMBER without an upper bound renumbers every later row of a partition: add WHERE rn <= n".into(),
            );
        }
        // Sort keys that had to be computed stand between the columns and the rank: take them out again.
        let schema = internal_schema(window.schema.as_arrow());
        let rank = self.schema(top).fields().len() - 1;
        let mut node = top;
        if rank != width {
            let keep = (0..width).chain([rank]);
            let expressions = keep.map(|c| column(self.schema(top), c)).collect::<Vec<_>>();
            node = self.map(top, None, Some(expressions), schema.clone());
        } else {
            self.plan.nodes[top].schema = schema;
        }
        self.plan.nodes[node].properties.key = match limit.limit {
            Some(1) if partition.iter().all(|c| *c < width) => Some(partition),
            _ => input_key.filter(|key| key.iter().all(|c| *c < width)).or_else(|| {
                partition.iter().all(|c| *c < width).then(|| partition.iter().copied().chain([width]).collect())
            }),
        };
        match &limit.rest {
            Some(rest) => self.select(node, rest, &window.schema),
            None => Ok(node),
        }
    }

    fn order(
        &self,
        order_by: &[SortExpr],
        input: usize,
        schema: &DFSchema,
        columns: &mut Columns,
    ) -> Result<Vec<(usize, SortOptions)>> {
        order_by
            .iter()
            .map(|sort| {
                let column = columns.add(self.physical(&sort.expr, schema)?, self.schema(input))?;
                Ok((column, SortOptions { descending: !sort.asc, nulls_first: sort.nulls_first }))
            })
            .collect()
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one clause, each named at the call")]
    fn top_n(
        &mut self,
        input: usize,
        columns: Columns,
        partition: Vec<usize>,
        order: Vec<(usize, SortOptions)>,
        offset: usize,
        limit: Option<usize>,
        rank: Option<Field>,
    ) -> Result<usize> {
        let input = self.columns_below(input, columns);
        let schema = self.schema(input).clone();
        let properties = self.properties(input).clone();
        let output = match &rank {
            Some(rank) => Arc::new(Schema::new(
                schema.fields().iter().cloned().chain([Arc::new(rank.clone())]).collect::<Vec<_>>(),
            )),
            None => schema.clone(),
        };
        let distribution = match partition.as_slice() {
            [] => Distribution::Single,
            columns => Distribution::Hash(columns.to_vec()),
        };
        if partition.is_empty() {
            self.plan.warnings.push("ORDER BY ... LIMIT over the whole input runs in a single task".into());
        }
        let spec = TopNSpec {
            input: schema,
            partition,
            order,
            offset,
            limit,
            rank: if rank.is_some() { Rank::RowNumber } else { Rank::None },
            output: output.clone(),
            insert_only: properties.insert_only,
        };
        let properties = Properties {
            insert_only: false,
            key: properties.key,
            watermark: properties.watermark,
            distribution: distribution.clone(),
        };
        Ok(self.push(Kind::TopN(spec), vec![(input, distribution)], output, properties))
    }

    /// An ORDER BY alone means nothing for a table that is kept; with a limit it is a top-N.
    fn sort(&mut self, sort: &Sort) -> Result<usize> {
        match sort.fetch {
            None => self.plan_node(&sort.input),
            Some(fetch) => self.sorted_limit(sort, 0, Some(fetch)),
        }
    }

    fn limit(&mut self, limit: &Limit) -> Result<usize> {
        let skip = constant(limit.skip.as_deref())?.unwrap_or(0);
        let fetch = constant(limit.fetch.as_deref())?;
        let mut below = limit.input.as_ref();
        while let LogicalPlan::SubqueryAlias(alias) = below {
            below = &alias.input;
        }
        match below {
            LogicalPlan::Sort(sort) => self.sorted_limit(sort, skip, fetch),
            LogicalPlan::Projection(projection) if matches!(projection.input.as_ref(), LogicalPlan::Sort(_)) => {
                let LogicalPlan::Sort(sort) = projection.input.as_ref() else {
                    return Err(Error::internal("a sort that is none"));
                };
                let input = self.sorted_limit(sort, skip, fetch)?;
                let schema = internal_schema(projection.schema.as_arrow());
                self.project(input, &projection.expr, projection.input.schema(), schema)
            }
            _ => Err(unsupported("LIMIT without ORDER BY")
                .hint("say which rows are wanted: add ORDER BY over columns that decide it")),
        }
    }

    fn sorted_limit(&mut self, sort: &Sort, offset: usize, limit: Option<usize>) -> Result<usize> {
        let input = self.plan_node(&sort.input)?;
        let width = self.schema(input).fields().len();
        let mut columns = Columns::all(self.schema(input));
        let order = self.order(&sort.expr, input, sort.input.schema(), &mut columns)?;
        let top = self.top_n(input, columns, vec![], order, offset, limit, None)?;
        if self.schema(top).fields().len() == width {
            return Ok(top);
        }
        let expressions = (0..width).map(|c| column(self.schema(top), c)).collect::<Vec<_>>();
        let schema = internal_schema(sort.input.schema().as_arrow());
        Ok(self.map(top, None, Some(expressions), schema))
    }

    fn unnest(&mut self, unnest: &Unnest) -> Result<usize> {
        let input = self.plan_node(&unnest.input)?;
        let [(list, unnested)] = unnest.list_type_columns.as_slice() else {
            return Err(unsupported("UNNEST of more than one list, or of a struct"));
        };
        if !unnest.struct_type_columns.is_empty() || unnested.depth != 1 {
            return Err(unsupported("UNNEST of a struct or of nested lists"));
        }
        let schema = internal_schema(unnest.schema.as_arrow());
        let identity = unnest.dependency_indices.iter().enumerate().all(|(i, d)| i == *d);
        if !identity || schema.fields().len() != self.schema(input).fields().len() {
            return Err(unsupported("this form of UNNEST"));
        }
        let before = self.properties(input);
        let distribution = match &before.distribution {
            Distribution::Hash(columns) if columns.contains(list) => Distribution::Arbitrary,
            other => other.clone(),
        };
        let properties = Properties {
            insert_only: before.insert_only,
            key: None,
            watermark: before.watermark.clone(),
            distribution,
        };
        let kind = Kind::Unnest { column: *list, preserve_nulls: unnest.options.preserve_nulls };
        Ok(self.push(kind, vec![(input, Distribution::Arbitrary)], schema, properties))
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

fn constant(expr: Option<&Expr>) -> Result<Option<usize>> {
    match expr {
        None => Ok(None),
        Some(Expr::Literal(value, _)) => match value.cast_to(&DataType::UInt64)? {
            ScalarValue::UInt64(value) => Ok(value.map(|v| v as usize)),
            other => Err(Error::sql(format!("LIMIT and OFFSET must be whole numbers, not {other}"))),
        },
        Some(other) => Err(unsupported(&format!("LIMIT or OFFSET by the expression `{other}`"))),
    }
}
