//! The law of operators as a test harness: random changes in, an oracle beside, and no way to cheat.
//!
//! [`Law::check`] draws random scenarios (changes with retractions in any order, cut into batches and epochs, with
//! checkpoints and restarts) and holds an operator to its contract in every one of them: after each epoch the sum of its
//! outputs equals the oracle's answer over the accumulated input; outputs of stateful operators come only from
//! `close_epoch` and are consolidated; state that went out in checkpoints comes back in fresh instances, at another
//! parallelism too; and when all input is taken back, nothing remains.
//!
//! Inputs may have watermarks ([`Law::timed`]): their times then grow from epoch to epoch, rows behind the watermark are late
//! and never reach the operator nor the oracle, rows that go are not behind it either, and the operator may forget what it
//! wants as long as the law holds.
//!
//! "Consolidated" is read as in the contract, with one allowance: an output all of whose weights are 1 may repeat a row,
//! because insert-only plans carry no weights to add up.

mod oracle;
mod scenario;
mod value;

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{RecordBatch, UInt32Array};
use arrow::datatypes::SchemaRef;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

pub use oracle::{exact_sql_oracle, repeated, sql_oracle};
pub use scenario::{EpochPlan, Input, Scenario};
pub use value::{Row, Value, ZSet, add, add_all, batch_of, rows_of};

use crate::change::Changes;
use crate::hash;
use crate::operator::check::Checked;
use crate::operator::{Epoch, Operator, OperatorInfo, StateDelta};
use crate::watermark::{Bound, NONE};

/// What the oracle may look at.
pub struct Seen<'a> {
    /// All input so far, summed up, per input.
    pub totals: &'a [ZSet],
    /// What each epoch added, per epoch and input: for operators whose answer depends on the order of epochs.
    pub epochs: &'a [Vec<ZSet>],
    /// The time of the last epoch.
    pub timestamp_ms: i64,
}

/// Makes the instance of a number, with its facts.
type Make = Box<dyn Fn(usize) -> Box<dyn Operator>>;

/// An operator and what it must compute.
pub struct Law {
    inputs: Vec<Input>,
    make: Make,
    oracle: Box<dyn Fn(&Seen<'_>) -> ZSet>,
    parallel: bool,
    forgets: bool,
    /// State tables of which every instance has all rows.
    replicated: Vec<usize>,
    timed: Vec<Timed>,
}

/// An input with a watermark.
#[derive(Clone, Copy)]
struct Timed {
    input: usize,
    column: usize,
    delay: i64,
}

/// By how much the times of a timed input grow with every epoch.
pub const STEP: i64 = 3;

type Outcome<T> = Result<T, TestCaseError>;

impl Law {
    /// `make` gives a fresh instance, `oracle` the right answer.
    pub fn new(
        inputs: Vec<Input>,
        make: impl Fn() -> Box<dyn Operator> + 'static,
        oracle: impl Fn(&Seen<'_>) -> ZSet + 'static,
    ) -> Self {
        Self::per_instance(inputs, move |_| make(), oracle)
    }

    /// As [`Law::new`], where `make` is told which of the parallel instances it makes.
    pub fn per_instance(
        inputs: Vec<Input>,
        make: impl Fn(usize) -> Box<dyn Operator> + 'static,
        oracle: impl Fn(&Seen<'_>) -> ZSet + 'static,
    ) -> Self {
        let (make, oracle) = (Box::new(make), Box::new(oracle));
        Self { inputs, make, oracle, parallel: true, forgets: true, replicated: Vec::new(), timed: Vec::new() }
    }

    /// Every instance has all rows of this state table, and one of them writes it.
    pub fn replicated(mut self, table: usize) -> Self {
        self.replicated.push(table);
        self
    }

    /// The operator runs in one instance only.
    pub fn single(mut self) -> Self {
        self.parallel = false;
        self
    }

    /// The column of an input has a watermark so much behind its greatest time. What is taken back are rows not behind it.
    pub fn timed(mut self, input: usize, column: usize, delay: i64) -> Self {
        self.timed.push(Timed { input, column, delay });
        self
    }

    /// The operator keeps state even when all its input was taken back.
    pub fn keeps_state(mut self) -> Self {
        self.forgets = false;
        self
    }

    /// Runs `cases` random scenarios; panics with the smallest one found that breaks the law.
    pub fn check(&self, cases: u32) {
        let config = Config { cases, failure_persistence: None, max_shrink_iters: 4000, ..Config::default() };
        let strategy = scenario::scenarios(&self.inputs);
        if let Err(error) = TestRunner::new(config).run(&strategy, |scenario| self.play(&scenario)) {
            panic!("{error}");
        }
    }

    /// Plays one scenario: as drawn, and in one instance without interruption.
    pub fn play(&self, scenario: &Scenario) -> Outcome<()> {
        Run::new(self, scenario.instances)?.play(scenario, true)?;
        Run::new(self, 1)?.play(scenario, false)
    }

    /// Plays `epochs` epochs of the same few rows, whose times move on, and panics if the law is broken or if more than
    /// `most` rows of state are held or stored at the end of one.
    pub fn stays_within(&self, most: usize, epochs: usize, rows: &[(usize, Row)]) {
        let batches: Vec<_> = rows.iter().map(|(input, row)| (*input, vec![(row.clone(), 1)])).collect();
        let mut run = Run::new(self, 1).expect("a run");
        for number in 0..epochs {
            let plan = EpochPlan { batches: batches.clone(), checkpoint: true, restart: None, fold: true };
            run.epoch(&plan).unwrap_or_else(|error| panic!("{error}"));
            run.checkpoint().unwrap_or_else(|error| panic!("{error}"));
            if number % 10 == 9 {
                run.start(1, true).unwrap_or_else(|error| panic!("{error}"));
            }
            run.saved = run.fold();
            let stored = run.saved.iter().map(|delta| delta.rows.num_rows()).sum::<usize>();
            let held = run.instances.iter().map(|instance| instance.state_rows()).sum::<usize>();
            assert!(stored.max(held) <= most, "{held} rows held and {stored} stored after epoch {number}");
        }
    }

    fn can_retract(&self) -> bool {
        self.inputs.iter().all(|input| !input.insert_only)
    }
}

struct Run<'a> {
    law: &'a Law,
    info: OperatorInfo,
    instances: Vec<Box<dyn Operator>>,
    saved: Vec<StateDelta>,
    totals: Vec<ZSet>,
    epochs: Vec<Vec<ZSet>>,
    output: ZSet,
    /// The watermark of every timed input, and the one that the operator knows.
    watermarks: Vec<i64>,
}

fn owner(vnode: u8, instances: usize) -> usize {
    usize::from(vnode) * instances / hash::VNODES
}

impl<'a> Run<'a> {
    fn new(law: &'a Law, instances: usize) -> Outcome<Self> {
        let instances = if law.parallel { instances } else { 1 };
        let info = (law.make)(0).info();
        let empty = vec![ZSet::new(); law.inputs.len()];
        let mut run = Self {
            law,
            info,
            instances: Vec::new(),
            saved: Vec::new(),
            totals: empty,
            epochs: Vec::new(),
            output: ZSet::new(),
            watermarks: vec![NONE; law.timed.len()],
        };
        run.start(instances, false)?;
        Ok(run)
    }

    fn stateful(&self) -> bool {
        !self.info.state.is_empty()
    }

    fn play(&mut self, scenario: &Scenario, interrupted: bool) -> Outcome<()> {
        for plan in &scenario.epochs {
            self.epoch(plan)?;
            if interrupted && plan.checkpoint {
                self.checkpoint()?;
                if let Some(instances) = plan.restart {
                    self.start(if self.law.parallel { instances } else { 1 }, plan.fold)?;
                }
            }
        }
        // With watermarks most of what came cannot go any more.
        if self.law.can_retract() && self.law.timed.is_empty() {
            self.take_back()?;
        }
        Ok(())
    }

    /// Retracts all that is there, in one last epoch.
    fn take_back(&mut self) -> Outcome<()> {
        let batches = self.totals.iter().enumerate().map(|(input, total)| {
            let events = total.iter().map(|(row, weight)| (row.clone(), -weight)).collect();
            (input, events)
        });
        let plan = EpochPlan { batches: batches.collect(), checkpoint: true, restart: None, fold: true };
        self.epoch(&plan)?;
        if self.law.forgets {
            let rows: usize = self.instances.iter().map(|instance| instance.state_rows()).sum();
            prop_assert_eq!(rows, 0, "rows of state remain although all input was taken back");
            self.checkpoint()?;
            let left = self.fold().iter().map(|delta| delta.rows.num_rows()).sum::<usize>();
            prop_assert_eq!(left, 0, "rows remain in the state tables although all input was taken back");
        }
        Ok(())
    }

    fn epoch(&mut self, plan: &EpochPlan) -> Outcome<()> {
        let number = self.epochs.len() as u64 + 1;
        let epoch = Epoch { number, timestamp_ms: 1_000 * number as i64 };
        let mut added = vec![ZSet::new(); self.totals.len()];
        let mut early = Vec::new();
        let announced = self.watermarks.clone();
        for (input, events) in &plan.batches {
            let events = &self.on_time(*input, events, &announced);
            add_all(&mut added[*input], events);
            add_all(&mut self.totals[*input], events);
            let changes = changes_of(&self.law.inputs[*input].schema, events);
            self.deliver(*input, &changes, &mut early)?;
        }
        self.epochs.push(added);
        prop_assert!(!self.stateful() || early.is_empty(), "a stateful operator emitted from on_changes");
        self.announce(&announced)?;
        let mut late = Vec::new();
        for instance in &mut self.instances {
            let mut emitted = Vec::new();
            instance.close_epoch(epoch, &mut emitted).map_err(fail)?;
            consolidated(&emitted)?;
            late.extend(emitted);
        }
        prop_assert!(self.stateful() || late.is_empty(), "a stateless operator emitted from close_epoch");
        for changes in early.iter().chain(&late) {
            prop_assert_eq!(&changes.schema(), &self.info.schema, "the output has another schema");
            for (row, weight) in weighted_rows(changes) {
                prop_assert_ne!(weight, 0, "a change of weight 0: {:?}", row);
                add(&mut self.output, row, weight);
            }
        }
        let seen = Seen { totals: &self.totals, epochs: &self.epochs, timestamp_ms: epoch.timestamp_ms };
        prop_assert_eq!(&self.output, &(self.law.oracle)(&seen), "output (left) and oracle (right) after {:?}", epoch);
        let mut sizes = self.instances.iter().map(|instance| (instance.state_rows(), instance.state_bytes()));
        prop_assert!(sizes.all(|(rows, bytes)| rows == 0 || bytes > 0), "rows of state that take no memory");
        Ok(())
    }

    /// Events of an epoch with their times moved on, without those that are late; the watermarks of the next epoch follow.
    fn on_time(&mut self, input: usize, events: &[(Row, i64)], announced: &[i64]) -> Vec<(Row, i64)> {
        let number = self.epochs.len() as i64;
        let places = (0..self.law.timed.len()).filter(|place| self.law.timed[*place].input == input);
        let places = places.map(|place| (place, self.law.timed[place])).collect::<Vec<_>>();
        if places.is_empty() {
            return events.to_vec();
        }
        let late = |row: &Row| {
            places.iter().any(|(place, timed)| row[timed.column].int().is_some_and(|time| time < announced[*place]))
        };
        let mut there = self.totals[input].clone();
        let mut timely = Vec::with_capacity(events.len());
        for (row, weight) in events {
            let mut row = row.clone();
            if *weight < 0 {
                // Another row that is there, since times moved on, and the first of those like it.
                let fits = there.keys().filter(|other| !late(other));
                let Some(chosen) = fits.min_by_key(|other| (other[..] < row[..], (*other).clone())) else { continue };
                row = chosen.clone();
            } else {
                for (place, timed) in &places {
                    if let Value::Int(time) = &mut row[timed.column] {
                        *time += number * STEP;
                        self.watermarks[*place] = self.watermarks[*place].max(*time - timed.delay);
                    }
                }
                if late(&row) {
                    continue;
                }
            }
            let weight = if *weight < 0 { -1 } else { *weight };
            add(&mut there, row.clone(), weight);
            timely.push((row, weight));
        }
        timely
    }

    fn announce(&mut self, watermarks: &[i64]) -> Outcome<()> {
        for input in 0..self.law.inputs.len() {
            let timed = self.law.timed.iter().zip(watermarks).filter(|(timed, w)| timed.input == input && **w != NONE);
            let bounds: Vec<_> = timed.map(|(timed, w)| Bound { column: timed.column, watermark: *w }).collect();
            for instance in self.instances.iter_mut().filter(|_| !bounds.is_empty()) {
                instance.on_watermark(input, &bounds).map_err(fail)?;
            }
        }
        Ok(())
    }

    fn deliver(&mut self, input: usize, changes: &Changes, out: &mut Vec<Changes>) -> Outcome<()> {
        let instances = self.instances.len();
        let mut hashes = Vec::new();
        let key = self.law.inputs[input].route.iter().map(|column| changes.rows().column(*column).clone());
        hash::hash_columns(&key.collect::<Vec<_>>(), changes.len(), &mut hashes).map_err(fail)?;
        for (index, instance) in self.instances.iter_mut().enumerate() {
            let mine = (0..changes.len() as u32)
                .filter(|row| owner(hash::vnode(hashes[*row as usize]), instances) == index)
                .collect::<UInt32Array>();
            if instances == 1 || self.law.inputs[input].everywhere {
                instance.on_changes(input, changes.clone(), out).map_err(fail)?;
            } else if !mine.is_empty() {
                let part = changes.take(&mine).map_err(|error| fail(error.into()))?;
                instance.on_changes(input, part, out).map_err(fail)?;
            }
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> Outcome<()> {
        let instances = self.instances.len();
        for (index, instance) in self.instances.iter_mut().enumerate() {
            let deltas = instance.checkpoint().map_err(fail)?;
            let mut keys = BTreeSet::new();
            for delta in &deltas {
                let table = &self.info.state[delta.table];
                prop_assert_eq!(&delta.rows.schema(), &table.schema, "schema of state table {}", table.name);
                prop_assert_eq!(delta.vnodes.len(), delta.rows.num_rows());
                prop_assert_eq!(delta.deleted.len(), delta.rows.num_rows());
                for (vnode, row) in delta.vnodes.iter().zip(rows_of(&delta.rows)) {
                    let key = (delta.table, *vnode, row[..table.key_len].to_vec());
                    prop_assert_eq!(owner(*vnode, instances), index, "state of a vnode that belongs to another");
                    prop_assert!(keys.insert(key), "a key of state table {} twice in one delta", table.name);
                }
            }
            self.saved.extend(deltas);
            let again = instance.checkpoint().map_err(fail)?;
            let rows = again.iter().map(|delta| delta.rows.num_rows()).sum::<usize>();
            prop_assert_eq!(rows, 0, "a second checkpoint without an epoch between must be empty");
        }
        Ok(())
    }

    /// Replaces all instances by fresh ones that own the state's vnodes.
    fn start(&mut self, instances: usize, fold: bool) -> Outcome<()> {
        let schemas = self.law.inputs.iter().map(|input| input.schema.clone()).collect::<Vec<_>>();
        let fresh = |index| Box::new(Checked::new((self.law.make)(index), schemas.clone()));
        self.instances = (0..instances).map(|index| fresh(index) as Box<dyn Operator>).collect();
        let deltas = if fold { self.fold() } else { self.saved.clone() };
        for delta in deltas {
            for (index, instance) in self.instances.iter_mut().enumerate() {
                let all = self.law.replicated.contains(&delta.table);
                let mine = |vnode: &u8| all || owner(*vnode, instances) == index;
                let mine = delta.vnodes.iter().map(mine).collect::<Vec<_>>();
                instance.restore(chosen(&delta, &mine)).map_err(fail)?;
            }
        }
        Ok(())
    }

    /// The state tables as the store would fold them: one row per key, deleted ones gone.
    fn fold(&self) -> Vec<StateDelta> {
        let mut last = BTreeMap::new();
        for (index, delta) in self.saved.iter().enumerate() {
            let key_len = self.info.state[delta.table].key_len;
            for (row, values) in rows_of(&delta.rows).into_iter().enumerate() {
                last.insert((delta.table, delta.vnodes[row], values[..key_len].to_vec()), (index, row));
            }
        }
        let alive: BTreeSet<(usize, usize)> = last.into_values().collect();
        let folded = self.saved.iter().enumerate().map(|(index, delta)| {
            let keep = (0..delta.vnodes.len()).map(|row| alive.contains(&(index, row)) && !delta.deleted[row]);
            chosen(delta, &keep.collect::<Vec<_>>())
        });
        folded.filter(|delta| delta.rows.num_rows() > 0).collect()
    }
}

fn fail(error: crate::Error) -> TestCaseError {
    TestCaseError::fail(error.to_string())
}

fn chosen(delta: &StateDelta, keep: &[bool]) -> StateDelta {
    fn pick<T: Copy>(values: &[T], keep: &[bool]) -> Vec<T> {
        values.iter().zip(keep).filter(|(_, keep)| **keep).map(|(value, _)| *value).collect()
    }
    let rows =
        arrow::compute::filter_record_batch(&delta.rows, &keep.to_vec().into()).expect("a mask as long as the batch");
    StateDelta { table: delta.table, vnodes: pick(&delta.vnodes, keep), deleted: pick(&delta.deleted, keep), rows }
}

/// Changes of the given events; `Weights::Ones` where it can be.
fn changes_of(schema: &SchemaRef, events: &[(Row, i64)]) -> Changes {
    let rows: RecordBatch = batch_of(schema, &events.iter().map(|(row, _)| row.clone()).collect::<Vec<_>>());
    let weights = events.iter().map(|(_, weight)| *weight).collect::<Vec<_>>();
    if weights.iter().all(|weight| *weight == 1) { Changes::inserts(rows) } else { Changes::weighted(rows, weights) }
}

fn weighted_rows(changes: &Changes) -> Vec<(Row, i64)> {
    rows_of(changes.rows()).into_iter().enumerate().map(|(index, row)| (row, changes.weight(index))).collect()
}

/// No row twice in what one instance emitted for an epoch, unless all is inserted.
fn consolidated(output: &[Changes]) -> Outcome<()> {
    let rows = output.iter().flat_map(weighted_rows).collect::<Vec<_>>();
    if rows.iter().all(|(_, weight)| *weight == 1) {
        return Ok(());
    }
    let mut seen = BTreeSet::new();
    for (row, weight) in rows {
        prop_assert!(seen.insert(row.clone()), "a row twice in one epoch's output: {:?} with weight {}", row, weight);
    }
    Ok(())
}
