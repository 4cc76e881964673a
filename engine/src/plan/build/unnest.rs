//! UNNEST.

use datafusion::logical_expr::Unnest;

use super::{Builder, internal_schema};
use crate::error::Result;
use crate::operator::unnest::{ListColumn, UnnestSpec};
use crate::plan::{Distribution, Kind, Properties};

impl Builder<'_> {
    pub(super) fn unnest(&mut self, unnest: &Unnest) -> Result<usize> {
        let input = self.plan_node(&unnest.input)?;
        let output = internal_schema(unnest.schema.as_arrow());
        let lists = unnest.list_type_columns.iter();
        let lists: Vec<_> = lists.map(|(column, list)| ListColumn { column: *column, depth: list.depth }).collect();
        let structs = unnest.struct_type_columns.clone();
        // A column that is neither list nor struct stands in the output once, where its dependency says.
        let opened = |column: &usize| structs.contains(column) || lists.iter().any(|list| list.column == *column);
        let moved = |column: &usize| {
            let place = unnest.dependency_indices.iter().position(|dependency| dependency == column);
            place.filter(|_| !opened(column))
        };
        let before = self.properties(input);
        let distribution = match &before.distribution {
            Distribution::Hash(columns) => {
                let columns = columns.iter().map(moved).collect::<Option<Vec<_>>>();
                columns.map_or(Distribution::Arbitrary, Distribution::Hash)
            }
            other => other.clone(),
        };
        let key = before.key.clone().filter(|_| lists.is_empty());
        let properties = Properties {
            insert_only: before.insert_only,
            key: key.and_then(|key| key.iter().map(moved).collect()),
            watermark: before.watermark.iter().filter_map(moved).collect(),
            distribution,
        };
        let spec = UnnestSpec {
            input: self.schema(input).clone(),
            lists,
            structs,
            preserve_nulls: unnest.options.preserve_nulls,
            output: output.clone(),
        };
        Ok(self.push(Kind::Unnest(spec), vec![(input, Distribution::Arbitrary)], output, properties))
    }
}
