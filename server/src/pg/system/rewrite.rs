//! Queries of system tables as DataFusion can run them.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{self, Expr, Statement, visit_expressions_mut};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use engine::sql::parse::call;

use super::functions::{EXPANDED, NUMBER, SUBSCRIPTS};
use super::parts;

/// System tables without rows: nothing like that can be made here, and no column has a collation of its own.
const EMPTY: [&str; 4] = ["pg_attrdef", "pg_sequence", "pg_inherits", "pg_collation"];

/// Functions that give the name of whoever asks.
const USER: [&str; 4] = ["current_user", "session_user", "current_role", "user"];

/// Rewrites a query of this user in place.
pub fn rewrite(statement: &mut Statement, user: &str) {
    let _ = visit_expressions_mut(statement, |expr| {
        if let Expr::Function(function) = expr
            && parts(&function.name).last().is_some_and(|name| USER.contains(&name.as_str()))
        {
            *expr = Expr::value(ast::Value::SingleQuotedString(user.to_owned()));
        }
        if let Some(null) = without_such_types(expr) {
            *expr = null;
        }
        memberships(expr);
        scalar(expr);
        sets(expr);
        escapes(expr);
        field(expr);
        number_of_relation(expr);
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

/// `ARRAY(SELECT ... FROM pg_auth_members ...)`: users are no members of others.
fn memberships(expr: &mut Expr) {
    if let Expr::Function(function) = expr
        && let ast::FunctionArguments::Subquery(query) = &function.args
        && parts(&function.name).last().is_some_and(|name| name == "array")
        && query.to_string().contains("pg_auth_members")
    {
        *expr = call("make_array", vec![]);
    }
}

/// A subquery in place of a value has at most one row. Of tables without rows it is NULL; else `min` tells DataFusion so, which
/// cannot run it with columns from outside otherwise.
fn scalar(expr: &mut Expr) {
    let Expr::Subquery(query) = expr else { return };
    let plain = query.with.is_none() && query.limit_clause.is_none() && query.fetch.is_none();
    let ast::SetExpr::Select(select) = query.body.as_mut() else { return };
    let [ast::SelectItem::UnnamedExpr(item) | ast::SelectItem::ExprWithAlias { expr: item, .. }] =
        select.projection.as_mut_slice()
    else {
        return;
    };
    let tables = select.from.iter().map(|from| &from.relation);
    let none = tables.into_iter().any(|table| match table {
        ast::TableFactor::Table { name, .. } => parts(name).last().is_some_and(|name| EMPTY.contains(&name.as_str())),
        _ => false,
    });
    if none {
        *expr = Expr::value(ast::Value::Null);
    } else if plain && is_of_columns(item) {
        *item = call("min", vec![item.clone()]);
    }
}

/// A column, or one that is compared with a value: nothing that is an aggregate already.
fn is_of_columns(expr: &Expr) -> bool {
    match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_) => true,
        Expr::BinaryOp { left, right, .. } => is_of_columns(left) && is_of_columns(right),
        _ => false,
    }
}

/// Functions that give rows where a value stands are `unnest` of a function that gives an array.
fn sets(expr: &mut Expr) {
    let Expr::Function(function) = expr else { return };
    let name = parts(&function.name).pop();
    let Some(name) = [EXPANDED, SUBSCRIPTS].into_iter().find(|known| Some(*known) == name.as_deref()) else { return };
    let ast::FunctionArguments::List(arguments) = &function.args else { return };
    let Some(ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(array))) = arguments.args.first() else { return };
    *expr = call("unnest", vec![call(name, vec![array.clone()])]);
}

/// `(pair).x`: DataFusion reads it of columns only.
fn field(expr: &mut Expr) {
    let Expr::CompoundFieldAccess { root, access_chain } = expr else { return };
    let [ast::AccessExpr::Dot(Expr::Identifier(name))] = access_chain.as_slice() else { return };
    let name = Expr::value(ast::Value::SingleQuotedString(name.value.clone()));
    *expr = call("get_field", vec![root.as_ref().clone(), name]);
}

/// `'t'::regclass` is the relation's number.
fn number_of_relation(expr: &mut Expr) {
    if let Expr::Cast { expr: inner, data_type, .. } = expr
        && let ast::DataType::Regclass = data_type
    {
        *expr = call(NUMBER, vec![inner.as_ref().clone()]);
    }
}

/// `LIKE ... ESCAPE '/'`: DataFusion knows no other character than the backslash for that.
fn escapes(expr: &mut Expr) {
    let (Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. }) = expr else { return };
    let Some(ast::Value::SingleQuotedString(escape)) = escape_char.take() else {
        return;
    };
    let text = |text: &str| Expr::value(ast::Value::SingleQuotedString(text.to_owned()));
    if escape != "\\" {
        let literal = call("replace", vec![pattern.as_ref().clone(), text("\\"), text("\\\\")]);
        **pattern = call("replace", vec![literal, text(&escape), text("\\")]);
    }
}

/// Numbers of things (OIDs) are plain numbers in the system tables.
fn number_types(data_type: &mut ast::DataType) {
    match data_type {
        ast::DataType::Custom(name, _) if matches!(parts(name).last().map(String::as_str), Some("oid")) => {
            *data_type = ast::DataType::Int(None);
        }
        // With its schema or in quotes a type is not known to the parser.
        ast::DataType::Custom(name, _) => {
            let name = parts(name).pop().unwrap_or_default();
            let parsed = Parser::new(&PostgreSqlDialect {}).try_with_sql(&name).and_then(|mut p| p.parse_data_type());
            if let Ok(known) = parsed {
                *data_type = known;
            }
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
