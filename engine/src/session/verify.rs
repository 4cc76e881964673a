//! VERIFY: computes a materialized view's query anew in batch, over exactly what the view has read, and compares.
//!
//! The checkpoint of the view's job says up to which version it has read each table and up to which position each split
//! of a connector. The comparison is of multisets: rows of both results are added up with opposite signs, what is left are
//! differences. Where rows were late, the view is what its query is without them: a difference is then no fault that is known of,
//! and VERIFY says so. Floating-point numbers count as equal up to rounding, since sums depend on the order of additions.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use catalog::{Job, Object, ObjectId, ObjectKind, Snapshot};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, col, lit};
use futures::StreamExt;

use self::pairs::{Differences, is_float};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::checkpoint::{Payload, TablePosition};
use crate::runtime::dataflow::source_key;
use crate::session::adhoc::rows;
use crate::session::{Answer, Inner};
use crate::source::batch::Positions;
use crate::sql::context::{Mode, Planner, view_query};
use crate::sql::difference::{WEIGHT, column_name, difference};

mod pairs;

/// Differing rows that are shown.
const SHOWN: usize = 10;

impl Inner {
    /// `VERIFY MATERIALIZED VIEW name`: one row if the view is right.
    ///
    /// # Errors
    /// `Corrupt` with the first differing rows if it is not.
    pub async fn verify(&self, name: &str) -> Result<Answer> {
        let snapshot = self.snapshot().await?;
        let view = self.planner(snapshot.clone()).object(name, None)?;
        if view.kind != ObjectKind::MaterializedView {
            return Err(Error::sql(format!("{name} is not a materialized view: nothing is kept of it"))
                .hint("SHOW VIEWS lists the materialized views"));
        }
        let job = snapshot.jobs.get(&view.id);
        let checkpoint = job.and_then(|job| Some((job, job.checkpoint.as_ref()?)));
        let Some((job, checkpoint)) = checkpoint else {
            return Err(Error::new(ErrorKind::Unavailable, format!("{name} still reads its history"))
                .hint("FLUSH waits until it is complete"));
        };
        let payload = Payload::read(job, checkpoint)?;
        let planner = self.planner_at(&snapshot, job, &payload).await?;
        let planned = planner.query(&view_query(&view)?, Mode::Batch).await?;
        let (kept, _) = planner.scan(&view).await?;
        let schema = storage::types::arrow_schema(&view)?;
        let compared = compared(difference(kept.clone(), planned.logical)?, &schema)?;
        let mut batches = self.adhoc.run(planned.state.clone(), compared).await?;
        let mut differences = Differences::new(&schema, SHOWN)?;
        while let Some(batch) = batches.next().await {
            differences.take(&batch?)?;
        }
        let (count, shown) = differences.finish()?;
        if count > 0 && payload.late > 0 {
            return Err(late(&view, payload.late, count, &shown));
        }
        if count > 0 {
            return Err(differs(&view, checkpoint.version, count, &shown));
        }
        let all = LogicalPlanBuilder::from(kept).aggregate(Vec::<Expr>::new(), [count_all()])?.build()?;
        let counted = self.collect(planned.state, all).await?;
        verdict(&view, &counted)
    }

    /// A planner that sees what a job had read at its checkpoint.
    async fn planner_at(&self, snapshot: &Arc<Snapshot>, job: &Job, payload: &Payload) -> Result<Planner> {
        let mut past = Snapshot::clone(snapshot);
        for (table, position) in &payload.positions.tables {
            let TablePosition::Version(version) = *position else { continue };
            let Some(state) = snapshot.tables.get(table).filter(|state| state.changed > version) else { continue };
            let at = self.warehouse.catalog().snapshot(Some(version)).await.map_err(|error| {
                let name = snapshot.objects.get(table).map_or_else(|| table.to_string(), |object| object.name.clone());
                Error::new(ErrorKind::Unavailable, format!("{name} can no longer be read as {} has read it", job.name))
                    .because(error)
                    .with("read at version", version)
                    .with("changed at version", state.changed)
                    .hint("start the view's job and FLUSH, then verify again")
            })?;
            match at.tables.get(table) {
                Some(state) => past.tables.insert(*table, state.clone()),
                None => past.tables.remove(table),
            };
        }
        let mut positions: BTreeMap<ObjectId, Positions> = BTreeMap::new();
        for object in snapshot.objects.values().filter(|object| object.kind == ObjectKind::Connector) {
            if let Some(splits) = payload.positions.sources.get(&source_key(object.id)) {
                positions.insert(object.id, Arc::new(splits.clone()));
            }
        }
        Ok(Planner { read_up_to: Some(Arc::new(positions)), ..self.planner(Arc::new(past)) })
    }
}

fn count_all() -> Expr {
    count(lit(1_i64)).alias("rows")
}

/// The rows that differ; where some may differ by rounding only, those that could be the same stand next to each other.
fn compared(difference: LogicalPlan, schema: &Schema) -> Result<LogicalPlan> {
    let differing = LogicalPlanBuilder::from(difference).filter(col(WEIGHT).not_eq(lit(0_i64)))?;
    let places = |float: bool| {
        let fields = schema.fields().iter().enumerate();
        fields.filter(move |(_, field)| is_float(field.data_type()) == float).map(|(place, _)| place)
    };
    if places(true).next().is_none() {
        return Ok(differing.build()?);
    }
    let order = places(false).chain(places(true)).map(|place| col(column_name(place)).sort(true, true));
    Ok(differing.sort(order.collect::<Vec<_>>())?.build()?)
}

/// Rows that came behind the watermark are in the input, and by design not in the view. Which they were is not known any more,
/// so that a difference cannot be told from a fault.
fn late(view: &Object, late: u64, count: u64, shown: &[String]) -> Error {
    let left_out = if late == 1 { "1 late row was".to_owned() } else { format!("{late} late rows were") };
    let more = if count > shown.len() as u64 { "\n..." } else { "" };
    let message = format!(
        "{} cannot be verified: {left_out} left out of it behind the watermark, and its query in batch counts them. \
         {count} of its rows differ from the query; + stands only in the view, - only in the result of the query:\n{}{more}",
        view.name,
        shown.join("\n")
    );
    Error::new(ErrorKind::Unavailable, message)
        .hint("DROP the view and CREATE it again takes late rows of stored tables in: history is never late")
}

fn differs(view: &Object, version: catalog::Version, count: u64, shown: &[String]) -> Error {
    let rows = if count == 1 { "1 row".to_owned() } else { format!("{count} rows") };
    let more = if count > shown.len() as u64 { "\n..." } else { "" };
    let message = format!(
        "{} differs from its query at version {version} in {rows}; + stands only in the view, - only in the result of \
         the query:\n{}{more}",
        view.name,
        shown.join("\n")
    );
    Error::new(ErrorKind::Corrupt, message).hint("DROP the view and CREATE it again computes it anew")
}

fn verdict(view: &Object, counted: &[RecordBatch]) -> Result<Answer> {
    use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
    use arrow::datatypes::Int64Type;
    let counts = counted.iter().filter(|batch| batch.num_rows() > 0 && batch.num_columns() > 0);
    let count: i64 = counts.map(|batch| batch.column(0).as_primitive::<Int64Type>().value(0)).sum();
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![view.name.as_str()])),
        Arc::new(StringArray::from(vec!["equal"])),
        Arc::new(Int64Array::from(vec![count])),
    ];
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    Ok(rows(RecordBatch::try_new_with_options(columns(), arrays, &options)?))
}

/// The columns of VERIFY's answer.
pub(super) fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("view", DataType::Utf8, false),
        Field::new("result", DataType::Utf8, false),
        Field::new("rows", DataType::Int64, false),
    ]))
}
