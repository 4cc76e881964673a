//! Joins.

use datafusion::common::{JoinType, NullEquality};
use datafusion::logical_expr::Join;

use super::columns::Columns;
use super::derive::{join_properties, shift_columns};
use super::{Builder, internal_schema, unsupported};
use crate::error::Result;
use crate::operator::join::{JoinKind, JoinSpec};
use crate::plan::{Distribution, Kind};

impl Builder<'_> {
    pub(super) fn join(&mut self, join: &Join) -> Result<usize> {
        let kind = match join.join_type {
            JoinType::Inner => JoinKind::Inner,
            JoinType::Left => JoinKind::Left,
            JoinType::Right => JoinKind::Right,
            JoinType::Full => JoinKind::Full,
            JoinType::LeftSemi => JoinKind::Semi,
            JoinType::LeftAnti if !join.null_aware => JoinKind::Anti,
            JoinType::LeftMark => JoinKind::Mark,
            JoinType::LeftAnti => return Err(unsupported("NOT IN").hint("use NOT EXISTS with a comparison")),
            other => return Err(unsupported(&format!("a {other} join"))),
        };
        let (left, right) = (self.plan_node(&join.left)?, self.plan_node(&join.right)?);
        let (left_schema, right_schema) = (join.left.schema(), join.right.schema());
        let (mut left_columns, mut right_columns) = (Columns::all(self.schema(left)), Columns::all(self.schema(right)));
        let (left_width, right_width) = (left_columns.fields.len(), right_columns.fields.len());
        let mut on = Vec::new();
        for (l, r) in &join.on {
            let l = left_columns.add(self.physical(l, left_schema)?, self.schema(left))?;
            let r = right_columns.add(self.physical(r, right_schema)?, self.schema(right))?;
            on.push((l, r));
        }
        let (left, right) = (self.columns_below(left, left_columns), self.columns_below(right, right_columns));
        // Key columns that had to be computed stand behind the columns of their side; the residual must look past them.
        let both = self.schema(left).fields().len();
        let residual = match &join.filter {
            Some(filter) => {
                let schema = left_schema.join(right_schema)?;
                let residual = self.physical(filter, &schema)?;
                Some(shift_columns(residual, |c| if c < left_width { c } else { c - left_width + both })?)
            }
            None => None,
        };
        let mut output: Vec<usize> = (0..left_width).collect();
        if kind == JoinKind::Mark {
            output.push(both);
        } else if !matches!(kind, JoinKind::Semi | JoinKind::Anti) {
            output.extend((0..right_width).map(|c| c + both));
        }
        let null_equals_null = join.null_equality == NullEquality::NullEqualsNull;
        let (lp, rp) = (self.properties(left).clone(), self.properties(right).clone());
        let covers = |key: &Option<Vec<usize>>, side: &dyn Fn(&(usize, usize)) -> usize| {
            key.as_ref().is_some_and(|key| key.iter().all(|k| on.iter().any(|pair| side(pair) == *k)))
        };
        let (left_unique, right_unique) = (covers(&lp.key, &|p| p.0), covers(&rp.key, &|p| p.1));
        let output_schema = internal_schema(join.schema.as_arrow());
        let properties = join_properties(kind, &lp, &rp, &on, left_unique, right_unique, &output, both);
        let wanted = |side: &dyn Fn(&(usize, usize)) -> usize| match on.as_slice() {
            [] => Distribution::Single,
            pairs => Distribution::Hash(pairs.iter().map(side).collect()),
        };
        let inputs = vec![(left, wanted(&|p| p.0)), (right, wanted(&|p| p.1))];
        if on.is_empty() {
            self.plan.warnings.push("a join without an equality compares every pair of rows in a single task".into());
        }
        let spec = JoinSpec {
            left: self.schema(left).clone(),
            right: self.schema(right).clone(),
            on,
            kind,
            null_equals_null,
            residual,
            output,
            output_schema: output_schema.clone(),
            left_insert_only: lp.insert_only,
            right_insert_only: rp.insert_only,
            left_unique,
            right_unique,
        };
        Ok(self.push(Kind::Join(spec), inputs, output_schema, properties))
    }
}
