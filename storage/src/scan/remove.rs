//! The operator over data files whose rows the hot tier may remove, or that have rows deleted by position.
//!
//! It is also a wall: limits and filters are not pushed through it, because what is below reads rows that do not count.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::config::ConfigOptions;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use futures::StreamExt;

use super::hot::{HotRows, Removed};
use crate::error::{Error, Result};

/// See the module's description.
#[derive(Debug)]
pub struct RemoveExec {
    input: Arc<dyn ExecutionPlan>,
    /// What is removed; `None`: nothing, this is only a wall.
    hot: Option<Arc<HotRows>>,
    /// Where the input has the columns that decide.
    deciding: Vec<usize>,
    /// The first so many columns of the input go out.
    width: usize,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl RemoveExec {
    /// A wall over a scan that leaves out rows by position.
    pub fn barrier(input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        let (width, schema) = (input.schema().fields().len(), input.schema());
        Arc::new(Self::build(input, None, Vec::new(), width, schema))
    }

    /// Removes what `hot` says. `columns`: the table's columns that the input has; the first `width` of them go out.
    pub fn removing(
        input: Arc<dyn ExecutionPlan>,
        hot: Arc<HotRows>,
        columns: &[usize],
        width: usize,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let place = |column: &usize| {
            let place = columns.iter().position(|other| other == column);
            place.ok_or_else(|| Error::internal("the scan lacks a key column"))
        };
        let deciding = hot.columns().iter().map(place).collect::<Result<Vec<_>>>()?;
        let schema = Arc::new(input.schema().project(&(0..width).collect::<Vec<_>>())?);
        // Copies are counted over the whole base, so one stream must see all of it.
        let alone = matches!(hot.removed, Removed::Copies { .. }) && input.output_partitioning().partition_count() > 1;
        let input = if alone { Arc::new(CoalescePartitionsExec::new(input)) as _ } else { input };
        Ok(Arc::new(Self::build(input, Some(hot), deciding, width, schema)))
    }

    fn build(
        input: Arc<dyn ExecutionPlan>,
        hot: Option<Arc<HotRows>>,
        deciding: Vec<usize>,
        width: usize,
        schema: SchemaRef,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            datafusion::physical_plan::Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let metrics = ExecutionPlanMetricsSet::new();
        Self { input, hot, deciding, width, properties: Arc::new(properties), metrics }
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self::build(input, self.hot.clone(), self.deciding.clone(), self.width, self.schema()))
    }

    /// Whether the input must be one partition.
    fn counts_copies(&self) -> bool {
        self.hot.as_ref().is_some_and(|hot| matches!(hot.removed, Removed::Copies { .. }))
    }
}

impl DisplayAs for RemoveExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.hot.as_ref().map(|hot| &hot.removed) {
            None | Some(Removed::Nothing) => write!(f, "RemoveExec: nothing more"),
            Some(Removed::Keys(index)) => write!(f, "RemoveExec: hot keys={}", index.len()),
            Some(Removed::Copies { index, .. }) => write!(f, "RemoveExec: hot rows={}", index.len()),
        }
    }
}

impl ExecutionPlan for RemoveExec {
    fn name(&self) -> &str {
        "RemoveExec"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        let single = self.counts_copies();
        vec![if single { Distribution::SinglePartition } else { Distribution::UnspecifiedDistribution }]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let input = children.pop().ok_or_else(|| Error::internal("RemoveExec has one input"))?;
        Ok(self.over(input))
    }

    fn repartitioned(
        &self,
        target_partitions: usize,
        config: &ConfigOptions,
    ) -> DataFusionResult<Option<Arc<dyn ExecutionPlan>>> {
        if self.counts_copies() {
            return Ok(None);
        }
        Ok(self.input.repartitioned(target_partitions, config)?.map(|input| self.over(input)))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DataFusionResult<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let Some(hot) = self.hot.clone() else {
            return Ok(input);
        };
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let (deciding, width, schema) = (self.deciding.clone(), self.width, self.schema());
        let mut copies = hot.copies();
        let stream = input.map(move |batch| {
            let timer = metrics.elapsed_compute().timer();
            let kept = keep(&hot, &batch?, &deciding, width, &schema, &mut copies)?;
            timer.done();
            Ok(kept.record_output(&metrics))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn partition_statistics(&self, partition: Option<usize>) -> DataFusionResult<Statistics> {
        let statistics = without_null_counts(self.input.partition_statistics(partition)?);
        if self.hot.is_none() {
            return Ok(statistics);
        }
        Ok(statistics.project(Some(&(0..self.width).collect::<Vec<_>>())).to_inexact())
    }
}

/// DataFusion 53 takes a join that it expects to be empty for exactly empty, and then subtracts these counts from its 0 rows.
pub(super) fn without_null_counts(mut statistics: Statistics) -> Statistics {
    for column in &mut statistics.column_statistics {
        column.null_count = Precision::Absent;
    }
    statistics
}

fn keep(
    hot: &HotRows,
    batch: &RecordBatch,
    deciding: &[usize],
    width: usize,
    schema: &SchemaRef,
    copies: &mut [u64],
) -> Result<RecordBatch> {
    let columns = deciding.iter().map(|column| batch.column(*column).clone()).collect::<Vec<_>>();
    let stays = hot.stays(&columns, batch.num_rows(), copies)?;
    let narrow = batch.columns()[..width].to_vec();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let narrow = RecordBatch::try_new_with_options(schema.clone(), narrow, &options)?;
    if stays.true_count() == batch.num_rows() {
        return Ok(narrow);
    }
    Ok(filter_record_batch(&narrow, &stays)?)
}
