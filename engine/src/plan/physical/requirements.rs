//! Gives every operator the order and the single stream that it requires of its inputs.
//!
//! DataFusion's rules do so too, and then others take sorts and merges away that seem to be superfluous: below a cross join whose
//! side is read as a whole, or where two columns are equal. The last check of a plan then fails. Here what is missing comes back;
//! a plan that lacks nothing stays as it is.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::{Distribution, LexOrdering};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

/// Puts sorts and merges where an operator requires them and its input does not have them.
#[derive(Debug)]
pub(super) struct Requirements;

impl PhysicalOptimizerRule for Requirements {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(met).map(|met| met.data)
    }

    fn name(&self) -> &str {
        "requirements"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn met(node: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let (orders, distributions) = (node.required_input_ordering(), node.required_input_distribution());
    let mut changed = false;
    let mut inputs = Vec::new();
    for ((input, order), distribution) in node.children().into_iter().zip(orders).zip(distributions) {
        let mut input = input.clone();
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
