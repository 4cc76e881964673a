//! How batch plans are optimised: DataFusion's physical rules, without those that conclude too much.
//!
//! - Outer joins: DataFusion 53 carries equivalences of both inputs through every join. If one says that a column is constant
//!   (a filter `c = 4`, an aggregate without groups), it takes the column for constant above the join too, and drops sorts
//!   by it, although the join has added rows in which it is NULL. A `ForgetExec` over such an input hides them.
//! - Semi, anti and mark joins (EXISTS, IN): DataFusion 53 pushes projections into them as if their first columns were those of the
//!   left side, also after it has exchanged the sides. A `ForgetExec` above keeps projections out.
//! - Filters that are pushed down in physical plans, the dynamic ones of joins and of ORDER BY ... LIMIT too: on their way they
//!   find their columns by name, and where two columns have one name they end at the first; and those without columns
//!   (`HAVING NULL`) pass aggregates that give a row over no input. Logical plans are optimised before, by rules that know better, so
//!   that little is lost.
//! - Sorts and exchanges that DataFusion 53 has taken away and that its own last check then misses are put back.

mod requirements;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinType, Result, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties};

/// The rules, in order.
pub fn rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    rules.retain(|rule| !rule.name().starts_with("FilterPushdown"));
    rules.insert(0, Arc::new(OuterJoins));
    // The last rule only checks.
    rules.insert(rules.len().saturating_sub(1), Arc::new(requirements::Requirements));
    rules
}

/// Hides what is known of an input of an outer join and may not hold above the join, and joins that give one side from projections.
#[derive(Debug)]
struct OuterJoins;

impl PhysicalOptimizerRule for OuterJoins {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let covered = plan.transform_up(|node| {
            let Some([left, right]) = join_type(node.as_ref()).map(may_be_null) else {
                return Ok(Transformed::no(node));
            };
            let cover = |input: &Arc<dyn ExecutionPlan>, may_be_null: bool| -> Arc<dyn ExecutionPlan> {
                match may_be_null && !input.equivalence_properties().eq_group().is_empty() {
                    true => Arc::new(ForgetExec::over(input.clone())),
                    false => input.clone(),
                }
            };
            let inputs = node.children();
            let inputs = vec![cover(inputs[0], left), cover(inputs[1], right)];
            let one_sided = join_type(node.as_ref()).is_some_and(has_one_side);
            let join = node.with_new_children(inputs)?;
            Ok(Transformed::yes(if one_sided { Arc::new(ForgetExec::over(join)) } else { join }))
        })?;
        Ok(covered.data)
    }

    fn name(&self) -> &str {
        "outer_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn join_type(plan: &dyn ExecutionPlan) -> Option<JoinType> {
    let plan = plan.as_any();
    plan.downcast_ref::<HashJoinExec>()
        .map(|join| *join.join_type())
        .or_else(|| plan.downcast_ref::<SortMergeJoinExec>().map(SortMergeJoinExec::join_type))
        .or_else(|| plan.downcast_ref::<NestedLoopJoinExec>().map(|join| *join.join_type()))
}

/// Whether a join gives the columns of one input only.
fn has_one_side(join: JoinType) -> bool {
    use JoinType::{LeftAnti, LeftMark, LeftSemi, RightAnti, RightMark, RightSemi};
    matches!(join, LeftAnti | LeftMark | LeftSemi | RightAnti | RightMark | RightSemi)
}

/// Which inputs of a join are NULL in rows without a match.
fn may_be_null(join: JoinType) -> [bool; 2] {
    [matches!(join, JoinType::Right | JoinType::Full), matches!(join, JoinType::Left | JoinType::Full)]
}

/// Gives its input as it is; of which only orderings and the partitioning are known.
#[derive(Debug)]
struct ForgetExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl ForgetExec {
    fn over(input: Arc<dyn ExecutionPlan>) -> Self {
        let orderings = input.equivalence_properties().oeq_class().iter().cloned().collect::<Vec<_>>();
        let known = EquivalenceProperties::new_with_orderings(input.schema(), orderings);
        let properties = Arc::new(input.properties().as_ref().clone().with_eq_properties(known));
        Self { input, properties }
    }
}

impl DisplayAs for ForgetExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ForgetExec")
    }
}

impl ExecutionPlan for ForgetExec {
    fn name(&self) -> &str {
        "ForgetExec"
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

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match <[_; 1]>::try_from(children) {
            Ok([input]) => Ok(Arc::new(Self::over(input))),
            Err(children) => internal_err!("{} inputs where one is wanted", children.len()),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Statistics> {
        self.input.partition_statistics(partition)
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }
}
