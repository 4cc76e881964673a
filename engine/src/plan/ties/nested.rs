//! The place of NULL in order keys that are lists or structs.
//!
//! For the state of views NULL within a value is less than everything, and DESC turns that around. Arrow puts it where NULLS FIRST or
//! NULLS LAST puts the value that is NULL as a whole. Both agree if that is the same end. So the whole NULLs get a key of their own.

use datafusion::common::{DFSchema, Result as PlanResult};
use datafusion::logical_expr::{ExprSchemable, SortExpr};

/// Splits keys whose order would depend on who sorts; says whether there were any.
pub(crate) fn place_nulls(keys: &mut Vec<SortExpr>, input: &DFSchema) -> PlanResult<bool> {
    let mut placed = Vec::with_capacity(keys.len());
    for key in keys.iter() {
        if key.nulls_first != key.asc && key.expr.get_type(input)?.is_nested() {
            placed.push(key.expr.clone().is_null().sort(!key.nulls_first, false));
            placed.push(key.expr.clone().sort(key.asc, key.asc));
        } else {
            placed.push(key.clone());
        }
    }
    let changed = placed.len() > keys.len();
    *keys = placed;
    Ok(changed)
}
