//! The law of operators, for top-N and row numbers.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use arrow::datatypes::{Field, Schema};

use super::*;
use crate::operator::law::{Input, Law, Row, Value, ZSet, add, repeated, sql_oracle};

fn input() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("p", DataType::Int64, true),
        Field::new("a", DataType::Int32, true),
        Field::new("t", DataType::Utf8View, true),
    ]))
}

const DESC: SortOptions = SortOptions { descending: true, nulls_first: true };
const ASC: SortOptions = SortOptions { descending: false, nulls_first: false };

fn spec(
    partition: &[usize],
    order: &[(usize, SortOptions)],
    offset: usize,
    limit: Option<usize>,
    rank: Rank,
) -> TopNSpec {
    let mut fields = input().fields().to_vec();
    if rank == Rank::RowNumber {
        fields.push(Arc::new(Field::new("rn", DataType::UInt64, false)));
    }
    TopNSpec {
        input: input(),
        partition: partition.to_vec(),
        order: order.to_vec(),
        offset,
        limit,
        rank,
        insert_only: false,
        output: Arc::new(Schema::new(fields)),
    }
}

fn compare(order: &[(usize, SortOptions)], a: &Row, b: &Row) -> Ordering {
    let ascending = (0..a.len()).map(|column| (column, ASC));
    order.iter().copied().chain(ascending).fold(Ordering::Equal, |so_far, (column, options)| {
        so_far.then_with(|| match (a[column].is_null(), b[column].is_null()) {
            (false, false) if options.descending => b[column].cmp(&a[column]),
            (false, false) => a[column].cmp(&b[column]),
            (a, b) if options.nulls_first => b.cmp(&a),
            (a, b) => a.cmp(&b),
        })
    })
}

fn oracle(spec: &TopNSpec, total: &ZSet) -> ZSet {
    let mut partitions: BTreeMap<Row, Vec<Row>> = BTreeMap::new();
    for row in repeated(total) {
        let key = spec.partition.iter().map(|column| row[*column].clone()).collect();
        partitions.entry(key).or_default().push(row);
    }
    let mut answer = ZSet::new();
    for mut rows in partitions.into_values() {
        rows.sort_by(|a, b| compare(&spec.order, a, b));
        let numbered = rows.into_iter().enumerate().skip(spec.offset).take(spec.limit.unwrap_or(usize::MAX));
        for (position, mut row) in numbered {
            if spec.rank == Rank::RowNumber {
                row.push(Value::Int(position as i64 + 1));
            }
            add(&mut answer, row, 1);
        }
    }
    answer
}

fn law(spec: TopNSpec) -> Law {
    let mut rows = Input::new(input(), &spec.partition);
    rows.insert_only = spec.insert_only;
    let for_oracle = spec.clone();
    let make = move || {
        let top = TopN::new(&spec).unwrap();
        Box::new(top) as Box<dyn Operator>
    };
    Law::new(vec![rows], make, move |seen| oracle(&for_oracle, &seen.totals[0]))
}

#[test]
fn obeys_the_law_in_every_shape() {
    let orders: [&[(usize, SortOptions)]; 4] = [&[(1, ASC)], &[(1, DESC)], &[(2, DESC), (1, ASC)], &[]];
    for partition in [&[0_usize][..], &[]] {
        for order in orders {
            for (offset, limit) in [(0, Some(1)), (0, Some(3)), (1, Some(2)), (2, None), (0, None), (0, Some(0))] {
                for rank in [Rank::None, Rank::RowNumber] {
                    let spec = spec(partition, order, offset, limit, rank);
                    law(TopNSpec { insert_only: true, ..spec.clone() }).check(4);
                    law(spec).check(5);
                }
            }
        }
    }
}

#[test]
fn the_first_row_of_each_partition() {
    for insert_only in [false, true] {
        law(TopNSpec { insert_only, ..spec(&[0], &[(1, DESC)], 0, Some(1), Rank::None) }).check(128);
    }
}

#[test]
fn agrees_with_sql() {
    let spec = spec(&[0], &[(1, DESC)], 0, Some(2), Rank::RowNumber);
    let sql =
        "select * from (select *, row_number() over (partition by p order by a desc, p, a, t) rn from i) where rn <= 2";
    let sql = sql_oracle(&[("i", input())], sql);
    let make = move || {
        let top = TopN::new(&spec).unwrap();
        Box::new(top) as Box<dyn Operator>
    };
    Law::new(vec![Input::new(input(), &[0])], make, sql).check(12);
}

#[test]
fn an_insert_only_input_leaves_only_the_window_in_the_state() {
    let spec = TopNSpec { insert_only: true, ..spec(&[], &[(1, DESC)], 1, Some(2), Rank::None) };
    let mut top = TopN::new(&spec).unwrap();
    let mut out = Vec::new();
    for number in 0..20_i64 {
        let row = |a: i64| vec![Value::Null, Value::Int(a), Value::Text("x".into())];
        let rows = crate::operator::law::batch_of(&input(), &[row(number % 7), row(number), row(-number)]);
        top.on_changes(0, Changes::inserts(rows), &mut out).unwrap();
        top.close_epoch(Epoch { number: number as u64, timestamp_ms: 0 }, &mut out).unwrap();
    }
    assert!(top.state_rows() <= 3, "{}", top.state_rows());
}

#[test]
fn work_does_not_grow_with_the_partition() {
    let row = |a: i64| vec![Value::Null, Value::Int(a), Value::Null];
    let change = |top: &mut TopN, a: i64, weight: i64| {
        let before = top.walked;
        let rows = crate::operator::law::batch_of(&input(), &[row(a)]);
        top.on_changes(0, Changes::weighted(rows, vec![weight]), &mut vec![]).unwrap();
        top.close_epoch(Epoch { number: 2, timestamp_ms: 0 }, &mut vec![]).unwrap();
        top.walked - before
    };
    let work = |rank: Rank, size: i64, copies: i64| {
        let spec = spec(&[], &[(1, ASC)], 0, Some(5), rank);
        let output = match rank {
            Rank::Rank | Rank::DenseRank => {
                let place = Arc::new(Field::new("place", DataType::UInt64, false));
                Arc::new(Schema::new([spec.output.fields().to_vec(), vec![place]].concat()))
            }
            _ => spec.output.clone(),
        };
        let mut top = TopN::new(&TopNSpec { output, ..spec }).unwrap();
        let rows = (0..size).map(|a| row(2 * a)).collect::<Vec<_>>();
        let rows = crate::operator::law::batch_of(&input(), &rows);
        top.on_changes(0, Changes::weighted(rows, vec![copies; size as usize]), &mut vec![]).unwrap();
        top.close_epoch(Epoch { number: 1, timestamp_ms: 0 }, &mut vec![]).unwrap();
        // In front, in the middle, at the end: come and gone.
        [-1, size, 2 * size].map(|a| change(&mut top, a + 1 - a % 2, 1) + change(&mut top, a + 1 - a % 2, -1))
    };
    for rank in [Rank::None, Rank::RowNumber, Rank::Rank, Rank::DenseRank] {
        for copies in [1, 2] {
            let (small, large) = (work(rank, 100, copies), work(rank, 10_000, copies));
            assert_eq!(small, large, "{rank:?}, {copies} of each");
            assert!(large.iter().all(|rows| *rows <= 2 * 8), "{rank:?}: {large:?}");
        }
    }
}

#[test]
fn positions_stay_right_in_a_long_partition() {
    let spec = spec(&[], &[(1, ASC)], 0, None, Rank::RowNumber);
    let mut top = TopN::new(&spec).unwrap();
    let batch = |range: std::ops::Range<i64>, step: usize| {
        let rows = range.step_by(step).map(|a| vec![Value::Null, Value::Int(a), Value::Null]).collect::<Vec<_>>();
        Changes::inserts(crate::operator::law::batch_of(&input(), &rows))
    };
    let close = |top: &mut TopN, number: u64, changes: Changes| {
        let mut out = Vec::new();
        top.on_changes(0, changes, &mut out).unwrap();
        top.close_epoch(Epoch { number, timestamp_ms: 0 }, &mut out).unwrap();
        out.iter().map(Changes::len).sum::<usize>()
    };
    assert_eq!(close(&mut top, 1, batch(0..20_000, 2)), 10_000);
    // One row in the middle moves all that follow, and only those.
    assert_eq!(close(&mut top, 2, batch(15_001..15_002, 1)), 1 + 2 * 2499);
    assert_eq!(close(&mut top, 3, batch(15_001..15_002, 1).negated()), 1 + 2 * 2499);
    assert_eq!(close(&mut top, 4, batch(0..20_000, 2).negated()), 10_000);
    assert_eq!(top.state_rows(), 0);
}

#[test]
fn a_column_of_any_type_can_be_ordered_by() {
    let list = DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)));
    let types = [
        DataType::Boolean,
        DataType::Float64,
        DataType::Utf8,
        DataType::Date32,
        DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, None),
        DataType::UInt8,
        DataType::Decimal128(20, 0),
        list,
    ];
    for data_type in types {
        for options in [ASC, DESC] {
            let nested = data_type.is_nested();
            let schema: SchemaRef = Arc::new(Schema::new(vec![
                Field::new("x", data_type.clone(), !nested),
                Field::new("p", DataType::Int8, true),
            ]));
            let spec = TopNSpec {
                input: schema.clone(),
                output: schema.clone(),
                insert_only: true,
                ..spec(&[1], &[(0, options)], 0, Some(2), Rank::None)
            };
            let for_oracle = spec.clone();
            let make = move || {
                let top = TopN::new(&spec).unwrap();
                Box::new(top) as Box<dyn Operator>
            };
            let input = Input::new(schema, &[1]).insert_only();
            Law::new(vec![input], make, move |seen| oracle(&for_oracle, &seen.totals[0])).check(8);
        }
    }
}

#[test]
fn refuses_a_schema_without_room_for_the_row_number() {
    let wrong = TopNSpec { rank: Rank::RowNumber, ..spec(&[], &[], 0, None, Rank::None) };
    assert!(TopN::new(&wrong).unwrap_err().to_string().contains("does not fit"));
}

/// Rows with their rank by a column, ranks from `offset + 1` to `offset + limit`.
fn ranks(spec: &TopNSpec, total: &ZSet) -> ZSet {
    let by = |row: &Row| spec.order.iter().map(|(column, _)| row[*column].clone()).collect::<Row>();
    let mut partitions: BTreeMap<Row, Vec<Row>> = BTreeMap::new();
    for row in repeated(total) {
        partitions.entry(spec.partition.iter().map(|column| row[*column].clone()).collect()).or_default().push(row);
    }
    let mut answer = ZSet::new();
    for mut rows in partitions.into_values() {
        rows.sort_by(|a, b| compare(&spec.order, a, b));
        let (mut rank, mut dense) = (0, 0);
        for (place, row) in rows.iter().enumerate() {
            if place == 0 || by(&rows[place - 1]) != by(row) {
                (rank, dense) = (place as i64 + 1, dense + 1);
            }
            let shown = if spec.rank == Rank::Rank { rank } else { dense };
            let end = spec.limit.map_or(i64::MAX, |limit| (spec.offset + limit) as i64);
            if shown > spec.offset as i64 && shown <= end {
                add(&mut answer, row.iter().cloned().chain([Value::Int(shown)]).collect(), 1);
            }
        }
    }
    answer
}

#[test]
fn ranks_are_shared_by_peers() {
    for rank in [Rank::Rank, Rank::DenseRank] {
        for order in [&[(1, DESC)][..], &[(1, ASC), (2, ASC)], &[]] {
            for (offset, limit) in [(0, Some(1)), (0, Some(2)), (1, Some(2)), (0, Some(0)), (1, None)] {
                for insert_only in [false, true] {
                    let mut spec = TopNSpec { insert_only, ..spec(&[0], order, offset, limit, rank) };
                    let mut fields = input().fields().to_vec();
                    fields.push(Arc::new(Field::new("rank", DataType::UInt64, false)));
                    spec.output = Arc::new(Schema::new(fields));
                    let mut rows = Input::new(input(), &spec.partition);
                    rows.insert_only = insert_only;
                    let for_oracle = spec.clone();
                    let make = move || {
                        let top = TopN::new(&spec).unwrap();
                        Box::new(top) as Box<dyn Operator>
                    };
                    Law::new(vec![rows], make, move |seen| ranks(&for_oracle, &seen.totals[0])).check(6);
                }
            }
        }
    }
}
