//! Grouping sets in batch queries as SQL wants them: the empty set has a row even over no input, and a set that is named
//! twice gives its rows twice. DataFusion 53 gives none, and one with doubled values.

use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, TableReference};
use datafusion::logical_expr::{
    Aggregate, EmptyRelation, Expr, GroupingSet, LogicalPlan, Projection, Union, cast, lit,
};
use datafusion::scalar::ScalarValue;

/// The aggregate, or a union of several where DataFusion's would be wrong.
pub(super) fn mended(aggregate: Aggregate) -> Result<LogicalPlan> {
    let [Expr::GroupingSet(set)] = aggregate.group_expr.as_slice() else {
        return Ok(LogicalPlan::Aggregate(aggregate));
    };
    let sets = enumerated(set);
    let within = |one: &[Expr], other: &[Expr]| one.iter().all(|expr| other.contains(expr));
    let (mut first, mut again): (Vec<Vec<Expr>>, Vec<Vec<Expr>>) = (Vec::new(), Vec::new());
    for set in sets {
        let known = first.iter().any(|other| within(other, &set) && within(&set, other));
        if set.is_empty() || known { again.push(set) } else { first.push(set) }
    }
    if again.is_empty() {
        return Ok(LogicalPlan::Aggregate(aggregate));
    }
    let expressions: Vec<Expr> = set.distinct_expr().into_iter().cloned().collect();
    let mut parts = Vec::new();
    if first.len() > 1 {
        let group = vec![Expr::GroupingSet(GroupingSet::GroupingSets(first))];
        let Aggregate { input, aggr_expr, schema, .. } = &aggregate;
        let rest = Aggregate::try_new_with_schema(input.clone(), group, aggr_expr.clone(), schema.clone())?;
        let columns = schema.columns().into_iter().enumerate();
        let columns = columns.map(|(at, column)| Expr::Column(column).alias(numbered(at))).collect();
        let rest = Arc::new(LogicalPlan::Aggregate(rest));
        parts.push(Arc::new(LogicalPlan::Projection(Projection::try_new(columns, rest)?)));
    } else {
        again.extend(first);
    }
    for set in again {
        parts.push(Arc::new(alone(&aggregate, &expressions, &set)?));
    }
    let union = match <[_; 1]>::try_from(parts) {
        Ok([part]) => part,
        Err(parts) => Arc::new(LogicalPlan::Union(Union::try_new(parts)?)),
    };
    let named = |(at, (qualifier, field)): (usize, (Option<&TableReference>, &FieldRef))| {
        Expr::Column(Column::from_name(numbered(at))).alias_qualified(qualifier.cloned(), field.name())
    };
    let columns = aggregate.schema.iter().enumerate().map(named).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(columns, union)?))
}

/// Name of a column within the union, whose columns can have no qualifiers.
fn numbered(at: usize) -> String {
    format!("__set_{at}")
}

/// The sets that are meant.
fn enumerated(set: &GroupingSet) -> Vec<Vec<Expr>> {
    match set {
        GroupingSet::GroupingSets(sets) => sets.clone(),
        GroupingSet::Rollup(members) => (0..=members.len()).rev().map(|len| members[..len].to_vec()).collect(),
        GroupingSet::Cube(members) => {
            let chosen = |mask: u64| {
                let members = members.iter().enumerate().filter(|(at, _)| mask >> at & 1 == 0);
                members.map(|(_, member)| member.clone()).collect()
            };
            (0..1_u64 << members.len().min(63)).map(chosen).collect()
        }
    }
}

/// One grouping set as a plain aggregate, with the columns of all.
fn alone(aggregate: &Aggregate, expressions: &[Expr], set: &[Expr]) -> Result<LogicalPlan> {
    let schema: &DFSchemaRef = &aggregate.schema;
    let (input, calls) = (aggregate.input.clone(), aggregate.aggr_expr.clone());
    let group: Vec<Expr> = expressions.iter().filter(|expr| set.contains(expr)).cloned().collect();
    let plan = if group.is_empty() && calls.is_empty() {
        LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: true, schema: Arc::new(DFSchema::empty()) })
    } else {
        LogicalPlan::Aggregate(Aggregate::try_new(input, group, calls)?)
    };
    let mut own = plan.schema().columns().into_iter();
    let mut columns = Vec::with_capacity(schema.fields().len());
    let mut id = 0_u64;
    for (at, field) in schema.fields().iter().enumerate() {
        let present = match expressions.get(at) {
            Some(expr) => set.contains(expr),
            None => at > expressions.len(),
        };
        let value = if present {
            own.next().map(Expr::Column)
        } else if at == expressions.len() {
            Some(cast(lit(id), field.data_type().clone()))
        } else {
            Some(lit(ScalarValue::try_new_null(field.data_type())?))
        };
        if at < expressions.len() {
            id = id << 1 | u64::from(!present);
        }
        // There are as many columns as the set has expressions and calls.
        let value = value.unwrap_or_else(|| Expr::Column(Column::from_name(field.name())));
        columns.push(value.alias(numbered(at)));
    }
    Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?))
}
