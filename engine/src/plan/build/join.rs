//! Joins.

use arrow::datatypes::{DataType, Schema};
use datafusion::common::{JoinType, NullEquality};
use datafusion::logical_expr::Join;

use super::columns::Columns;
use super::derive::{join_properties, shift_columns};
use super::{Builder, internal_schema, unsupported};
use crate::error::Result;
use crate::operator::join::{Broadcast, JoinKind, JoinSpec};
use crate::plan::{Distribution, Kind, Properties};

impl Builder<'_> {
    pub(super) fn join(&mut self, join: &Join) -> Result<usize> {
        // A right semi, anti or mark join is a left one with its sides exchanged.
        let (kind, exchanged) = match join.join_type {
            JoinType::Inner => (JoinKind::Inner, false),
            JoinType::Left => (JoinKind::Left, false),
            JoinType::Right => (JoinKind::Right, false),
            JoinType::Full => (JoinKind::Full, false),
            JoinType::LeftSemi => (JoinKind::Semi, false),
            JoinType::RightSemi => (JoinKind::Semi, true),
            JoinType::LeftAnti if join.null_aware => {
                return Err(unsupported("this NOT IN").hint("use NOT EXISTS with a comparison"));
            }
            JoinType::LeftAnti => (JoinKind::Anti, false),
            JoinType::RightAnti => (JoinKind::Anti, true),
            JoinType::LeftMark => (JoinKind::Mark, false),
            JoinType::RightMark => (JoinKind::Mark, true),
        };
        let (first, second) = if exchanged { (&join.right, &join.left) } else { (&join.left, &join.right) };
        let (left, right) = (self.plan_node(first)?, self.plan_node(second)?);
        let (left_schema, right_schema) = (first.schema(), second.schema());
        let (mut left_columns, mut right_columns) = (Columns::all(self.schema(left)), Columns::all(self.schema(right)));
        let (left_width, right_width) = (left_columns.fields.len(), right_columns.fields.len());
        let mut on = Vec::new();
        for (l, r) in &join.on {
            let (l, r) = if exchanged { (r, l) } else { (l, r) };
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
        let mut properties = join_properties(kind, &lp, &rp, &on, left_unique, right_unique, &output, both);
        let wanted = |side: &dyn Fn(&(usize, usize)) -> usize| match on.as_slice() {
            [] => Distribution::Single,
            pairs => Distribution::Hash(pairs.iter().map(side).collect()),
        };
        let mut inputs = vec![(left, wanted(&|p| p.0)), (right, wanted(&|p| p.1))];
        let mut broadcast = None;
        if on.is_empty() {
            broadcast = broadcast_side(kind, &lp, &rp).and_then(|side| {
                let (spread, properties) = if side == 0 { (right, &rp) } else { (left, &lp) };
                Some(Broadcast { side, routed_by: routed_by(self.schema(spread), properties)? })
            });
            self.plan.warnings.push(match &broadcast {
                None => "a join without an equality compares every pair of rows in a single task".into(),
                Some(Broadcast { side, .. }) if is_one_row([&lp, &rp][*side]) => {
                    "every row is joined to a single row, and is given anew when that one changes".into()
                }
                Some(Broadcast { side, .. }) => format!(
                    "a join without an equality compares every pair of rows; every task has a copy of the {} side",
                    ["left", "right"][*side]
                ),
            });
        }
        if let Some(Broadcast { side, routed_by }) = &broadcast {
            let offset = if *side == 0 { both } else { 0 };
            inputs[*side].1 = Distribution::Everywhere;
            inputs[1 - *side].1 = Distribution::Hash(routed_by.clone());
            let at = |column: &usize| output.iter().position(|o| *o == column + offset);
            properties.distribution = routed_by
                .iter()
                .map(at)
                .collect::<Option<Vec<_>>>()
                .map_or(Distribution::Arbitrary, Distribution::Hash);
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
            broadcast,
        };
        Ok(self.push(Kind::Join(spec), inputs, output_schema, properties))
    }
}

/// The side of a join without equality that every task is to have. Not one whose rows show without a partner: no task
/// alone would know that there is none.
fn broadcast_side(kind: JoinKind, left: &Properties, right: &Properties) -> Option<usize> {
    match kind {
        JoinKind::Left | JoinKind::Semi | JoinKind::Anti | JoinKind::Mark => Some(1),
        JoinKind::Right => Some(0),
        JoinKind::Inner if is_one_row(left) && !is_one_row(right) => Some(0),
        JoinKind::Inner => Some(1),
        JoinKind::Full => None,
    }
}

/// At most one row at a time.
fn is_one_row(properties: &Properties) -> bool {
    properties.key.as_ref().is_some_and(Vec::is_empty)
}

/// Columns by whose hash the other side's rows are spread over the tasks: where they are already, else by their key, else by
/// all columns that can be hashed. `None`: there is nothing to spread.
fn routed_by(schema: &Schema, properties: &Properties) -> Option<Vec<usize>> {
    let hashable = |column: &usize| {
        let data_type = schema.field(*column).data_type();
        !data_type.is_nested() && !matches!(data_type, DataType::Dictionary(..) | DataType::RunEndEncoded(..))
    };
    let columns = match (&properties.distribution, &properties.key) {
        (Distribution::Hash(columns), _) => columns.clone(),
        _ if is_one_row(properties) => return None,
        (_, Some(key)) if key.iter().all(hashable) => key.clone(),
        _ => (0..schema.fields().len()).filter(hashable).collect(),
    };
    (!columns.is_empty()).then_some(columns)
}
