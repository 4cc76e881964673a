//! Queries of system tables as DataFusion can run them.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, Expr, Ident, ObjectName, Statement, visit_expressions_mut, visit_relations_mut,
};

use super::parts;

/// The schema of system tables that are corrected here.
pub const CORRECTED: &str = "frazil_system";
/// The one table in it.
pub const PG_TYPE: &str = "pg_type";

/// Rewrites a query in place.
pub fn rewrite(statement: &mut Statement) {
    let _ = visit_relations_mut(statement, |name| {
        if parts(name).last().map(String::as_str) == Some(PG_TYPE) {
            *name = ObjectName::from(vec![Ident::new(CORRECTED), Ident::new(PG_TYPE)]);
        }
        ControlFlow::<()>::Continue(())
    });
    let _ = visit_expressions_mut(statement, |expr| {
        if let Some(null) = without_such_types(expr) {
            *expr = null;
        }
        if let Expr::Cast { data_type, .. } = expr {
            number_types(data_type);
        }
        ControlFlow::<()>::Continue(())
    });
    if let Statement::Query(query) = statement
        && let Some(with) = &mut query.with
    {
        with.cte_tables.iter_mut().for_each(name_columns);
    }
}

/// `CASE WHEN typtype = 'c' THEN (SELECT ...) ELSE NULL END`: there are no composite types and no domains, so it is NULL. What
/// asyncpg asks so stands within a recursive query, where DataFusion cannot run it.
fn without_such_types(expr: &Expr) -> Option<Expr> {
    let Expr::Case { operand: None, conditions, else_result, .. } = expr else { return None };
    let [ast::CaseWhen { condition: Expr::BinaryOp { left, op: ast::BinaryOperator::Eq, right }, result }] =
        conditions.as_slice()
    else {
        return None;
    };
    let column = match left.as_ref() {
        Expr::CompoundIdentifier(names) => names.last()?,
        Expr::Identifier(name) => name,
        _ => return None,
    };
    let Expr::Value(kind) = right.as_ref() else { return None };
    let ast::Value::SingleQuotedString(kind) = &kind.value else { return None };
    let nothing_else =
        matches!(else_result.as_deref(), None | Some(Expr::Value(ast::ValueWithSpan { value: ast::Value::Null, .. })));
    if column.value != "typtype" || !matches!(kind.as_str(), "c" | "d") || !nothing_else {
        return None;
    }
    let Expr::Subquery(query) = result else { return None };
    let text = query.to_string();
    let item = if text.contains("attname") { ast::DataType::Text } else { ast::DataType::Int(None) };
    let data_type = match text.contains("array_agg") {
        true => ast::DataType::Array(ast::ArrayElemTypeDef::SquareBracket(Box::new(item), None)),
        false => item,
    };
    let null = Box::new(Expr::value(ast::Value::Null));
    Some(Expr::Cast { kind: ast::CastKind::Cast, expr: null, data_type, array: false, format: None })
}

/// Numbers of things (OIDs) are plain numbers in the system tables.
fn number_types(data_type: &mut ast::DataType) {
    match data_type {
        ast::DataType::Custom(name, _) if matches!(parts(name).last().map(String::as_str), Some("oid")) => {
            *data_type = ast::DataType::Int(None);
        }
        ast::DataType::Array(
            ast::ArrayElemTypeDef::SquareBracket(item, _) | ast::ArrayElemTypeDef::AngleBracket(item),
        ) => number_types(item),
        _ => {}
    }
}

/// `t(a, b) AS (SELECT x, y ...)` becomes `t(a, b) AS (SELECT x AS a, y AS b ...)`: the second part of a recursive query knows its
/// columns by the names in the first, for DataFusion.
fn name_columns(table: &mut ast::Cte) {
    let mut first = table.query.body.as_mut();
    while let ast::SetExpr::SetOperation { left, .. } = first {
        first = left.as_mut();
    }
    let ast::SetExpr::Select(select) = first else { return };
    for (item, column) in select.projection.iter_mut().zip(&table.alias.columns) {
        if let ast::SelectItem::UnnamedExpr(expr) = item {
            *item = ast::SelectItem::ExprWithAlias { expr: expr.clone(), alias: column.name.clone() };
        }
    }
}
