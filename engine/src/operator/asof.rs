//! The incremental ASOF join: every left row with the one right row of its key that is nearest in time.
//!
//! Both sides are kept per key in order of time. A change of a right row touches only the left rows between its time and
//! the next right row's, a change of a left row only itself; the partner that each left row has now is remembered, so
//! that what an epoch owes is the difference between the partners before and after. Of several right rows of a key at the
//! same time the greatest row counts (compared column by column, NULL above all), so that the answer is always one.
//!
//! With watermarks on both times, rows go that no change can touch any more.
//!
//! Left rows whose key or time is NULL have no partner; they are never stored, nor are such right rows.

mod expiry;
mod nearest;
mod side;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array, new_null_array};
use arrow::datatypes::SchemaRef;

use crate::change::{Changes, consolidate};
use crate::error::{Error, Result};
use crate::hash;
use crate::operator::columns::{self, compact, encoded_as};
use crate::operator::{Epoch, Operator, OperatorInfo, StateDelta};
use crate::rows::{KeyIndex, NO_SLOT, OrderKey, vec_bytes};
use crate::watermark;
use expiry::AsOfExpiry;
pub use nearest::Nearest;
use nearest::is_range;
use side::Side;

/// Output rows that are gathered at once.
const CHUNK: usize = 8192;

/// What an [`AsOf`] does.
#[derive(Debug, Clone)]
pub struct AsOfSpec {
    /// Columns of the left input (number 0).
    pub left: SchemaRef,
    /// Columns of the right input (number 1).
    pub right: SchemaRef,
    /// Left and right columns that must be equal, of the same types. None: one key for all (one vnode only).
    pub on: Vec<(usize, usize)>,
    /// The time columns, of the same type.
    pub time: (usize, usize),
    /// Which right row is taken.
    pub nearest: Nearest,
    /// Whether a left row without a partner is given, padded with NULLs.
    pub outer: bool,
    /// Schema of the output: all left columns, then all right columns.
    pub output: SchemaRef,
}

/// The rows of one key by time.
#[derive(Debug, Default)]
struct ByTime {
    left: BTreeMap<OrderKey, Vec<u32>>,
    right: BTreeMap<OrderKey, Vec<u32>>,
}

impl ByTime {
    fn is_empty(&self) -> bool {
        self.left.is_empty() && self.right.is_empty()
    }
}

/// An incremental ASOF join. Stateful; rows are routed by the hash of the join key's columns.
#[derive(Debug)]
pub struct AsOf {
    nearest: Nearest,
    outer: bool,
    output: SchemaRef,
    on: [Vec<usize>; 2],
    time: [usize; 2],
    left_width: usize,
    keys: KeyIndex,
    sides: [Side; 2],
    /// By key number.
    by_time: Vec<ByTime>,
    /// By left row: the right row it is given with.
    partners: Vec<u32>,
    /// State was read back, and partners are still to be found.
    restored: bool,
    /// What watermarks free; nothing before both inputs have one.
    expiry: AsOfExpiry,
    /// Left rows without key or time since the last epoch.
    lone: Vec<Changes>,
    /// Left rows whose partner was looked for: what tests count.
    looked_at: usize,
}

impl AsOf {
    /// An instance.
    ///
    /// # Errors
    /// `Internal` if the specification is inconsistent; `Sql` if a column's type cannot be kept or be part of a key.
    pub fn new(spec: &AsOfSpec) -> Result<Self> {
        let left_width = spec.left.fields().len();
        if spec.output.fields().len() != left_width + spec.right.fields().len() {
            return Err(Error::internal("an ASOF join gives all columns of both sides").with("schema", &spec.output));
        }
        let on = [spec.on.iter().map(|on| on.0).collect::<Vec<_>>(), spec.on.iter().map(|on| on.1).collect()];
        Ok(Self {
            nearest: spec.nearest,
            outer: spec.outer,
            output: spec.output.clone(),
            keys: KeyIndex::new(columns::schema_of(&spec.left, &on[0])?.as_ref())?,
            sides: [Side::new(&spec.left)?, Side::new(&spec.right)?],
            on,
            time: [spec.time.0, spec.time.1],
            left_width,
            by_time: Vec::new(),
            partners: Vec::new(),
            restored: false,
            expiry: AsOfExpiry::default(),
            lone: Vec::new(),
            looked_at: 0,
        })
    }

    /// Takes out rows without key or time.
    fn with_key_and_time(&mut self, side: usize, changes: Changes) -> Result<Changes> {
        let needed = self.on[side].iter().chain([&self.time[side]]);
        let nulls = needed.filter_map(|column| changes.rows().column(*column).logical_nulls()).collect::<Vec<_>>();
        if nulls.iter().all(|nulls| nulls.null_count() == 0) {
            return Ok(changes);
        }
        let is_null = |row: &u32| nulls.iter().any(|nulls| nulls.is_null(*row as usize));
        let (lone, rest): (Vec<u32>, Vec<u32>) = (0..changes.len() as u32).partition(is_null);
        if side == 0 && self.outer {
            self.lone.push(changes.take(&UInt32Array::from(lone))?);
        }
        Ok(changes.take(&UInt32Array::from(rest))?)
    }

    fn number_keys(&mut self, side: usize, rows: &RecordBatch) -> Result<Vec<u32>> {
        let keys = self.on[side].iter().map(|column| rows.column(*column).clone()).collect::<Vec<_>>();
        let (mut hashes, mut slots) = (Vec::new(), Vec::new());
        hash::hash_columns(&keys, rows.num_rows(), &mut hashes)?;
        if keys.is_empty() && self.keys.is_empty() && rows.num_rows() > 0 {
            // A key without columns is one key.
            let view = self.keys.view(&[])?;
            self.keys.insert_row(0, &view, 0);
        }
        self.keys.find_or_insert(&hashes, &keys, &mut slots, |_, _| {})?;
        if self.by_time.len() < self.keys.slots() {
            self.by_time.resize_with(self.keys.slots(), ByTime::default);
        }
        Ok(slots)
    }

    fn key_of(&self, side: usize, slot: u32) -> usize {
        self.sides[side].key(slot) as usize
    }

    fn time_of(&self, side: usize, slot: u32) -> OrderKey {
        self.sides[side].rows().order_key(self.time[side], slot)
    }

    fn rows_at(&mut self, side: usize, slot: u32) -> &mut BTreeMap<OrderKey, Vec<u32>> {
        let by_time = &mut self.by_time[self.sides[side].key(slot) as usize];
        if side == 0 { &mut by_time.left } else { &mut by_time.right }
    }

    fn enter(&mut self, side: usize, slot: u32) {
        let time = self.time_of(side, slot);
        self.rows_at(side, slot).entry(time).or_default().push(slot);
    }

    fn leave(&mut self, side: usize, slot: u32) {
        let time = self.time_of(side, slot);
        let rows = self.rows_at(side, slot);
        if let Some(there) = rows.get_mut(&time) {
            there.retain(|other| *other != slot);
            if there.is_empty() {
                rows.remove(&time);
            }
        }
    }

    /// The right row that a left row is to be given with.
    fn find_partner(&mut self, left: u32) -> u32 {
        self.looked_at += 1;
        let (time, key) = (self.time_of(0, left), self.key_of(0, left));
        let Some(candidates) = self.nearest.partner(&self.by_time[key].right, &time) else { return NO_SLOT };
        let rows = self.sides[1].rows();
        let columns = self.output.fields().len() - self.left_width;
        let greater = |a: &u32, b: &u32| {
            (0..columns).map(|column| rows.cmp(column, *a, *b)).find(|order| order.is_ne()).unwrap_or(a.cmp(b))
        };
        candidates.iter().copied().max_by(|a, b| greater(a, b)).unwrap_or(NO_SLOT)
    }

    /// Finds the partners of rows that were read back.
    fn find_restored(&mut self) {
        if !std::mem::take(&mut self.restored) {
            return;
        }
        for side in [0, 1] {
            let slots = self.sides[side].rows_there().collect::<Vec<_>>();
            slots.into_iter().for_each(|slot| self.enter(side, slot));
        }
        let lefts = self.sides[0].rows_there().collect::<Vec<_>>();
        for left in lefts {
            let partner = self.find_partner(left);
            self.set_partner(left, partner);
        }
    }

    fn set_partner(&mut self, left: u32, partner: u32) {
        let at = left as usize;
        if at >= self.partners.len() {
            self.partners.resize(at + 1, NO_SLOT);
        }
        self.partners[at] = partner;
    }

    /// Brings the order by time up to date; gives the left rows whose partner may have changed.
    fn affected(&mut self) -> BTreeSet<u32> {
        let mut reached = Vec::new();
        for side in [0, 1] {
            for (slot, before, now) in self.sides[side].changed() {
                match (before, now) {
                    (0, _) => {
                        self.enter(side, slot);
                        self.expire_later(side, slot);
                    }
                    (_, 0) => self.leave(side, slot),
                    _ => continue,
                }
                if side == 1 {
                    reached.push((self.key_of(1, slot), self.time_of(1, slot)));
                }
            }
        }
        let mut affected = self.sides[0].changed().map(|(slot, ..)| slot).collect::<BTreeSet<_>>();
        for (key, time) in reached {
            let ByTime { left, right } = &self.by_time[key];
            let (from, to) = self.nearest.reach(right, &time);
            if is_range(from, to) {
                affected.extend(left.range::<OrderKey, _>((from, to)).flat_map(|(_, slots)| slots));
            }
        }
        affected
    }

    fn emit(&self, changes: &[(u32, u32, i64)], out: &mut Vec<Changes>) -> Result<()> {
        for chunk in changes.chunks(CHUNK) {
            let lefts = chunk.iter().map(|change| change.0).collect::<Vec<_>>();
            let rights = chunk.iter().map(|change| change.1).collect::<Vec<_>>();
            let mut arrays = self.sides[0].rows().gather(&lefts)?;
            arrays.extend(self.sides[1].rows().gather_or_null(&rights)?);
            let weights = chunk.iter().map(|change| change.2).collect();
            out.push(Changes::new(self.batch(arrays, chunk.len())?, compact(weights)));
        }
        Ok(())
    }

    fn emit_lone(&mut self, out: &mut Vec<Changes>) -> Result<()> {
        let lone = std::mem::take(&mut self.lone);
        let Some(first) = lone.first() else { return Ok(()) };
        let lone = consolidate(&first.schema(), &lone)?;
        if !lone.is_empty() {
            let mut arrays = lone.rows().columns().to_vec();
            let padding = self.output.fields().iter().skip(self.left_width);
            arrays.extend(padding.map(|field| new_null_array(field.data_type(), lone.len())));
            out.push(lone.with_rows(self.batch(arrays, lone.len())?));
        }
        Ok(())
    }

    fn batch(&self, arrays: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        let arrays = arrays.into_iter().zip(self.output.fields());
        let arrays = arrays.map(|(array, field)| encoded_as(array, field.data_type())).collect::<Result<Vec<_>>>()?;
        columns::batch(&self.output, arrays, rows)
    }

    fn free_keys(&mut self, loose: Vec<u32>) {
        for key in loose.into_iter().collect::<BTreeSet<_>>() {
            if self.by_time[key as usize].is_empty() && self.sides.iter().all(|side| !side.uses(key)) {
                self.keys.remove(key);
            }
        }
    }
}

impl Operator for AsOf {
    // State tables: `left` and `right`, keyed by a row number.
    fn info(&self) -> OperatorInfo {
        OperatorInfo {
            name: "AsOfJoin",
            schema: self.output.clone(),
            state: vec![self.sides[0].table("left"), self.sides[1].table("right")],
        }
    }

    fn on_changes(&mut self, input: usize, changes: Changes, _out: &mut Vec<Changes>) -> Result<()> {
        if input > 1 {
            return Err(Error::internal("an ASOF join has two inputs").with("input", input));
        }
        self.find_restored();
        let changes = self.with_key_and_time(input, changes)?;
        if changes.is_empty() {
            return Ok(());
        }
        let keys = self.number_keys(input, changes.rows())?;
        self.sides[input].apply(&changes, &keys, &self.keys)
    }

    fn on_watermark(&mut self, input: usize, bounds: &[watermark::Bound]) -> Result<()> {
        self.advance(input, bounds);
        Ok(())
    }

    fn close_epoch(&mut self, _epoch: Epoch, out: &mut Vec<Changes>) -> Result<()> {
        self.find_restored();
        let mut loose = Vec::new();
        self.sides.iter_mut().for_each(|side| side.settle(&mut loose));
        let mut changes = Vec::new();
        for left in self.affected() {
            let (before, now) = self.sides[0].weights(left);
            let old = self.partners.get(left as usize).copied().filter(|_| before != 0).unwrap_or(NO_SLOT);
            let new = if now == 0 { NO_SLOT } else { self.find_partner(left) };
            let shows = |partner: u32, weight: i64| if partner != NO_SLOT || self.outer { weight } else { 0 };
            let (gone, come) = (shows(old, before), shows(new, now));
            if old == new {
                changes.extend((come != gone).then_some((left, new, come - gone)));
            } else {
                changes.extend((gone != 0).then_some((left, old, -gone)));
                changes.extend((come != 0).then_some((left, new, come)));
            }
            self.set_partner(left, new);
        }
        self.emit(&changes, out)?;
        self.emit_lone(out)?;
        self.sides.iter_mut().for_each(|side| side.retire(&mut loose));
        self.expire(&mut loose);
        self.free_keys(loose);
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<Vec<StateDelta>> {
        let mut deltas = Vec::new();
        for (table, side) in self.sides.iter_mut().enumerate() {
            side.checkpoint(table, &mut deltas)?;
        }
        Ok(deltas)
    }

    fn restore(&mut self, delta: StateDelta) -> Result<()> {
        let table = delta.table;
        if table > 1 {
            return Err(Error::internal("an ASOF join has two state tables").with("table", table));
        }
        self.restored = true;
        let mut loose = Vec::new();
        let alive = self.sides[table].restore_deleted(delta, &mut loose)?;
        let rows = self.sides[table].restored_rows(&alive)?;
        let keys = self.number_keys(table, &rows)?;
        self.sides[table].restore(&alive, &rows, &keys, &self.keys)?;
        self.free_keys(loose);
        Ok(())
    }

    fn state_rows(&self) -> usize {
        self.sides.iter().map(Side::len).sum()
    }

    fn state_bytes(&self) -> usize {
        let by_time = vec_bytes(&self.by_time) + self.state_rows() * size_of::<(OrderKey, Vec<u32>)>();
        self.keys.bytes() + self.sides.iter().map(Side::bytes).sum::<usize>() + by_time + vec_bytes(&self.partners)
    }
}
