//! Carrying outer columns through a plan.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, JoinConstraint, JoinType, NullEquality, Result, plan_err};
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Distinct, Expr, ExprSchemable, Filter, Join, Limit, LogicalPlan, LogicalPlanBuilder,
    Operator, SubqueryAlias, Window, lit, when,
};

use super::rebuild::{self, column_at, named_like};
use super::{distinct, project, skips_a_level};

/// A plan computed for all values of the outer columns.
pub(super) struct Pulled {
    /// It has all columns of the original, under the same names, and the outer columns somewhere.
    pub plan: LogicalPlan,
    /// The columns of `plan` that hold the outer columns, in their order.
    pub keys: Vec<Column>,
}

/// A right side that depends on a left one.
pub(super) struct Dependent<'a> {
    left: &'a Arc<LogicalPlan>,
    outer: Vec<Column>,
    number: usize,
    /// Relations named so far.
    relations: usize,
    /// The rows of the left side themselves stand for the domain.
    beside: bool,
    /// Lists without elements are unnested as one NULL.
    pub(super) pad: bool,
    domain_is_used: bool,
    /// An aggregate without GROUP BY gives no row for values that it has nothing to aggregate for.
    only_found: bool,
}

impl<'a> Dependent<'a> {
    /// A right side that takes these columns of `left`.
    pub(super) fn new(left: &'a Arc<LogicalPlan>, outer: Vec<Column>, number: usize) -> Self {
        Self { left, outer, number, relations: 0, beside: false, pad: false, domain_is_used: false, only_found: false }
    }

    /// A right side that need not give anything where it aggregates nothing.
    pub(super) fn of_found(left: &'a Arc<LogicalPlan>, outer: Vec<Column>, number: usize) -> Self {
        Self { only_found: true, ..Self::new(left, outer, number) }
    }

    /// The columns that it takes.
    pub(super) fn outer(&self) -> &[Column] {
        &self.outer
    }

    /// A right side that is computed next to each left row, all of whose columns are carried along.
    pub(super) fn beside(left: &'a Arc<LogicalPlan>, columns: Vec<Column>, number: usize, pad: bool) -> Self {
        Self { beside: true, pad, ..Self::new(left, columns, number) }
    }

    /// Whether the keys may hold NULLs that equal the left side's.
    pub(super) fn has_null_keys(&self) -> bool {
        self.domain_is_used
    }

    pub(super) fn refers(&self, plan: &LogicalPlan) -> bool {
        let outer = |e: &Expr| matches!(e, Expr::OuterReferenceColumn(_, column) if self.outer.contains(column));
        plan.all_out_ref_exprs().iter().any(outer)
    }

    fn contains_outer(&self, expr: &Expr) -> Result<bool> {
        expr.exists(|e| Ok(matches!(e, Expr::OuterReferenceColumn(_, column) if self.outer.contains(column))))
    }

    pub(super) fn name(&mut self, what: &str) -> String {
        self.relations += 1;
        format!("__{what}_{}_{}", self.number, self.relations)
    }

    /// The values of the outer columns.
    pub(super) fn domain(&mut self) -> Result<Pulled> {
        self.domain_is_used = true;
        let relation = self.name("domain");
        let names: Vec<String> = (0..self.outer.len()).map(|n| format!("{relation}_{n}")).collect();
        let columns = self.outer.iter().zip(&names).map(|(column, name)| Expr::Column(column.clone()).alias(name));
        let values = project(self.left.as_ref().clone(), columns.collect())?;
        let values = if self.beside { values } else { distinct(values) };
        let plan = LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::new(values), relation.as_str())?);
        let keys = (0..names.len()).map(|place| column_at(&plan, place)).collect();
        Ok(Pulled { plan, keys })
    }

    /// An expression with outer columns taken from `keys`.
    pub(super) fn inner(&self, expr: Expr, keys: &[Column]) -> Result<Expr> {
        let places: HashMap<&Column, &Column> = self.outer.iter().zip(keys).collect();
        expr.transform(|e| match &e {
            Expr::OuterReferenceColumn(_, column) => match places.get(column) {
                Some(key) => Ok(Transformed::yes(Expr::Column((*key).clone()))),
                None => Ok(Transformed::no(e)),
            },
            _ => Ok(Transformed::no(e)),
        })
        .data()
    }

    pub(super) fn all_inner(&self, exprs: &[Expr], keys: &[Column]) -> Result<Vec<Expr>> {
        exprs.iter().map(|expr| self.inner(expr.clone(), keys)).collect()
    }

    /// Carries the outer columns through a plan.
    pub(super) fn pull(&mut self, plan: &LogicalPlan) -> Result<Pulled> {
        if skips_a_level(plan, &self.outer)? {
            return plan_err!(
                "a subquery within a correlated subquery takes a column of the outermost query; \
                 give the one between that column too, and take it from there"
            );
        }
        match plan {
            LogicalPlan::Subquery(subquery) => self.pull(&subquery.subquery),
            LogicalPlan::EmptyRelation(empty) if empty.produce_one_row => self.domain(),
            plan if !self.refers(plan) => self.beside_domain(plan),
            LogicalPlan::SubqueryAlias(alias) => {
                let below = self.pull(&alias.input)?;
                let plan = SubqueryAlias::try_new(Arc::new(below.plan), alias.alias.clone())?;
                let keys = below.keys.into_iter().map(|key| Column::new(Some(alias.alias.clone()), key.name)).collect();
                Ok(Pulled { plan: LogicalPlan::SubqueryAlias(plan), keys })
            }
            LogicalPlan::Projection(projection) => {
                let below = self.pull(&projection.input)?;
                let exprs = self.all_inner(&projection.expr, &below.keys)?;
                self.with_keys(below.plan, named_like(&projection.schema, exprs), below.keys)
            }
            LogicalPlan::Filter(filter) => self.filter(filter),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Distinct(Distinct::All(input)) => {
                let below = self.pull(input)?;
                let columns = input.schema().columns().into_iter().map(Expr::Column).collect();
                let Pulled { plan, keys } = self.with_keys(below.plan, columns, below.keys)?;
                Ok(Pulled { plan: distinct(plan), keys })
            }
            LogicalPlan::Sort(sort) => self.pull(&sort.input),
            LogicalPlan::Limit(limit) => self.limit(limit),
            LogicalPlan::Window(window) => self.window(window),
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Unnest(unnest) => self.unnest(unnest),
            LogicalPlan::Values(values) => self.values(values),
            other => plan_err!(
                "{} cannot depend on another row of FROM; join the tables, and filter or aggregate the result",
                other.display()
            ),
        }
    }

    /// A plan without outer columns, for every value of them.
    fn beside_domain(&mut self, plan: &LogicalPlan) -> Result<Pulled> {
        let domain = self.domain()?;
        let plan = LogicalPlanBuilder::from(plan.clone()).cross_join(domain.plan)?.build()?;
        Ok(Pulled { plan, keys: domain.keys })
    }

    /// Only these expressions and the keys.
    pub(super) fn with_keys(&self, plan: LogicalPlan, mut exprs: Vec<Expr>, keys: Vec<Column>) -> Result<Pulled> {
        exprs.extend(keys.iter().cloned().map(Expr::Column));
        Ok(Pulled { plan: project(plan, exprs)?, keys })
    }

    fn filter(&mut self, filter: &Filter) -> Result<Pulled> {
        let conditions = split_conjunction_owned(filter.predicate.clone());
        if !self.beside
            && !self.refers(&filter.input)
            && let Some(bound) = self.bound_by(&filter.input, &conditions)?
        {
            return self.bound(filter, conditions, bound);
        }
        let below = self.pull(&filter.input)?;
        let conditions = self.all_inner(&conditions, &below.keys)?;
        Ok(Pulled { plan: rebuild::filter(below.plan, conditions)?, keys: below.keys })
    }

    /// For every outer column an expression that a condition sets equal to it, and the place of the condition.
    fn bound_by(&self, input: &LogicalPlan, conditions: &[Expr]) -> Result<Option<Vec<(usize, Expr)>>> {
        let mut bound = Vec::new();
        for outer in &self.outer {
            let mut found = None;
            for (place, condition) in conditions.iter().enumerate() {
                let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else { continue };
                let (inner, other) = match (left.as_ref(), right.as_ref()) {
                    (Expr::OuterReferenceColumn(field, column), inner) if column == outer => (inner, field),
                    (inner, Expr::OuterReferenceColumn(field, column)) if column == outer => (inner, field),
                    _ => continue,
                };
                // A value of another type is not the outer column's, though it may equal it.
                let same = inner.get_type(input.schema().as_ref()).is_ok_and(|of| of == *other.data_type());
                if same && !self.contains_outer(inner)? && !inner.contains_outer() {
                    found = Some((place, inner.clone()));
                    break;
                }
            }
            let Some(found) = found else { return Ok(None) };
            bound.push(found);
        }
        Ok(Some(bound))
    }

    /// The filter gives the outer columns itself: what it sets equal to them.
    fn bound(&mut self, filter: &Filter, conditions: Vec<Expr>, bound: Vec<(usize, Expr)>) -> Result<Pulled> {
        let relation = self.name("key");
        let input = &filter.input;
        let mut exprs: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
        let names: Vec<String> = (0..bound.len()).map(|n| format!("{relation}_{n}")).collect();
        exprs.extend(bound.iter().zip(&names).map(|((_, inner), name)| inner.clone().alias(name)));
        let plan = project(input.as_ref().clone(), exprs)?;
        let keys: Vec<Column> = names.iter().map(Column::from_name).collect();
        let mut kept: Vec<Expr> = keys.iter().map(|key| Expr::Column(key.clone()).is_not_null()).collect();
        for (place, condition) in conditions.into_iter().enumerate() {
            if !bound.iter().any(|(bound, _)| *bound == place) {
                kept.push(self.inner(condition, &keys)?);
            }
        }
        Ok(Pulled { plan: rebuild::filter(plan, kept)?, keys })
    }

    fn aggregate(&mut self, aggregate: &Aggregate) -> Result<Pulled> {
        if aggregate.group_expr.iter().any(|e| matches!(e, Expr::GroupingSet(_))) {
            return plan_err!("GROUPING SETS, ROLLUP and CUBE in a correlated subquery are not supported");
        }
        let below = self.pull(&aggregate.input)?;
        let groups = aggregate.group_expr.len();
        let mut group = self.all_inner(&aggregate.group_expr, &below.keys)?;
        group.extend(below.keys.iter().cloned().map(Expr::Column));
        let calls = self.all_inner(&aggregate.aggr_expr, &below.keys)?;
        let per_key = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(below.plan), group, calls)?);
        let width = aggregate.schema.fields().len();
        let keys = below.keys.len();
        // Behind the original groups stand the keys, and then the calls.
        let place = |column: usize| if column < groups { column } else { column + keys };
        let columns = (0..width).map(|column| Expr::Column(column_at(&per_key, place(column)))).collect();
        let columns = named_like(&aggregate.schema, columns);
        let key_columns = (0..keys).map(|key| column_at(&per_key, groups + key)).collect();
        let per_key = self.with_keys(per_key, columns, key_columns)?;
        if groups > 0 || self.only_found { Ok(per_key) } else { self.also_for_nothing(aggregate, per_key) }
    }

    /// An aggregate without GROUP BY has a row even where there is nothing to aggregate.
    fn also_for_nothing(&mut self, aggregate: &Aggregate, per_key: Pulled) -> Result<Pulled> {
        let marker = self.name("found");
        let relation = self.name("aggregate");
        let mut exprs: Vec<Expr> = per_key.plan.schema().columns().into_iter().map(Expr::Column).collect();
        let width = exprs.len() - per_key.keys.len();
        // Under names of their own: the keys would otherwise stand on both sides.
        for (place, expr) in exprs.iter_mut().enumerate() {
            *expr = expr.clone().alias(format!("{relation}_{place}"));
        }
        exprs.push(lit(true).alias(&marker));
        let found = project(per_key.plan, exprs)?;
        let domain = self.domain()?;
        let of_found = |place: usize| Expr::Column(column_at(&found, place));
        let on = domain.keys.iter().enumerate();
        let on = on.map(|(n, key)| (Expr::Column(key.clone()), of_found(width + n))).collect();
        let (is_found, mut columns) = (of_found(width + per_key.keys.len()).is_not_null(), Vec::new());
        for (place, expr) in aggregate.aggr_expr.iter().enumerate() {
            let nothing = rebuild::value_for_nothing(expr, aggregate.schema.field(place).data_type())?;
            columns.push(match nothing.is_null() {
                true => of_found(place),
                false => when(is_found.clone(), of_found(place)).otherwise(lit(nothing))?,
            });
        }
        let join = Join::try_new(
            Arc::new(domain.plan),
            Arc::new(found),
            on,
            None,
            JoinType::Left,
            JoinConstraint::On,
            NullEquality::NullEqualsNull,
            false,
        )?;
        self.with_keys(LogicalPlan::Join(join), named_like(&aggregate.schema, columns), domain.keys)
    }

    fn limit(&mut self, limit: &Limit) -> Result<Pulled> {
        let range =
            (rebuild::constant(limit.skip.as_deref())?.unwrap_or(0), rebuild::constant(limit.fetch.as_deref())?);
        // A projection above the sort only drops columns that were sorted by.
        let (above, below) = match limit.input.as_ref() {
            LogicalPlan::Projection(projection) if matches!(projection.input.as_ref(), LogicalPlan::Sort(_)) => {
                (Some(projection), projection.input.as_ref())
            }
            other => (None, other),
        };
        let (order, input) = match below {
            LogicalPlan::Sort(sort) => (sort.expr.as_slice(), sort.input.as_ref()),
            other => (&[] as &[_], other),
        };
        let pulled = self.pull(input)?;
        let order =
            order.iter().map(|sort| Ok(self.inner(sort.expr.clone(), &pulled.keys)?.sort(sort.asc, sort.nulls_first)));
        let order = order.collect::<Result<Vec<_>>>()?;
        let partition = pulled.keys.iter().cloned().map(Expr::Column).collect();
        let number = self.name("row");
        let plan = rebuild::first_rows(pulled.plan, partition, order, range, &number)?;
        let columns = match above {
            Some(projection) => named_like(&projection.schema, self.all_inner(&projection.expr, &pulled.keys)?),
            None => input.schema().columns().into_iter().map(Expr::Column).collect(),
        };
        self.with_keys(plan, columns, pulled.keys)
    }

    fn window(&mut self, window: &Window) -> Result<Pulled> {
        let below = self.pull(&window.input)?;
        let width = below.plan.schema().fields().len();
        let mut exprs = Vec::new();
        for expr in self.all_inner(&window.window_expr, &below.keys)? {
            let partitioned = expr.transform(|e| match e {
                Expr::WindowFunction(mut function) => {
                    function.params.partition_by.extend(below.keys.iter().cloned().map(Expr::Column));
                    Ok(Transformed::yes(Expr::WindowFunction(function)))
                }
                other => Ok(Transformed::no(other)),
            });
            exprs.push(partitioned.data()?);
        }
        let plan = LogicalPlan::Window(Window::try_new(exprs, Arc::new(below.plan))?);
        let inputs = window.input.schema().fields().len();
        let mut columns: Vec<Expr> = window.input.schema().columns().into_iter().map(Expr::Column).collect();
        let computed = 0..window.schema.fields().len() - inputs;
        columns.extend(computed.map(|n| Expr::Column(column_at(&plan, width + n))));
        self.with_keys(plan, named_like(&window.schema, columns), below.keys)
    }
}
