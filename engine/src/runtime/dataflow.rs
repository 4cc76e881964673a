//! The dataflow of one pipeline: all its jobs' operators as one graph of nodes, the same in every slot.
//!
//! A pipeline is a set of jobs that are connected through the objects they read and write. They share epochs and are
//! checkpointed in one catalog commit, so no reader ever sees one layer ahead of another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use catalog::{Job, Object, ObjectId};

use crate::error::{Error, Result};
use crate::options::{IDLE_TIMEOUT, parse_duration};
use crate::plan::guard::Failures;
use crate::plan::watermark::{COLUMN, Change, Rule, Term, rules};
use crate::plan::{Distribution, IncrementalPlan, Kind, Route};
use crate::runtime::checkpoint::Positions;
use crate::runtime::watermark::{Input, Parts};
use crate::sink::SinkFactory;
use crate::source::Source;
use crate::watermark::NONE;

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
    /// Collects the rows of a connector that came too late, for the table that its option `late.table` names.
    LateOutput {
        /// Which table.
        table: Arc<Object>,
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

/// Where a node comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It reads this connector for all scans that stand at the same positions.
    Input(Arc<Object>),
    /// It is an operator of a query.
    Plan {
        /// Which of its job's.
        part: usize,
        /// Its place in the query's plan.
        place: usize,
    },
    /// It takes the result of a query.
    Output {
        /// Which of its job's.
        part: usize,
    },
}

/// One node, of which every slot has an instance.
#[derive(Clone)]
pub struct FlowNode {
    /// Where it comes from.
    pub origin: Origin,
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
    /// How watermarks go through it.
    pub rules: Vec<Rule>,
}

impl FlowNode {
    /// Whether rows behind its input's watermark come out with the epoch that brings that watermark, so that its output is
    /// one epoch behind.
    pub fn passes_late(&self) -> bool {
        matches!(self.role, Role::Operator(Kind::EmitOnClose(_)))
    }

    /// Whether it gets its input from outside of the graph, from the slot itself.
    pub fn is_leaf(&self) -> bool {
        matches!(self.role, Role::Source { .. } | Role::Feed { .. } | Role::LateOutput { .. })
    }
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

/// An input whose event time is followed.
#[derive(Clone)]
pub struct TimedInput {
    /// The source or feed that reads it.
    pub node: NodeId,
    /// The jobs that keep its watermark.
    pub jobs: Vec<usize>,
    /// Under which name they store it.
    pub key: String,
    /// The event-time column among those that are read, if there is a WATERMARK clause.
    pub column: Option<usize>,
    /// How its watermark comes about.
    pub input: Input,
    /// A split that gives nothing for so long does not hold the watermark back.
    pub idle_timeout: Option<Duration>,
    /// The node that takes the late rows.
    pub late: Option<NodeId>,
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
    /// Inputs whose event time is followed.
    pub timed: Vec<TimedInput>,
}

/// A connector table as a dataflow reads it.
pub struct Opened {
    /// The connector.
    pub source: Arc<dyn Source>,
    /// How far the watermark is behind the event time, in microseconds, if there is a WATERMARK clause.
    pub delay: Option<i64>,
    /// Where late rows are kept.
    pub late: Option<Arc<Object>>,
}

/// Opens connector tables; of stored tables only the delay counts.
pub trait OpenInput {
    /// Opens a connector table.
    fn open(&self, object: &Object) -> Result<Opened>;

    /// How far a table's watermark is behind its event time, in microseconds, if it has a WATERMARK clause.
    fn delay(&self, object: &Object) -> Result<Option<i64>>;
}

impl Dataflow {
    /// Connects the jobs. `jobs` must be ordered so that a job comes after the jobs of the views that it reads.
    pub fn build(jobs: Vec<PlannedJob>, open: &dyn OpenInput) -> Result<Self> {
        let mut builder = Builder { flow: Dataflow::default(), live: BTreeMap::new(), sources: Vec::new() };
        builder.add_sources(&jobs, open)?;
        for (index, job) in jobs.iter().enumerate() {
            builder.add_job(index, job, open)?;
        }
        let mut flow = builder.flow;
        flow.jobs = jobs;
        flow.connect();
        Ok(flow)
    }

    /// The tables and sinks that are written, those that take late rows included, each with its job.
    pub fn written_tables(&self) -> impl Iterator<Item = (usize, &Arc<Object>)> {
        let jobs = self.jobs.iter().enumerate();
        let targets = jobs.flat_map(|(index, job)| job.parts.iter().map(move |part| (index, part.target.object())));
        targets.chain(self.nodes.iter().filter_map(|node| match &node.role {
            Role::LateOutput { table } => Some((node.job, table)),
            _ => None,
        }))
    }

    /// How many nodes pass a watermark on an epoch late.
    pub fn late_passes(&self) -> usize {
        self.nodes.iter().filter(|node| node.passes_late()).count()
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
    from: From,
    node: NodeId,
    projection: Vec<usize>,
}

/// A connector, a position to read it from, and who wants what of it.
struct Wanted {
    object: Arc<Object>,
    from: From,
    projection: Vec<usize>,
    readers: Vec<usize>,
}

/// Where a job stands in a connector: positions of the splits, and the watermark.
type From = (BTreeMap<String, crate::source::SplitPosition>, i64);

fn from(job: &PlannedJob, object: ObjectId) -> From {
    let key = source_key(object);
    let positions = job.positions.sources.get(&key).cloned().unwrap_or_default();
    (positions, restored(job, object))
}

/// The watermark of an input at a job's checkpoint.
fn restored(job: &PlannedJob, object: ObjectId) -> i64 {
    job.positions.watermarks.get(&source_key(object)).copied().unwrap_or(NONE)
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
    /// Adds a node. Its inputs are there already.
    fn push(
        &mut self,
        origin: Origin,
        (job, operator): (usize, u32),
        role: Role,
        schema: SchemaRef,
        inputs: Vec<(NodeId, Route)>,
    ) -> NodeId {
        let rules = match &role {
            Role::Operator(kind) => {
                let inputs = inputs.iter().map(|(from, _)| self.flow.nodes[*from].schema.clone()).collect::<Vec<_>>();
                rules(kind, &inputs, &schema)
            }
            Role::Feed { projection } => {
                let same = |from: &usize| vec![Term { input: 0, column: *from, change: Change::None }];
                let rules = projection.iter().enumerate();
                rules.map(|(column, from)| Rule { column, terms: same(from) }).collect()
            }
            _ => vec![],
        };
        self.flow.nodes.push(FlowNode { origin, job, operator, role, schema, outputs: vec![], inputs, rules });
        self.flow.nodes.len() - 1
    }

    /// One source node per connector and starting position, with the columns that all its scans want together.
    fn add_sources(&mut self, jobs: &[PlannedJob], open: &dyn OpenInput) -> Result<()> {
        let mut wanted: Vec<Wanted> = Vec::new();
        for (index, job) in jobs.iter().enumerate() {
            for node in job.parts.iter().flat_map(|part| &part.plan.nodes) {
                let Kind::Scan { object, projection } = &node.kind else { continue };
                if object.kind.is_stored() {
                    continue;
                }
                let from = from(job, object.id);
                let place = wanted.iter().position(|known| known.object.id == object.id && known.from == from);
                let place = place.unwrap_or_else(|| {
                    wanted.push(Wanted { object: object.clone(), from, projection: vec![], readers: vec![] });
                    wanted.len() - 1
                });
                wanted[place].projection.extend(projection);
                wanted[place].readers.push(index);
            }
        }
        for Wanted { object, from, mut projection, mut readers } in wanted {
            readers.dedup();
            let opened = open.open(&object)?;
            let all = opened.source.schema();
            // Whether a row is late must not depend on whether anybody asks for its time.
            let time = object.properties.get(COLUMN).and_then(|name| all.index_of(name).ok());
            projection.extend(time);
            if opened.late.is_some() {
                projection = (0..all.fields().len()).collect();
            }
            projection.sort_unstable();
            projection.dedup();
            let schema = Arc::new(opened.source.schema().project(&projection)?);
            let key = source_key(object.id);
            let job = readers[0];
            let column = time.and_then(|time| projection.iter().position(|column| *column == time));
            let late = opened.late.map(|table| {
                let role = Role::LateOutput { table };
                let schema = crate::plan::build::internal_schema(&schema);
                self.push(Origin::Input(object.clone()), (job, u32::MAX), role, schema, vec![])
            });
            let (source, jobs) = (opened.source, readers.clone());
            let role = Role::Source { source, projection: projection.clone(), key: key.clone(), jobs };
            let node = self.push(Origin::Input(object.clone()), (job, u32::MAX), role, schema, vec![]);
            let input = Input { parts: Parts::Splits, delay: column.and(opened.delay), restored: from.1 };
            let idle_timeout = object.properties.get(IDLE_TIMEOUT).and_then(|text| parse_duration(text));
            self.flow.timed.push(TimedInput { node, jobs: readers, key, column, input, idle_timeout, late });
            self.sources.push(SharedSource { object: object.id, from, node, projection });
        }
        Ok(())
    }

    fn add_job(&mut self, index: usize, job: &PlannedJob, open: &dyn OpenInput) -> Result<()> {
        let mut operator = 0;
        for (part_index, part) in job.parts.iter().enumerate() {
            let mut places = Vec::new();
            for (place, node) in part.plan.nodes.iter().enumerate() {
                let origin = Origin::Plan { part: part_index, place };
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
                let place = self.push(origin, (index, operator), role, node.schema.clone(), inputs);
                match &node.kind {
                    Kind::Scan { object, .. } if object.kind.is_stored() => {
                        let live = !self.flow.nodes[place].inputs.is_empty();
                        self.flow.feeds.push(FeedInput { node: place, job: index, table: object.id, live });
                        if !live {
                            self.follow_table(index, job, object, place, open)?;
                        }
                    }
                    Kind::Values(_) => {
                        let key = format!("values:{operator}");
                        let restored = job.positions.watermarks.get(&key).copied().unwrap_or(NONE);
                        let input = Input { parts: Parts::Splits, delay: None, restored };
                        self.flow.timed.push(timed(place, index, key, None, input));
                    }
                    _ => {}
                }
                places.push(place);
                operator += 1;
            }
            let root = *places.last().ok_or_else(|| Error::internal("a query without operators"))?;
            let distribution = part.plan.root().map(|node| node.properties.clone()).unwrap_or_default();
            self.add_output((index, part_index), &mut operator, part, root, &distribution)?;
        }
        Ok(())
    }

    /// A stored table's watermark, if old rows of it stay as they are; and the end of one that nobody writes any more.
    fn follow_table(
        &mut self,
        index: usize,
        job: &PlannedJob,
        object: &Object,
        node: NodeId,
        open: &dyn OpenInput,
    ) -> Result<()> {
        let column = time_column(object).filter(|_| object.insert_only);
        let delay = if column.is_some() { open.delay(object)? } else { None };
        let input = Input { parts: Parts::Shares, delay, restored: restored(job, object.id) };
        self.flow.timed.push(timed(node, index, source_key(object.id), column, input));
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
        let from = from(job, object.id);
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
        (index, part_index): (usize, usize),
        operator: &mut u32,
        part: &Part,
        root: NodeId,
        properties: &crate::plan::Properties,
    ) -> Result<()> {
        let schema = self.flow.nodes[root].schema.clone();
        let mut add = |builder: &mut Self, role, inputs| {
            let origin = Origin::Output { part: part_index };
            let node = builder.push(origin, (index, *operator), role, schema.clone(), inputs);
            *operator += 1;
            node
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

/// The place of the column that an object's WATERMARK clause names.
fn time_column(object: &Object) -> Option<usize> {
    let name = object.properties.get(COLUMN)?;
    object.columns.iter().position(|column| column.name == *name)
}

fn timed(node: NodeId, job: usize, key: String, column: Option<usize>, input: Input) -> TimedInput {
    TimedInput { node, jobs: vec![job], key, column, input, idle_timeout: None, late: None }
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
