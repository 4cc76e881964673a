//! Named windows: `WINDOW w AS (...)` is written out wherever `OVER w` and `OVER (w ...)` use it.
//!
//! DataFusion knows them in the SELECT list only, looks for the windows of subqueries in the query around them, and ignores
//! the name in `OVER (w ROWS 1 PRECEDING)`. As in PostgreSQL, a window that is based on another takes its PARTITION BY, and its
//! ORDER BY if it has none of its own; the other must have no frame.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, NamedWindowDefinition, NamedWindowExpr, OrderByKind, Query, Select, SelectItem, SetExpr, VisitMut,
    VisitorMut, WindowSpec, WindowType, visit_expressions_mut,
};

use super::folded;
use crate::error::{Error, Position, Result};

/// Writes out the named windows of a query and of all queries in it.
pub(super) fn rewrite(query: &mut Query) -> Result<()> {
    struct Queries;
    impl VisitorMut for Queries {
        type Break = Error;
        // From within, so that what is left of a subquery's names when its surroundings are visited is an error.
        fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
            body(query).map_or_else(ControlFlow::Break, ControlFlow::Continue)
        }
    }
    match VisitMut::visit(query, &mut Queries) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

fn body(query: &mut Query) -> Result<()> {
    let mut pending = vec![query.body.as_mut()];
    let mut windows = Vec::new();
    while let Some(body) = pending.pop() {
        match body {
            SetExpr::SetOperation { left, right, .. } => pending.extend([left.as_mut(), right.as_mut()]),
            SetExpr::Select(select) => windows = self::select(select)?,
            _ => {}
        }
    }
    // ORDER BY of a single SELECT: over set operations it has no windows of its own.
    if !matches!(query.body.as_ref(), SetExpr::Select(_)) {
        windows.clear();
    }
    if let Some(OrderByKind::Expressions(keys)) = query.order_by.as_mut().map(|order_by| &mut order_by.kind) {
        keys.iter_mut().try_for_each(|key| written_out(&mut key.expr, &windows))?;
    }
    Ok(())
}

type Windows = Vec<(String, WindowSpec)>;

fn select(select: &mut Select) -> Result<Windows> {
    let mut windows: Windows = Vec::new();
    for NamedWindowDefinition(name, window) in std::mem::take(&mut select.named_window) {
        let spec = match window {
            NamedWindowExpr::NamedWindow(other) => named(&other, &windows)?.clone(),
            NamedWindowExpr::WindowSpec(spec) => based(spec, &windows)?,
        };
        let key = folded(&name);
        if windows.iter().any(|(known, _)| *known == key) {
            return Err(Error::sql(format!("the window {name} is defined twice")).at(position(&name)));
        }
        windows.push((key, spec));
    }
    for item in &mut select.projection {
        if let SelectItem::ExprWithAlias { expr, .. } | SelectItem::UnnamedExpr(expr) = item {
            written_out(expr, &windows)?;
        }
    }
    if let Some(qualify) = &mut select.qualify {
        written_out(qualify, &windows)?;
    }
    Ok(windows)
}

fn written_out(expr: &mut Expr, windows: &Windows) -> Result<()> {
    let visited = visit_expressions_mut(expr, |expr| {
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        let spec = match function.over.take() {
            Some(WindowType::NamedWindow(name)) => named(&name, windows).cloned(),
            Some(WindowType::WindowSpec(spec)) => based(spec, windows),
            None => return ControlFlow::Continue(()),
        };
        match spec {
            Ok(spec) => {
                function.over = Some(WindowType::WindowSpec(spec));
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    });
    match visited {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

fn named<'a>(name: &Ident, windows: &'a Windows) -> Result<&'a WindowSpec> {
    let key = folded(name);
    let found = windows.iter().find(|(known, _)| *known == key);
    found.map(|(_, spec)| spec).ok_or_else(|| {
        let error = Error::sql(format!("the window {name} is not defined")).at(position(name));
        error.hint("define it behind HAVING: SELECT ... FROM ... WINDOW w AS (PARTITION BY ... ORDER BY ...)")
    })
}

/// A window without the name of that on which it is based.
fn based(mut spec: WindowSpec, windows: &Windows) -> Result<WindowSpec> {
    let Some(name) = spec.window_name.take() else { return Ok(spec) };
    let base = named(&name, windows)?;
    let refused = if !spec.partition_by.is_empty() {
        Some(format!("PARTITION BY cannot be added to the window {name}"))
    } else if !spec.order_by.is_empty() && !base.order_by.is_empty() {
        Some(format!("the window {name} already has ORDER BY"))
    } else if base.window_frame.is_some() {
        Some(format!("the window {name} has a frame, so no other can be based on it"))
    } else {
        None
    };
    if let Some(message) = refused {
        return Err(Error::sql(message).hint("write the whole window instead of its name").at(position(&name)));
    }
    spec.partition_by = base.partition_by.clone();
    if spec.order_by.is_empty() {
        spec.order_by = base.order_by.clone();
    }
    Ok(spec)
}

fn position(name: &Ident) -> Option<Position> {
    let start = name.span.start;
    (start.line > 0).then_some(Position { line: start.line, column: start.column })
}
