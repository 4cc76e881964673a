//! ORDER BY columns of the input that have the name of an alias in the SELECT list.
//!
//! Arguments of aggregates are such columns, as in PostgreSQL. DataFusion looks aliases up first, even within an aggregate, where
//! they cannot stand. So
//!
//! ```text
//! SELECT name, max(id) AS id FROM t GROUP BY name ORDER BY max(id), min(id)
//! ```
//!
//! is planned as `ORDER BY id, min(t.id)`: by the alias of the same expression if there is one, else with the name of the
//! only relation that the query reads.
//!
//! A column with its relation's name, `SELECT a + 1 AS a FROM t ORDER BY t.a`, would stand beside the alias in the projection below
//! the sort, where DataFusion cannot tell the two apart; and it has no window functions in ORDER BY. Both become items of a
//! query within, which are left out again:
//!
//! ```text
//! SELECT * EXCEPT (__order_0) FROM (SELECT a + 1 AS a, t.a AS __order_0 FROM t) AS __ordered ORDER BY __order_0
//! ```

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    ExceptSelectItem, Expr, Ident, OrderByKind, Query, SelectItem, SetExpr, TableFactor, VisitMut, VisitorMut,
    WildcardAdditionalOptions, visit_expressions, visit_expressions_mut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::folded;
use crate::error::{Error, Result};
use crate::sql::parse::generated_query;

/// What names of items begin with that nobody sees.
const HIDDEN: &str = "__order_";

/// Whether a name is that of an aggregate.
pub type IsAggregate<'a> = &'a dyn Fn(&str) -> bool;

/// Rewrites ORDER BY of a query and of all queries in it.
pub(super) fn rewrite(query: &mut Query, is_aggregate: IsAggregate<'_>) -> Result<()> {
    struct Queries<'a>(IsAggregate<'a>);
    impl VisitorMut for Queries<'_> {
        type Break = Error;
        fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
            keys(query, self.0);
            ControlFlow::Continue(())
        }
        // Behind its subqueries: the query around it is none of them.
        fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
            hidden(query, self.0).map_or_else(ControlFlow::Break, ControlFlow::Continue)
        }
    }
    match query.visit(&mut Queries(is_aggregate)) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
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

/// Orders by what DataFusion cannot order by as by items of the SELECT list that nobody sees.
fn hidden(query: &mut Query, is_aggregate: IsAggregate<'_>) -> Result<()> {
    let SetExpr::Select(select) = query.body.as_mut() else { return Ok(()) };
    let Some(OrderByKind::Expressions(keys)) = query.order_by.as_ref().map(|order_by| &order_by.kind) else {
        return Ok(());
    };
    // With DISTINCT what is no item cannot be ordered by, and DISTINCT ON is ordered before its list is computed.
    if select.distinct.is_some() {
        return Ok(());
    }
    let unknown = |expr: &Expr| match is_window(expr) || is_beside_alias(expr, &select.projection) {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    if !keys.iter().any(|key| visit_expressions(&key.expr, unknown).is_break()) {
        return Ok(());
    }
    let mut order_by = query.order_by.clone();
    let mut hide = Hide { projection: &select.projection, is_aggregate, items: Vec::new(), subquery: false };
    if let Some(OrderByKind::Expressions(keys)) = order_by.as_mut().map(|order_by| &mut order_by.kind) {
        for key in keys {
            let _ = key.expr.visit(&mut hide);
        }
    }
    let (items, subquery) = (hide.items, hide.subquery);
    // Where its columns come from is not known.
    if subquery {
        return Ok(());
    }
    let names: Vec<Ident> = items.iter().map(|(_, name)| name.clone()).collect();
    select.projection.extend(items.into_iter().map(|(expr, alias)| SelectItem::ExprWithAlias { expr, alias }));
    query.order_by = None;
    let (with, limit_clause, fetch) = (query.with.take(), query.limit_clause.take(), query.fetch.take());
    *query = Query { with, order_by, limit_clause, fetch, ..everything_but(&names, query.clone())? };
    Ok(())
}

/// Takes out of the keys of ORDER BY what is no item of the SELECT list.
struct Hide<'a> {
    projection: &'a [SelectItem],
    is_aggregate: IsAggregate<'a>,
    items: Vec<(Expr, Ident)>,
    subquery: bool,
}

impl VisitorMut for Hide<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.subquery = true;
        ControlFlow::Break(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let input = match &*expr {
            Expr::Identifier(ident) => !ident.value.starts_with(HIDDEN) && !names_item(ident, self.projection),
            Expr::CompoundIdentifier(_) => true,
            expr => is_window(expr) || calls(expr, self.is_aggregate),
        };
        if input {
            let name = match self.items.iter().find(|(known, _)| known == expr) {
                Some((_, name)) => name.clone(),
                None => {
                    let name = Ident::new(format!("{HIDDEN}{}", self.items.len()));
                    self.items.push((expr.clone(), name.clone()));
                    name
                }
            };
            *expr = Expr::Identifier(name);
        }
        ControlFlow::Continue(())
    }
}

fn is_window(expr: &Expr) -> bool {
    matches!(expr, Expr::Function(function) if function.over.is_some())
}

fn names_item(ident: &Ident, projection: &[SelectItem]) -> bool {
    let named =
        |item: &SelectItem| matches!(item, SelectItem::ExprWithAlias { alias, .. } if folded(alias) == folded(ident));
    projection.iter().any(named)
}

/// Whether it is a column with its relation's name, and an alias of something else has the column's own.
fn is_beside_alias(expr: &Expr, projection: &[SelectItem]) -> bool {
    let Expr::CompoundIdentifier(parts) = expr else { return false };
    let Some(column) = parts.last().map(folded) else { return false };
    let same_name = |item: &SelectItem| match item {
        SelectItem::ExprWithAlias { expr: item, alias } if folded(alias) == column => Some(item == expr),
        _ => None,
    };
    let mut named = projection.iter().filter_map(same_name).peekable();
    named.peek().is_some() && !named.any(|is_it| is_it)
}

/// `SELECT * EXCEPT (...) FROM (query) AS __ordered`.
fn everything_but(names: &[Ident], query: Query) -> Result<Query> {
    let mut around = generated_query("SELECT * FROM (SELECT 1) AS __ordered", Span::empty())?;
    let except = names.split_first().map(|(first_element, others)| ExceptSelectItem {
        first_element: first_element.clone(),
        additional_elements: others.to_vec(),
    });
    if let SetExpr::Select(select) = around.body.as_mut()
        && let Some(TableFactor::Derived { subquery, .. }) = select.from.first_mut().map(|from| &mut from.relation)
    {
        **subquery = query;
        let options = WildcardAdditionalOptions { opt_except: except, ..WildcardAdditionalOptions::default() };
        select.projection = vec![SelectItem::Wildcard(options)];
    }
    Ok(around)
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
