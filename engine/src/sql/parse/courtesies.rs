//! Clauses of queries that the planner does not know, as clauses that it does.
//!
//! | written | planned as |
//! | --- | --- |
//! | `OFFSET 2 ROWS FETCH FIRST 3 ROWS ONLY` | `LIMIT 3 OFFSET 2` |
//! | `MINUS` | `EXCEPT` |
//! | `WITH RECURSIVE t (n) AS (SELECT 1 UNION ALL ...)` | `WITH RECURSIVE t (n) AS (SELECT 1 AS n UNION ALL ...)` |

use datafusion::sql::sqlparser::ast::{Expr, LimitClause, Query, SelectItem, SetExpr, SetOperator, Value};

/// Rewrites one query; those in it are visited by themselves.
pub(super) fn query(query: &mut Query) {
    fetch(query);
    minus(&mut query.body);
    let Some(with) = query.with.as_mut().filter(|with| with.recursive) else { return };
    for table in &mut with.cte_tables {
        let names: Vec<_> = table.alias.columns.iter().map(|column| column.name.clone()).collect();
        let SetExpr::SetOperation { left, .. } = table.query.body.as_mut() else { continue };
        let SetExpr::Select(first) = left.as_mut() else { continue };
        // The other half finds the columns by the names that they have here.
        if names.len() == first.projection.len() {
            for (item, alias) in first.projection.iter_mut().zip(names) {
                if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                    *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
                }
            }
        }
    }
}

fn fetch(query: &mut Query) {
    let Some(fetch) = query.fetch.take_if(|fetch| !fetch.with_ties && !fetch.percent) else { return };
    let one = || Expr::value(Value::Number("1".to_owned(), false));
    let rows = fetch.quantity.clone().unwrap_or_else(one);
    match &mut query.limit_clause {
        None => {
            query.limit_clause = Some(LimitClause::LimitOffset { limit: Some(rows), offset: None, limit_by: vec![] });
        }
        Some(LimitClause::LimitOffset { limit: limit @ None, .. }) => *limit = Some(rows),
        // Both: the planner refuses it.
        Some(_) => query.fetch = Some(fetch),
    }
}

fn minus(body: &mut SetExpr) {
    let mut pending = vec![body];
    while let Some(body) = pending.pop() {
        if let SetExpr::SetOperation { op, left, right, .. } = body {
            if *op == SetOperator::Minus {
                *op = SetOperator::Except;
            }
            pending.extend([left.as_mut(), right.as_mut()]);
        }
    }
}
