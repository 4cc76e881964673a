//! OVER windows: what each function's results depend on, and where its evaluation can begin.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{NullTreatment, WindowFunction};
use datafusion::logical_expr::{
    Expr, ExprSchemable, Window, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
};
use datafusion::physical_expr::window::{PlainAggregateWindowExpr, WindowExpr};
use datafusion::physical_planner::create_window_expr;

use super::columns::Columns;
use super::derive::widens;
use super::{Builder, column, internal_schema, unsupported};
use crate::error::{Error, Result};
use crate::operator::failure::Failing;
use crate::operator::over::{OverSpec, Reach, Start, WindowCall, continues};
use crate::plan::ties::depends_on_order;
use crate::plan::{Distribution, Kind, Properties};

impl Builder<'_> {
    pub(super) fn over(&mut self, window: &Window) -> Result<usize> {
        let input = self.plan_node(&window.input)?;
        self.over_input(input, window)
    }

    /// The window over its input, which is planned.
    pub(super) fn over_input(&mut self, input: usize, window: &Window) -> Result<usize> {
        let input_schema = window.input.schema();
        let width = self.schema(input).fields().len();
        let functions = window.window_expr.iter().map(window_function).collect::<Result<Vec<_>>>()?;
        let first = functions.first().ok_or_else(|| Error::internal("a window without functions"))?;
        let mut columns = Columns::all(self.schema(input));
        let mut partition = Vec::new();
        for expr in &first.params.partition_by {
            partition.push(columns.add(self.physical(expr, input_schema)?, self.schema(input))?);
        }
        // What is constant orders nothing.
        let order = first.params.order_by.iter().filter(|sort| !matches!(sort.expr, Expr::Literal(..)));
        let mut order = self.order(&order.cloned().collect::<Vec<_>>(), input, input_schema, &mut columns)?;
        order.retain(|(column, _)| !partition.contains(column));
        let told_apart = |column: &usize| partition.contains(column) || order.iter().any(|(by, _)| by == column);
        let key = self.properties(input).key.clone();
        let unique = (0..width).all(|column| told_apart(&column)) || key.is_some_and(|key| key.iter().all(told_apart));
        let mut calls = Vec::new();
        // What functions read is computed below, where it is guarded against rows that it cannot be computed for.
        let mut plain = Vec::new();
        for function in &functions {
            plain.push(self.over_columns(function, input, input_schema, &mut columns)?);
        }
        let computed = computed_schema(input_schema, &columns)?;
        for ((expr, function), plain) in window.window_expr.iter().zip(&functions).zip(plain) {
            if !unique && function.params.window_frame.units != WindowFrameUnits::Rows && depends_on_order(function) {
                return Err(unsupported(&format!("{} over a frame of RANGE or GROUPS", function.fun))
                    .hint("which of several rows with equal order keys it takes is arbitrary: use ROWS, or order by a key too"));
            }
            let plain = Expr::from(plain).alias(expr.schema_name().to_string());
            calls.push(self.window_call(&plain, window_function(&plain)?, &computed)?);
        }
        self.push_over(
            input,
            window,
            columns,
            OverSpec {
                input: self.schema(input).clone(),
                partition,
                order,
                calls,
                output: internal_schema(window.schema.as_arrow()),
                failing: Failing::default(),
            },
        )
    }

    /// The function over columns of its input, which are added for expressions that can fail.
    fn over_columns(
        &self,
        function: &WindowFunction,
        input: usize,
        schema: &DFSchema,
        columns: &mut Columns,
    ) -> Result<WindowFunction> {
        let mut plain = |expr: &mut Expr| -> Result<()> {
            if !expr.column_refs().is_empty() && can_fail(expr, schema)? {
                let place = columns.add(self.physical(expr, schema)?, self.schema(input))?;
                // An alias of a column is that column.
                let own = schema.columns().into_iter().nth(place);
                *expr = Expr::Column(own.unwrap_or_else(|| Column::from_name(computed_name(place))));
            }
            Ok(())
        };
        let mut function = function.clone();
        let params = &mut function.params;
        params.args.iter_mut().chain(&mut params.partition_by).try_for_each(&mut plain)?;
        params.order_by.iter_mut().map(|sort| &mut sort.expr).try_for_each(&mut plain)?;
        params.filter.as_deref_mut().into_iter().try_for_each(&mut plain)?;
        Ok(function)
    }

    fn push_over(&mut self, input: usize, window: &Window, columns: Columns, mut spec: OverSpec) -> Result<usize> {
        let width = self.schema(input).fields().len();
        let input = self.columns_below(input, columns);
        let below = self.schema(input).clone();
        let schema = spec.output.clone();
        let results = schema.fields()[width..].iter().cloned();
        spec.input = below.clone();
        spec.output = Arc::new(Schema::new(below.fields().iter().cloned().chain(results).collect::<Vec<_>>()));
        let distribution = match spec.partition.as_slice() {
            [] => Distribution::Single,
            columns => Distribution::Hash(columns.to_vec()),
        };
        if spec.partition.is_empty() {
            self.plan.warnings.push("an OVER window without PARTITION BY runs in a single task".into());
        }
        for (_, expr) in spec.calls.iter().zip(&window.window_expr).filter(|(call, _)| call.is_whole()) {
            let function = window_function(expr)?;
            let frame = &function.params.window_frame;
            let what = "is computed anew for a whole partition whenever one of its rows changes";
            self.plan.warnings.push(format!("{} OVER ({frame}) {what}", function.fun));
        }
        let before = self.properties(input);
        let properties = Properties {
            insert_only: false,
            key: before.key.clone(),
            watermark: before.watermark.clone(),
            distribution: distribution.clone(),
        };
        let (total, output) = (below.fields().len(), spec.output.clone());
        let results = spec.calls.len();
        let node = self.push(Kind::Over(spec), vec![(input, distribution)], output, properties);
        if total == width {
            return self.cast_to(node, &schema);
        }
        // Keys that had to be computed stand between the columns and the results: take them out again.
        let keep = (0..width).chain(total..total + results);
        let expressions = keep.map(|c| column(self.schema(node), c)).collect::<Vec<_>>();
        Ok(self.map(node, None, Some(expressions), schema))
    }

    fn window_call(&self, expr: &Expr, function: &WindowFunction, schema: &DFSchema) -> Result<WindowCall> {
        let refuse = |error: datafusion::error::DataFusionError| {
            unsupported(&format!("the OVER window `{expr}`")).because(error)
        };
        let evaluator = create_window_expr(expr, schema, self.state.execution_props()).map_err(refuse)?;
        evaluator.create_window_fn().map_err(|error| {
            refuse(error).hint("over a frame whose start moves, only aggregates that can take rows back are possible")
        })?;
        let (behind, ahead, start) = dependence(function, evaluator.as_ref())?;
        let filter = match &function.params.filter {
            Some(filter) => Some(self.physical(filter, schema)?),
            None => None,
        };
        let reads = expr.column_refs().into_iter().map(|column| schema.index_of_column(column));
        // Out of a set, whose order is not the same twice.
        let reads = reads.collect::<Result<BTreeSet<_>, _>>()?.into_iter().collect();
        Ok(WindowCall { function: evaluator, behind, ahead, start, filter, reads })
    }
}

/// Whether there may be rows that an expression cannot be computed for.
fn can_fail(expr: &Expr, schema: &DFSchema) -> Result<bool> {
    let mut fails = false;
    expr.apply(|part| {
        fails |= match part {
            Expr::Cast(cast) => !always_casts(&cast.expr.get_type(schema)?, &cast.data_type),
            Expr::BinaryExpr(binary) => !binary.op.supports_propagation() && !binary.op.is_logic_operator(),
            Expr::Column(_) | Expr::Literal(..) | Expr::Not(_) | Expr::IsNull(_) | Expr::IsNotNull(_) => false,
            Expr::IsTrue(_) | Expr::IsFalse(_) | Expr::IsUnknown(_) => false,
            Expr::IsNotTrue(_) | Expr::IsNotFalse(_) | Expr::IsNotUnknown(_) => false,
            _ => true,
        };
        Ok(if fails { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(fails)
}

fn always_casts(from: &DataType, to: &DataType) -> bool {
    let signs = from.is_integer() && to.is_integer() && from.is_signed_integer() != to.is_signed_integer();
    widens(from, to) && !signs || *to == DataType::Float64 && (from.is_integer() || from.is_decimal())
}

fn computed_name(place: usize) -> String {
    format!("__computed_{place}")
}

/// The columns of an input and behind them those that are computed.
fn computed_schema(input: &DFSchema, columns: &Columns) -> Result<DFSchema> {
    let width = input.fields().len();
    let own = input.iter().map(|(relation, field)| (relation.cloned(), field.clone()));
    let computed = columns.fields.iter().enumerate().skip(width);
    let computed = computed
        .map(|(place, field)| (None, Arc::new(Field::new(computed_name(place), field.data_type().clone(), true))));
    Ok(DFSchema::new_with_metadata(own.chain(computed).collect(), Default::default())?)
}

pub(super) fn window_function(expr: &Expr) -> Result<&WindowFunction> {
    match expr {
        Expr::WindowFunction(function) => Ok(function),
        Expr::Alias(alias) => window_function(&alias.expr),
        other => Err(unsupported(&format!("the OVER window `{other}`"))),
    }
}

/// What a function's results depend on, and where its evaluation can begin.
fn dependence(function: &WindowFunction, evaluator: &dyn WindowExpr) -> Result<(Reach, Reach, Start)> {
    let own = || Reach::Rows(0);
    let params = &function.params;
    let frame = &params.window_frame;
    let ignores_nulls = params.null_treatment == Some(NullTreatment::IgnoreNulls);
    let udf = match &function.fun {
        WindowFunctionDefinition::AggregateUDF(_) => {
            let (behind, ahead) = (behind(frame)?, ahead(frame)?);
            let plain = evaluator.as_any().downcast_ref::<PlainAggregateWindowExpr>();
            let running = behind == Reach::All
                && frame.end_bound == WindowFrameBound::CurrentRow
                && plain.is_some_and(|plain| continues(plain.get_aggregate_expr()));
            return Ok((behind, ahead, if running { Start::Running } else { Start::Reach }));
        }
        WindowFunctionDefinition::WindowUDF(udf) => udf,
    };
    Ok(match udf.name() {
        "row_number" => (own(), own(), Start::Position),
        "rank" => (own(), own(), Start::Rank),
        "dense_rank" => (own(), own(), Start::DenseRank),
        "percent_rank" | "cume_dist" | "ntile" => (Reach::All, Reach::All, Start::Reach),
        name @ ("lag" | "lead") => {
            let offset = match params.args.get(1) {
                None => Some(1),
                Some(Expr::Literal(value, _)) => integer(value),
                Some(_) => None,
            };
            let offset = offset.map(|offset| if name == "lag" { offset } else { -offset });
            match offset {
                Some(offset) if !ignores_nulls => {
                    let rows = |rows: i64| Reach::Rows(usize::try_from(rows).unwrap_or(0));
                    (rows(offset), rows(offset.saturating_neg()), Start::Reach)
                }
                _ => (Reach::All, Reach::All, Start::Reach),
            }
        }
        "first_value" if !ignores_nulls => first_rows(frame, 1)?,
        "nth_value" if !ignores_nulls => match params.args.get(1) {
            Some(Expr::Literal(value, _)) if integer(value).is_some_and(|n| n > 0) => {
                first_rows(frame, integer(value).and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX))?
            }
            _ => (behind(frame)?, ahead(frame)?, Start::Reach),
        },
        "last_value" if !ignores_nulls && frame.start_bound.is_unbounded() => {
            // The frame's end alone decides.
            let behind = match &frame.end_bound {
                WindowFrameBound::Preceding(distance) => reach(frame, distance)?,
                _ => here(frame),
            };
            (behind, ahead(frame)?, Start::Reach)
        }
        "first_value" | "last_value" | "nth_value" => (behind(frame)?, ahead(frame)?, Start::Reach),
        other => return Err(unsupported(&format!("the window function {other}"))),
    })
}

/// For functions that take one of the first `head` rows of a frame.
fn first_rows(frame: &WindowFrame, head: usize) -> Result<(Reach, Reach, Start)> {
    if !frame.start_bound.is_unbounded() {
        return Ok((behind(frame)?, ahead(frame)?, Start::Reach));
    }
    let behind = match &frame.end_bound {
        WindowFrameBound::Preceding(distance) => reach(frame, distance)?,
        _ => here(frame),
    };
    let ahead = if frame.end_bound.is_unbounded() { here(frame) } else { ahead(frame)? };
    Ok((behind, ahead, Start::Head(head)))
}

fn behind(frame: &WindowFrame) -> Result<Reach> {
    match &frame.start_bound {
        WindowFrameBound::Preceding(distance) => reach(frame, distance),
        WindowFrameBound::CurrentRow | WindowFrameBound::Following(_) => Ok(here(frame)),
    }
}

fn ahead(frame: &WindowFrame) -> Result<Reach> {
    match &frame.end_bound {
        WindowFrameBound::Following(distance) => reach(frame, distance),
        WindowFrameBound::CurrentRow | WindowFrameBound::Preceding(_) => Ok(here(frame)),
    }
}

fn here(frame: &WindowFrame) -> Reach {
    match frame.units {
        WindowFrameUnits::Rows => Reach::Rows(0),
        WindowFrameUnits::Range | WindowFrameUnits::Groups => Reach::Peers(0),
    }
}

fn reach(frame: &WindowFrame, distance: &ScalarValue) -> Result<Reach> {
    if distance.is_null() {
        return Ok(Reach::All);
    }
    let count = || {
        let count = integer(distance).and_then(|count| usize::try_from(count).ok());
        count.ok_or_else(|| Error::sql(format!("{distance} is not a number of rows")).with("frame", frame))
    };
    Ok(match frame.units {
        WindowFrameUnits::Rows => Reach::Rows(count()?),
        WindowFrameUnits::Groups => Reach::Peers(count()?),
        WindowFrameUnits::Range => Reach::Range(distance.clone()),
    })
}

fn integer(value: &ScalarValue) -> Option<i64> {
    match value.cast_to(&DataType::Int64) {
        Ok(ScalarValue::Int64(value)) => value,
        _ => None,
    }
}
