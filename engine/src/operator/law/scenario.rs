//! Random scenarios: which changes arrive in which batches and epochs, and when the operator is saved and restarted.

use arrow::datatypes::{DataType, SchemaRef};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::Union;

use super::{Row, Value, ZSet, add};

/// An input of the operator.
#[derive(Debug, Clone)]
pub struct Input {
    /// Columns of its rows.
    pub schema: SchemaRef,
    /// Columns by whose hash rows are routed to instances. None: all rows go to one instance.
    pub route: Vec<usize>,
    /// Rows only ever appear.
    pub insert_only: bool,
    /// At most one row at a time with equal values in these columns.
    pub unique: Option<Vec<usize>>,
    /// Every instance gets all rows.
    pub everywhere: bool,
}

impl Input {
    /// An input with retractions and duplicates.
    pub fn new(schema: SchemaRef, route: &[usize]) -> Self {
        Self { schema, route: route.to_vec(), insert_only: false, unique: None, everywhere: false }
    }

    /// Without retractions.
    pub fn insert_only(mut self) -> Self {
        self.insert_only = true;
        self
    }

    /// Broadcast to all instances.
    pub fn everywhere(mut self) -> Self {
        self.everywhere = true;
        self
    }

    /// With a key.
    pub fn unique(mut self, columns: &[usize]) -> Self {
        self.unique = Some(columns.to_vec());
        self
    }
}

/// One epoch.
#[derive(Debug, Clone)]
pub struct EpochPlan {
    /// Input number and events of each batch, in order of arrival.
    pub batches: Vec<(usize, Vec<(Row, i64)>)>,
    /// A checkpoint follows the epoch.
    pub checkpoint: bool,
    /// After the checkpoint fresh instances take over, so many.
    pub restart: Option<usize>,
    /// They read the folded state instead of all deltas.
    pub fold: bool,
}

/// A whole run.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Instances at the start.
    pub instances: usize,
    /// What happens.
    pub epochs: Vec<EpochPlan>,
}

/// A step as drawn, before it is made valid.
#[derive(Debug, Clone)]
struct Draft {
    input: usize,
    row: Row,
    kind: u8,
    pick: Index,
    order: u8,
    cut: bool,
}

/// Strategy of values of a type: few different ones, so that keys collide.
fn value(data_type: &DataType, nullable: bool) -> BoxedStrategy<Value> {
    let some = match data_type {
        DataType::Boolean => any::<bool>().prop_map(Value::Bool).boxed(),
        DataType::Float32 | DataType::Float64 => {
            prop::sample::select(vec![0.0, 1.5, -2.5, f64::INFINITY]).prop_map(Value::Float).boxed()
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let texts = vec!["", "a", "b", "twelve bytes", "longer than twelve bytes", "longer than twelve bytez"];
            prop::sample::select(texts).prop_map(|text| Value::Text(text.to_owned())).boxed()
        }
        DataType::List(field) => {
            let item = value(field.data_type(), field.is_nullable());
            prop::collection::vec(item, 0..4).prop_map(Value::List).boxed()
        }
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
            (0_i64..4).prop_map(Value::Int).boxed()
        }
        _ => (-1_i64..4).prop_map(Value::Int).boxed(),
    };
    if nullable { prop_oneof![1 => Just(Value::Null), 5 => some].boxed() } else { some }
}

fn draft(inputs: &[Input]) -> BoxedStrategy<Draft> {
    let rows = inputs.iter().enumerate().map(|(index, input)| {
        let fields = input.schema.fields().iter();
        let columns = fields.map(|field| value(field.data_type(), field.is_nullable())).collect::<Vec<_>>();
        columns.prop_map(move |row| (index, row)).boxed()
    });
    (Union::new(rows), 0_u8..8, any::<Index>(), any::<u8>(), prop::bool::weighted(0.2))
        .prop_map(|((input, row), kind, pick, order, cut)| Draft { input, row, kind, pick, order, cut })
        .boxed()
}

/// Strategy of valid scenarios over these inputs.
pub(super) fn scenarios(inputs: &[Input]) -> BoxedStrategy<Scenario> {
    let inputs = inputs.to_vec();
    let fates = (prop::bool::weighted(0.5), prop::option::weighted(0.4, 1_usize..4), any::<bool>());
    let epoch = (prop::collection::vec(draft(&inputs), 0..14), fates);
    (1_usize..4, prop::collection::vec(epoch, 1..8))
        .prop_map(move |(instances, drafts)| {
            let mut totals = vec![ZSet::new(); inputs.len()];
            let epochs = drafts.into_iter().map(|(drafts, (checkpoint, restart, fold))| EpochPlan {
                batches: batches(&inputs, &mut totals, drafts),
                checkpoint,
                restart,
                fold,
            });
            let epochs = epochs.collect();
            Scenario { instances, epochs }
        })
        .boxed()
}

/// Makes drafts valid: what is retracted is there by the end of the epoch, though perhaps not yet when it is retracted.
fn batches(inputs: &[Input], totals: &mut [ZSet], drafts: Vec<Draft>) -> Vec<(usize, Vec<(Row, i64)>)> {
    let mut events = Vec::new();
    for draft in drafts {
        let (input, total) = (&inputs[draft.input], &mut totals[draft.input]);
        for (row, weight) in valid(input, total, &draft) {
            add(total, row.clone(), weight);
            events.push((draft.order, draft.cut, draft.input, row, weight));
        }
    }
    // A stable sort: equal draws stay in order, so that an unshuffled run is the simplest one.
    events.sort_by_key(|event| event.0);
    let mut batches: Vec<(usize, Vec<(Row, i64)>)> = Vec::new();
    for (_, cut, input, row, weight) in events {
        match batches.last_mut() {
            Some((last, events)) if *last == input && !cut => events.push((row, weight)),
            _ => batches.push((input, vec![(row, weight)])),
        }
    }
    batches
}

fn valid(input: &Input, total: &ZSet, draft: &Draft) -> Vec<(Row, i64)> {
    let retract = draft.kind < 3 && !total.is_empty() && !input.insert_only;
    if retract {
        let chosen = draft.pick.index(total.len());
        return total.keys().nth(chosen).map(|row| (row.clone(), -1)).into_iter().collect();
    }
    if let Some(key) = &input.unique {
        let same = |row: &&Row| key.iter().all(|column| row[*column] == draft.row[*column]);
        return match total.keys().find(same) {
            Some(_) if input.insert_only => vec![],
            Some(old) => vec![(old.clone(), -1), (draft.row.clone(), 1)],
            None => vec![(draft.row.clone(), 1)],
        };
    }
    let weight = if draft.kind == 7 && !input.insert_only { 2 } else { 1 };
    vec![(draft.row.clone(), weight)]
}
