//! Aggregates that give a row over no input: those without groups, and those with an empty grouping set among their sets.
//!
//! DataFusion 53 pushes a filter without columns (`HAVING 1 = 0` after its NULLs are folded, `count(*) = 1 AND count(*) = 2`)
//! below any aggregate, which is right for groups only: an aggregate without groups then still gives its row. And it takes
//! grouping sets over an empty relation away with their empty set. Its rules leave such aggregates alone here.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// The rules that are not meant for these aggregates.
const RULES: [&str; 2] = ["propagate_empty_relation", "push_down_filter"];

/// The rule, kept away from such aggregates if it is one of those.
pub fn respected(rule: Arc<dyn OptimizerRule + Send + Sync>) -> Arc<dyn OptimizerRule + Send + Sync> {
    if RULES.contains(&rule.name()) { Arc::new(Respectful { rule }) } else { rule }
}

#[derive(Debug)]
struct Respectful {
    rule: Arc<dyn OptimizerRule + Send + Sync>,
}

impl OptimizerRule for Respectful {
    fn name(&self) -> &str {
        self.rule.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.rule.apply_order()
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        if gives_row_of_nothing(&plan) { Ok(Transformed::no(plan)) } else { self.rule.rewrite(plan, config) }
    }
}

/// Whether this is such an aggregate, or filters right above one.
fn gives_row_of_nothing(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(aggregate) => matches!(aggregate.group_expr.as_slice(), [] | [Expr::GroupingSet(_)]),
        LogicalPlan::Filter(filter) => gives_row_of_nothing(&filter.input),
        _ => false,
    }
}
