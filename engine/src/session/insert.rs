//! INSERT as one transaction: the query runs once in batch, its rows become changes of the table, one commit names them.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use catalog::{Action, Object, ObjectKind, Requirement};
use datafusion::common::JoinType;
use datafusion::logical_expr::LogicalPlanBuilder;
use storage::segment::write_segment;
use storage::types::{RowEncoder, arrow_schema};

use crate::change::Changes;
use crate::error::{Error, ErrorKind, Result};
use crate::operator::Epoch;
use crate::runtime::commit::transact;
use crate::runtime::dataflow::{Target, key_columns};
use crate::session::Inner;
use crate::session::define::writer_of;
use crate::sql::context::{Mode, Planner, fit_to_table, memory_scan, name_inserted, relations};
use crate::sql::statement::Insert;

/// How often an INSERT starts again because another one changed the same keyed table meanwhile.
const ATTEMPTS: usize = 20;

impl Inner {
    /// Whether an INSERT never ends because an input never ends.
    pub async fn is_continuous(&self, insert: &Insert) -> Result<bool> {
        let planner = self.planner(self.snapshot().await?);
        let mut names = relations(&insert.query);
        while let Some((name, position)) = names.pop() {
            let object = planner.object(&name, position)?;
            match object.kind {
                ObjectKind::Connector if !planner.connector(&object)?.readable(&name)?.bounded() => return Ok(true),
                ObjectKind::View => names.extend(relations(&crate::sql::context::view_query(&object)?)),
                _ => {}
            }
        }
        Ok(false)
    }

    /// Runs an INSERT to its end. Returns the number of rows that its query gave.
    pub async fn insert(&self, insert: &Insert) -> Result<usize> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            match self.try_insert(insert).await {
                Err(error) if error.kind() == ErrorKind::Conflict => last = Some(error),
                other => return other,
            }
        }
        Err(last.unwrap_or_else(|| Error::internal("INSERT gave up without a reason")))
    }

    async fn try_insert(&self, insert: &Insert) -> Result<usize> {
        let snapshot = self.snapshot().await?;
        let planner = self.planner(snapshot.clone());
        let table = planner.object(&insert.table, None)?;
        if let Some(job) = writer_of(&snapshot, table.id).filter(|_| !table.key.is_empty()) {
            return Err(Error::sql(format!("the keyed table {} is written by the job {}", table.name, job.name))
                .hint(format!("DROP JOB {} first: a keyed table has one writer at a time", job.name)));
        }
        if matches!(table.kind, ObjectKind::View | ObjectKind::MaterializedView) {
            return Err(Error::sql(format!("{} is a view and cannot be written", table.name))
                .hint("insert into the tables that it reads"));
        }
        let planned = planner.query(&name_inserted(&insert.query, &table, &insert.columns)?, Mode::Batch).await?;
        let logical = fit_to_table(planned.logical, &table, &insert.columns)?;
        let batches = self.collect(planned.state, logical).await?;
        let schema = crate::plan::build::internal_schema(arrow_schema(&table)?.as_ref());
        let batches = batches.into_iter().map(|b| Ok(RecordBatch::try_new(schema.clone(), b.columns().to_vec())?));
        let rows = concat_batches(&schema, &batches.collect::<Result<Vec<_>>>()?)?;
        let inserted = rows.num_rows();
        refuse_nulls(&table, &rows)?;
        if inserted == 0 {
            return Ok(0);
        }
        match self.target(&planner, &table)? {
            Target::Sink { factory, .. } => {
                let epoch = Epoch { number: 1, timestamp_ms: self.options.clock.now_ms() };
                factory.open(0)?.write(epoch, &[Changes::inserts(rows)])?;
            }
            Target::Table(table) => {
                let (changes, requires) = match table.key.is_empty() {
                    true => (vec![Changes::inserts(rows)], vec![]),
                    false => {
                        let changes = self.upsert(&planner, &table, rows).await?;
                        let version = snapshot.version;
                        (changes, vec![Requirement::TableUnchangedSince { table: table.id, version }])
                    }
                };
                let segment = write_segment(&self.warehouse, &table, &changes, false).await?;
                let add = Action::AddSegments { table: table.id, segments: vec![segment] };
                transact(&self.warehouse, requires, vec![add]).await?;
                let _ = self.changed.send(table.id);
            }
        }
        Ok(inserted)
    }

    /// The changes that an upsert of `rows` makes: present rows of the same keys go, the last new row of each key comes.
    async fn upsert(&self, planner: &Planner, table: &Arc<Object>, rows: RecordBatch) -> Result<Vec<Changes>> {
        let rows = last_per_key(&rows, &key_columns(table)?)?;
        let (scan, state) = planner.scan(table).await?;
        let new = memory_scan("__new", rows.schema(), vec![rows.clone()])?;
        let keys =
            || table.key.iter().map(|k| datafusion::common::Column::new_unqualified(k.clone())).collect::<Vec<_>>();
        let scan = LogicalPlanBuilder::from(scan).alias("__old")?;
        let present = scan.join(new, JoinType::LeftSemi, (keys(), keys()), None)?.build()?;
        let old = self.collect(state, present).await?;
        let mut changes: Vec<_> = old
            .into_iter()
            .map(|old| Ok(Changes::inserts(RecordBatch::try_new(rows.schema(), old.columns().to_vec())?).negated()))
            .collect::<Result<_>>()?;
        changes.push(Changes::inserts(rows.clone()));
        let changes = crate::change::consolidate(&rows.schema(), &changes)?;
        Ok(vec![changes])
    }
}

fn refuse_nulls(table: &Object, rows: &RecordBatch) -> Result<()> {
    for (column, values) in table.columns.iter().zip(rows.columns()) {
        if !column.nullable && values.null_count() > 0 {
            return Err(Error::data(format!(
                "NULL in the column {} of {}, which must not be NULL",
                column.name, table.name
            )));
        }
    }
    Ok(())
}

/// The last row of each key.
fn last_per_key(rows: &RecordBatch, key: &[usize]) -> Result<RecordBatch> {
    let columns: Vec<_> = key.iter().map(|k| rows.column(*k).clone()).collect();
    let keys = RowEncoder::new(columns.iter().map(|c| c.data_type()))?.encode(&columns)?;
    let mut seen = HashSet::new();
    let mut keep: Vec<bool> = (0..rows.num_rows()).rev().map(|row| seen.insert(keys.row(row))).collect();
    keep.reverse();
    Ok(filter_record_batch(rows, &BooleanArray::from(keep))?)
}
