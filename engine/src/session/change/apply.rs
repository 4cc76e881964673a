//! Runs a change query: takes its rows apart into what goes and what comes, and watches that the table stays a table.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::{cast, filter};
use arrow::datatypes::{DataType, Int32Type, Int64Type, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use catalog::Object;
use datafusion::common::{Column, JoinType};
use datafusion::logical_expr::LogicalPlanBuilder;
use futures::StreamExt;
use storage::types::arrow_schema;

use super::keys::{RowSet, row_text};
use super::spool::Spool;
use super::{Computed, Plan};
use crate::change::{Changes, batch};
use crate::error::{Error, Result};
use crate::plan::build::internal_schema;
use crate::runtime::dataflow::key_columns;
use crate::session::Inner;
use crate::sql::change::{Action, Layout};
use crate::sql::context::Planner;
use crate::sql::scan::{memory_table, scan_of};

impl Inner {
    /// Computes a change and writes it into segments as it comes.
    pub(super) async fn apply(
        &self,
        planner: &Planner,
        table: Arc<Object>,
        plan: Plan,
        depends_on_table: bool,
    ) -> Result<Computed> {
        let mut applier = Applier::new(&table, plan.layout)?;
        let mut spool = Spool::new(table.clone());
        let mut batches = self.adhoc.run(plan.state, plan.logical).await?;
        while let Some(batch) = batches.next().await {
            let (going, coming) = applier.take(&batch?)?;
            spool.take_away(&self.warehouse, going).await?;
            spool.add(&self.warehouse, coming).await?;
        }
        self.refuse_present_keys(planner, &table, &mut applier).await?;
        Ok(Computed { table, spool, rows: applier.affected, depends_on_table })
    }

    /// Fails if a key comes that the table has and that does not go.
    async fn refuse_present_keys(&self, planner: &Planner, table: &Arc<Object>, applier: &mut Applier) -> Result<()> {
        if applier.arrived.is_empty() {
            return Ok(());
        }
        let arrived = applier.arrived.rows()?;
        let (scan, state) = planner.scan(table).await?;
        let arrived = scan_of("__arrived", memory_table(arrived.schema(), vec![arrived])?)?;
        let keys = || table.key.iter().map(|key| Column::new_unqualified(key.clone())).collect::<Vec<_>>();
        let wanted = keys().into_iter().map(datafusion::logical_expr::Expr::Column);
        let scan = LogicalPlanBuilder::from(scan).project(wanted)?.alias("__present")?;
        let present = scan.join(arrived, JoinType::LeftSemi, (keys(), keys()), None)?.build()?;
        let mut batches = self.adhoc.run(state, present).await?;
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            let gone = applier.left.contains(batch.columns(), batch.num_rows())?;
            if let Some(row) = gone.iter().position(|gone| !gone) {
                return Err(duplicate_key(table, batch.columns(), row));
            }
        }
        Ok(())
    }
}

fn duplicate_key(table: &Object, key: &[ArrayRef], row: usize) -> Error {
    Error::data(format!(
        "two rows of {} would have the key ({}) = {}",
        table.name,
        table.key.join(", "),
        row_text(key, row)
    ))
    .hint("nothing was changed")
}

/// Fails if a column that must not be NULL is.
pub fn refuse_nulls(table: &Object, columns: &[ArrayRef]) -> Result<()> {
    for (column, values) in table.columns.iter().zip(columns) {
        if !column.nullable && values.null_count() > 0 {
            return Err(Error::data(format!(
                "NULL in the column {} of {}, which must not be NULL",
                column.name, table.name
            )));
        }
    }
    Ok(())
}

/// Takes batches of a change query. Pure.
struct Applier {
    table: Arc<Object>,
    schema: SchemaRef,
    layout: Layout,
    key: Vec<usize>,
    /// Rows of the table that were found, by key (without key: whole).
    matched: RowSet,
    /// Keys that come into the table or move.
    arrived: RowSet,
    /// Keys that leave the table or move.
    left: RowSet,
    /// Compares old and new rows, if their types can be compared.
    converter: Option<RowConverter>,
    affected: u64,
}

impl Applier {
    fn new(table: &Arc<Object>, layout: Layout) -> Result<Self> {
        let schema = internal_schema(arrow_schema(table)?.as_ref());
        let key = key_columns(table)?;
        let key_schema = schema.project(&key)?;
        let identity = if key.is_empty() { schema.as_ref() } else { &key_schema };
        let nothing = Schema::empty();
        let fields: Vec<SortField> = schema.fields().iter().map(|f| SortField::new(f.data_type().clone())).collect();
        let comparable = layout.old && layout.new && RowConverter::supports_fields(&fields);
        let set = |needed: bool, rows: &Schema| RowSet::new(if needed { rows } else { &nothing });
        Ok(Self {
            matched: set(layout.matched, identity)?,
            arrived: set(layout.keys_move, &key_schema)?,
            left: set(layout.keys_move, &key_schema)?,
            converter: if comparable { Some(RowConverter::new(fields)?) } else { None },
            table: table.clone(),
            schema,
            layout,
            key,
            affected: 0,
        })
    }

    /// What goes and what comes with a batch.
    fn take(&mut self, rows: &RecordBatch) -> Result<(Changes, Changes)> {
        let width = self.schema.fields().len();
        let old_width = if self.layout.old { width } else { 0 };
        let new_width = if self.layout.new { width } else { 0 };
        let (columns, rest) = rows.columns().split_at(old_width + new_width);
        let (old, new) = columns.split_at(old_width);
        let mut rest = rest.iter();
        let copies = if self.layout.copies { rest.next().map(|column| cast(column, &DataType::Int64)) } else { None };
        let copies = copies.transpose()?;
        let (goes, comes) = match rest.next().filter(|_| self.layout.action) {
            Some(action) => actions(action)?,
            None => {
                let all = |yes: bool| BooleanArray::from(vec![yes; rows.num_rows()]);
                (all(self.layout.old), all(self.layout.new))
            }
        };
        for row in 0..rows.num_rows() {
            if goes.value(row) || comes.value(row) {
                self.affected += count(copies.as_ref(), row).unsigned_abs();
            }
        }
        if self.layout.matched {
            self.refuse_second_match(old, &goes)?;
        }
        let coming = filtered(new, &comes)?;
        refuse_nulls(&self.table, &coming)?;
        if self.layout.keys_move && !self.key.is_empty() {
            self.watch_keys(old, new, &goes, &comes)?;
        }
        let changed = self.changed(old, new, &goes, &comes)?;
        let goes = arrow::compute::and(&goes, &changed)?;
        let comes = arrow::compute::and(&comes, &changed)?;
        Ok((self.changes(old, copies.as_ref(), &goes, -1)?, self.changes(new, copies.as_ref(), &comes, 1)?))
    }

    /// A row of the table is changed once.
    fn refuse_second_match(&mut self, old: &[ArrayRef], goes: &BooleanArray) -> Result<()> {
        let identity: Vec<ArrayRef> = match self.key.is_empty() {
            true => old.to_vec(),
            false => self.key.iter().map(|column| old[*column].clone()).collect(),
        };
        let identity = filtered(&identity, goes)?;
        match self.matched.insert(&identity, goes.true_count())? {
            None => Ok(()),
            Some(row) => {
                let what = match self.key.is_empty() {
                    true => format!("the row {}", row_text(&identity, row)),
                    false => format!("the row with ({}) = {}", self.table.key.join(", "), row_text(&identity, row)),
                };
                Err(Error::data(format!("{what} of {} matches several rows of the other table", self.table.name)).hint(
                    "nothing was changed: make sure that each row is matched at most once, for example by GROUP BY",
                ))
            }
        }
    }

    /// Notes which keys leave and which arrive.
    fn watch_keys(
        &mut self,
        old: &[ArrayRef],
        new: &[ArrayRef],
        goes: &BooleanArray,
        comes: &BooleanArray,
    ) -> Result<()> {
        let keys = |row: &[ArrayRef]| self.key.iter().map(|column| row[*column].clone()).collect::<Vec<_>>();
        let (old_keys, new_keys) = (keys(old), keys(new));
        let fields = old_keys.iter().map(|column| SortField::new(column.data_type().clone())).collect();
        let converter = RowConverter::new(fields)?;
        let (a, b) = (converter.convert_columns(&old_keys)?, converter.convert_columns(&new_keys)?);
        let moves = |row: usize| !(goes.value(row) && comes.value(row) && a.row(row) == b.row(row));
        let leave: BooleanArray = (0..goes.len()).map(|row| Some(goes.value(row) && moves(row))).collect();
        let arrive: BooleanArray = (0..comes.len()).map(|row| Some(comes.value(row) && moves(row))).collect();
        self.left.insert(&filtered(&old_keys, &leave)?, leave.true_count())?;
        let arriving = filtered(&new_keys, &arrive)?;
        match self.arrived.insert(&arriving, arrive.true_count())? {
            Some(row) => Err(duplicate_key(&self.table, &arriving, row)),
            None => Ok(()),
        }
    }

    /// False for rows that are replaced by their equals.
    fn changed(
        &self,
        old: &[ArrayRef],
        new: &[ArrayRef],
        goes: &BooleanArray,
        comes: &BooleanArray,
    ) -> Result<BooleanArray> {
        let Some(converter) = &self.converter else { return Ok(BooleanArray::from(vec![true; goes.len()])) };
        let (old, new) = (converter.convert_columns(old)?, converter.convert_columns(new)?);
        let changed = |row: usize| !(goes.value(row) && comes.value(row) && old.row(row) == new.row(row));
        Ok((0..goes.len()).map(|row| Some(changed(row))).collect())
    }

    fn changes(
        &self,
        columns: &[ArrayRef],
        copies: Option<&ArrayRef>,
        chosen: &BooleanArray,
        sign: i64,
    ) -> Result<Changes> {
        let count = chosen.true_count();
        if count == 0 {
            return Ok(Changes::empty(self.schema.clone()));
        }
        let rows = batch(&self.schema, filtered(columns, chosen)?, count)?;
        let copies = copies.map(|copies| filter(copies, chosen)).transpose()?;
        Ok(match (&copies, sign) {
            (None, 1) => Changes::inserts(rows),
            _ => Changes::weighted(rows, (0..count).map(|row| sign * self::count(copies.as_ref(), row)).collect()),
        })
    }
}

/// How many equal rows are meant. A row that MERGE inserts is no row of the table yet, and has no number of copies.
fn count(copies: Option<&ArrayRef>, row: usize) -> i64 {
    let copies = copies.and_then(|copies| copies.as_primitive_opt::<Int64Type>());
    copies.filter(|copies| copies.is_valid(row)).map_or(1, |copies: &Int64Array| copies.value(row))
}

fn filtered(columns: &[ArrayRef], chosen: &BooleanArray) -> Result<Vec<ArrayRef>> {
    Ok(columns.iter().map(|column| filter(column, chosen)).collect::<Result<_, _>>()?)
}

/// Which rows go and which come, by the column `__action`.
fn actions(column: &ArrayRef) -> Result<(BooleanArray, BooleanArray)> {
    let column = cast(column, &DataType::Int32)?;
    let actions = column.as_primitive::<Int32Type>();
    let is = |row: usize, wanted: &[Action]| {
        Some(actions.is_valid(row) && wanted.iter().any(|action| *action as i32 == actions.value(row)))
    };
    let goes = (0..actions.len()).map(|row| is(row, &[Action::Delete, Action::Update])).collect();
    let comes = (0..actions.len()).map(|row| is(row, &[Action::Update, Action::Insert])).collect();
    Ok((goes, comes))
}
