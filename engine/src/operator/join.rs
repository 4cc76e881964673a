//! The incremental equi-join: inner, outer, semi, anti and mark, all kinds from one algorithm.
//!
//! Changes go into the state as they arrive; every row that they touch remembers its weight from before the epoch. When
//! the epoch closes, each pair of matching rows of which at least one changed is visited once, and contributes
//! `new left x new right - old left x old right`, which is the bilinear rule (dL x R + L x dR + dL x dR) in one term.
//! Since every pair comes up once, the output needs no consolidation unless columns that tell pairs apart are projected
//! away. Outer, semi and anti joins also count, per row, the distinct rows of the other side that it matches; crossing
//! between none and some makes the NULL-padded row, or the row itself, appear and disappear.
//!
//! A join without equality can run in several tasks: one side's rows come to all of them (broadcast), each keeps a copy, and
//! one writes it to checkpoints; the other side's rows are routed by a hash that says nothing about what they match.
//!
//! Both sides share one index from join key to a dense key number, so that finding partners at the end of an epoch is
//! following a chain, without hashing or comparing anything. Columns that neither the output nor the condition needs
//! are not kept at all. Rows with a NULL in their key match nothing and are never stored.

mod expiry;
mod interval;
mod output;
mod saved;
mod side;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, UInt32Array};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::physical_plan::PhysicalExpr;

use crate::change::{Changes, Weights, consolidate};
use crate::error::{Error, Result};
use crate::hash;
use crate::operator::columns::{self, compact};
use crate::operator::{Epoch, Operator, OperatorInfo, StateDelta};
use crate::rows::{KeyIndex, NO_SLOT};
use crate::watermark::Bound;
use expiry::JoinExpiry;
pub use interval::{Interval, bare, intervals, micros};
use output::{Layout, Pairs};
use side::{Identity, Side};

/// Pairs that are gathered at once.
const CHUNK: usize = 8192;

/// Which rows a join gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinKind {
    /// Matching pairs.
    Inner,
    /// Also left rows without a match, padded with NULLs.
    Left,
    /// Also right rows without a match, padded with NULLs.
    Right,
    /// Both of these.
    Full,
    /// Left rows with a match.
    Semi,
    /// Left rows without a match (`NOT EXISTS`; not the NULL rules of `NOT IN`).
    Anti,
    /// All left rows, with a truth value whether they have a match, as the column after the left columns.
    Mark,
}

impl JoinKind {
    fn pairs(self) -> bool {
        matches!(self, Self::Inner | Self::Left | Self::Right | Self::Full)
    }

    /// Whether rows of the side (0 left, 1 right) must know how many partners they have.
    fn counts(self, side: usize) -> bool {
        match self {
            Self::Inner => false,
            Self::Left | Self::Semi | Self::Anti | Self::Mark => side == 0,
            Self::Right => side == 1,
            Self::Full => true,
        }
    }

    /// Whether rows of the side that match nothing show in the output.
    fn keeps_unmatched(self, side: usize) -> bool {
        self.counts(side) && self != Self::Semi
    }
}

/// What a [`Join`] does.
#[derive(Debug, Clone)]
pub struct JoinSpec {
    /// Columns of the left input (number 0).
    pub left: SchemaRef,
    /// Columns of the right input (number 1).
    pub right: SchemaRef,
    /// Left and right columns that must be equal, of the same types. None: every pair is a candidate (one vnode only).
    pub on: Vec<(usize, usize)>,
    /// Which rows come out.
    pub kind: JoinKind,
    /// Whether NULL equals NULL in `on`.
    pub null_equals_null: bool,
    /// A further condition for a match, over left columns followed by right columns.
    pub residual: Option<Arc<dyn PhysicalExpr>>,
    /// The output's columns, as indices of left columns followed by right columns; for `Semi` and `Anti` of left columns,
    /// for `Mark` of left columns followed by the mark.
    pub output: Vec<usize>,
    /// Schema of the output.
    pub output_schema: SchemaRef,
    /// The left input never retracts.
    pub left_insert_only: bool,
    /// The right input never retracts.
    pub right_insert_only: bool,
    /// At most one left row per join key at the end of an epoch.
    pub left_unique: bool,
    /// At most one right row per join key at the end of an epoch.
    pub right_unique: bool,
    /// Only without `on`: how the join is spread over tasks. `None`: all rows come to one task.
    pub broadcast: Option<Broadcast>,
}

/// A join without equality over several tasks: each has some rows of one side and all rows of the other.
#[derive(Debug, Clone)]
pub struct Broadcast {
    /// The side (0 left, 1 right) of which every task has all rows. It must not show rows without a partner.
    pub side: usize,
    /// Columns of the other side by whose hash its rows are routed.
    pub routed_by: Vec<usize>,
}

impl JoinSpec {
    fn insert_only_output(&self) -> bool {
        self.left_insert_only && self.right_insert_only && matches!(self.kind, JoinKind::Inner | JoinKind::Semi)
    }

    fn identity(&self, side: usize) -> Identity {
        let (insert_only, unique) = match side {
            0 => (self.left_insert_only, self.left_unique),
            _ => (self.right_insert_only, self.right_unique),
        };
        if insert_only && (unique || self.insert_only_output()) {
            Identity::Append
        } else if unique {
            Identity::Chain
        } else {
            Identity::Index
        }
    }
}

/// The condition beside the equalities, over the columns it reads.
#[derive(Debug)]
struct Residual {
    condition: Arc<dyn PhysicalExpr>,
    schema: SchemaRef,
    columns: Vec<output::Source>,
}

/// An incremental join. Stateful; rows are routed by the hash of the join key's columns.
#[derive(Debug)]
pub struct Join {
    kind: JoinKind,
    null_equals_null: bool,
    layout: Layout,
    residual: Option<Residual>,
    /// The output may repeat rows that must be summed up.
    consolidate: bool,
    insert_only: bool,
    keys: KeyIndex,
    sides: [Side; 2],
    /// Rows with a NULL key that show in the output, since the last epoch, per side.
    lone: [Vec<Changes>; 2],
    pairs: Pairs,
    hashes: Vec<u64>,
    key_slots: Vec<u32>,
    broadcast: Option<Broadcast>,
    /// Writes the broadcast side to checkpoints, which one instance does for all.
    writes_broadcast: bool,
    /// Pairs looked at: what tests count.
    #[cfg(test)]
    visited: usize,
    /// What watermarks bound.
    expiry: JoinExpiry,
}

impl Join {
    /// An instance.
    ///
    /// # Errors
    /// `Internal` if the specification is inconsistent; `Sql` if a column's type cannot be kept or be part of a key.
    pub fn new(spec: &JoinSpec) -> Result<Self> {
        Self::instance(spec, true)
    }

    /// One of several parallel instances: `first` owns vnode 0, and writes the state of which all have a copy.
    ///
    /// # Errors
    /// As [`Join::new`].
    pub fn instance(spec: &JoinSpec, first: bool) -> Result<Self> {
        if let Some(broadcast) = &spec.broadcast
            && (!spec.on.is_empty() || broadcast.side > 1 || spec.kind.counts(broadcast.side))
        {
            return Err(
                Error::internal("a side of this join cannot be broadcast").with("kind", format!("{:?}", spec.kind))
            );
        }
        let layout = Layout::new(spec)?;
        let keys = KeyIndex::new(&layout.key_schema)?;
        let side = |side: usize| Side::new(&layout, side, spec.identity(side), spec.kind.counts(side));
        let sides = [side(0)?, side(1)?];
        let residual = spec.residual.as_ref().map(|condition| Residual::new(spec, &layout, condition)).transpose()?;
        Ok(Self {
            kind: spec.kind,
            null_equals_null: spec.null_equals_null,
            residual,
            consolidate: !layout.tells_apart(spec),
            insert_only: spec.insert_only_output(),
            expiry: JoinExpiry::new(spec, &layout),
            layout,
            keys,
            sides,
            lone: [Vec::new(), Vec::new()],
            pairs: Pairs::default(),
            hashes: Vec::new(),
            key_slots: Vec::new(),
            broadcast: spec.broadcast.clone(),
            writes_broadcast: first,
            #[cfg(test)]
            visited: 0,
        })
    }

    /// Puts aside rows whose key holds a NULL; gives the others.
    fn without_null_keys(&mut self, side: usize, changes: Changes) -> Result<Changes> {
        let keys = self.layout.key_columns(side, changes.rows());
        if self.null_equals_null || keys.iter().all(|key| key.logical_null_count() == 0) {
            return Ok(changes);
        }
        let nulls = keys.iter().filter_map(|key| key.logical_nulls()).collect::<Vec<_>>();
        let is_null = |row: &u32| nulls.iter().any(|nulls| nulls.is_null(*row as usize));
        let (lone, rest): (Vec<u32>, Vec<u32>) = (0..changes.len() as u32).partition(is_null);
        if self.kind.keeps_unmatched(side) {
            let stored = self.layout.stored(side, &changes)?;
            self.lone[side].push(stored.take(&UInt32Array::from(lone))?);
        }
        Ok(changes.take(&UInt32Array::from(rest))?)
    }

    /// Numbers the keys of a batch; unknown ones get a number.
    fn number_keys(&mut self, keys: &[ArrayRef], rows: usize) -> Result<()> {
        hash::hash_columns(keys, rows, &mut self.hashes)?;
        self.keys.find_or_insert(&self.hashes, keys, &mut self.key_slots, |_, _| {})?;
        let slots = self.keys.slots();
        self.sides.iter_mut().for_each(|side| side.reserve_keys(slots));
        Ok(())
    }

    /// Visits every matching pair of which a side changed.
    fn visit_pairs(&mut self, out: &mut Vec<Changes>) -> Result<()> {
        let changed = [self.sides[0].changed(), self.sides[1].changed()];
        for at in 0..changed[0] {
            let left = self.sides[0].touched_slot(at);
            let mut right = self.sides[1].head(self.sides[0].slot(left).key);
            while right != NO_SLOT {
                self.visit(left, right);
                right = self.sides[1].slot(right).next;
                if self.pairs.len() >= CHUNK {
                    self.flush(out)?;
                }
            }
        }
        for at in 0..changed[1] {
            let right = self.sides[1].touched_slot(at);
            let (now, before) = self.sides[1].weights(right);
            if !self.kind.pairs() && (now == 0) == (before == 0) {
                // Only whether there is a partner counts, and that did not change.
                continue;
            }
            let mut left = self.sides[0].head(self.sides[1].slot(right).key);
            while left != NO_SLOT {
                let (now, before) = self.sides[0].weights(left);
                if now == before {
                    self.visit(left, right);
                }
                left = self.sides[0].slot(left).next;
                if self.pairs.len() >= CHUNK {
                    self.flush(out)?;
                }
            }
        }
        self.flush(out)
    }

    #[inline]
    fn visit(&mut self, left: u32, right: u32) {
        #[cfg(test)]
        {
            self.visited += 1;
        }
        let (left_now, left_before) = self.sides[0].weights(left);
        let (right_now, right_before) = self.sides[1].weights(right);
        let weight = left_now * right_now - left_before * right_before;
        // A row that is new counts all its partners, one that stays counts partners that come and go.
        let gained = |own_now: i64, own_before: i64, now: i64, before: i64| match (own_now, own_before) {
            (0, _) => 0,
            (_, 0) => i8::from(now != 0),
            _ => i8::from(now != 0) - i8::from(before != 0),
        };
        let partners = [
            gained(left_now, left_before, right_now, right_before),
            gained(right_now, right_before, left_now, left_before),
        ];
        // Whoever gains or loses a partner also gives a pair of weight other than 0.
        if weight != 0 && (self.kind.pairs() || partners[0] != 0) {
            self.pairs.push(left, right, weight, partners);
        }
    }

    /// Checks the collected pairs against the condition, counts partners and emits.
    fn flush(&mut self, out: &mut Vec<Changes>) -> Result<()> {
        if self.pairs.is_empty() {
            return Ok(());
        }
        let mut pairs = std::mem::take(&mut self.pairs);
        if let Some(residual) = &self.residual {
            let matches = residual.matches(self, &pairs)?;
            pairs.retain(&matches);
        }
        for side in [0, 1] {
            if self.kind.counts(side) {
                for (slot, gained) in pairs.partners(side) {
                    self.sides[side].gain_partners(slot, gained);
                }
            }
        }
        if self.kind.pairs() && !pairs.is_empty() {
            let columns = self.layout.pair_columns(&self.layout.output, &self.keys, &self.sides, &pairs)?;
            let weights = compact(std::mem::take(&mut pairs.weights));
            out.push(Changes::new(self.layout.batch(columns, pairs.left.len())?, weights));
        }
        pairs.clear();
        self.pairs = pairs;
        Ok(())
    }

    /// Emits what depends on whether a row has partners.
    fn emit_unpaired(&mut self, side: usize, out: &mut Vec<Changes>) -> Result<()> {
        let (mut slots, mut weights, mut marks) = (Vec::new(), Vec::new(), Vec::new());
        let mut add = |slot: u32, weight: i64, mark: bool| {
            if weight != 0 {
                slots.push(slot);
                weights.push(weight);
                marks.push(mark);
            }
        };
        for (slot, before, now) in self.sides[side].touched() {
            let when = |matched: bool, of: side::Standing| if (of.partners > 0) == matched { of.weight } else { 0 };
            let change = |matched: bool| when(matched, now) - when(matched, before);
            if self.kind.keeps_unmatched(side) {
                add(slot, change(false), false);
            }
            if matches!(self.kind, JoinKind::Semi | JoinKind::Mark) {
                add(slot, change(true), true);
            }
        }
        if !slots.is_empty() {
            let columns = self.layout.lone_columns(side, &self.keys, &self.sides[side], &slots, &marks)?;
            out.push(Changes::new(self.layout.batch(columns, slots.len())?, compact(weights)));
        }
        let lone = std::mem::take(&mut self.lone[side]);
        if !lone.is_empty() {
            let lone = consolidate(&self.layout.stored_schema[side], &lone)?;
            if !lone.is_empty() {
                let columns = self.layout.padded(side, lone.rows())?;
                out.push(lone.with_rows(self.layout.batch(columns, lone.len())?));
            }
        }
        Ok(())
    }

    /// Forgets rows that are gone, and keys that nobody has any more.
    fn retire(&mut self) {
        let mut loose = Vec::new();
        self.sides.iter_mut().for_each(|side| side.retire(&mut loose));
        self.free_keys(loose);
    }

    fn free_keys(&mut self, mut loose: Vec<u32>) {
        loose.sort_unstable();
        loose.dedup();
        for key in loose {
            if self.sides.iter().all(|side| side.head(key) == NO_SLOT) {
                self.keys.remove(key);
            }
        }
    }

    fn summed(&self, out: Vec<Changes>) -> Result<Vec<Changes>> {
        let plain = self.insert_only && out.iter().all(|part| matches!(part.weights(), Weights::Ones));
        if plain || !(self.consolidate || self.insert_only) || out.is_empty() {
            return Ok(out);
        }
        let sum = consolidate(&self.layout.schema, &out)?;
        Ok(if sum.is_empty() { vec![] } else { vec![sum] })
    }
}

impl Residual {
    fn new(spec: &JoinSpec, layout: &Layout, condition: &Arc<dyn PhysicalExpr>) -> Result<Self> {
        let read = columns::read_by(std::slice::from_ref(condition));
        let both = spec.left.fields().iter().chain(spec.right.fields()).cloned().collect::<Vec<_>>();
        let schema = columns::schema_of(&Arc::new(Schema::new(both)), &read)?;
        let columns = read.iter().map(|column| layout.source(*column)).collect::<Result<Vec<_>>>()?;
        Ok(Self { condition: columns::over(condition, &read)?, schema, columns })
    }

    fn matches(&self, join: &Join, pairs: &Pairs) -> Result<BooleanArray> {
        let arrays = join.layout.pair_columns(&self.columns, &join.keys, &join.sides, pairs)?;
        let rows = columns::batch(&self.schema, arrays, pairs.len())?;
        let answer = self.condition.evaluate(&rows)?.into_array(pairs.len())?;
        let answer = answer.as_any().downcast_ref::<BooleanArray>().cloned();
        answer.ok_or_else(|| {
            Error::internal("a join's condition gave no truth values").with("condition", &self.condition)
        })
    }
}

impl Operator for Join {
    // State tables: `left` and `right`, keyed by a row number.
    fn info(&self) -> OperatorInfo {
        OperatorInfo {
            name: "Join",
            schema: self.layout.schema.clone(),
            state: vec![self.sides[0].table("left"), self.sides[1].table("right")],
        }
    }

    fn on_changes(&mut self, input: usize, changes: Changes, _out: &mut Vec<Changes>) -> Result<()> {
        if input > 1 {
            return Err(Error::internal("a join has two inputs").with("input", input));
        }
        let changes = self.without_null_keys(input, changes)?;
        if changes.is_empty() {
            return Ok(());
        }
        let keys = self.layout.key_columns(input, changes.rows());
        self.number_keys(&keys, changes.len())?;
        let rest = self.layout.rest_columns(input, changes.rows());
        if let Some(broadcast) = self.broadcast.as_ref().filter(|broadcast| broadcast.side != input) {
            let routed_by = broadcast.routed_by.iter().map(|column| changes.rows().column(*column).clone());
            hash::hash_columns(&routed_by.collect::<Vec<_>>(), changes.len(), &mut self.hashes)?;
            self.sides[input].vnodes = self.hashes.iter().map(|hash| hash::vnode(*hash)).collect();
        }
        self.sides[input].apply(&rest, &self.key_slots, &self.keys, &changes)
    }

    fn on_watermark(&mut self, input: usize, bounds: &[Bound]) -> Result<()> {
        self.advance(input, bounds)
    }

    fn close_epoch(&mut self, _epoch: Epoch, out: &mut Vec<Changes>) -> Result<()> {
        let mut loose = Vec::new();
        self.sides.iter_mut().for_each(|side| side.settle(&mut loose));
        let mut emitted = Vec::new();
        self.visit_pairs(&mut emitted)?;
        for side in [0, 1] {
            if self.kind.counts(side) {
                self.emit_unpaired(side, &mut emitted)?;
            }
        }
        self.expire_later()?;
        self.retire();
        self.expire(&mut loose)?;
        self.free_keys(loose);
        out.extend(self.summed(emitted)?);
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<Vec<StateDelta>> {
        let mut deltas = Vec::new();
        for (table, side) in self.sides.iter_mut().enumerate() {
            side.checkpoint(table, &self.keys, &mut deltas)?;
        }
        if let Some(broadcast) = self.broadcast.as_ref().filter(|_| !self.writes_broadcast) {
            deltas.retain(|delta| delta.table != broadcast.side);
        }
        Ok(deltas)
    }

    fn restore(&mut self, delta: StateDelta) -> Result<()> {
        let table = delta.table;
        if table > 1 {
            return Err(Error::internal("a join has two state tables").with("table", table));
        }
        let mut loose = Vec::new();
        let alive = self.sides[table].restore_deleted(delta, &mut loose)?;
        let keys = self.sides[table].restored_keys(&alive);
        self.number_keys(&keys, alive.rows.num_rows())?;
        self.sides[table].restore(&alive, &self.key_slots, &self.keys)?;
        self.free_keys(loose);
        Ok(())
    }

    fn state_rows(&self) -> usize {
        self.sides.iter().map(Side::len).sum()
    }

    fn state_bytes(&self) -> usize {
        self.keys.bytes() + self.sides.iter().map(Side::bytes).sum::<usize>()
    }
}
