//! Batch execution of the logical nodes that DataFusion does not know: our incremental operators, over one epoch that
//! holds all input. So both modes compute the same by construction.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties,
};
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use futures::StreamExt;

use super::build::internal_schema;
use super::logical::{AsOfJoin, Repeat};
use crate::change::{Changes, Weights, batch};
use crate::operator::asof::{AsOf, AsOfSpec};
use crate::operator::{Epoch, Operator, repeat};

/// Plans a query with the nodes of [`super::logical`].
#[derive(Debug)]
pub struct Planner;

#[async_trait]
impl QueryPlanner for Planner {
    async fn create_physical_plan(
        &self,
        logical_plan: &LogicalPlan,
        session_state: &SessionState,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(Extensions)]);
        planner.create_physical_plan(logical_plan, session_state).await
    }
}

struct Extensions;

#[async_trait]
impl ExtensionPlanner for Extensions {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        _session_state: &SessionState,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(kind) = Kind::of(node)? else { return Ok(None) };
        let schema = Arc::new(node.schema().as_arrow().clone());
        Ok(Some(Arc::new(OperatorExec::new(kind, physical_inputs.to_vec(), schema))))
    }
}

/// Which operator runs, with what is known before its inputs are.
#[derive(Debug, Clone)]
enum Kind {
    Repeat { number: usize },
    AsOf(AsOfSpec),
}

impl Kind {
    fn of(node: &dyn UserDefinedLogicalNode) -> Result<Option<Self>> {
        if let Some(node) = node.as_any().downcast_ref::<Repeat>() {
            return Ok(Some(Self::Repeat { number: node.number()? }));
        }
        if let Some(node) = node.as_any().downcast_ref::<AsOfJoin>() {
            return Ok(Some(Self::AsOf(AsOfSpec {
                left: internal_schema(node.sides().0.schema().as_arrow()),
                right: internal_schema(node.sides().1.schema().as_arrow()),
                on: node.on()?,
                time: node.time()?,
                nearest: node.nearest(),
                outer: node.outer(),
                output: internal_schema(UserDefinedLogicalNode::schema(node).as_arrow()),
            })));
        }
        Ok(None)
    }

    fn operator(&self, inputs: &[SchemaRef], output: &SchemaRef) -> crate::Result<Box<dyn Operator>> {
        Ok(match self {
            Self::Repeat { number } => {
                Box::new(repeat::Repeat::new(&inputs[0], *number, internal_schema(output.as_ref()))?)
            }
            Self::AsOf(spec) => Box::new(AsOf::new(spec)?),
        })
    }

    /// Whether every row is treated by itself.
    fn by_row(&self) -> bool {
        matches!(self, Self::Repeat { .. })
    }
}

/// Runs one of our operators in a batch plan. What works on single rows runs in every partition, all else in one.
#[derive(Debug)]
struct OperatorExec {
    kind: Kind,
    inputs: Vec<Arc<dyn ExecutionPlan>>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl OperatorExec {
    fn new(kind: Kind, inputs: Vec<Arc<dyn ExecutionPlan>>, schema: SchemaRef) -> Self {
        let partitions = if kind.by_row() { inputs[0].output_partitioning().partition_count() } else { 1 };
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(schema.clone()),
            Partitioning::UnknownPartitioning(partitions),
            if kind.by_row() { EmissionType::Incremental } else { EmissionType::Final },
            Boundedness::Bounded,
        ));
        Self { kind, inputs, schema, properties }
    }
}

impl DisplayAs for OperatorExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Repeat { number } => write!(f, "RepeatExec: by column {number}"),
            Kind::AsOf(spec) => write!(f, "AsOfJoinExec: on={:?}, {}", spec.on, spec.nearest.comparison()),
        }
    }
}

impl ExecutionPlan for OperatorExec {
    fn name(&self) -> &str {
        "OperatorExec"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.inputs.iter().collect()
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        let wanted =
            if self.kind.by_row() { Distribution::UnspecifiedDistribution } else { Distribution::SinglePartition };
        vec![wanted; self.inputs.len()]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        if children.len() != self.inputs.len() {
            return internal_err!("{} inputs where {} are wanted", children.len(), self.inputs.len());
        }
        Ok(Arc::new(Self::new(self.kind.clone(), children, self.schema.clone())))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schemas = self.inputs.iter().map(|input| internal_schema(&input.schema())).collect::<Vec<_>>();
        let operator = self.kind.operator(&schemas, &self.schema).map_err(external)?;
        let mut inputs = VecDeque::new();
        for (number, input) in self.inputs.iter().enumerate() {
            inputs.push_back((number, input.execute(partition, context.clone())?));
        }
        let run =
            Run { operator: Some(operator), inputs, schemas, output: self.schema.clone(), ready: VecDeque::new() };
        let rows =
            futures::stream::try_unfold(run, |mut run| async move { Ok(run.next().await?.map(|batch| (batch, run))) });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), rows)))
    }
}

/// An operator while it runs.
struct Run {
    /// `None` once it has given everything.
    operator: Option<Box<dyn Operator>>,
    inputs: VecDeque<(usize, SendableRecordBatchStream)>,
    schemas: Vec<SchemaRef>,
    output: SchemaRef,
    ready: VecDeque<RecordBatch>,
}

impl Run {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(Some(batch));
            }
            let Some(operator) = self.operator.as_mut() else { return Ok(None) };
            let mut out = Vec::new();
            match self.inputs.front_mut() {
                Some((number, rows)) => match rows.next().await.transpose()? {
                    Some(rows) => {
                        let rows = batch(&self.schemas[*number], rows.columns().to_vec(), rows.num_rows());
                        let changes = Changes::inserts(rows.map_err(external)?);
                        operator.on_changes(*number, changes, &mut out).map_err(external)?;
                    }
                    None => drop(self.inputs.pop_front()),
                },
                None => {
                    let epoch = Epoch { number: 1, timestamp_ms: 0 };
                    operator.close_epoch(epoch, &mut out).map_err(external)?;
                    self.operator = None;
                }
            }
            for changes in &out {
                self.ready.push_back(rows(changes, &self.output).map_err(external)?);
            }
        }
    }
}

/// Every row as often as its weight says.
fn rows(changes: &Changes, schema: &SchemaRef) -> crate::Result<RecordBatch> {
    let changes = match changes.weights() {
        Weights::Ones => changes.clone(),
        Weights::Each(weights) => {
            let often = |weight: &i64| usize::try_from(*weight).unwrap_or(0);
            let rows = weights.iter().enumerate();
            let rows = rows.flat_map(|(row, weight)| std::iter::repeat_n(row as u32, often(weight)));
            Changes::inserts(changes.rows().clone()).take(&rows.collect::<UInt32Array>())?
        }
    };
    batch(schema, changes.rows().columns().to_vec(), changes.len())
}

fn external(error: crate::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
