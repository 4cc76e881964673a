//! What the pipelines of this process have counted, by job, operator and connector, over all their lives.
//!
//! A job's pipeline starts anew whenever a job joins or leaves it. What the earlier ones counted is kept here, so that
//! a counter never falls as long as the process lives and the job exists.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use catalog::ObjectId;

use super::graph;
use crate::runtime::dataflow::{Dataflow, FlowNode, Origin, Role};
use crate::runtime::metrics::{CheckpointRecord, Distribution, HISTORY, NodeTotals};
use crate::runtime::pipeline::Pipeline;

/// What was counted of one job.
#[derive(Debug, Clone, Default)]
pub struct JobSums {
    /// Values that became NULL because they could not be computed.
    pub failed_values: u64,
    /// Rows written, by object.
    pub outputs: BTreeMap<ObjectId, u64>,
    /// What it read, by object.
    pub inputs: BTreeMap<ObjectId, NodeTotals>,
    /// Durations of epochs.
    pub epochs: Distribution,
    /// Durations of checkpoints.
    pub checkpoints: Distribution,
    /// From reading to commit.
    pub commit_lags: Distribution,
    /// Checkpoints, the newest first.
    pub history: Vec<CheckpointRecord>,
}

impl JobSums {
    /// Rows that it read.
    pub fn rows_in(&self) -> u64 {
        self.inputs.values().map(|input| input.rows_in).sum()
    }

    /// Rows of changes that it wrote.
    pub fn rows_out(&self) -> u64 {
        self.outputs.values().sum()
    }

    fn add(&mut self, newer: Self) {
        self.failed_values += newer.failed_values;
        for (object, rows) in newer.outputs {
            *self.outputs.entry(object).or_default() += rows;
        }
        add_nodes(&mut self.inputs, newer.inputs);
        self.epochs = self.epochs.and(newer.epochs);
        self.checkpoints = self.checkpoints.and(newer.checkpoints);
        self.commit_lags = self.commit_lags.and(newer.commit_lags);
        self.history.extend(newer.history);
        self.history.sort_by_key(|record| std::cmp::Reverse(record.epoch));
        self.history.truncate(HISTORY);
    }
}

/// What was counted of one operator.
#[derive(Debug, Clone, Copy)]
pub struct OperatorSums {
    /// What it does.
    pub kind: &'static str,
    /// Its counters.
    pub totals: NodeTotals,
}

/// What was counted, by what it is about.
#[derive(Debug, Clone, Default)]
pub struct Sums {
    /// Jobs.
    pub jobs: BTreeMap<ObjectId, JobSums>,
    /// Operators, by their job and their number within it.
    pub operators: BTreeMap<(ObjectId, u32), OperatorSums>,
    /// Connectors that were read.
    pub sources: BTreeMap<ObjectId, NodeTotals>,
    /// Rows that came from outside of the pipelines.
    pub rows_in: u64,
    /// Rows that left them.
    pub rows_out: u64,
    /// Malformed rows skipped.
    pub skipped: u64,
    /// Checkpoints.
    pub checkpoints: u64,
    /// The newest closed epoch.
    pub epoch: u64,
}

impl Sums {
    /// What a pipeline has counted.
    pub fn of(pipeline: &Pipeline) -> Self {
        let (flow, metrics) = (pipeline.flow(), pipeline.metrics());
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (checkpoints, epoch) = (load(&metrics.checkpoints), load(&metrics.epoch));
        let mut sums = Self { checkpoints, epoch, ..Self::default() };
        for (index, planned) in flow.jobs.iter().enumerate() {
            let job = JobSums {
                failed_values: planned.failures.count(),
                epochs: metrics.epoch_durations.distribution(),
                checkpoints: metrics.checkpoint_durations.distribution(),
                commit_lags: metrics.commit_lags.distribution(),
                history: metrics.history(index),
                ..JobSums::default()
            };
            sums.jobs.insert(planned.job.id, job);
        }
        let over = pipeline.phase().is_over();
        for (place, node) in flow.nodes.iter().enumerate() {
            let totals = metrics.totals(place);
            sums.add_node(flow, node, if over { totals.counters() } else { totals });
        }
        sums
    }

    fn add_node(&mut self, flow: &Dataflow, node: &FlowNode, totals: NodeTotals) {
        self.rows_in += totals.read;
        self.skipped += totals.skipped;
        let object = graph::object(flow, node).map(|object| object.id);
        match (&node.role, &node.origin, object) {
            (Role::Source { jobs, .. }, Origin::Input(_), Some(object)) => {
                add_node(self.sources.entry(object).or_default(), totals);
                for job in jobs {
                    // How many of a connector's rows a job reads is counted at its scans.
                    let of_job = NodeTotals { rows_in: 0, ..totals };
                    add_node(self.input(flow, *job, object), of_job);
                }
                return;
            }
            (Role::Feed { .. }, _, Some(object)) => add_node(self.input(flow, node.job, object), totals),
            (Role::TableOutput { .. } | Role::SinkOutput(_), _, Some(object)) => {
                self.rows_out += totals.rows_out;
                *self.job(flow, node.job).outputs.entry(object).or_default() += totals.rows_out;
            }
            (Role::LateOutput { .. }, ..) => {
                self.rows_out += totals.rows_out;
                return;
            }
            _ => {}
        }
        let key = (flow.jobs[node.job].job.id, node.operator);
        self.operators.insert(key, OperatorSums { kind: graph::kind(node), totals });
    }

    fn job(&mut self, flow: &Dataflow, job: usize) -> &mut JobSums {
        self.jobs.entry(flow.jobs[job].job.id).or_default()
    }

    fn input(&mut self, flow: &Dataflow, job: usize, object: ObjectId) -> &mut NodeTotals {
        self.job(flow, job).inputs.entry(object).or_default()
    }

    /// Adds what a later pipeline has counted.
    fn add(&mut self, newer: Self) {
        for (job, sums) in newer.jobs {
            self.jobs.entry(job).or_default().add(sums);
        }
        for (operator, sums) in newer.operators {
            let known =
                self.operators.entry(operator).or_insert(OperatorSums { totals: NodeTotals::default(), ..sums });
            add_node(&mut known.totals, sums.totals);
        }
        add_nodes(&mut self.sources, newer.sources);
        self.rows_in += newer.rows_in;
        self.rows_out += newer.rows_out;
        self.skipped += newer.skipped;
        self.checkpoints += newer.checkpoints;
        self.epoch = self.epoch.max(newer.epoch);
    }

    /// The same without what is true only while a pipeline runs.
    fn counters(mut self) -> Self {
        let nodes = self.sources.values_mut().chain(self.operators.values_mut().map(|operator| &mut operator.totals));
        let inputs = self.jobs.values_mut().flat_map(|job| job.inputs.values_mut());
        nodes.chain(inputs).for_each(|totals| *totals = totals.counters());
        self
    }
}

fn add_node(known: &mut NodeTotals, more: NodeTotals) {
    *known = known.and(more);
}

fn add_nodes(known: &mut BTreeMap<ObjectId, NodeTotals>, more: BTreeMap<ObjectId, NodeTotals>) {
    for (object, totals) in more {
        add_node(known.entry(object).or_default(), totals);
    }
}

/// The pipelines of this process, and what earlier ones have counted.
#[derive(Default)]
pub struct Observed {
    inner: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Oldest first. One that is over stays as long as no later one runs any of its jobs: what it did can still be seen.
    pipelines: Vec<Arc<Pipeline>>,
    past: Sums,
}

impl Observed {
    /// A pipeline has been started.
    pub fn add(&self, pipeline: Arc<Pipeline>) {
        let mut known = self.lock();
        known.forget(|_| true);
        known.pipelines.push(pipeline);
    }

    /// All pipelines that are remembered, oldest first.
    pub fn pipelines(&self) -> Vec<Arc<Pipeline>> {
        self.lock().pipelines.clone()
    }

    /// The newest pipeline of a job, if this process has run it.
    pub fn pipeline_of(&self, job: ObjectId) -> Option<Arc<Pipeline>> {
        self.lock().pipelines.iter().rev().find(|pipeline| pipeline.jobs().contains(&job)).cloned()
    }

    /// What all pipelines of this process have counted so far.
    pub fn sums(&self) -> Sums {
        let known = self.lock();
        let mut sums = known.past.clone();
        known.pipelines.iter().for_each(|pipeline| sums.add(Sums::of(pipeline)));
        sums
    }

    /// Forgets what was counted of jobs and connectors that exist no more.
    pub fn retain(&self, exists: impl Fn(ObjectId) -> bool) {
        let mut known = self.lock();
        known.forget(&exists);
        let past = &mut known.past;
        past.jobs.retain(|job, _| exists(*job));
        past.operators.retain(|(job, _), _| exists(*job));
        past.sources.retain(|object, _| exists(*object));
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // A panic while it is held can at worst leave a pipeline's counters out.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Keeps of pipelines that are over, and whose jobs others run by now or nobody any more, only what they counted.
    fn forget(&mut self, exists: impl Fn(ObjectId) -> bool) {
        let mut place = 0;
        while let Some(pipeline) = self.pipelines.get(place) {
            let later = &self.pipelines[place + 1..];
            let replaced = |job: &ObjectId| !exists(*job) || later.iter().any(|later| later.jobs().contains(job));
            if pipeline.phase().is_over() && pipeline.jobs().iter().all(replaced) {
                let pipeline = self.pipelines.remove(place);
                self.past.add(Sums::of(&pipeline).counters());
            } else {
                place += 1;
            }
        }
    }
}
