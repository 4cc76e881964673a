//! The ways in which a query can be made smaller by one edit, numbered from the outermost to the innermost.

mod over;

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, ObjectName, Query, Select, SetExpr,
    TableFactor, Value, Visit, VisitMut, Visitor, VisitorMut,
};

use super::text;

/// Smaller expressions that are tried in place of one.
const PARTS: usize = 8;

/// The query after its edit of this number; nothing if there is no such edit, or if it cannot be read.
pub(super) fn smaller(query: &str, number: usize) -> Option<String> {
    let mut tree = text::parse(query)?;
    // A subquery in place of all.
    let subqueries = subqueries(&tree);
    if let Some(subquery) = subqueries.get(number) {
        return Some(subquery.clone());
    }
    let mut edit = Edit { left: number - subqueries.len(), done: false };
    let _ = VisitMut::visit(&mut tree, &mut edit);
    edit.done.then(|| text::print(&tree))
}

fn subqueries(query: &Query) -> Vec<String> {
    struct Collect(Vec<String>);
    impl Visitor for Collect {
        type Break = ();
        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            self.0.push(text::print(query));
            ControlFlow::Continue(())
        }
    }
    let mut all = Collect(Vec::new());
    let _ = Visit::visit(query, &mut all);
    // The first is the query itself.
    all.0.split_off(1)
}

/// Counts edits until the wanted one, and makes it.
struct Edit {
    left: usize,
    done: bool,
}

impl Edit {
    /// Whether it is this edit's turn.
    fn turn(&mut self) -> bool {
        if self.done {
            return false;
        }
        self.done = self.left == 0;
        self.left = self.left.saturating_sub(1);
        self.done
    }

    fn flow(&self) -> ControlFlow<()> {
        if self.done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn body(&mut self, body: &mut SetExpr) {
        match body {
            SetExpr::SetOperation { left, right, .. } => {
                for side in [left.clone(), right.clone()] {
                    if self.turn() {
                        *body = *side;
                        return;
                    }
                }
                self.body(left);
                self.body(right);
            }
            SetExpr::Select(select) => self.select(select),
            _ => {}
        }
    }

    fn select(&mut self, select: &mut Select) {
        if select.distinct.is_some() && self.turn() {
            select.distinct = None;
        }
        if select.selection.is_some() && self.turn() {
            select.selection = None;
        }
        if select.having.is_some() && self.turn() {
            select.having = None;
        }
        if select.qualify.is_some() && self.turn() {
            select.qualify = None;
        }
        for table in &mut select.from {
            for join in 0..table.joins.len() {
                if self.turn() {
                    table.joins.remove(join);
                    return;
                }
            }
            if !table.joins.is_empty() && self.turn() {
                let first = table.joins.remove(0);
                table.relation = first.relation;
            }
        }
        if select.projection.len() > 1 {
            for item in 0..select.projection.len() {
                if self.turn() {
                    select.projection.remove(item);
                    return;
                }
            }
        }
        if let GroupByExpr::Expressions(expressions, _) = &mut select.group_by {
            for place in 0..expressions.len() {
                if self.turn() {
                    expressions.remove(place);
                    return;
                }
                if let Expr::Rollup(sets) | Expr::Cube(sets) | Expr::GroupingSets(sets) = &expressions[place] {
                    let flat: Vec<Expr> = sets.iter().flatten().cloned().collect();
                    if self.turn() {
                        *expressions = flat;
                        return;
                    }
                }
            }
        }
    }
}

impl VisitorMut for Edit {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if query.limit_clause.is_some() && self.turn() {
            query.limit_clause = None;
            query.order_by = None;
        }
        if query.order_by.is_some() && query.limit_clause.is_none() && self.turn() {
            query.order_by = None;
        }
        self.body(&mut query.body);
        self.flow()
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        // A window function's table, without the windows.
        if let TableFactor::Table { name, args, .. } = factor
            && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(table)))) =
                args.as_ref().and_then(|call| call.args.first())
            && self.turn()
        {
            *name = ObjectName::from(vec![table.clone()]);
            *args = None;
        }
        if let TableFactor::Table { version, .. } = factor
            && version.is_some()
            && self.turn()
        {
            *version = None;
        }
        self.flow()
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_)) {
            return self.flow();
        }
        for part in parts(expr) {
            if self.turn() {
                *expr = part;
                return self.flow();
            }
        }
        if let Expr::Function(function) = expr {
            if function.filter.is_some() && self.turn() {
                function.filter = None;
            }
            if let FunctionArguments::List(list) = &mut function.args
                && list.duplicate_treatment.is_some()
                && self.turn()
            {
                list.duplicate_treatment = None;
            }
            over::edit(function, &mut || self.turn());
        }
        if self.turn() {
            *expr = Expr::Value(Value::Null.into());
        }
        self.flow()
    }
}

/// Expressions within an expression, the largest first.
fn parts(expr: &Expr) -> Vec<Expr> {
    struct Collect(Vec<Expr>);
    impl Visitor for Collect {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            self.0.push(expr.clone());
            ControlFlow::Continue(())
        }
    }
    let mut all = Collect(Vec::new());
    let _ = Visit::visit(expr, &mut all);
    // The first is the expression itself.
    all.0.into_iter().skip(1).take(PARTS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(query: &str) -> Vec<String> {
        (0..).map_while(|number| smaller(query, number)).collect()
    }

    #[test]
    fn clauses_operands_and_items_can_be_left_out() {
        let found = all("SELECT a + 1 AS x, MAX(b) FILTER (WHERE c) FROM t WHERE NOT c GROUP BY a HAVING MAX(b) > 2");
        for wanted in [
            "SELECT a + 1 AS x, MAX(b) FILTER (WHERE c) FROM t GROUP BY a HAVING MAX(b) > 2",
            "SELECT a AS x, MAX(b) FILTER (WHERE c) FROM t WHERE NOT c GROUP BY a HAVING MAX(b) > 2",
            "SELECT a + 1 AS x, MAX(b) FROM t WHERE NOT c GROUP BY a HAVING MAX(b) > 2",
            "SELECT a + 1 AS x, MAX(b) FILTER (WHERE c) FROM t WHERE c GROUP BY a HAVING MAX(b) > 2",
            "SELECT MAX(b) FILTER (WHERE c) FROM t WHERE NOT c GROUP BY a HAVING MAX(b) > 2",
            "SELECT a + 1 AS x, MAX(b) FILTER (WHERE c) FROM t WHERE NOT c HAVING MAX(b) > 2",
        ] {
            assert!(found.iter().any(|query| query == wanted), "{wanted}\nis not among\n{}", found.join("\n"));
        }
    }

    #[test]
    fn joins_and_sides_of_set_operations_can_be_left_out() {
        let found = all("SELECT 1 FROM t JOIN u ON t.a = u.a UNION SELECT a FROM (SELECT 2 AS a) AS x");
        for wanted in [
            "SELECT 2 AS a",
            "SELECT 1 FROM t JOIN u ON t.a = u.a",
            "SELECT a FROM (SELECT 2 AS a) AS x",
            "SELECT 1 FROM u UNION SELECT a FROM (SELECT 2 AS a) AS x",
        ] {
            assert!(found.iter().any(|query| query == wanted), "{wanted}\nis not among\n{}", found.join("\n"));
        }
    }
}
