//! A query in text with holes for parts of the user's statement, which keep the places where they were written.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, Expr, Query, SetExpr, TableFactor, TableWithJoins, VisitMut, VisitorMut, visit_expressions_mut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use crate::error::Result;
use crate::sql::parse::generated_query;

/// The parts, by the numbers of their holes.
#[derive(Debug, Default)]
pub struct Skeleton {
    expressions: Vec<Expr>,
    relations: Vec<TableWithJoins>,
}

impl Skeleton {
    /// The hole of an expression, as text.
    pub fn expression(&mut self, expression: &Expr) -> String {
        self.expressions.push(expression.clone());
        format!("__expression_{}", self.expressions.len() - 1)
    }

    /// The hole of something in FROM, as text.
    pub fn relation(&mut self, relation: TableWithJoins) -> String {
        self.relations.push(relation);
        format!("__relation_{}", self.relations.len() - 1)
    }

    /// The query with its holes filled; its own words claim to be at `span`.
    pub fn parse(self, text: &str, span: Span) -> Result<Query> {
        let mut query = generated_query(text, span)?;
        // Relations first: holes are looked for in the skeleton only, not in what fills them.
        let _ = query.visit(&mut Relations(&self.relations));
        let _ = visit_expressions_mut(&mut query, |expr| {
            if let Expr::Identifier(ident) = expr
                && let Some(filling) = numbered(&ident.value, "__expression_").and_then(|n| self.expressions.get(n))
            {
                *expr = Expr::Nested(Box::new(filling.clone()));
            }
            ControlFlow::<()>::Continue(())
        });
        Ok(query)
    }
}

fn numbered(name: &str, prefix: &str) -> Option<usize> {
    name.strip_prefix(prefix)?.parse().ok()
}

struct Relations<'a>(&'a [TableWithJoins]);

impl VisitorMut for Relations<'_> {
    type Break = ();

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let SetExpr::Select(select) = query.body.as_mut() {
            for table in &mut select.from {
                if let Some(filling) = hole(&table.relation).and_then(|n| self.0.get(n)) {
                    *table = filling.clone();
                }
            }
        }
        ControlFlow::Continue(())
    }
}

fn hole(factor: &TableFactor) -> Option<usize> {
    let TableFactor::Table { name: ast::ObjectName(parts), .. } = factor else { return None };
    match parts.as_slice() {
        [part] => numbered(&part.as_ident()?.value, "__relation_"),
        _ => None,
    }
}
