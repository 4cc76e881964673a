//! Carrying outer columns through what has several inputs or makes several rows of one: UNION, joins, UNNEST, VALUES.

use std::sync::Arc;

use datafusion::common::{Column, JoinType, Result};
use datafusion::logical_expr::builder::unnest_with_options;
use datafusion::logical_expr::{BinaryExpr, Expr, Join, LogicalPlan, Operator, Union, Unnest, Values, when};

use super::project;
use super::pull::{Dependent, Pulled};
use super::rebuild::{self, named_like};

impl Dependent<'_> {
    pub(super) fn union(&mut self, union: &Union) -> Result<Pulled> {
        let names = self.key_names();
        let mut inputs = Vec::new();
        for input in &union.inputs {
            let below = self.pull(input)?;
            let columns = input.schema().columns().into_iter().map(Expr::Column).collect();
            let mut exprs = named_like(&union.schema, columns);
            let keys = below.keys.into_iter().map(Expr::Column).zip(&names);
            exprs.extend(keys.map(|(key, name)| key.alias(name)));
            inputs.push(Arc::new(project(below.plan, exprs)?));
        }
        let plan = LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?);
        Ok(Pulled { plan, keys: names.iter().map(Column::from_name).collect() })
    }

    fn key_names(&mut self) -> Vec<String> {
        let relation = self.name("key");
        (0..self.outer().len()).map(|n| format!("{relation}_{n}")).collect()
    }

    pub(super) fn join(&mut self, join: &Join) -> Result<Pulled> {
        use JoinType::{Full, Inner, Left, LeftAnti, LeftMark, LeftSemi, Right, RightAnti, RightMark, RightSemi};
        let (left, right) = (self.refers(&join.left), self.refers(&join.right));
        // Which sides must have the outer columns: the one whose rows are kept always, the other if it takes any.
        let (pull_left, pull_right) = match join.join_type {
            Inner => (left || !right, right),
            Left | LeftSemi | LeftAnti | LeftMark => (true, right),
            Right | RightSemi | RightAnti | RightMark => (left, true),
            Full => (true, true),
        };
        let side = |this: &mut Self, pull: bool, plan: &Arc<LogicalPlan>| match pull {
            true => this.pull(plan).map(|pulled| (Arc::new(pulled.plan), pulled.keys)),
            false => Ok((Arc::clone(plan), vec![])),
        };
        let (left_plan, left_keys) = side(self, pull_left, &join.left)?;
        let (right_plan, right_keys) = side(self, pull_right, &join.right)?;
        let keeps_right = matches!(join.join_type, Right | RightSemi | RightAnti | RightMark);
        let keys = if pull_left && !keeps_right { left_keys.clone() } else { right_keys.clone() };
        let mut on = Vec::new();
        for (l, r) in &join.on {
            on.push((self.inner(l.clone(), &keys)?, self.inner(r.clone(), &keys)?));
        }
        let mut filter = join.filter.clone().map(|filter| self.inner(filter, &keys)).transpose()?;
        if pull_left && pull_right {
            for (l, r) in left_keys.iter().zip(&right_keys) {
                let (l, r) = (Expr::Column(l.clone()), Expr::Column(r.clone()));
                let same = Expr::BinaryExpr(BinaryExpr::new(Box::new(l), Operator::IsNotDistinctFrom, Box::new(r)));
                filter = Some(match filter {
                    Some(filter) => filter.and(same),
                    None => same,
                });
            }
        }
        let joined = Join::try_new(
            left_plan,
            right_plan,
            on,
            filter,
            join.join_type,
            join.join_constraint,
            join.null_equality,
            join.null_aware,
        )?;
        let plan = LogicalPlan::Join(joined);
        if join.join_type == Full {
            // A row that one side lacks has its keys from the other.
            let names = self.key_names();
            let mut exprs: Vec<Expr> = join.schema.columns().into_iter().map(Expr::Column).collect();
            for ((l, r), name) in left_keys.into_iter().zip(right_keys).zip(&names) {
                let either = when(Expr::Column(l.clone()).is_not_null(), Expr::Column(l)).otherwise(Expr::Column(r))?;
                exprs.push(either.alias(name));
            }
            return Ok(Pulled { plan: project(plan, exprs)?, keys: names.iter().map(Column::from_name).collect() });
        }
        let columns = join.schema.columns().into_iter().map(Expr::Column).collect();
        self.with_keys(plan, columns, keys)
    }

    pub(super) fn unnest(&mut self, unnest: &Unnest) -> Result<Pulled> {
        let below = self.pull(&unnest.input)?;
        let mut plan = below.plan;
        if self.pad {
            let padded = rebuild::padded_lists(unnest)?;
            let schema = plan.schema().clone();
            let exprs = schema.columns().into_iter().map(|column| {
                let list = padded.iter().find(|(list, _)| *list == column);
                list.map_or(Expr::Column(column.clone()), |(_, list)| list.clone())
            });
            plan = project(plan, named_like(&schema, exprs.collect()))?;
        }
        let plan = unnest_with_options(plan, unnest.exec_columns.clone(), unnest.options.clone())?;
        let columns = unnest.schema.columns().into_iter().map(Expr::Column).collect();
        self.with_keys(plan, columns, below.keys)
    }

    /// One row of constants and outer columns for each row of VALUES.
    pub(super) fn values(&mut self, values: &Values) -> Result<Pulled> {
        let names = self.key_names();
        let mut inputs = Vec::new();
        for row in &values.values {
            let domain = self.domain()?;
            let mut exprs = named_like(&values.schema, self.all_inner(row, &domain.keys)?);
            exprs.extend(domain.keys.into_iter().map(Expr::Column).zip(&names).map(|(key, name)| key.alias(name)));
            inputs.push(Arc::new(project(domain.plan, exprs)?));
        }
        let keys = names.iter().map(Column::from_name).collect();
        if let [one] = inputs.as_slice() {
            return Ok(Pulled { plan: one.as_ref().clone(), keys });
        }
        Ok(Pulled { plan: LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?), keys })
    }
}
