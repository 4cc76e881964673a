//! How the jobs of this process do, as plain data for whoever shows or exports it: the dataflow of a job with what every node
//! counted, its checkpoints, and all numbers at once.
//!
//! Nothing here changes anything, and nothing is computed unless somebody asks.

mod graph;
mod measure;
mod sums;

use std::sync::Arc;

use catalog::Job;

use crate::error::Result;
use crate::runtime::dataflow::Dataflow;
use crate::runtime::metrics::Metrics;
use crate::runtime::planning::plan_job;
use crate::session::{Engine, Inner};

pub use crate::runtime::metrics::{BOUNDS as DURATION_BOUNDS, CheckpointRecord, Distribution, NodeTotals};
pub use measure::{
    IcebergMeasures, InputMeasures, JobMeasures, Measures, OperatorMeasures, OutputMeasures, Running, SourceMeasures,
    TableMeasures,
};
pub(super) use sums::{JobSums, Observed};

/// The dataflow of a pipeline, with what its nodes counted since it was started.
#[derive(Debug, Clone, PartialEq)]
pub struct JobGraph {
    /// The jobs that share the pipeline.
    pub jobs: Vec<String>,
    /// When this was read, in ms since the Unix epoch.
    pub at_ms: i64,
    /// Every node, inputs before consumers; the place is the node's id.
    pub nodes: Vec<GraphNode>,
    /// The connections.
    pub edges: Vec<GraphEdge>,
}

/// A node of a dataflow.
#[derive(Debug, Clone, PartialEq)]
pub struct GraphNode {
    /// What kind of work it does, such as `aggregate`.
    pub kind: &'static str,
    /// What it does, in one line.
    pub label: String,
    /// The same with what is known about its output and its state, as EXPLAIN INCREMENTAL prints it.
    pub detail: Option<String>,
    /// Names of the jobs that it serves; first the one that it belongs to.
    pub jobs: Vec<String>,
    /// The table, view or connector that it reads or writes.
    pub object: Option<String>,
    /// In how many tasks it runs.
    pub parallelism: usize,
    /// What it counted.
    pub totals: NodeTotals,
}

/// A connection of two nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphEdge {
    /// The sender.
    pub from: usize,
    /// The receiver.
    pub to: usize,
    /// How changes get there: `forward`, `hash`, `single` or `broadcast`.
    pub exchange: &'static str,
}

impl Engine {
    /// The dataflow of a job; `None` if there is no job of that name. That of a job which this process has not run is what it
    /// would run.
    ///
    /// # Errors
    /// If a job that does not run cannot be planned any more.
    pub async fn dataflow(&self, job: &str) -> Result<Option<JobGraph>> {
        let snapshot = self.inner.snapshot().await?;
        match snapshot.job(job) {
            Some(job) => self.inner.graph_of(job).await.map(Some),
            None => Ok(None),
        }
    }

    /// The checkpoints of a job that this process has committed, newest first, at most 100; `None` if there is no job of
    /// that name.
    pub async fn checkpoints(&self, job: &str) -> Result<Option<Vec<CheckpointRecord>>> {
        let snapshot = self.inner.snapshot().await?;
        let history = |job: &Arc<Job>| {
            let mut sums = self.inner.observed.sums();
            sums.jobs.remove(&job.id).map(|job| job.history).unwrap_or_default()
        };
        Ok(snapshot.job(job).map(history))
    }

    /// All numbers at once.
    pub async fn measures(&self) -> Result<Measures> {
        self.inner.measures().await
    }
}

impl Inner {
    async fn graph_of(&self, job: &Arc<Job>) -> Result<JobGraph> {
        if let Some(pipeline) = self.observed.pipeline_of(job.id) {
            return Ok(self.graph(pipeline.flow(), pipeline.metrics()));
        }
        let planner = self.planner(self.snapshot().await?);
        let flow = Dataflow::build(vec![plan_job(&planner, job).await?], &planner)?;
        let nothing = Metrics::new(self.options.parallelism, flow.nodes.len(), flow.jobs.len());
        Ok(self.graph(&flow, &nothing))
    }

    fn graph(&self, flow: &Dataflow, metrics: &Metrics) -> JobGraph {
        let jobs: Vec<String> = flow.jobs.iter().map(|planned| planned.job.name.clone()).collect();
        let facts = flow.nodes.iter().zip(graph::details(flow)).zip(graph::served(flow)).enumerate();
        let nodes = facts.map(|(place, ((node, detail), served))| GraphNode {
            kind: graph::kind(node),
            label: graph::title(flow, node),
            detail,
            jobs: served.into_iter().map(|job| jobs[job].clone()).collect(),
            object: graph::object(flow, node).map(|object| object.name.clone()),
            parallelism: metrics.slots(),
            totals: metrics.totals(place),
        });
        let edges = graph::edges(flow).into_iter().map(|(from, to, exchange)| GraphEdge { from, to, exchange });
        JobGraph { nodes: nodes.collect(), edges: edges.collect(), at_ms: self.options.clock.now_ms(), jobs }
    }
}
