//! Watermarks through the plan: which columns of an operator's output have one, and how it follows from its inputs.
//!
//! The rules are found once, from what the operators are; while a job runs only numbers go through them. A column has a
//! watermark if no change of a row with a smaller value can come out any more. That holds for columns that grow with a
//! column of the input that has one (`ts`, `tumble_start(ts)`, `ts + INTERVAL '1' HOUR`, `CAST(ts AS DATE)`), for group
//! and partition columns, for the first order column of OVER windows whose results depend on nothing that is much newer, and for
//! the two columns of a join that are equal or a bounded time apart. It does not hold for other columns of a join or a top-N,
//! however monotone they are: a late partner changes old rows.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::logical_expr::Operator as SqlOperator;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::physical_plan::expressions::{BinaryExpr, CastExpr, Column, Literal};

use super::{IncrementalPlan, Kind};
use crate::operator::join::{JoinKind, bare, intervals, micros};
use crate::operator::over::order_delay;
use crate::operator::unnest::UnnestSpec;
use crate::watermark::{self, Bound, END, is_ordinal};

/// Property of an object: its columns that have a watermark, separated by commas, for a materialized view.
pub const COLUMNS: &str = "frazil.watermark.columns";
/// Property of a table: the column of its WATERMARK clause.
pub const COLUMN: &str = "frazil.watermark.column";
/// Property of a table: the expression of its WATERMARK clause.
pub const EXPRESSION: &str = "frazil.watermark.expression";

/// How an output column's watermark follows: it is the least of the terms, and there is none if a term has none.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The output column.
    pub column: usize,
    /// What it follows from.
    pub terms: Vec<Term>,
}

/// The watermark of an input's column, and what becomes of it.
#[derive(Debug, Clone)]
pub struct Term {
    /// Number of the input.
    pub input: usize,
    /// The input's column.
    pub column: usize,
    /// What becomes of it.
    pub change: Change,
}

/// What becomes of a watermark on its way to the output.
#[derive(Debug, Clone)]
pub enum Change {
    /// Nothing.
    None,
    /// It moves by so many units.
    Shift(i64),
    /// It becomes the value of a monotone expression over a batch with this one column; of a list, its least element.
    Expression(Arc<dyn PhysicalExpr>, SchemaRef),
}

impl Term {
    fn same(input: usize, column: usize) -> Self {
        Self { input, column, change: Change::None }
    }

    fn watermark(&self, inputs: &[&[Bound]]) -> Option<i64> {
        let bound = watermark::of(inputs.get(self.input)?, self.column)?;
        if bound == END {
            return Some(END);
        }
        match &self.change {
            Change::None => Some(bound),
            Change::Shift(by) => Some(bound.saturating_add(*by)),
            Change::Expression(expression, schema) => {
                let column = watermark::from_ordinal(schema.field(0).data_type(), bound)?;
                let row = RecordBatch::try_new(schema.clone(), vec![column]).ok()?;
                // An expression that fails at this value (out of range, say) gives no watermark until it moves on.
                watermark::least(&expression.evaluate(&row).ok()?.into_array(1).ok()?)
            }
        }
    }
}

/// The watermarks of an operator's output, from those of its inputs. Of several rules for a column the best counts.
pub fn follow(rules: &[Rule], inputs: &[&[Bound]]) -> Vec<Bound> {
    let mut bounds: Vec<Bound> = Vec::new();
    for rule in rules {
        let terms = rule.terms.iter().map(|term| term.watermark(inputs));
        let Some(watermark) = terms.collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().min()) else { continue };
        match bounds.iter_mut().find(|bound| bound.column == rule.column) {
            Some(bound) => bound.watermark = bound.watermark.max(watermark),
            None => bounds.push(Bound { column: rule.column, watermark }),
        }
    }
    bounds
}

/// The rules of an operator over inputs with these columns.
pub fn rules(kind: &Kind, inputs: &[SchemaRef], output: &Schema) -> Vec<Rule> {
    let same = |column: usize, from: usize| Rule { column, terms: vec![Term::same(0, from)] };
    match kind {
        Kind::Map { expressions: None, .. } => (0..output.fields().len()).map(|column| same(column, column)).collect(),
        Kind::Unnest(spec) => unnested(spec, output),
        Kind::Map { expressions: Some(expressions), .. } => {
            let rules = expressions.iter().enumerate().filter_map(|(column, expression)| {
                let term = term(expression, inputs.first()?)?;
                Some(Rule { column, terms: vec![term] })
            });
            rules.collect()
        }
        Kind::Union => {
            let all = |column| (0..inputs.len()).map(|input| Term::same(input, column)).collect();
            (0..output.fields().len()).map(|column| Rule { column, terms: all(column) }).collect()
        }
        Kind::Aggregate(spec) => spec.group.iter().enumerate().map(|(column, from)| same(column, *from)).collect(),
        Kind::TopN(spec) => spec.partition.iter().map(|column| same(*column, *column)).collect(),
        Kind::Join(spec) => {
            let width = spec.left.fields().len();
            let mut rules = Vec::new();
            for interval in intervals(spec) {
                let own = [(0, interval.left), (1, interval.right)];
                let places = [interval.left, interval.right + width];
                // A side's rows come out late only with a partner, which bounds them if the difference is bounded.
                let shifts = [interval.least, interval.greatest.map(i64::saturating_neg)];
                let sides = if matches!(spec.kind, JoinKind::Semi | JoinKind::Anti | JoinKind::Mark) { 1 } else { 2 };
                for side in 0..sides {
                    let Some(shift) = shifts[side] else { continue };
                    let other = own[1 - side];
                    let terms = vec![
                        Term::same(own[side].0, own[side].1),
                        Term { input: other.0, column: other.1, change: Change::Shift(shift) },
                    ];
                    let columns = spec.output.iter().enumerate().filter(|(_, from)| **from == places[side]);
                    rules.extend(columns.map(|(column, _)| Rule { column, terms: terms.clone() }));
                }
            }
            rules
        }
        Kind::EmitOnClose(_) => (0..output.fields().len()).map(|column| same(column, column)).collect(),
        // Without the time that it adds.
        Kind::Stamp(_) => (0..output.fields().len() - 1).map(|column| same(column, column)).collect(),
        // Time brings and takes rows of any age.
        Kind::Temporal(_) | Kind::Scan { .. } | Kind::Values(_) => vec![],
        Kind::Over(spec) => {
            let mut rules: Vec<Rule> = spec.partition.iter().map(|column| same(*column, *column)).collect();
            if let Some((column, delay)) = order_delay(spec) {
                let change = Change::Shift(delay.saturating_neg());
                rules.push(Rule { column, terms: vec![Term { input: 0, column, change }] });
            }
            rules
        }
        Kind::Repeat { number } => {
            (0..output.fields().len()).map(|column| same(column, column + usize::from(column >= *number))).collect()
        }
        // Looking back, a right row changes no left row that is older; looking ahead, right rows that come or go are no older
        // than their left rows.
        Kind::AsOf(spec) => {
            let terms = vec![Term::same(0, spec.time.0), Term::same(1, spec.time.1)];
            let right = spec.left.fields().len() + spec.time.1;
            vec![Rule { column: if spec.nearest.looks_back() { spec.time.0 } else { right }, terms }]
        }
    }
}

/// Columns stay in their places if no struct is opened and every list once, to its elements.
fn unnested(spec: &UnnestSpec, output: &Schema) -> Vec<Rule> {
    let once = |n: usize| spec.lists[..n].iter().all(|other| other.column != spec.lists[n].column);
    let plain = spec.structs.is_empty() && (0..spec.lists.len()).all(|n| spec.lists[n].depth == 1 && once(n));
    let same = |column| Rule { column, terms: vec![Term::same(0, column)] };
    (0..output.fields().len()).filter(|_| plain).map(same).collect()
}

/// The columns of every operator's output that have a watermark as soon as the sources have one.
pub fn columns(plan: &IncrementalPlan) -> Vec<BTreeSet<usize>> {
    let mut all: Vec<BTreeSet<usize>> = Vec::with_capacity(plan.nodes.len());
    for node in &plan.nodes {
        let of_node = match &node.kind {
            Kind::Scan { object, .. } => {
                let names = source_columns(object);
                let fields = node.schema.fields().iter().enumerate();
                fields.filter(|(_, field)| names.contains(&field.name().as_str())).map(|(place, _)| place).collect()
            }
            // Constant rows come once: then all their columns are at the end.
            Kind::Values(_) => {
                let fields = node.schema.fields().iter().enumerate();
                fields.filter(|(_, field)| is_ordinal(field.data_type())).map(|(column, _)| column).collect()
            }
            kind => {
                let inputs: Vec<_> = node.inputs.iter().map(|(from, _)| plan.nodes[*from].schema.clone()).collect();
                let has = |term: &Term| all[node.inputs[term.input].0].contains(&term.column);
                let rules = rules(kind, &inputs, &node.schema);
                rules.iter().filter(|rule| rule.terms.iter().all(has)).map(|rule| rule.column).collect()
            }
        };
        all.push(of_node);
    }
    all
}

/// The names of a table's or view's columns that have a watermark.
///
/// Of stored tables only those have one whose rows never change: an old row of another could be updated at any time.
pub fn source_columns(object: &catalog::Object) -> Vec<&str> {
    if object.kind == catalog::ObjectKind::MaterializedView {
        return object.properties.get(COLUMNS).map(|names| names.split(',').collect()).unwrap_or_default();
    }
    let kept = object.kind == catalog::ObjectKind::Connector || object.insert_only;
    object.properties.get(COLUMN).filter(|_| kept).map(String::as_str).into_iter().collect()
}

/// The one column that an expression grows with, and how.
fn term(expression: &Arc<dyn PhysicalExpr>, input: &SchemaRef) -> Option<Term> {
    let expression = bare(expression);
    let column = grows_with(expression, input)?;
    if expression.as_any().is::<Column>() {
        return Some(Term::same(0, column));
    }
    let field = input.field(column);
    let schema = Arc::new(Schema::new(vec![Field::new(field.name(), field.data_type().clone(), true)]));
    let moved = Arc::clone(expression).transform_up(|node| {
        Ok(match node.as_any().downcast_ref::<Column>() {
            Some(column) => Transformed::yes(Arc::new(Column::new(column.name(), 0)) as Arc<dyn PhysicalExpr>),
            None => Transformed::no(node),
        })
    });
    let change = Change::Expression(moved.data().ok()?, schema);
    Some(Term { input: 0, column, change })
}

/// The one column of which an expression is a function that never decreases.
fn grows_with(expression: &Arc<dyn PhysicalExpr>, input: &SchemaRef) -> Option<usize> {
    let any = expression.as_any();
    if let Some(column) = any.downcast_ref::<Column>() {
        return Some(column.index());
    }
    let is_literal = |e: &Arc<dyn PhysicalExpr>| e.as_any().is::<Literal>();
    let fixed = |e: &Arc<dyn PhysicalExpr>| {
        // A month is not always equally long: 30 and 31 January plus one month come out in the wrong order.
        e.as_any().downcast_ref::<Literal>().is_some_and(|l| micros(l.value()).is_some() || is_whole(l))
    };
    if let Some(cast) = any.downcast_ref::<CastExpr>() {
        let from = cast.expr().data_type(input).ok()?;
        return grows_with(cast.expr(), input).filter(|_| keeps_order(&from, cast.cast_type()));
    }
    if let Some(sum) = any.downcast_ref::<BinaryExpr>() {
        return match sum.op() {
            SqlOperator::Plus if fixed(sum.right()) => grows_with(sum.left(), input),
            SqlOperator::Plus if fixed(sum.left()) => grows_with(sum.right(), input),
            SqlOperator::Minus if fixed(sum.right()) => grows_with(sum.left(), input),
            _ => None,
        };
    }
    let call = any.downcast_ref::<ScalarFunctionExpr>()?;
    let mut others = call.args().iter().filter(|argument| !is_literal(argument));
    let (Some(argument), None) = (others.next(), others.next()) else { return None };
    let position = call.args().iter().position(|a| Arc::ptr_eq(a, argument))?;
    let monotone = match call.fun().name() {
        "date_trunc" | "date_bin" => position == 1,
        // Lists of window starts or ends: their least element grows.
        name if name.starts_with("frazil_hop") || name.starts_with("frazil_cumulate") => position == 0,
        name if name.starts_with("frazil_") => position == 0 && says_so(call),
        _ => false,
    };
    let naive = |e: &Arc<dyn PhysicalExpr>| !has_zone(&e.data_type(input).unwrap_or(DataType::Null));
    grows_with(argument, input).filter(|_| monotone && naive(argument))
}

/// Whether a function of our own says that it grows with its first argument.
fn says_so(call: &ScalarFunctionExpr) -> bool {
    let ascending = SortProperties::Ordered(arrow::compute::SortOptions::default());
    let inputs: Vec<_> = (0..call.args().len())
        .map(|n| {
            let sort = if n == 0 { ascending } else { SortProperties::Singleton };
            ExprProperties::new_unknown().with_order(sort)
        })
        .collect();
    call.fun().output_ordering(&inputs).is_ok_and(|order| order == ascending)
}

fn is_whole(literal: &Literal) -> bool {
    literal.value().data_type().is_integer() && !literal.value().is_null()
}

fn has_zone(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(_, Some(zone)) if !is_utc(zone))
}

fn is_utc(zone: &str) -> bool {
    matches!(zone, "UTC" | "+00:00" | "Z")
}

/// Whether a cast of a time or a whole number never puts values in another order. Where clocks are set back, local time
/// repeats, so a change of zones does not.
fn keeps_order(from: &DataType, to: &DataType) -> bool {
    use DataType::{Date32, Date64, Timestamp};
    let times = matches!(from, Timestamp(..) | Date32 | Date64) && matches!(to, Timestamp(..) | Date32 | Date64);
    let numbers = from.is_signed_integer() && to.is_signed_integer() && from.primitive_width() <= to.primitive_width();
    from == to || numbers || (times && !has_zone(from) && !has_zone(to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{IntervalMonthDayNano, TimeUnit};
    use datafusion::common::ScalarValue;

    fn input() -> SchemaRef {
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, true), Field::new("ts", micros, true)]))
    }

    fn plus(months: i32, nanoseconds: i64) -> Arc<dyn PhysicalExpr> {
        let span = ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(months, 0, nanoseconds)));
        let literal = Arc::new(Literal::new(span));
        Arc::new(BinaryExpr::new(Arc::new(Column::new("ts", 1)), SqlOperator::Plus, literal))
    }

    #[test]
    fn a_watermark_follows_expressions_that_grow() {
        let date: Arc<dyn PhysicalExpr> = Arc::new(CastExpr::new(plus(0, 3_600_000_000_000), DataType::Date32, None));
        let moved: Arc<dyn PhysicalExpr> = Arc::new(Column::new("ts", 1));
        let kind = Kind::Map { predicate: None, expressions: Some(vec![moved, plus(1, 0), plus(0, 5_000), date]) };
        let output = Schema::empty();
        let rules = rules(&kind, &[input()], &output);
        assert_eq!(rules.iter().map(|rule| rule.column).collect::<Vec<_>>(), [0, 2, 3], "months are no fixed span");
        // Half past eleven of the third day after 1970-01-01, and an hour later.
        let at = 3 * 86_400_000_000 + 84_600_000_000;
        let bounds = follow(&rules, &[&[Bound { column: 1, watermark: at }]]);
        let watermarks: Vec<_> = bounds.iter().map(|bound| (bound.column, bound.watermark)).collect();
        assert_eq!(watermarks, [(0, at), (2, at + 5), (3, 4)]);
        let ended = follow(&rules, &[&[Bound { column: 1, watermark: END }]]);
        assert!(ended.iter().all(|bound| bound.watermark == END));
        assert_eq!(follow(&rules, &[&[]]), []);
    }

    #[test]
    fn a_union_is_as_far_as_its_slowest_input() {
        let rules = rules(&Kind::Union, &[input(), input()], &input());
        let (slow, fast) = ([Bound { column: 1, watermark: 5 }], [Bound { column: 1, watermark: END }]);
        assert_eq!(follow(&rules, &[&slow, &fast]), slow);
        assert_eq!(follow(&rules, &[&slow, &[]]), []);
    }
}
