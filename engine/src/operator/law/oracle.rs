//! Oracles from SQL: the batch answer of DataFusion over the accumulated input.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::{Row, Seen, ZSet, add, batch_of, rows_of};

/// Every row as often as its weight says.
pub fn repeated(set: &ZSet) -> Vec<Row> {
    set.iter()
        .flat_map(|(row, weight)| std::iter::repeat_n(row.clone(), usize::try_from(*weight).unwrap_or(0)))
        .collect()
}

/// An oracle that runs `sql` over the inputs as tables of the given names.
pub fn sql_oracle(tables: &[(&'static str, SchemaRef)], sql: &str) -> impl Fn(&Seen<'_>) -> ZSet + 'static {
    let (tables, sql) = (tables.to_vec(), sql.to_owned());
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    move |seen| {
        for ((name, schema), total) in tables.iter().zip(seen.totals) {
            let rows = batch_of(schema, &repeated(total));
            let table = MemTable::try_new(schema.clone(), vec![vec![rows]]).expect("rows of the schema");
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
