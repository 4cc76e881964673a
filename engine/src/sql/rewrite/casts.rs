//! Names of casts. DataFusion names `CAST(a AS T)` as `a`, so that it takes `sum(a)` and `sum(CAST(a AS T))`, or `a` and
//! `CAST(a AS T)` in GROUP BY, for one column: it refuses such a query, or reads the one where the other is meant.
//!
//! Where a SELECT has a column in more than one such form, each cast of it gets a name that says so: it becomes the argument of a
//! function whose only purpose is its name, and which the optimiser takes away.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Result as PlanResult, internal_err};
use datafusion::execution::registry::FunctionRegistry;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr as Planned, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, OrderByKind, Query, SelectItem, SetExpr, VisitMut, VisitorMut, visit_expressions,
    visit_expressions_mut,
};

use super::folded;
use crate::error::Result;
use crate::sql::parse::call;

const NAME: &str = "frazil_named";

/// Registers the function.
///
/// # Errors
/// A registry that takes no functions.
pub fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    let signature = Signature::any(1, Volatility::Immutable);
    registry.register_udf(Arc::new(ScalarUDF::new_from_impl(Named { signature })))?;
    Ok(())
}

/// Names the casts of a query and of all queries in it.
pub(super) fn rewrite(query: &mut Query) {
    struct Queries;
    impl VisitorMut for Queries {
        type Break = ();
        // From within: the casts of a subquery are then named already, and not found again.
        fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
            self::query(query);
            ControlFlow::Continue(())
        }
    }
    let _ = query.visit(&mut Queries);
}

fn query(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let mut wildcard = false;
    let mut exprs: Vec<&mut Expr> = Vec::new();
    for item in &mut select.projection {
        match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => exprs.push(expr),
            _ => wildcard = true,
        }
    }
    if let GroupByExpr::Expressions(groups, _) = &mut select.group_by {
        exprs.extend(groups);
    }
    exprs.extend(select.having.as_mut().into_iter().chain(&mut select.qualify));
    if let Some(OrderByKind::Expressions(keys)) = query.order_by.as_mut().map(|order_by| &mut order_by.kind) {
        exprs.extend(keys.iter_mut().map(|key| &mut key.expr));
    }
    // Columns with how often they are found, and with what they are cast to.
    let mut found: BTreeMap<String, (usize, Vec<String>)> = BTreeMap::new();
    for expr in &exprs {
        let _ = visit_expressions(*expr, |expr| {
            match expr {
                Expr::Cast { data_type, expr, .. } => {
                    if let Some(name) = column(expr) {
                        found.entry(name).or_default().1.push(data_type.to_string());
                    }
                }
                expr => {
                    if let Some(name) = column(expr) {
                        found.entry(name).or_default().0 += 1;
                    }
                }
            }
            ControlFlow::<()>::Continue(())
        });
    }
    // The column within a cast is found too.
    let several = |name: &str| {
        found.get(name).is_some_and(|(columns, casts)| {
            !casts.is_empty() && (wildcard || *columns > casts.len() || casts.iter().any(|cast| *cast != casts[0]))
        })
    };
    for expr in exprs {
        let _ = visit_expressions_mut(expr, |expr| {
            if let Expr::Cast { expr: operand, .. } = expr
                && column(operand).is_some_and(|name| several(&name))
            {
                *expr = call(NAME, vec![expr.clone()]);
            }
            ControlFlow::<()>::Continue(())
        });
    }
}

/// The name of a column, without that of its relation.
fn column(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident) => Some(folded(ident)),
        Expr::CompoundIdentifier(parts) => parts.last().map(folded),
        _ => None,
    }
}

/// Gives its argument, under a name that tells casts apart.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Named {
    signature: Signature,
}

fn name(args: &[Planned]) -> String {
    match args {
        [Planned::Cast(cast)] => format!("CAST({} AS {})", cast.expr.schema_name(), cast.data_type),
        [Planned::TryCast(cast)] => format!("TRY_CAST({} AS {})", cast.expr.schema_name(), cast.data_type),
        args => args.iter().map(|arg| arg.schema_name().to_string()).collect(),
    }
}

impl ScalarUDFImpl for Named {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        NAME
    }

    fn display_name(&self, args: &[Planned]) -> PlanResult<String> {
        Ok(args.iter().map(ToString::to_string).collect())
    }

    fn schema_name(&self, args: &[Planned]) -> PlanResult<String> {
        Ok(name(args))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> PlanResult<DataType> {
        match types {
            [of] => Ok(of.clone()),
            _ => internal_err!("{NAME} has one argument"),
        }
    }

    fn simplify(&self, mut args: Vec<Planned>, _: &SimplifyContext) -> PlanResult<ExprSimplifyResult> {
        match args.pop() {
            Some(arg) if args.is_empty() => Ok(ExprSimplifyResult::Simplified(arg)),
            _ => internal_err!("{NAME} has one argument"),
        }
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        match args.args.pop() {
            Some(arg) if args.args.is_empty() => Ok(arg),
            _ => internal_err!("{NAME} has one argument"),
        }
    }
}
