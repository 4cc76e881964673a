//! Subqueries in expressions.
//!
//! DataFusion plans EXISTS, IN and scalar subqueries as joins, of which some are not what SQL says, and some places it does
//! not know. Here the exact forms are built from what it does right:
//!
//! - `x NOT IN (S)` is true iff nothing of S equals x, and S is empty, or neither x nor anything of S is NULL. The first half
//!   is an anti join by equality, the second one row about S: empty, without NULLs, or with NULLs.
//! - `x IN (S)` whose NULL matters (under NOT, in CASE, in a SELECT list) is a CASE over the same two.
//! - EXISTS outside of WHERE and HAVING is a comparison of a count.
//! - A scalar subquery that could give several rows gives its greatest value and its number of rows; see `one_row`.
//! - Scalar subqueries are left-joined here: DataFusion's rule mixes up several of them in one expression.
//! - A correlated EXISTS or IN whose filter on outer columns stands below a LIMIT, a window function, an aggregate, a UNION or on the
//!   padded side of an outer join is unnested by `lateral`: DataFusion would refuse it or take the filter out of there.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{
    Column, DFSchema, DataFusionError, ExprSchema, JoinConstraint, JoinType, NullEquality, Result, ScalarValue, Spans,
    plan_err,
};
use datafusion::functions::expr_fn::named_struct;
use datafusion::functions_aggregate::expr_fn::{count, max};
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Expr, ExprSchemable, Filter, Join, LogicalPlan, Operator, Projection, Subquery,
    SubqueryAlias, case, ident, lit, when,
};

use super::lateral::rebuild::{self, column_at, named_like};
use super::lateral::{dependent_join, left_join_of_found, outer_columns, project};
use super::one_row::one_row;
use shape::{gives_one_row, is_plain, is_plain_scalar, takes_outer, value_of_nothing};

mod shape;

/// Rewrites the subqueries in a node's expressions. `number` makes the names that are introduced unique.
pub(super) fn rewrite(plan: LogicalPlan, number: &mut usize) -> Result<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Filter(filter) if has_subquery(&filter.predicate) => {
            Ok(Transformed::yes(rewrite_filter(filter, number)?))
        }
        LogicalPlan::Projection(projection) if projection.expr.iter().any(has_subquery) => {
            Ok(Transformed::yes(rewrite_projection(&projection, number)?))
        }
        LogicalPlan::Aggregate(aggregate)
            if aggregate.group_expr.iter().chain(&aggregate.aggr_expr).any(has_subquery) =>
        {
            Ok(Transformed::yes(rewrite_aggregate(&aggregate, number)?))
        }
        LogicalPlan::Join(join) if join.filter.as_ref().is_some_and(has_subquery) => {
            Ok(Transformed::yes(rewrite_join(join, number)?))
        }
        plan => Ok(Transformed::no(plan)),
    }
}

fn is_subquery(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_))
}

fn has_subquery(expr: &Expr) -> bool {
    let mut found = false;
    // It never fails.
    let _ = expr.apply(|e| {
        found |= is_subquery(e);
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

fn rewrite_filter(filter: Filter, number: &mut usize) -> Result<LogicalPlan> {
    let mut site = Site::new(&filter.input, number);
    let mut conditions = Vec::new();
    for condition in split_conjunction_owned(filter.predicate) {
        match without_not(condition) {
            Expr::InSubquery(InSubquery { expr, subquery, negated: true }) => {
                for condition in site.not_in(*expr, &subquery)? {
                    conditions.push(site.condition(condition)?);
                }
            }
            condition => conditions.push(site.condition(condition)?),
        }
    }
    let columns = filter.input.schema().columns();
    // DataFusion marks the rows for which a subquery under OR gives something, and leaves the mark's column in their plan.
    let marks = |condition: &Expr| has_subquery(condition) && !is_subquery(condition);
    let extended = site.input.schema().fields().len() != columns.len() || conditions.iter().any(marks);
    let plan = rebuild::filter(site.input.as_ref().clone(), conditions)?;
    if extended { project(plan, columns.into_iter().map(Expr::Column).collect()) } else { Ok(plan) }
}

fn rewrite_projection(projection: &Projection, number: &mut usize) -> Result<LogicalPlan> {
    let mut site = Site::new(&projection.input, number);
    let exprs = projection.expr.iter().map(|expr| site.value(expr.clone())).collect::<Result<Vec<_>>>()?;
    project(site.input.as_ref().clone(), named_like(&projection.schema, exprs))
}

/// Computes the subqueries in a projection below.
fn rewrite_aggregate(aggregate: &Aggregate, number: &mut usize) -> Result<LogicalPlan> {
    let mut site = Site::new(&aggregate.input, number);
    let mut computed = Vec::new();
    let mut outside = |expr: &Expr| {
        let moved = expr.clone().transform_down(|e| {
            if !is_subquery(&e) {
                return Ok(Transformed::no(e));
            }
            let name = site.name("subquery");
            computed.push(site.value(e)?.alias(&name));
            Ok(Transformed::new(ident(name), true, TreeNodeRecursion::Jump))
        });
        moved.data()
    };
    let group = aggregate.group_expr.iter().map(&mut outside).collect::<Result<Vec<_>>>()?;
    let calls = aggregate.aggr_expr.iter().map(&mut outside).collect::<Result<Vec<_>>>()?;
    let mut exprs: Vec<Expr> = aggregate.input.schema().columns().into_iter().map(Expr::Column).collect();
    exprs.extend(computed);
    let input = project(site.input.as_ref().clone(), exprs)?;
    let plan = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(input), group, calls)?);
    let columns = (0..plan.schema().fields().len()).map(|place| Expr::Column(column_at(&plan, place))).collect();
    project(plan, named_like(&aggregate.schema, columns))
}

/// A subquery in ON of an inner join is a filter of the join.
fn rewrite_join(join: Join, number: &mut usize) -> Result<LogicalPlan> {
    if join.join_type != JoinType::Inner {
        return plan_err!(
            "a subquery in ON of an outer join is not supported; join a subquery that has filtered its side already"
        );
    }
    let conditions = join.filter.clone().map(split_conjunction_owned).unwrap_or_default();
    let (above, within): (Vec<Expr>, Vec<Expr>) = conditions.into_iter().partition(has_subquery);
    let join = LogicalPlan::Join(Join { filter: conjunction(within), ..join });
    match conjunction(above) {
        Some(above) => rewrite_filter(Filter::try_new(above, Arc::new(join))?, number),
        None => Ok(join),
    }
}

fn without_not(expr: Expr) -> Expr {
    match expr {
        Expr::Not(inner) => match *inner {
            Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
                Expr::InSubquery(InSubquery { expr, subquery, negated: !negated })
            }
            Expr::Exists(Exists { subquery, negated }) => Expr::Exists(Exists { subquery, negated: !negated }),
            other => Expr::Not(Box::new(other)),
        },
        other => other,
    }
}

/// Where subqueries are used: the node's input, to which some are joined.
struct Site<'a> {
    input: Arc<LogicalPlan>,
    number: &'a mut usize,
}

impl<'a> Site<'a> {
    fn new(input: &Arc<LogicalPlan>, number: &'a mut usize) -> Self {
        Self { input: Arc::clone(input), number }
    }

    fn name(&mut self, what: &str) -> String {
        *self.number += 1;
        format!("__{what}_{}", self.number)
    }

    /// A condition of a filter: NULL is as good as false, as long as nothing negates it.
    fn condition(&mut self, expr: Expr) -> Result<Expr> {
        match without_not(expr) {
            Expr::Exists(exists) if is_plain(&exists.subquery.subquery) => Ok(Expr::Exists(exists)),
            Expr::InSubquery(subquery) if !subquery.negated && is_plain(&subquery.subquery.subquery) => {
                let expr = Box::new(self.value(*subquery.expr)?);
                Ok(Expr::InSubquery(InSubquery { expr, ..subquery }))
            }
            Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
                let (left, right) = (self.condition(*left)?, self.condition(*right)?);
                Ok(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))))
            }
            other => self.value(other),
        }
    }

    /// An expression whose exact value counts: every subquery becomes a scalar one.
    fn value(&mut self, expr: Expr) -> Result<Expr> {
        let rewritten = expr.transform_down(|e| match e {
            Expr::ScalarSubquery(subquery) => Ok(replaced(self.scalar(subquery)?)),
            Expr::Exists(Exists { subquery, negated }) => {
                let value = self.exists(&subquery)?;
                Ok(replaced(if negated { Expr::Not(Box::new(value)) } else { value }))
            }
            Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
                let value = self.is_in(*expr, &subquery)?;
                Ok(replaced(if negated { Expr::Not(Box::new(value)) } else { value }))
            }
            other => Ok(Transformed::no(other)),
        });
        rewritten.data()
    }

    /// The value of a scalar subquery, which fails if there are several.
    fn scalar(&mut self, subquery: Subquery) -> Result<Expr> {
        if gives_one_row(&subquery.subquery) {
            return self.joined(&subquery);
        }
        let plan = subquery.subquery;
        let [_] = plan.schema().fields().as_ref() else {
            return plan_err!(
                "a subquery used as an expression gives one column, not {}",
                plan.schema().fields().len()
            );
        };
        let value = Expr::Column(column_at(&plan, 0));
        let calls = vec![max(value), count(lit(1_i64))];
        let rows = LogicalPlan::Aggregate(Aggregate::try_new(plan, vec![], calls)?);
        let (value, rows_there) = (Expr::Column(column_at(&rows, 0)), Expr::Column(column_at(&rows, 1)));
        let both = named_struct(vec![lit("value"), value, lit("rows"), rows_there]);
        let plan = project(rows, vec![both.alias("value")])?;
        Ok(one_row(self.joined(&Subquery { subquery: Arc::new(plan), ..subquery })?))
    }

    /// The value of a subquery of at most one row, joined to the input.
    fn joined(&mut self, subquery: &Subquery) -> Result<Expr> {
        let (name, found) = (self.name("value"), self.name("found"));
        let plan = &subquery.subquery;
        let value = Expr::Column(column_at(plan, 0)).alias(&name);
        let row = project(plan.as_ref().clone(), vec![value, lit(true).alias(&found)])?;
        let alias = |row: LogicalPlan| {
            Ok::<_, DataFusionError>(LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::new(row), name.as_str())?))
        };
        let column = |column: &str| Expr::Column(Column::new(Some(name.clone()), column));
        if !takes_outer(plan) {
            let (left, right) = (Arc::clone(&self.input), Arc::new(alias(row)?));
            let (on, constraint) = (vec![], JoinConstraint::On);
            let equality = NullEquality::NullEqualsNothing;
            let join = Join::try_new(left, right, on, None, JoinType::Left, constraint, equality, false)?;
            self.input = Arc::new(LogicalPlan::Join(join));
            return Ok(column(&name));
        }
        if outer_columns(plan, self.input.schema()).is_empty() {
            return plan_err!("a correlated subquery takes columns from more than one level above it: not supported");
        }
        let nothing = if is_plain_scalar(plan) { Some(value_of_nothing(plan, 0)?) } else { None };
        let joined = match &nothing {
            Some(_) => left_join_of_found(&self.input, &alias(row)?, self.number)?,
            None => dependent_join(Arc::clone(&self.input), &alias(row)?, JoinType::Left, None, self.number)?,
        };
        self.input = Arc::new(joined);
        match nothing {
            Some(nothing) => when(column(&found).is_null(), nothing).otherwise(column(&name)),
            None => Ok(column(&name)),
        }
    }

    fn exists(&mut self, subquery: &Subquery) -> Result<Expr> {
        let rows = count_of(subquery.subquery.as_ref(), vec![count(lit(1_i64))])?;
        let there = Expr::Column(column_at(&rows, 0)).gt(lit(0_i64)).alias("there");
        self.joined(&with_plan(subquery, project(rows, vec![there])?))
    }

    /// 0 if a subquery gives nothing, 1 if no NULL, 2 if some NULL is among what it gives.
    fn nulls(&mut self, subquery: &Subquery) -> Result<Expr> {
        let plan = subquery.subquery.as_ref();
        let value = Expr::Column(column_at(plan, 0));
        let rows = count_of(plan, vec![count(lit(1_i64)), count(value)])?;
        let (all, some) = (Expr::Column(column_at(&rows, 0)), Expr::Column(column_at(&rows, 1)));
        let code = when(all.clone().eq(lit(0_i64)), lit(0_i64)).when(all.gt(some), lit(2_i64)).otherwise(lit(1_i64))?;
        self.joined(&with_plan(subquery, project(rows, vec![code.alias("nulls")])?))
    }

    /// The rows of a subquery that equal `expr`.
    fn equal(&self, expr: &Expr, subquery: &Subquery) -> Result<Subquery> {
        if has_subquery(expr) {
            return plan_err!("a subquery on the left of IN is not supported; compute its value in a subquery in FROM");
        }
        let plan = subquery.subquery.as_ref();
        let (outer, mut references) = (outside(expr, self.input.schema())?, subquery.outer_ref_columns.clone());
        outer.apply(|e| {
            if matches!(e, Expr::OuterReferenceColumn(..)) && !references.contains(e) {
                references.push(e.clone());
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        let value = Expr::Column(column_at(plan, 0));
        let plan = Filter::try_new(value.eq(outer), Arc::new(plan.clone()))?;
        let subquery = Arc::new(LogicalPlan::Filter(plan));
        Ok(Subquery { subquery, outer_ref_columns: references, spans: Spans::new() })
    }

    fn may_be_null(&self, expr: &Expr, subquery: &Subquery) -> Result<bool> {
        let value = subquery.subquery.schema().field(0).is_nullable();
        Ok(value || expr.nullable(self.input.schema().as_ref())?)
    }

    /// `expr IN (subquery)`: true, false or NULL.
    fn is_in(&mut self, expr: Expr, subquery: &Subquery) -> Result<Expr> {
        one_column(subquery)?;
        let expr = self.value(expr)?;
        let found = self.equal(&expr, subquery)?;
        let found = self.exists(&found)?;
        if !self.may_be_null(&expr, subquery)? {
            return Ok(found);
        }
        let nulls = self.nulls(subquery)?;
        // Each subquery once: every place would be a join.
        let unknown = || lit(ScalarValue::Boolean(None));
        let not_found = case(nulls)
            .when(lit(0_i64), lit(false))
            .when(lit(2_i64), unknown())
            .otherwise(when(expr.is_null(), unknown()).otherwise(lit(false))?)?;
        when(found, lit(true)).otherwise(not_found)
    }

    /// The conditions that together are `expr NOT IN (subquery)`.
    fn not_in(&mut self, expr: Expr, subquery: &Subquery) -> Result<Vec<Expr>> {
        one_column(subquery)?;
        let expr = self.value(expr)?;
        let found = self.equal(&expr, subquery)?;
        let mut conditions = vec![not_exists_of(found)];
        if self.may_be_null(&expr, subquery)? {
            let nulls = self.nulls(subquery)?;
            let mut certain = case(nulls).when(lit(0_i64), lit(true)).when(lit(1_i64), expr.is_not_null());
            conditions.push(certain.otherwise(lit(false))?);
        }
        Ok(conditions)
    }
}

fn replaced(expr: Expr) -> Transformed<Expr> {
    Transformed::new(expr, true, TreeNodeRecursion::Jump)
}

fn not_exists_of(subquery: Subquery) -> Expr {
    Expr::Exists(Exists { subquery, negated: true })
}

fn with_plan(subquery: &Subquery, plan: LogicalPlan) -> Subquery {
    Subquery { subquery: Arc::new(plan), ..subquery.clone() }
}

fn one_column(subquery: &Subquery) -> Result<()> {
    match subquery.subquery.schema().fields().len() {
        1 => Ok(()),
        columns => plan_err!("the subquery of IN gives one column, not {columns}"),
    }
}

fn count_of(plan: &LogicalPlan, counts: Vec<Expr>) -> Result<LogicalPlan> {
    Ok(LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(plan.clone()), vec![], counts)?))
}

/// An expression as a subquery sees it: its columns are outer ones.
fn outside(expr: &Expr, schema: &DFSchema) -> Result<Expr> {
    let outside = expr.clone().transform(|e| match e {
        Expr::Column(column) => {
            let field = Arc::clone(schema.field_from_column(&column)?);
            Ok(Transformed::yes(Expr::OuterReferenceColumn(field, column)))
        }
        other => Ok(Transformed::no(other)),
    });
    outside.data()
}
