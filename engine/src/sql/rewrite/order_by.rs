//! Aggregates in ORDER BY: their arguments are columns of the input, as in PostgreSQL, also where an alias of the SELECT list
//! has the same name.
//!
//! DataFusion looks aliases up first, even within an aggregate, where they cannot stand. So
//!
//! ```text
//! SELECT name, max(id) AS id FROM t GROUP BY name ORDER BY max(id), min(id)
//! ```
//!
//! is planned as `ORDER BY id, min(t.id)`: by the alias of the same expression if there is one, else with the name of the
//! only relation that the query reads.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, Expr, Ident, OrderByKind, Query, SelectItem, SetExpr, TableFactor, visit_expressions, visit_expressions_mut,
};

/// Whether a name is that of an aggregate.
pub type IsAggregate<'a> = &'a dyn Fn(&str) -> bool;

/// Rewrites ORDER BY of a query and of all queries in it.
pub(super) fn rewrite(query: &mut Query, is_aggregate: IsAggregate<'_>) {
    struct Queries<'a>(IsAggregate<'a>);
    impl ast::VisitorMut for Queries<'_> {
        type Break = ();
        fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
            keys(query, self.0);
            ControlFlow::Continue(())
        }
    }
    let _ = ast::VisitMut::visit(query, &mut Queries(is_aggregate));
}

fn keys(query: &mut Query, is_aggregate: IsAggregate<'_>) {
    let SetExpr::Select(select) = query.body.as_ref() else { return };
    let Some(OrderByKind::Expressions(keys)) = query.order_by.as_mut().map(|order_by| &mut order_by.kind) else {
        return;
    };
    let aliased = |item: &SelectItem| match item {
        SelectItem::ExprWithAlias { expr, alias } => Some((expr.clone(), alias.clone())),
        _ => None,
    };
    let aliased: Vec<(Expr, Ident)> = select.projection.iter().filter_map(aliased).collect();
    let relation = match select.from.as_slice() {
        [from] if from.joins.is_empty() => name(&from.relation),
        _ => None,
    };
    for key in keys {
        let _ = visit_expressions_mut(&mut key.expr, |expr| {
            if calls(expr, is_aggregate) && mentions(expr, &aliased) {
                match (aliased.iter().find(|(known, _)| known == expr), &relation) {
                    (Some((_, alias)), _) => *expr = Expr::Identifier(alias.clone()),
                    (None, Some(relation)) => qualify(expr, &aliased, relation),
                    (None, None) => {}
                }
            }
            ControlFlow::<()>::Continue(())
        });
    }
}

/// The name under which columns of a relation are known.
fn name(relation: &TableFactor) -> Option<Ident> {
    match relation {
        TableFactor::Table { name, alias: None, .. } => name.0.last()?.as_ident().cloned(),
        TableFactor::Table { alias, .. } | TableFactor::Derived { alias, .. } => {
            alias.as_ref().map(|alias| alias.name.clone())
        }
        _ => None,
    }
}

fn calls(expr: &Expr, is_aggregate: IsAggregate<'_>) -> bool {
    let Expr::Function(function) = expr else { return false };
    let name = function.name.0.last().and_then(|part| part.as_ident());
    function.over.is_none() && name.is_some_and(|name| is_aggregate(&name.value.to_lowercase()))
}

fn is_alias(expr: &Expr, aliased: &[(Expr, Ident)]) -> bool {
    matches!(expr, Expr::Identifier(ident) if aliased.iter().any(|(_, alias)| folded(alias) == folded(ident)))
}

fn mentions(expr: &Expr, aliased: &[(Expr, Ident)]) -> bool {
    let found = |expr: &Expr| if is_alias(expr, aliased) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    visit_expressions(expr, found).is_break()
}

fn qualify(expr: &mut Expr, aliased: &[(Expr, Ident)], relation: &Ident) {
    let _ = visit_expressions_mut(expr, |expr| {
        if is_alias(expr, aliased)
            && let Expr::Identifier(ident) = expr
        {
            *expr = Expr::CompoundIdentifier(vec![relation.clone(), ident.clone()]);
        }
        ControlFlow::<()>::Continue(())
    });
}

fn folded(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}
