//! Gives every operator the order and the distribution that it requires of its inputs.
//!
//! DataFusion's rules do so too, and then others take sorts, merges and exchanges away that seem to be superfluous: below a cross
//! join whose side is read as a whole, where two columns are equal, or below ORDER BY in a subquery. The last check of a plan then
//! fails. Here what is missing comes back; a plan that lacks nothing stays as it is.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::{Distribution, LexOrdering, Partitioning};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

/// Puts sorts, merges and exchanges where an operator requires them and its input does not have them.
#[derive(Debug)]
pub(super) struct Requirements;

impl PhysicalOptimizerRule for Requirements {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| met(node, config.execution.target_partitions)).map(|met| met.data)
    }

    fn name(&self) -> &str {
        "requirements"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn met(node: Arc<dyn ExecutionPlan>, partitions: usize) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let (orders, distributions) = (node.required_input_ordering(), node.required_input_distribution());
    let hashed = node.children().into_iter().zip(&distributions);
    let hashed = hashed.filter(|(_, distribution)| matches!(distribution, Distribution::HashPartitioned(_)));
    let hashed: Vec<_> = hashed.map(|(input, distribution)| (input.clone(), distribution)).collect();
    let scattered = hashed.iter().any(|(input, distribution)| {
        let (partitioning, known) = (input.output_partitioning(), input.equivalence_properties());
        !partitioning.satisfaction(distribution, known, true).is_satisfied()
            || partitioning.partition_count() != hashed[0].0.output_partitioning().partition_count()
    });
    let mut changed = false;
    let mut inputs = Vec::new();
    for ((input, order), distribution) in node.children().into_iter().zip(orders).zip(distributions) {
        let mut input = input.clone();
        // All inputs of a join in as many parts, by the same hash.
        if let (true, Distribution::HashPartitioned(keys)) = (scattered, &distribution) {
            let partitioning = Partitioning::Hash(keys.clone(), partitions);
            input = Arc::new(RepartitionExec::try_new(input, partitioning)?);
            changed = true;
        }
        let order = order.map(|order| order.into_single());
        let parts = input.output_partitioning().partition_count();
        if let Some(order) = &order
            && !input.equivalence_properties().ordering_satisfy_requirement(order.clone())?
        {
            let sort = SortExec::new(LexOrdering::from(order.clone()), input).with_preserve_partitioning(parts > 1);
            input = Arc::new(sort);
            changed = true;
        }
        if parts > 1 && matches!(distribution, Distribution::SinglePartition) {
            input = match order {
                Some(order) => Arc::new(SortPreservingMergeExec::new(LexOrdering::from(order), input)),
                None => Arc::new(CoalescePartitionsExec::new(input)),
            };
            changed = true;
        }
        inputs.push(input);
    }
    match changed {
        true => Ok(Transformed::yes(node.with_new_children(inputs)?)),
        false => Ok(Transformed::no(node)),
    }
}
