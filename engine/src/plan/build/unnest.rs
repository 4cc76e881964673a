//! UNNEST.

use datafusion::logical_expr::Unnest;

use super::{Builder, internal_schema, unsupported};
use crate::error::Result;
use crate::plan::{Distribution, Kind, Properties};

impl Builder<'_> {
    pub(super) fn unnest(&mut self, unnest: &Unnest) -> Result<usize> {
        let input = self.plan_node(&unnest.input)?;
        let [(list, unnested)] = unnest.list_type_columns.as_slice() else {
            return Err(unsupported("UNNEST of more than one list, or of a struct"));
        };
        if !unnest.struct_type_columns.is_empty() || unnested.depth != 1 {
            return Err(unsupported("UNNEST of a struct or of nested lists"));
        }
        let schema = internal_schema(unnest.schema.as_arrow());
        let identity = unnest.dependency_indices.iter().enumerate().all(|(i, d)| i == *d);
        if !identity || schema.fields().len() != self.schema(input).fields().len() {
            return Err(unsupported("this form of UNNEST"));
        }
        let before = self.properties(input);
        let distribution = match &before.distribution {
            Distribution::Hash(columns) if columns.contains(list) => Distribution::Arbitrary,
            other => other.clone(),
        };
        let properties = Properties {
            insert_only: before.insert_only,
            key: None,
            watermark: before.watermark.clone(),
            distribution,
        };
        let kind = Kind::Unnest { column: *list, preserve_nulls: unnest.options.preserve_nulls };
        Ok(self.push(kind, vec![(input, Distribution::Arbitrary)], schema, properties))
    }
}
