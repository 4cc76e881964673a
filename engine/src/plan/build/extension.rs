//! The relations that DataFusion's plans lack: ASOF joins and repetition.

use datafusion::logical_expr::UserDefinedLogicalNode;

use super::{Builder, internal_schema, unsupported};
use crate::error::Result;
use crate::operator::asof::AsOfSpec;
use crate::plan::logical::{AsOfJoin, Repeat};
use crate::plan::{Distribution, Kind, Properties};

impl Builder<'_> {
    pub(super) fn extension(&mut self, node: &dyn UserDefinedLogicalNode) -> Result<usize> {
        if let Some(repeat) = node.as_any().downcast_ref::<Repeat>() {
            return self.repeat(repeat);
        }
        match node.as_any().downcast_ref::<AsOfJoin>() {
            Some(join) => self.asof(join),
            None => Err(unsupported(node.name())),
        }
    }

    fn repeat(&mut self, repeat: &Repeat) -> Result<usize> {
        let input = self.plan_node(repeat.input())?;
        let number = repeat.number()?;
        let schema = internal_schema(UserDefinedLogicalNode::schema(repeat).as_arrow());
        let before = self.properties(input);
        let moved = |column: &usize| match column.cmp(&number) {
            std::cmp::Ordering::Less => Some(*column),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some(column - 1),
        };
        let distribution = match &before.distribution {
            Distribution::Hash(columns) => columns
                .iter()
                .map(moved)
                .collect::<Option<Vec<_>>>()
                .map_or(Distribution::Arbitrary, Distribution::Hash),
            other => other.clone(),
        };
        let watermark = before.watermark.iter().filter_map(moved).collect();
        let properties = Properties { insert_only: before.insert_only, key: None, watermark, distribution };
        Ok(self.push(Kind::Repeat { number }, vec![(input, Distribution::Arbitrary)], schema, properties))
    }

    fn asof(&mut self, join: &AsOfJoin) -> Result<usize> {
        let (left, right) = (self.plan_node(join.sides().0)?, self.plan_node(join.sides().1)?);
        let output = internal_schema(UserDefinedLogicalNode::schema(join).as_arrow());
        let spec = AsOfSpec {
            left: self.schema(left).clone(),
            right: self.schema(right).clone(),
            on: join.on()?,
            time: join.time()?,
            nearest: join.nearest(),
            outer: join.outer(),
            output: output.clone(),
        };
        let wanted = |side: &dyn Fn(&(usize, usize)) -> usize| match spec.on.as_slice() {
            [] => Distribution::Single,
            pairs => Distribution::Hash(pairs.iter().map(side).collect()),
        };
        if spec.on.is_empty() {
            self.plan.warnings.push("an ASOF join without an equality runs in a single task".into());
        }
        let properties = Properties {
            insert_only: false,
            key: self.properties(left).key.clone(),
            watermark: self.properties(left).watermark.clone(),
            distribution: wanted(&|on| on.0),
        };
        let inputs = vec![(left, wanted(&|on| on.0)), (right, wanted(&|on| on.1))];
        Ok(self.push(Kind::AsOf(spec), inputs, output, properties))
    }
}
