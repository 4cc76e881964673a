//! SQL functions: every call is replaced by the function's body, in batch and in continuous queries alike.
//!
//! A function is an object of the catalog whose name ends with `()`, so that it takes no table's name. It may call
//! functions that exist when it is created, so none can call itself.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use catalog::{Object, ObjectKind, Snapshot};
use datafusion::sql::sqlparser::ast::{
    self, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Query,
    SelectItem, SetExpr, Spanned, VisitMut, VisitorMut, visit_expressions_mut,
};

use crate::error::{Error, ErrorKind, Position, Result};
use crate::sql::context::Planner;
use crate::sql::parse::parse;
use crate::sql::statement::{CreateFunction, Statement};

/// Calls that one statement may hold once all are replaced: bodies that use a parameter twice double with every level.
const MAX_CALLS: usize = 10_000;

/// The name of a function's object.
pub fn object_name(function: &str) -> String {
    format!("{function}()")
}

/// The function that an object defines.
pub fn definition(object: &Object) -> Result<CreateFunction> {
    match parse(&object.sql)?.into_iter().next().map(|parsed| parsed.statement) {
        Some(Statement::CreateFunction(function)) => Ok(function),
        _ => {
            Err(Error::new(ErrorKind::Corrupt, "the catalog holds no body for a function")
                .with("function", &object.name))
        }
    }
}

impl Planner {
    /// Replaces calls of SQL functions in a query or expression; returns the functions that it calls itself.
    pub fn inline(&self, node: &mut impl VisitMut) -> Result<Vec<Arc<Object>>> {
        if !self.snapshot.objects.values().any(|object| object.kind == ObjectKind::Function) {
            return Ok(Vec::new());
        }
        let mut inline = Inline { snapshot: &self.snapshot, called: BTreeMap::new(), calls: 0 };
        match node.visit(&mut inline) {
            ControlFlow::Break(error) => Err(error),
            ControlFlow::Continue(()) => Ok(inline.called.into_values().map(|(object, _)| object).collect()),
        }
    }
}

struct Inline<'a> {
    snapshot: &'a Snapshot,
    /// By name: the object, and its definition with all calls replaced.
    called: BTreeMap<String, (Arc<Object>, CreateFunction)>,
    calls: usize,
}

/// The name of a function that is called without anything but arguments.
fn simple_name(function: &Function) -> Option<&Ident> {
    match function.name.0.as_slice() {
        [part] => part.as_ident(),
        _ => None,
    }
}

impl Inline<'_> {
    fn object(&self, function: &Function) -> Option<&Arc<Object>> {
        let name = object_name(&simple_name(function)?.value);
        self.snapshot.object(&name).filter(|object| object.kind == ObjectKind::Function)
    }

    fn call(&mut self, expr: &mut Expr) -> Result<()> {
        let Expr::Function(function) = expr else { return Ok(()) };
        let Some(object) = self.object(function).cloned() else { return Ok(()) };
        let position = start(function);
        self.calls += 1;
        if self.calls > MAX_CALLS {
            return Err(Error::sql("calls of SQL functions make this statement too large").at(position));
        }
        let name = object.name.clone();
        if !self.called.contains_key(&name) {
            let mut definition = definition(&object)?;
            // Bodies call only functions that are older than they are, so this ends.
            let mut inner = Inline { snapshot: self.snapshot, called: BTreeMap::new(), calls: self.calls };
            if let ControlFlow::Break(error) = definition.body.visit(&mut inner) {
                return Err(error);
            }
            self.calls = inner.calls;
            self.called.insert(name.clone(), (object, definition));
        }
        let Some((_, definition)) = self.called.get(&name) else { return Ok(()) };
        let arguments = arguments(function, definition).map_err(|error| error.at(position))?;
        *expr = substitute(definition, &arguments);
        Ok(())
    }

    /// Results of calls keep the call as their name.
    fn name_items(&self, body: &mut SetExpr) {
        match body {
            SetExpr::Select(select) => {
                for item in &mut select.projection {
                    let SelectItem::UnnamedExpr(expr) = item else { continue };
                    let mut calls = false;
                    let _ = visit_expressions_mut(expr, |e| {
                        calls |= matches!(e, Expr::Function(function) if self.object(function).is_some());
                        ControlFlow::<()>::Continue(())
                    });
                    if calls {
                        let alias = match &*expr {
                            Expr::Function(function) => simple_name(function).map(|name| name.value.clone()),
                            _ => None,
                        };
                        let alias = Ident::with_quote('"', alias.unwrap_or_else(|| expr.to_string()));
                        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
                    }
                }
            }
            SetExpr::SetOperation { left, right, .. } => {
                self.name_items(left);
                self.name_items(right);
            }
            _ => {}
        }
    }
}

fn start(function: &Function) -> Option<Position> {
    let start = function.span().start;
    (start.line > 0).then_some(Position { line: start.line, column: start.column })
}

fn arguments(function: &Function, definition: &CreateFunction) -> Result<Vec<Expr>> {
    let name = &definition.name;
    let plain = function.filter.is_none() && function.over.is_none() && function.within_group.is_empty();
    let FunctionArguments::List(list) = &function.args else {
        return Err(Error::sql(format!("{name} is called with arguments in parentheses")));
    };
    if !plain || list.duplicate_treatment.is_some() || !list.clauses.is_empty() {
        return Err(Error::sql(format!("{name} is a scalar function: it takes no DISTINCT, FILTER, ORDER BY or OVER")));
    }
    let argument = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    let arguments: Option<Vec<Expr>> = list.args.iter().map(argument).collect();
    arguments.filter(|arguments| arguments.len() == definition.parameters.len()).ok_or_else(|| {
        let parameters: Vec<String> = definition.parameters.iter().map(|(n, t)| format!("{n} {t}")).collect();
        Error::sql(format!("{name} takes {} arguments", parameters.len()))
            .hint(format!("its parameters are: {name}({})", parameters.join(", ")))
    })
}

fn cast(expr: Expr, data_type: &DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type: data_type.clone(), array: false, format: None }
}

fn substitute(definition: &CreateFunction, arguments: &[Expr]) -> Expr {
    let mut body = definition.body.clone();
    let _ = visit_expressions_mut(&mut body, |expr| {
        if let Expr::Identifier(ident) = expr
            && let Some(place) = definition.parameters.iter().position(|(name, _)| *name == ident.value)
        {
            let argument = Expr::Nested(Box::new(arguments[place].clone()));
            *expr = cast(argument, &definition.parameters[place].1);
        }
        ControlFlow::<()>::Continue(())
    });
    cast(Expr::Nested(Box::new(body)), &definition.returns)
}

impl VisitorMut for Inline<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        self.name_items(&mut query.body);
        ControlFlow::Continue(())
    }

    /// After its arguments, which may be calls too.
    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        match self.call(expr) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// Whether a statement in canonical text calls a function.
pub fn calls(sql: &str, function: &str) -> bool {
    let Ok(statements) = parse(sql) else { return false };
    let mut found = false;
    let mut look = |query: &Query| {
        let _ = ast::visit_expressions(query, |expr| {
            found |= matches!(expr, Expr::Function(f) if simple_name(f).is_some_and(|name| name.value == function));
            ControlFlow::<()>::Continue(())
        });
    };
    for statement in statements {
        match statement.statement {
            Statement::Insert(insert) => look(&insert.query),
            Statement::StatementSet(inserts) => inserts.iter().for_each(|insert| look(&insert.query)),
            Statement::CreateView(view) => look(&view.query),
            Statement::Query(query) => look(&query),
            _ => {}
        }
    }
    found
}
