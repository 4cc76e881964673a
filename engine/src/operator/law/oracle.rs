//! Oracles from SQL: the batch answer of DataFusion over the accumulated input.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::{Row, Seen, ZSet, add, batch_of, rows_of};
use crate::sql::aggregates::ExactAggregates;

/// Every row as often as its weight says.
pub fn repeated(set: &ZSet) -> Vec<Row> {
    set.iter()
        .flat_map(|(row, weight)| std::iter::repeat_n(row.clone(), usize::try_from(*weight).unwrap_or(0)))
        .collect()
}

/// An oracle that runs `sql` over the inputs as tables of the given names.
pub fn sql_oracle(tables: &[(&'static str, SchemaRef)], sql: &str) -> impl Fn(&Seen<'_>) -> ZSet + 'static {
    oracle(SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1)), tables, sql)
}

/// The same with the aggregates of batch queries, whose answers leave nothing to chance; in several partitions.
pub fn exact_sql_oracle(tables: &[(&'static str, SchemaRef)], sql: &str) -> impl Fn(&Seen<'_>) -> ZSet + 'static {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    context.add_analyzer_rule(Arc::new(ExactAggregates { batch: true }));
    oracle(context, tables, sql)
}

fn oracle(
    context: SessionContext,
    tables: &[(&'static str, SchemaRef)],
    sql: &str,
) -> impl Fn(&Seen<'_>) -> ZSet + 'static {
    let (tables, sql) = (tables.to_vec(), sql.to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    move |seen| {
        for ((name, schema), total) in tables.iter().zip(seen.totals) {
            let rows = batch_of(schema, &repeated(total));
            let half = rows.num_rows() / 2;
            let parts = vec![vec![rows.slice(half, rows.num_rows() - half)], vec![rows.slice(0, half)]];
            let table = MemTable::try_new(schema.clone(), parts).expect("rows of the schema");
            context.deregister_table(*name).expect("a plain name");
            context.register_table(*name, Arc::new(table)).expect("a free name");
        }
        let batches = runtime.block_on(async { context.sql(&sql).await?.collect().await }).expect("a query that runs");
        let mut answer = ZSet::new();
        for row in batches.iter().flat_map(rows_of) {
            add(&mut answer, row, 1);
        }
        answer
    }
}
