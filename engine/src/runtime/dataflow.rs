//! The dataflow of one pipeline: all its jobs' operators as one graph of nodes, the same in every slot.
//!
//! A pipeline is a set of jobs that are connected through the objects they read and write. They share epochs and are
//! checkpointed in one catalog commit, so no reader ever sees one layer ahead of another.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use catalog::{Job, Object, ObjectId};

use crate::error::{Error, Result};
use crate::plan::guard::Failures;
use crate::plan::{Distribution, IncrementalPlan, Kind, Route};
use crate::runtime::checkpoint::Positions;
use crate::sink::SinkFactory;
use crate::source::Source;

/// Index of a node in its dataflow.
pub type NodeId = usize;

/// Where one query's changes go.
#[derive(Clone)]
pub enum Target {
    /// A stored table or materialized view.
    Table(Arc<Object>),
    /// A connector that takes rows.
    Sink {
        /// What is written.
        object: Arc<Object>,
        /// Makes one sink per task.
        factory: Arc<dyn SinkFactory>,
    },
}

impl Target {
    /// The object that is written.
    pub fn object(&self) -> &Arc<Object> {
        match self {
            Target::Table(object) | Target::Sink { object, .. } => object,
        }
    }
}

/// One query of a job and where it goes.
#[derive(Clone)]
pub struct Part {
    /// Its operators.
    pub plan: IncrementalPlan,
    /// Where the changes of the last operator go.
    pub target: Target,
}

/// A job ready to run.
#[derive(Clone)]
pub struct PlannedJob {
    /// As the catalog knows it, with the checkpoint to start from.
    pub job: Arc<Job>,
    /// Its queries: one, or several for a statement set.
    pub parts: Vec<Part>,
    /// What it had read at its checkpoint.
    pub positions: Positions,
    /// Identifies the plan: state can only be restored into the plan that wrote it.
    pub fingerprint: String,
    /// Values of its expressions that became NULL because they could not be computed.
    pub failures: Failures,
}

/// What a node does in a slot.
#[derive(Clone)]
pub enum Role {
    /// Reads splits of a connector.
    Source {
        /// The connector.
        source: Arc<dyn Source>,
        /// Columns that anybody downstream wants.
        projection: Vec<usize>,
        /// Under which name positions are stored.
        key: String,
        /// Jobs that keep these positions.
        jobs: Vec<usize>,
    },
    /// Takes rows that the shell stages, and those of live upstream nodes, and picks columns.
    Feed {
        /// Columns wanted.
        projection: Vec<usize>,
    },
    /// An operator of the plan.
    Operator(Kind),
    /// Turns upserts by key into changes of a keyed table. Its state is the table itself, which nobody else writes: it is
    /// read from there at every start and is part of no checkpoint.
    Upsert {
        /// The table.
        table: Arc<Object>,
        /// Key columns.
        key: Vec<usize>,
        /// Of several rows of one key in an epoch the one with the greatest event time wins, if there is one.
        event_time: Option<usize>,
    },
    /// Collects the changes of a table for the next checkpoint.
    TableOutput {
        /// Which table.
        table: Arc<Object>,
        /// Whether nothing is ever retracted.
        insert_only: bool,
    },
    /// Writes to a connector.
    SinkOutput(Arc<dyn SinkFactory>),
}

/// A connection to a consumer.
#[derive(Debug, Clone)]
pub struct Edge {
    /// The consumer.
    pub to: NodeId,
    /// Which of its inputs.
    pub input: usize,
    /// How changes get there.
    pub route: Route,
}

/// One node, of which every slot has an instance.
#[derive(Clone)]
pub struct FlowNode {
    /// The job whose state it is, as an index into [`Dataflow::jobs`].
    pub job: usize,
    /// Number under which its state is stored within the job.
    pub operator: u32,
    /// What it does.
    pub role: Role,
    /// Columns of its output.
    pub schema: SchemaRef,
    /// Consumers.
    pub outputs: Vec<Edge>,
    /// Inputs that come from other nodes.
    pub inputs: Vec<(NodeId, Route)>,
}

/// A feed's place in the graph and what it reads.
#[derive(Debug, Clone)]
pub struct FeedInput {
    /// The node.
    pub node: NodeId,
    /// The job that reads.
    pub job: usize,
    /// The stored table that is read.
    pub table: ObjectId,
    /// Whether a node of this pipeline writes the table, and delivers its changes as they arise.
    pub live: bool,
}

/// All nodes of a pipeline.
#[derive(Clone, Default)]
pub struct Dataflow {
    /// The jobs.
    pub jobs: Vec<PlannedJob>,
    /// The nodes, inputs before consumers.
    pub nodes: Vec<FlowNode>,
    /// Feeds that read stored tables.
    pub feeds: Vec<FeedInput>,
}

/// Makes the sources of connector tables.
pub type OpenSource<'a> = &'a dyn Fn(&Object) -> Result<Arc<dyn Source>>;

impl Dataflow {
    /// Connects the jobs. `jobs` must be ordered so that a job comes after the jobs of the views that it reads.
    pub fn build(jobs: Vec<PlannedJob>, open: OpenSource<'_>) -> Result<Self> {
        let mut builder = Builder { flow: Dataflow::default(), live: BTreeMap::new(), sources: Vec::new() };
        builder.add_sources(&jobs, open)?;
        for (index, job) in jobs.iter().enumerate() {
            builder.add_job(index, job)?;
        }
        let mut flow = builder.flow;
        flow.jobs = jobs;
        flow.connect();
        Ok(flow)
    }

    fn connect(&mut self) {
        for to in 0..self.nodes.len() {
            for (input, (from, route)) in self.nodes[to].inputs.clone().into_iter().enumerate() {
                self.nodes[from].outputs.push(Edge { to, input, route });
            }
        }
    }
}

/// A connector scan that several scans share because they stand at the same positions.
struct SharedSource {
    object: ObjectId,
    from: BTreeMap<String, crate::source::SplitPosition>,
    node: NodeId,
    projection: Vec<usize>,
}

struct Builder {
    flow: Dataflow,
    /// Output node of every table that this pipeline writes, with its distribution.
    live: BTreeMap<ObjectId, NodeId>,
    sources: Vec<SharedSource>,
}

/// The name under which a job stores its positions in a connector.
pub fn source_key(object: ObjectId) -> String {
    format!("object:{object}")
}

impl Builder {
    fn push(&mut self, node: FlowNode) -> NodeId {
        self.flow.nodes.push(node);
        self.flow.nodes.len() - 1
    }

    /// One source node per connector and starting position, with the columns that all its scans want together.
    fn add_sources(&mut self, jobs: &[PlannedJob], open: OpenSource<'_>) -> Result<()> {
        let mut wanted: Vec<(Arc<Object>, _, Vec<usize>, Vec<usize>)> = Vec::new();
        for (index, job) in jobs.iter().enumerate() {
            for node in job.parts.iter().flat_map(|part| &part.plan.nodes) {
                let Kind::Scan { object, projection } = &node.kind else { continue };
                if object.kind.is_stored() {
                    continue;
                }
                let from = job.positions.sources.get(&source_key(object.id)).cloned().unwrap_or_default();
                let place = wanted.iter().position(|(o, f, _, _)| o.id == object.id && *f == from);
                let place = place.unwrap_or_else(|| {
                    wanted.push((object.clone(), from, vec![], vec![]));
                    wanted.len() - 1
                });
                wanted[place].2.extend(projection);
                wanted[place].3.push(index);
            }
        }
        for (object, from, mut projection, mut readers) in wanted {
            projection.sort_unstable();
            projection.dedup();
            readers.dedup();
            let source = open(&object)?;
            let schema = Arc::new(source.schema().project(&projection)?);
            let key = source_key(object.id);
            let job = readers[0];
            let role = Role::Source { source, projection: projection.clone(), key, jobs: readers };
            let node = FlowNode { job, operator: u32::MAX, role, schema, outputs: vec![], inputs: vec![] };
            let node = self.push(node);
            self.sources.push(SharedSource { object: object.id, from, node, projection });
        }
        Ok(())
    }

    fn add_job(&mut self, index: usize, job: &PlannedJob) -> Result<()> {
        let mut operator = 0;
        for part in &job.parts {
            let mut places = Vec::new();
            for node in &part.plan.nodes {
                let (role, inputs) = match &node.kind {
                    Kind::Scan { object, projection } => self.scan(index, job, object, projection)?,
                    Kind::Values(rows) => {
                        let source: Arc<dyn Source> = Arc::new(crate::source::values::ValuesSource::new(rows.clone()));
                        let projection = (0..rows.num_columns()).collect();
                        let key = format!("values:{operator}");
                        (Role::Source { source, projection, key, jobs: vec![index] }, vec![])
                    }
                    kind => {
                        let inputs = node.inputs.iter().map(|(from, route)| (places[*from], route.clone())).collect();
                        (Role::Operator(kind.clone()), inputs)
                    }
                };
                let feeds = matches!((&node.kind, &role), (Kind::Scan { object, .. }, _) if object.kind.is_stored());
                let schema = node.schema.clone();
                let place = self.push(FlowNode { job: index, operator, role, schema, outputs: vec![], inputs });
                if let (true, Kind::Scan { object, .. }) = (feeds, &node.kind) {
                    let live = !self.flow.nodes[place].inputs.is_empty();
                    self.flow.feeds.push(FeedInput { node: place, job: index, table: object.id, live });
                }
                places.push(place);
                operator += 1;
            }
            let root = *places.last().ok_or_else(|| Error::internal("a query without operators"))?;
            let distribution = part.plan.root().map(|node| node.properties.clone()).unwrap_or_default();
            self.add_output(index, &mut operator, part, root, &distribution)?;
        }
        Ok(())
    }

    fn scan(
        &self,
        index: usize,
        job: &PlannedJob,
        object: &Object,
        projection: &[usize],
    ) -> Result<(Role, Vec<(NodeId, Route)>)> {
        if object.kind.is_stored() {
            let live = self.live.get(&object.id).map(|node| (*node, Route::Local));
            return Ok((Role::Feed { projection: projection.to_vec() }, live.into_iter().collect()));
        }
        let from = job.positions.sources.get(&source_key(object.id)).cloned().unwrap_or_default();
        let shared = self.sources.iter().find(|source| source.object == object.id && source.from == from);
        let shared = shared.ok_or_else(|| Error::internal("a scan without source").with("job", index))?;
        let projection = projection
            .iter()
            .map(|c| shared.projection.iter().position(|p| p == c))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Error::internal("a source without a wanted column"))?;
        Ok((Role::Feed { projection }, vec![(shared.node, Route::Local)]))
    }

    fn add_output(
        &mut self,
        index: usize,
        operator: &mut u32,
        part: &Part,
        root: NodeId,
        properties: &crate::plan::Properties,
    ) -> Result<()> {
        let schema = self.flow.nodes[root].schema.clone();
        let mut add = |builder: &mut Self, role, inputs| {
            let node =
                FlowNode { job: index, operator: *operator, role, schema: schema.clone(), outputs: vec![], inputs };
            *operator += 1;
            builder.push(node)
        };
        let object = part.target.object();
        match &part.target {
            Target::Sink { factory, .. } => {
                add(self, Role::SinkOutput(factory.clone()), vec![(root, Route::Local)]);
            }
            Target::Table(table) => {
                let key = key_columns(object)?;
                let mut from = root;
                let mut route = Route::Local;
                let written_by_users = object.kind == catalog::ObjectKind::Table;
                if written_by_users && !key.is_empty() {
                    let to = properties.distribution.route_to(&Distribution::Hash(key.clone()));
                    let event_time = properties.watermark.first().copied();
                    from = add(self, Role::Upsert { table: table.clone(), key, event_time }, vec![(root, to)]);
                } else if !properties.insert_only && !key.is_empty() {
                    // All changes of one key must be consolidated in one place.
                    route = match &properties.distribution {
                        Distribution::Hash(columns) if columns.iter().all(|c| key.contains(c)) => Route::Local,
                        Distribution::Single => Route::Local,
                        _ => Route::Hash(key),
                    };
                }
                let insert_only = properties.insert_only && from == root;
                if object.kind == catalog::ObjectKind::MaterializedView {
                    self.live.insert(object.id, from);
                }
                add(self, Role::TableOutput { table: table.clone(), insert_only }, vec![(from, route)]);
            }
        }
        Ok(())
    }
}

/// Places of an object's key columns.
pub fn key_columns(object: &Object) -> Result<Vec<usize>> {
    object
        .key
        .iter()
        .map(|name| {
            object.columns.iter().position(|c| c.name == *name).ok_or_else(|| {
                Error::new(crate::ErrorKind::Corrupt, format!("the key column {name} does not exist"))
                    .with("table", &object.name)
            })
        })
        .collect()
}
