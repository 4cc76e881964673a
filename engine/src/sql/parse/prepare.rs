//! What happens to a query between reading and planning: constructs that are not supported are refused, window table functions become
//! plain SQL, and expressions take the forms that the planner knows.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Query, TableFactor, UnaryOperator, VisitMut, VisitorMut};

use super::cursor::RESERVED;
use super::{courtesies, refuse, rewrite};
use crate::error::{Error, Result};
use crate::sql::rewrite::table_functions;
use crate::sql::windows;

/// Checks a query, an expression or another part of a statement and makes it ready for the planner; the second value is its canonical
/// text, printed before window table functions are rewritten.
pub(super) fn part<T: VisitMut + std::fmt::Display>(mut part: T) -> Result<(T, String)> {
    normalize(&mut part);
    let text = part.to_string();
    visit(&mut part)?;
    Ok((part, text))
}

fn normalize(node: &mut impl VisitMut) {
    // It never breaks.
    let _ = node.visit(&mut Normalize);
}

fn visit(node: &mut impl VisitMut) -> Result<()> {
    match node.visit(&mut Prepare) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Makes printing the inverse of reading: a sign before a sign would print as a comment or as another operator.
struct Normalize;

impl VisitorMut for Normalize {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::UnaryOp { op, expr: operand } = expr
            && *op != UnaryOperator::Not
            && matches!(**operand, Expr::UnaryOp { .. })
        {
            **operand = Expr::Nested(operand.clone());
        }
        // A reserved word that was taken for a name where nothing else fitted may be taken for itself elsewhere.
        if let Expr::Identifier(ident) = expr
            && ident.quote_style.is_none()
            && RESERVED.contains(&ident.value.as_str())
        {
            ident.quote_style = Some('"');
        }
        ControlFlow::Continue(())
    }
}

struct Prepare;

fn flow(result: Result<()>) -> ControlFlow<Error> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}

impl VisitorMut for Prepare {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        courtesies::query(query);
        flow(refuse::query(query))
    }

    /// Before its parts are visited, so that what a rewrite produces is visited too.
    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        let rewritten = refuse::table_factor(factor).and_then(|()| windows::rewrite(factor));
        flow(rewritten.and_then(|()| table_functions::rewrite(factor)))
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        flow(rewrite::expression(expr).and_then(|()| refuse::expression(expr)))
    }
}
