//! The law for aggregates as SQL plans them, against batch queries with the same aggregates; and what a change costs.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use catalog::{Object, ObjectId, ObjectKind};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::SessionContext;

use super::super::{Aggregate, AggregateSpec};
use super::close;
use crate::change::Changes;
use crate::operator::Operator;
use crate::operator::law::{Input, Law, exact_sql_oracle};
use crate::plan::Kind;
use crate::plan::build::{Emission, build};
use crate::sql::aggregates::ExactAggregates;

fn table() -> SchemaRef {
    let fields = [
        ("k", DataType::Int64),
        ("x", DataType::Int32),
        ("f", DataType::Float64),
        ("g", DataType::Float64),
        ("b", DataType::Boolean),
        ("t", DataType::Utf8View),
        ("d", DataType::Decimal128(10, 2)),
        ("l", DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)))),
    ];
    Arc::new(Schema::new(fields.map(|(name, data_type)| Field::new(name, data_type, true)).to_vec()))
}

/// The aggregate of a query over `t`, whose columns the query names plainly.
fn planned(sql: &str, insert_only: bool) -> AggregateSpec {
    let rules = datafusion::optimizer::Optimizer::new().rules;
    let rules = rules.into_iter().filter(|rule| rule.name() != "single_distinct_aggregation_to_group_by");
    let state = SessionStateBuilder::new()
        .with_default_features()
        .with_optimizer_rules(rules.collect())
        .with_analyzer_rule(Arc::new(ExactAggregates { batch: false }))
        .build();
    let context = SessionContext::new_with_state(state);
    let table: Arc<dyn TableProvider> = Arc::new(MemTable::try_new(table(), vec![vec![]]).unwrap());
    context.register_table("t", table).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let logical = runtime.block_on(context.state().create_logical_plan(sql)).unwrap();
    let logical = context.state().optimize(&logical).unwrap();
    let object = Arc::new(Object {
        id: ObjectId(1),
        name: "t".into(),
        kind: ObjectKind::Table,
        sql: String::new(),
        columns: vec![],
        key: vec![],
        insert_only,
        properties: BTreeMap::new(),
        depends_on: vec![],
    });
    let columns = logical.schema().as_arrow().clone();
    let plan = build(&context.state(), &logical, &|_| Ok(object.clone()), &columns, Emission::default()).unwrap();
    let aggregates = plan.nodes.into_iter().filter_map(|node| match node.kind {
        Kind::Aggregate(spec) => Some(spec),
        _ => None,
    });
    let [spec] = <[_; 1]>::try_from(aggregates.collect::<Vec<_>>()).unwrap();
    spec
}

/// Holds the aggregate of a query to the law. The query must give the group columns and calls in their order.
fn check(calls: &[&str], group: &str, cases: u32) {
    for insert_only in [false, true] {
        let columns = std::iter::once(group).filter(|group| !group.is_empty()).chain(calls.iter().copied());
        let by = if group.is_empty() { String::new() } else { format!(" GROUP BY {group}") };
        let sql = format!("SELECT {} FROM t{by}", columns.collect::<Vec<_>>().join(", "));
        let spec = planned(&sql, insert_only);
        let input = Input::new(spec.input.clone(), &spec.group);
        let input = if insert_only { input.insert_only() } else { input };
        let oracle = exact_sql_oracle(&[("t", spec.input.clone())], &sql);
        let make = move || -> Box<dyn Operator> {
            let aggregate = Aggregate::new(spec.clone(), true).unwrap();
            Box::new(aggregate)
        };
        let law = Law::new(vec![input], make, oracle);
        let law = if group.is_empty() { law.single().keeps_state() } else { law };
        law.check(cases);
    }
}

const STATISTICS: [&str; 16] = [
    "var_pop(f)",
    "var_samp(f) FILTER (WHERE b)",
    "stddev_pop(f)",
    "stddev_samp(DISTINCT f)",
    "covar_pop(f, g)",
    "covar_samp(DISTINCT f, g)",
    "corr(f, g)",
    "regr_slope(f, g)",
    "regr_intercept(f, g)",
    "regr_count(f, g)",
    "regr_r2(f, g)",
    "regr_avgx(f, g)",
    "regr_avgy(f, g) FILTER (WHERE b)",
    "regr_sxx(f, g)",
    "regr_syy(f, g)",
    "regr_sxy(f, g)",
];

const LOGIC: [&str; 9] = [
    "bool_and(b)",
    "bool_or(DISTINCT b)",
    "bit_and(x)",
    "bit_or(x) FILTER (WHERE b)",
    "bit_xor(x)",
    "bit_xor(DISTINCT x)",
    "count(x, t)",
    "count(DISTINCT x, t)",
    "sum(DISTINCT f)",
];

const ENDS: [&str; 9] = [
    "first_value(x ORDER BY t)",
    "last_value(x ORDER BY t DESC NULLS LAST)",
    "first_value(t ORDER BY f DESC NULLS FIRST, x)",
    "last_value(t ORDER BY t) FILTER (WHERE b)",
    "first_value(x) IGNORE NULLS",
    "last_value(f ORDER BY x) IGNORE NULLS",
    "first_value(DISTINCT x)",
    "min(f)",
    "last_value(l ORDER BY x)",
];

const WHOLE: [&str; 10] = [
    "array_agg(x)",
    "array_agg(t ORDER BY x DESC) FILTER (WHERE b)",
    "array_agg(DISTINCT x ORDER BY x DESC)",
    "array_agg(l)",
    "string_agg(t, '-' ORDER BY f)",
    "string_agg(DISTINCT t, '')",
    "nth_value(x, 2 ORDER BY t)",
    "nth_value(DISTINCT f, -1)",
    "array_agg(x) IGNORE NULLS",
    "min(l)",
];

const PERCENTILES: [&str; 9] = [
    "median(x)",
    "median(DISTINCT f)",
    "median(d)",
    "percentile_cont(0.25) WITHIN GROUP (ORDER BY f DESC)",
    "approx_percentile_cont(0.9) WITHIN GROUP (ORDER BY x)",
    "approx_percentile_cont(0.9, 10) WITHIN GROUP (ORDER BY f DESC)",
    "approx_percentile_cont_with_weight(g, 0.5) WITHIN GROUP (ORDER BY f)",
    "approx_median(x) FILTER (WHERE b)",
    "approx_distinct(t)",
];

#[test]
fn statistics_obey_the_law() {
    check(&STATISTICS, "k", 20);
    check(&STATISTICS, "", 5);
}

#[test]
fn logic_obeys_the_law() {
    check(&LOGIC, "k", 20);
    check(&LOGIC, "", 5);
}

#[test]
fn first_and_last_values_obey_the_law() {
    check(&ENDS, "t", 20);
    check(&ENDS, "", 5);
}

#[test]
fn recomputed_groups_obey_the_law() {
    check(&WHOLE, "k", 20);
    check(&WHOLE, "", 5);
}

#[test]
fn percentiles_obey_the_law() {
    check(&PERCENTILES, "k", 20);
    check(&PERCENTILES, "", 5);
}

/// Rows of state looked at per changed row, when a group has so many rows.
fn visited(call: &str, rows: i64) -> u64 {
    let mut aggregate = Aggregate::new(planned(&format!("SELECT k, {call} FROM t GROUP BY k"), false), true).unwrap();
    let schema = aggregate.spec.input.clone();
    let feed = |aggregate: &mut Aggregate, values: std::ops::Range<i64>, weight: i64| {
        let columns = schema.fields().iter().map(|field| -> ArrayRef {
            // Neither ascending nor descending.
            let values = values.clone().map(|value| value * 7919 % 1_000_003);
            let ints: ArrayRef = Arc::new(match field.name().as_str() {
                "k" => Int64Array::from_value(1, values.count()),
                _ => Int64Array::from_iter_values(values),
            });
            arrow::compute::cast(&ints, field.data_type()).unwrap()
        });
        let rows = RecordBatch::try_new(schema.clone(), columns.collect()).unwrap();
        let weights = vec![weight; rows.num_rows()];
        aggregate.on_changes(0, Changes::weighted(rows, weights), &mut Vec::new()).unwrap();
        close(aggregate).unwrap();
    };
    feed(&mut aggregate, 0..rows, 1);
    let before = aggregate.visited();
    let changes = 200;
    for at in 0..changes {
        let away = at * 31 % rows;
        feed(&mut aggregate, away..away + 1, -1);
        feed(&mut aggregate, away..away + 1, 1);
    }
    (aggregate.visited() - before) / (2 * changes as u64)
}

#[test]
fn work_is_in_proportion_to_the_change_but_for_recomputed_groups() {
    let flat = STATISTICS
        .iter()
        .chain(&LOGIC[..2])
        .chain(["min(x)", "max(x)", "sum(x)", "avg(f)", "count(DISTINCT x)"].iter());
    let flat = flat.chain(["first_value(x ORDER BY f)", "last_value(x ORDER BY f DESC)"].iter());
    for call in flat {
        let (small, large) = (visited(call, 100), visited(call, 10_000));
        assert!(large <= small + 60, "{call}: {small} rows per change became {large}");
    }
    for call in ["array_agg(x)", "string_agg(t, ',')", "nth_value(x, 2)", "median(x)", "approx_distinct(x)"] {
        let (small, large) = (visited(call, 100), visited(call, 10_000));
        assert!(small >= 100 && large >= 10_000, "{call}: {small} and {large}: it belongs to the list above");
    }
}

#[test]
fn sums_of_doubles_forget_what_went() {
    let mut aggregate =
        Aggregate::new(planned("SELECT k, sum(f), stddev_pop(f) FROM t GROUP BY k", false), true).unwrap();
    let schema = aggregate.spec.input.clone();
    let mut feed = |values: Vec<f64>, weight: i64| {
        let k: ArrayRef = Arc::new(Int64Array::from_value(1, values.len()));
        let weights = vec![weight; values.len()];
        let f: ArrayRef = Arc::new(Float64Array::from(values));
        let columns = schema.fields().iter().map(|field| if field.name() == "k" { k.clone() } else { f.clone() });
        let rows = RecordBatch::try_new(schema.clone(), columns.collect()).unwrap();
        aggregate.on_changes(0, Changes::weighted(rows, weights), &mut Vec::new()).unwrap();
        let out = close(&mut aggregate).unwrap();
        let last = |column: usize| {
            let rows = out.last().unwrap().rows();
            let column = rows.column(column).as_any().downcast_ref::<Float64Array>().unwrap().clone();
            column.value(column.len() - 1)
        };
        (last(1), last(2))
    };
    feed(vec![0.1; 10], 1);
    assert_eq!(feed(vec![0.1; 10], 1), (2.0, 0.0));
    feed(vec![1e300, 1e-300, f64::INFINITY, -1e200], 1);
    assert_eq!(feed(vec![-1e200, 1e300, 1e-300, f64::INFINITY], -1), (2.0, 0.0));
}
