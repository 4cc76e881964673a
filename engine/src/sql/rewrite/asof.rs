//! ASOF joins and temporal joins.
//!
//! DataFusion's planner knows neither, so the syntax becomes a plain join with a mark in its condition,
//!
//! ```text
//! l ASOF JOIN r MATCH_CONDITION (l.ts >= r.ts) ON l.k = r.k     =>  l JOIN r ON l.k = r.k AND frazil_asof(l.ts >= r.ts)
//! l JOIN r FOR SYSTEM_TIME AS OF l.ts ON l.k = r.k              =>  the same, r.ts being r's time attribute
//! ```
//!
//! and the planned join with the mark becomes the node [`AsOfJoin`].

use std::any::Any;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, JoinType, Result as PlanResult, plan_err};
use datafusion::execution::registry::FunctionRegistry;
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, Join, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility, cast,
};
use datafusion::sql::sqlparser::ast::{
    self, BinaryOperator, JoinConstraint, JoinOperator, Spanned, TableFactor, TableVersion, VisitMut, VisitorMut,
};

use super::lateral::project;
use crate::error::{Error, Position, Result};
use crate::operator::asof::Nearest;
use crate::plan::logical::{AsOfJoin, extension};
use crate::sql::parse::call;

const MARK: &str = "frazil_asof";

/// Gives the time attribute of a table: the column of its WATERMARK.
pub type TimeColumn<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Registers the mark.
///
/// # Errors
/// A registry that takes no functions.
pub fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    registry.register_udf(Arc::new(ScalarUDF::new_from_impl(Mark {
        signature: Signature::any(1, Volatility::Immutable),
    })))?;
    Ok(())
}

/// Rewrites the joins of a query.
pub(super) fn rewrite_syntax(query: &mut ast::Query, time_column: TimeColumn<'_>) -> Result<()> {
    match query.visit(&mut Rewrite { time_column }) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Rewrite<'a> {
    time_column: TimeColumn<'a>,
}

impl VisitorMut for Rewrite<'_> {
    type Break = Error;

    fn post_visit_query(&mut self, query: &mut ast::Query) -> ControlFlow<Error> {
        match self.set_expr(&mut query.body) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    /// Only the right side of a join may have a version; those have lost it when their query is left.
    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        if let TableFactor::NestedJoin { table_with_joins, .. } = factor
            && let Err(error) = self.joins(table_with_joins)
        {
            return ControlFlow::Break(error);
        }
        ControlFlow::Continue(())
    }
}

impl Rewrite<'_> {
    fn set_expr(&self, body: &mut ast::SetExpr) -> Result<()> {
        match body {
            ast::SetExpr::Select(select) => select.from.iter_mut().try_for_each(|from| self.joins(from)),
            ast::SetExpr::SetOperation { left, right, .. } => {
                self.set_expr(left)?;
                self.set_expr(right)
            }
            _ => Ok(()),
        }
    }

    fn joins(&self, from: &mut ast::TableWithJoins) -> Result<()> {
        refuse_version(&from.relation)?;
        from.joins.iter_mut().try_for_each(|join| self.join(join))
    }

    fn join(&self, join: &mut ast::Join) -> Result<()> {
        if let JoinOperator::AsOf { match_condition, constraint } = &join.join_operator {
            refuse_version(&join.relation)?;
            let on = conjunction(constraint, call(MARK, vec![match_condition.clone()]))?;
            join.join_operator = JoinOperator::Inner(JoinConstraint::On(on));
            return Ok(());
        }
        // The parser knows no `LEFT ASOF JOIN`: it reads LEFT as the alias of the table before, which prepares for this.
        let Some((version, time)) = self.version(&mut join.relation)? else { return Ok(()) };
        let matched = call(
            MARK,
            vec![ast::Expr::BinaryOp { left: Box::new(version), op: BinaryOperator::GtEq, right: Box::new(time) }],
        );
        match &mut join.join_operator {
            JoinOperator::Join(constraint)
            | JoinOperator::Inner(constraint)
            | JoinOperator::Left(constraint)
            | JoinOperator::LeftOuter(constraint) => {
                *constraint = JoinConstraint::On(conjunction(constraint, matched)?);
                Ok(())
            }
            _ => Err(Error::sql("a temporal join is an inner or a left join").at(position(&join.relation))),
        }
    }

    /// Takes `FOR SYSTEM_TIME AS OF time` off a table: the time, and the table's time attribute.
    fn version(&self, relation: &mut TableFactor) -> Result<Option<(ast::Expr, ast::Expr)>> {
        let place = position(relation);
        let TableFactor::Table { name, alias, version, .. } = relation else { return Ok(None) };
        let Some(taken) = version.take() else { return Ok(None) };
        let TableVersion::ForSystemTimeAsOf(time) = taken else {
            return Err(time_travel().at(place));
        };
        if is_processing_time(&time) {
            let what = "a join FOR SYSTEM_TIME AS OF PROCTIME() is not kept: its result would depend on when each row was read, and could not be computed again";
            return Err(Error::sql(what)
                .hint("write a plain join, which follows later changes of the table, or give the table a WATERMARK and join as of an event time")
                .at(place));
        }
        let table = name.0.last().and_then(|part| part.as_ident()).cloned();
        let Some(table) = table else { return Err(Error::sql("a table's name was expected").at(place)) };
        let Some(column) = (self.time_column)(&table.value) else {
            return Err(Error::sql(format!("{} has no time attribute, so it has no versions", table.value))
                .hint("declare WATERMARK FOR column AS ..., or write ASOF JOIN ... MATCH_CONDITION (l.ts >= r.ts)")
                .at(place));
        };
        let relation = alias.as_ref().map_or(table, |alias| alias.name.clone());
        let column = ast::Ident::with_quote('"', column);
        Ok(Some((time, ast::Expr::CompoundIdentifier(vec![relation, column]))))
    }
}

fn refuse_version(relation: &TableFactor) -> Result<()> {
    match relation {
        TableFactor::Table { version: Some(_), .. } => Err(time_travel().at(position(relation))),
        _ => Ok(()),
    }
}

fn time_travel() -> Error {
    Error::sql("time travel is not supported yet").hint("read the current rows")
}

fn is_processing_time(time: &ast::Expr) -> bool {
    matches!(time, ast::Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case("proctime"))
}

fn position(relation: &TableFactor) -> Option<Position> {
    let start = relation.span().start;
    (start.line > 0).then_some(Position { line: start.line, column: start.column })
}

fn conjunction(constraint: &JoinConstraint, mark: ast::Expr) -> Result<ast::Expr> {
    match constraint {
        JoinConstraint::On(on) => Ok(ast::Expr::BinaryOp {
            left: Box::new(ast::Expr::Nested(Box::new(on.clone()))),
            op: BinaryOperator::And,
            right: Box::new(mark),
        }),
        JoinConstraint::None => Ok(mark),
        JoinConstraint::Using(_) | JoinConstraint::Natural => {
            Err(Error::sql("USING and NATURAL are not supported in an ASOF or temporal join")
                .hint("write ON l.k = r.k"))
        }
    }
}

/// Passes its argument through, to be recognised in a plan.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Mark {
    signature: Signature,
}

impl ScalarUDFImpl for Mark {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        MARK
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> PlanResult<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        plan_err!("MATCH_CONDITION is only possible in an ASOF join")
    }
}

/// Rewrites a marked join of a plan.
pub(super) fn rewrite(plan: LogicalPlan) -> PlanResult<Transformed<LogicalPlan>> {
    let LogicalPlan::Join(join) = plan else { return Ok(Transformed::no(plan)) };
    let marked = match &join.filter {
        Some(filter) => filter.exists(|e| Ok(marked(e).is_some()))?,
        None => false,
    };
    if marked { asof_join(&join).map(Transformed::yes) } else { Ok(Transformed::no(LogicalPlan::Join(join))) }
}

fn marked(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::ScalarFunction(call) if call.func.name() == MARK => call.args.first(),
        _ => None,
    }
}

/// One side of an ASOF join while it is put together: its plan's columns and those computed beside them.
struct Side<'a> {
    plan: &'a Arc<LogicalPlan>,
    exprs: Vec<Expr>,
    prefix: &'static str,
}

impl<'a> Side<'a> {
    fn new(plan: &'a Arc<LogicalPlan>, prefix: &'static str) -> Self {
        Self { plan, exprs: plan.schema().columns().into_iter().map(Expr::Column).collect(), prefix }
    }

    fn has(&self, expr: &Expr) -> bool {
        let columns = expr.column_refs();
        !columns.is_empty() && columns.into_iter().all(|column| self.plan.schema().has_column(column))
    }

    fn data_type(&self, expr: &Expr) -> PlanResult<DataType> {
        expr.get_type(self.plan.schema().as_ref())
    }

    /// The column of an expression in this type.
    fn column(&mut self, expr: Expr, data_type: &DataType) -> PlanResult<Column> {
        match expr {
            Expr::Column(column) if self.data_type(&Expr::Column(column.clone()))? == *data_type => Ok(column),
            expr => {
                let name = format!("{}_{}", self.prefix, self.exprs.len());
                let expr = if self.data_type(&expr)? == *data_type { expr } else { cast(expr, data_type.clone()) };
                self.exprs.push(expr.alias(&name));
                Ok(Column::from_name(name))
            }
        }
    }

    fn into_plan(self) -> PlanResult<LogicalPlan> {
        if self.exprs.len() == self.plan.schema().fields().len() {
            return Ok(self.plan.as_ref().clone());
        }
        project(self.plan.as_ref().clone(), self.exprs)
    }
}

fn asof_join(join: &Join) -> PlanResult<LogicalPlan> {
    if !matches!(join.join_type, JoinType::Inner | JoinType::Left) {
        return plan_err!("an ASOF join is an inner or a left join");
    }
    let (mut left, mut right) = (Side::new(&join.left, "__asof_left"), Side::new(&join.right, "__asof_right"));
    let (mut on, mut time) = (Vec::new(), None);
    let mut conditions: Vec<Expr> = join.on.iter().map(|(l, r)| l.clone().eq(r.clone())).collect();
    conditions.extend(join.filter.clone().map(split_conjunction_owned).unwrap_or_default());
    for condition in conditions {
        let (condition, is_time) = match marked(&condition) {
            Some(condition) => (condition.clone(), true),
            None => (condition, false),
        };
        let Some((l, op, r)) = sides(&condition, &left, &right) else {
            return plan_err!(
                "`{condition}` is not possible in an ASOF or temporal join: ON compares columns of both sides by =, the time \
                 is compared by one of >=, >, <= and <; put all else into WHERE"
            );
        };
        let (left_type, right_type) = (left.data_type(&l)?, right.data_type(&r)?);
        let Some(common) = comparison_coercion(&left_type, &right_type) else {
            return plan_err!("`{condition}` compares {left_type} with {right_type}");
        };
        let pair = (left.column(l, &common)?, right.column(r, &common)?);
        match (is_time, op) {
            (false, Operator::Eq) => on.push(pair),
            (true, op) if time.is_none() && nearest(op).is_some() => time = nearest(op).map(|nearest| (pair, nearest)),
            _ => return plan_err!("`{condition}` is not possible in an ASOF or temporal join"),
        }
    }
    let Some((time, nearest)) = time else { return plan_err!("an ASOF join has one MATCH_CONDITION") };
    let columns = join.schema.columns().into_iter().map(Expr::Column).collect();
    let outer = join.join_type == JoinType::Left;
    let node = AsOfJoin::try_new(left.into_plan()?, right.into_plan()?, on, time, nearest, outer)?;
    project(extension(node), columns)
}

/// The left expression, the comparison and the right expression of a condition over both sides.
fn sides(condition: &Expr, left: &Side<'_>, right: &Side<'_>) -> Option<(Expr, Operator, Expr)> {
    let Expr::BinaryExpr(BinaryExpr { left: a, op, right: b }) = condition else { return None };
    if left.has(a) && right.has(b) {
        return Some((a.as_ref().clone(), *op, b.as_ref().clone()));
    }
    (left.has(b) && right.has(a)).then(|| Some((b.as_ref().clone(), op.swap()?, a.as_ref().clone())))?
}

fn nearest(op: Operator) -> Option<Nearest> {
    Some(match op {
        Operator::GtEq => Nearest::NotAfter,
        Operator::Gt => Nearest::Before,
        Operator::LtEq => Nearest::NotBefore,
        Operator::Lt => Nearest::After,
        _ => return None,
    })
}
