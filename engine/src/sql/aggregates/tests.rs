//! The aggregates of batch queries: the same however the input is cut, and what DataFusion's own say, but for rounding.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Float64Type, Schema};
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::prelude::*;

use super::ExactAggregates;

const STATISTICS: &str = "var_pop(x), var_samp(x), stddev_pop(x), stddev(x), covar_pop(x, y), covar_samp(x, y), \
     corr(x, y), regr_slope(x, y), regr_intercept(x, y), regr_r2(x, y), regr_avgx(x, y), regr_avgy(x, y), \
     regr_sxx(x, y), regr_syy(x, y), regr_sxy(x, y), sum(x), avg(x), min(x), max(x)";

const OTHERS: &str = "sum(n), sum(DISTINCT n), first_value(n ORDER BY s), last_value(s ORDER BY n DESC), \
     array_agg(s ORDER BY n), array_agg(s), string_agg(s, ','), nth_value(n, 2), approx_median(x), \
     approx_percentile_cont(x, 0.9), median(x), percentile_cont(x, 0.25), count(DISTINCT n, s), regr_count(x, y)";

type Row = (i64, Option<f64>, Option<f64>, Option<i64>, Option<u8>);

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let number = || prop::option::weighted(0.9, (-100_000_i32..100_000).prop_map(|cents| f64::from(cents) / 100.0));
    let row =
        (0_i64..3, number(), number(), prop::option::weighted(0.9, -3_i64..4), prop::option::weighted(0.9, 0_u8..4));
    prop::collection::vec(row, 0..60)
}

fn batch(rows: &[Row]) -> RecordBatch {
    let fields = [
        ("k", DataType::Int64),
        ("x", DataType::Float64),
        ("y", DataType::Float64),
        ("n", DataType::Int64),
        ("s", DataType::Utf8),
    ];
    let schema = Schema::new(fields.map(|(name, data_type)| Field::new(name, data_type, true)).to_vec());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| Some(row.0)).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.1).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|row| row.3).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.4.map(|s| "abcd"[..usize::from(s)].to_owned())).collect::<StringArray>()),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

/// The answer, in one partition or cut into pieces that are read in parallel.
fn answer(rows: &[Row], pieces: usize, exact: bool, sql: &str) -> RecordBatch {
    let context =
        SessionContext::new_with_config(SessionConfig::new().with_target_partitions(pieces).with_batch_size(7));
    if exact {
        context.add_analyzer_rule(Arc::new(ExactAggregates { batch: true }));
    }
    let length = rows.len().div_ceil(pieces).max(1);
    let mut parts: Vec<Vec<RecordBatch>> = rows.chunks(length).map(|rows| vec![batch(rows)]).collect();
    parts.push(vec![]);
    let table = MemTable::try_new(batch(&[]).schema(), parts).unwrap();
    context.register_table("t", Arc::new(table)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let batches = runtime.block_on(async { context.sql(sql).await.unwrap().collect().await.unwrap() });
    // No rows in groups are no batches at all.
    let schema = batches.first().map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
    arrow::compute::concat_batches(&schema, &batches).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn answers_do_not_depend_on_how_the_input_is_cut(rows in rows()) {
        for by in ["GROUP BY k ORDER BY k", ""] {
            let sql = format!("SELECT {STATISTICS}, {OTHERS} FROM t {by}");
            let reversed: Vec<Row> = rows.iter().rev().cloned().collect();
            prop_assert_eq!(answer(&rows, 1, true, &sql), answer(&reversed, 3, true, &sql));
        }
    }

    #[test]
    fn statistics_are_those_of_datafusion_but_for_rounding(rows in rows()) {
        let sql = format!("SELECT {STATISTICS} FROM t GROUP BY k ORDER BY k");
        if rows.is_empty() {
            return Ok(());
        }
        let (own, plain) = (answer(&rows, 1, true, &sql), answer(&rows, 1, false, &sql));
        for (column, field) in own.schema().fields().iter().enumerate() {
            let (own, plain) = (own.column(column).as_primitive::<Float64Type>(), plain.column(column).as_primitive::<Float64Type>());
            for row in 0..own.len() {
                let close = |a: f64, b: f64| (a - b).abs() <= 1e-7 * (1.0 + a.abs().max(b.abs()));
                // Theirs may take a variance that rounding made of 0 for one.
                let degenerate = own.is_null(row) && plain.is_valid(row);
                let same = own.is_null(row) == plain.is_null(row) && (own.is_null(row) || close(own.value(row), plain.value(row)));
                prop_assert!(same || degenerate, "{}: {:?} and {:?}", field.name(), own, plain);
            }
        }
    }
}

#[test]
fn a_sum_that_does_not_fit_is_an_error() {
    let context = SessionContext::new();
    context.add_analyzer_rule(Arc::new(ExactAggregates { batch: true }));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let sql = "SELECT sum(x) FROM (VALUES (9223372036854775807), (1)) AS t(x)";
    let error = runtime.block_on(async { context.sql(sql).await.unwrap().collect().await }).unwrap_err();
    assert!(error.to_string().contains("does not fit the type Int64"), "{error}");
}
