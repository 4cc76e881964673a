//! What is derived about an operator's output from what is known about its inputs.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::physical_plan::expressions::Column;

use super::column_index;
use crate::error::Result;
use crate::operator::join::JoinKind;
use crate::plan::{Distribution, Properties};

pub(super) fn moved_properties(before: &Properties, expressions: &[Arc<dyn PhysicalExpr>]) -> Properties {
    let moved = |c: &usize| expressions.iter().position(|e| column_index(e) == Some(*c));
    Properties {
        insert_only: before.insert_only,
        key: before.key.as_ref().and_then(|key| key.iter().map(moved).collect()),
        watermark: before.watermark.iter().filter_map(moved).collect(),
        distribution: match &before.distribution {
            Distribution::Hash(columns) => columns
                .iter()
                .map(moved)
                .collect::<Option<Vec<_>>>()
                .map_or(Distribution::Arbitrary, Distribution::Hash),
            other => other.clone(),
        },
    }
}

/// Whether a cast keeps different values different.
pub(super) fn widens(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Binary, BinaryView, Date32, Date64, Float16, Float32, Float64, LargeBinary, LargeUtf8, Utf8, Utf8View,
    };
    from == to
        || (from.is_integer() && to.is_integer() && from.primitive_width() <= to.primitive_width())
        || matches!(
            (from, to),
            (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8 | Utf8View)
                | (Binary | LargeBinary | BinaryView, Binary | LargeBinary | BinaryView)
                | (Float16 | Float32, Float32 | Float64)
                | (Date32 | Date64, Date32 | Date64)
        )
}

#[expect(clippy::too_many_arguments, reason = "a pure function of everything that a join knows")]
pub(super) fn join_properties(
    kind: JoinKind,
    left: &Properties,
    right: &Properties,
    on: &[(usize, usize)],
    left_unique: bool,
    right_unique: bool,
    output: &[usize],
    right_offset: usize,
) -> Properties {
    let at = |column: usize| output.iter().position(|o| *o == column);
    let left_key = || left.key.as_ref().and_then(|key| key.iter().map(|c| at(*c)).collect::<Option<Vec<_>>>());
    let right_key =
        || right.key.as_ref().and_then(|key| key.iter().map(|c| at(*c + right_offset)).collect::<Option<Vec<_>>>());
    let both = || left_key().zip(right_key()).map(|(l, r)| [l, r].concat());
    let key = match kind {
        JoinKind::Semi | JoinKind::Anti | JoinKind::Mark => left_key(),
        JoinKind::Inner if right_unique => left_key(),
        JoinKind::Inner if left_unique => right_key(),
        JoinKind::Left if right_unique => left_key(),
        JoinKind::Right if left_unique => right_key(),
        // Padded with NULLs a key column of one side may be NULL, but then the other side's key tells rows apart.
        JoinKind::Inner | JoinKind::Left | JoinKind::Right | JoinKind::Full => both(),
    };
    let insert_only = match kind {
        JoinKind::Inner => left.insert_only && right.insert_only,
        JoinKind::Semi => left.insert_only && right.insert_only,
        _ => false,
    };
    let side = |columns: Vec<usize>, offset: usize| {
        columns
            .into_iter()
            .map(|c| at(c + offset))
            .collect::<Option<Vec<_>>>()
            .map_or(Distribution::Arbitrary, Distribution::Hash)
    };
    let distribution = match (kind, on) {
        (_, []) => Distribution::Single,
        (JoinKind::Right, on) => side(on.iter().map(|p| p.1).collect(), right_offset),
        // Padded rows of both sides stand where their own side's key put them, which no single list of columns describes.
        (JoinKind::Full, _) => Distribution::Arbitrary,
        (_, on) => side(on.iter().map(|p| p.0).collect(), 0),
    };
    let watermark = match kind {
        JoinKind::Inner | JoinKind::Left | JoinKind::Semi | JoinKind::Anti | JoinKind::Mark => {
            left.watermark.iter().filter_map(|c| at(*c)).collect()
        }
        _ => vec![],
    };
    Properties { insert_only, key, watermark, distribution }
}

pub(super) fn shift_columns(expr: Arc<dyn PhysicalExpr>, to: impl Fn(usize) -> usize) -> Result<Arc<dyn PhysicalExpr>> {
    use datafusion::common::tree_node::{Transformed, TreeNode};
    let shifted = expr.transform(|e| {
        Ok(match e.as_any().downcast_ref::<Column>() {
            Some(c) => Transformed::yes(Arc::new(Column::new(c.name(), to(c.index()))) as Arc<dyn PhysicalExpr>),
            None => Transformed::no(e),
        })
    })?;
    Ok(shifted.data)
}
