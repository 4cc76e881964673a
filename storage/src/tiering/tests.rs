//! Random histories of a table - changes, tiering of every kind, compaction - against a plain model: the union scan
//! must equal the model at every version, also at those pinned before later tiering.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::DataType;
use catalog::{Object, TableState, Version};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::TryStreamExt;
use proptest::prelude::*;

use super::*;
use crate::change::Changes;
use crate::error::ErrorKind;
use crate::iceberg::{FileSizes, LoadedTable};
use crate::scan::{DynamicTable, changes_since, read_all};
use crate::testing::{Fault, change, create, faulty_warehouse, memory_warehouse, printed, state, table};
use crate::types;
use crate::warehouse::Warehouse;

/// k, s, n.
type Row = (Option<i64>, Option<String>, i64);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Keyed,
    CompositeKey,
    Multiset,
    InsertOnly,
}

#[derive(Debug, Clone)]
enum Step {
    /// Adds a row (replaces one, in a keyed table). `early`: the new row before the retraction of the old one.
    Put { row: Row, early: bool, retract: bool },
    /// Removes the i-th row of the model, if there is one.
    Remove(usize),
    /// Ends a commit.
    Commit,
    /// Tiers by rewriting (true) or by a delta.
    Tier(bool),
    /// Merges small files, or (true) applies deletes.
    Compact(bool),
}

fn a_row() -> impl Strategy<Value = Row> {
    let text =
        prop_oneof![Just(None), "[ab]{0,2}".prop_map(Some), Just(Some("a text beyond twelve bytes".to_string()))];
    (proptest::option::weighted(0.9, 0_i64..8), text, 0_i64..3)
}

fn a_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (a_row(), any::<bool>(), proptest::bool::weighted(0.8))
            .prop_map(|(row, early, retract)| Step::Put { row, early, retract }),
        4 => (0_usize..20).prop_map(Step::Remove),
        4 => Just(Step::Commit),
        2 => any::<bool>().prop_map(Step::Tier),
        1 => any::<bool>().prop_map(Step::Compact),
    ]
}

/// Tables without a key get rows from so small a set that many are equal.
fn fitting(kind: Kind, row: &Row) -> Row {
    match kind {
        Kind::Multiset => (row.0.map(|k| k % 2), row.1.clone().filter(|s| s.len() < 2), 0),
        _ => row.clone(),
    }
}

fn object(kind: Kind) -> Object {
    let columns = [("k", DataType::Int64, true), ("s", DataType::Utf8View, true), ("n", DataType::Int64, false)];
    let key: &[&str] = match kind {
        Kind::Keyed => &["k"],
        Kind::CompositeKey => &["s", "k"],
        _ => &[],
    };
    Object { insert_only: kind == Kind::InsertOnly, ..table(0, "t", &columns, key) }
}

fn changes(object: &Object, rows: &[(Row, i64)]) -> Changes {
    let batch = RecordBatch::try_new(
        types::arrow_schema(object).unwrap(),
        vec![
            Arc::new(rows.iter().map(|(row, _)| row.0).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|(row, _)| row.1.as_deref()).collect::<StringViewArray>()),
            Arc::new(rows.iter().map(|(row, _)| row.2).collect::<Int64Array>()),
        ],
    );
    Changes::weighted(batch.unwrap(), rows.iter().map(|(_, weight)| *weight).collect())
}

fn text(row: &Row) -> String {
    let or_null = |text: Option<String>| text.unwrap_or_else(|| "NULL".to_string());
    format!("{},{},{}", or_null(row.0.map(|k| k.to_string())), or_null(row.1.clone()), row.2)
}

/// What the table holds, by the simplest rules.
struct Model {
    kind: Kind,
    rows: Vec<Row>,
}

impl Model {
    fn same_key(&self, a: &Row, b: &Row) -> bool {
        match self.kind {
            Kind::Keyed => a.0 == b.0,
            Kind::CompositeKey => (a.0, &a.1) == (b.0, &b.1),
            _ => false,
        }
    }

    /// Applies a step; gives the changes that a writer would emit.
    fn apply(&mut self, step: &Step) -> Vec<(Row, i64)> {
        match step {
            Step::Put { row, early, retract } => {
                let row = &fitting(self.kind, row);
                let old = self.rows.iter().position(|other| self.same_key(other, row)).map(|i| self.rows.remove(i));
                self.rows.push(row.clone());
                let mut emitted = vec![(row.clone(), 1)];
                match old {
                    Some(old) if old == *row => emitted.clear(),
                    Some(old) if *retract => emitted.insert(usize::from(*early), (old, -1)),
                    _ => {}
                }
                emitted
            }
            Step::Remove(i) if self.kind != Kind::InsertOnly && *i < self.rows.len() => {
                vec![(self.rows.remove(*i), -1)]
            }
            _ => Vec::new(),
        }
    }

    fn printed(&self) -> Vec<String> {
        let mut rows = self.rows.iter().map(text).collect::<Vec<_>>();
        rows.sort();
        rows
    }
}

fn policy(step: &Step) -> TieringPolicy {
    let never = TieringPolicy {
        max_small_files: usize::MAX,
        max_delete_files: usize::MAX,
        max_deleted_percent: 101,
        sizes: FileSizes { row_group_rows: 3, ..FileSizes::default() },
        ..TieringPolicy::default()
    };
    match step {
        Step::Tier(true) => never,
        Step::Compact(true) => {
            TieringPolicy { max_delete_files: 0, max_deleted_percent: 0, max_compaction_bytes: 3_000, ..never }
        }
        Step::Compact(false) => TieringPolicy { max_small_files: 1, ..never },
        _ => TieringPolicy { rewrite_below_bytes: 0, rewrite_ratio: 0, ..never },
    }
}

struct History {
    warehouse: Arc<Warehouse>,
    object: Arc<Object>,
    model: Model,
    /// The model's rows at each version, and the same as text.
    expected: BTreeMap<Version, (Vec<Row>, Vec<String>)>,
    pending: Vec<(Row, i64)>,
}

impl History {
    async fn new(kind: Kind) -> Self {
        let warehouse = memory_warehouse().await;
        let object = create(&warehouse, object(kind)).await;
        let model = Model { kind, rows: Vec::new() };
        Self { warehouse, object, model, expected: BTreeMap::new(), pending: Vec::new() }
    }

    async fn commit(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let rows = std::mem::take(&mut self.pending);
        // Two batches, as a writer of two epochs would make.
        let (first, second) = rows.split_at(rows.len() / 2);
        let parts = [changes(&self.object, first), changes(&self.object, second)];
        let version = change(&self.warehouse, &self.object, &parts).await;
        self.expected.insert(version, (self.model.rows.clone(), self.model.printed()));
    }

    async fn step(&mut self, step: &Step) {
        self.pending.extend(self.model.apply(step));
        match step {
            Step::Commit => self.commit().await,
            Step::Tier(_) | Step::Compact(_) => {
                self.commit().await;
                let force = matches!(step, Step::Tier(_));
                if let Some(version) = tier(&self.warehouse, self.object.id, &policy(step), force).await.unwrap() {
                    self.expected.insert(version, (self.model.rows.clone(), self.model.printed()));
                }
            }
            _ => {}
        }
    }

    async fn check(&self) {
        for (version, (rows, expected)) in &self.expected {
            let snapshot = self.warehouse.catalog().snapshot(Some(*version)).await.unwrap();
            let state = &snapshot.tables[&self.object.id];
            let got = read_all(&self.warehouse, &self.object, state).await.unwrap();
            assert_eq!(&printed(&got), expected, "version {version}: {state:?}");
            if version % 3 == 0 {
                self.check_queries(state, rows, version % 2 == 0).await;
            }
        }
        let now = state(&self.warehouse, &self.object).await;
        self.check_queries(&now, &self.model.rows, false).await;
        self.check_queries(&now, &self.model.rows, true).await;
        self.check_changelog().await;
    }

    /// Projections, filters, limits and counts, in parallel. `pushdown`: the Parquet reader itself filters.
    async fn check_queries(&self, state: &Arc<TableState>, rows: &[Row], pushdown: bool) {
        let mut config = SessionConfig::new().with_target_partitions(3).with_batch_size(2);
        config.options_mut().optimizer.repartition_file_min_size = 1;
        config.options_mut().execution.parquet.pushdown_filters = pushdown;
        let session = SessionContext::new_with_config(config);
        let provider = DynamicTable::new(self.warehouse.clone(), self.object.clone(), state.clone()).unwrap();
        session.register_table("t", Arc::new(provider)).unwrap();
        let run = |sql: &str| {
            let (session, sql) = (session.clone(), sql.to_string());
            async move { printed(&session.sql(&sql).await.unwrap().collect().await.unwrap()) }
        };
        let some = |keep: fn(&&Row) -> bool, show: fn(&Row) -> String| {
            let mut some = rows.iter().filter(keep).map(show).collect::<Vec<_>>();
            some.sort();
            some
        };
        assert_eq!(run("SELECT count(*) FROM t").await, [rows.len().to_string()]);
        assert_eq!(run("SELECT n FROM t WHERE k >= 3").await, some(|r| r.0 >= Some(3), |r| r.2.to_string()));
        assert_eq!(run("SELECT count(k) FROM t").await, [some(|r| r.0.is_some(), text).len().to_string()]);
        assert_eq!(run("SELECT * FROM t WHERE s = 'a'").await, some(|r| r.1.as_deref() == Some("a"), text));
        let greatest = rows.iter().filter_map(|row| row.0).max().map_or("NULL".to_string(), |k| k.to_string());
        assert_eq!(run("SELECT max(k) FROM t").await, [greatest]);
        for limit in [1, 2, 5] {
            assert_eq!(run(&format!("SELECT n FROM t LIMIT {limit}")).await.len(), rows.len().min(limit));
        }
        let all = some(|r| r.2 >= 0, text);
        let limited = run("SELECT * FROM t WHERE n >= 0 LIMIT 3").await;
        assert_eq!(limited.len(), rows.len().min(3));
        assert!(limited.iter().all(|row| all.contains(row)), "{limited:?} of {all:?}");
    }

    /// The changelog from any version on leads from what the table held to what it holds.
    async fn check_changelog(&self) {
        if !matches!(self.model.kind, Kind::Multiset | Kind::InsertOnly) {
            return;
        }
        let now = state(&self.warehouse, &self.object).await;
        for (from, (_, before)) in &self.expected {
            let mut sum: BTreeMap<String, i64> = BTreeMap::new();
            before.iter().for_each(|row| *sum.entry(row.clone()).or_default() += 1);
            let stream = changes_since(self.warehouse.clone(), &self.object, &now, *from).unwrap();
            let versions = stream.try_collect::<Vec<_>>().await.unwrap();
            assert!(versions.is_sorted_by_key(|(version, _)| *version));
            for part in versions.iter().flat_map(|(_, parts)| parts) {
                for row in 0..part.len() {
                    let text = printed(&[part.rows().slice(row, 1)]).remove(0);
                    *sum.entry(text).or_default() += part.weight(row);
                }
            }
            let rows = sum.into_iter().flat_map(|(row, n)| std::iter::repeat_n(row, usize::try_from(n).unwrap()));
            assert_eq!(rows.collect::<Vec<_>>(), self.model.printed());
        }
    }
}

fn play(kind: Kind, steps: &[Step]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut history = History::new(kind).await;
        for step in steps {
            history.step(step).await;
        }
        history.commit().await;
        history.check().await;
    });
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(a_step(), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::testing::cases(32), max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn keyed_tables_equal_the_model(steps in steps()) {
        play(Kind::Keyed, &steps);
    }

    #[test]
    fn composite_keys_equal_the_model(steps in steps()) {
        play(Kind::CompositeKey, &steps);
    }

    #[test]
    fn multisets_equal_the_model(steps in steps()) {
        play(Kind::Multiset, &steps);
    }

    #[test]
    fn insert_only_tables_equal_the_model(steps in steps()) {
        play(Kind::InsertOnly, &steps);
    }
}

fn put(k: i64) -> Step {
    Step::Put { row: (Some(k), None, k), early: false, retract: true }
}

/// Rows that are deleted by position already do not use up what is to be removed.
#[tokio::test]
async fn copies_are_removed_one_by_one() {
    let mut history = History::new(Kind::Multiset).await;
    history.step(&put(1)).await;
    history.step(&put(1)).await;
    history.step(&put(1)).await;
    history.step(&Step::Tier(false)).await;
    for _ in 0..3 {
        history.step(&Step::Remove(0)).await;
        history.step(&Step::Tier(false)).await;
        history.check().await;
    }
    let now = state(&history.warehouse, &history.object).await;
    let loaded = LoadedTable::load(&history.warehouse, now.metadata_location.as_ref().unwrap()).await.unwrap();
    assert_eq!((loaded.live_rows(), loaded.deleted_rows()), (0, 3));
    assert!(loaded.delete_files.iter().all(|file| file.record_count() == 1));
}

/// A delete file stays until every data file that it speaks of is rewritten.
#[tokio::test]
async fn deletes_are_applied_in_portions() {
    let mut history = History::new(Kind::Keyed).await;
    for k in 0..4 {
        history.step(&put(k)).await;
        history.step(&Step::Tier(false)).await;
    }
    for _ in 0..2 {
        // The files hold two rows each only after merging.
        history.step(&Step::Compact(false)).await;
    }
    for k in 10..14 {
        history.step(&put(k)).await;
    }
    history.step(&Step::Tier(false)).await;
    history.step(&Step::Remove(0)).await;
    history.step(&Step::Remove(5)).await;
    history.step(&Step::Tier(false)).await;
    let portions = TieringPolicy { max_compaction_bytes: 1, ..policy(&Step::Compact(true)) };
    for (delete_files, deleted_rows) in [(1, 1), (0, 0)] {
        tier(&history.warehouse, history.object.id, &portions, false).await.unwrap().unwrap();
        let now = state(&history.warehouse, &history.object).await;
        let loaded = LoadedTable::load(&history.warehouse, now.metadata_location.as_ref().unwrap()).await.unwrap();
        assert_eq!((loaded.delete_files.len(), loaded.deleted_rows()), (delete_files, deleted_rows));
        history.check().await;
    }
}

#[tokio::test]
async fn a_lost_race_is_run_again_and_a_lost_answer_is_settled() {
    let (warehouse, catalog) = faulty_warehouse().await;
    let object = create(&warehouse, object(Kind::Keyed)).await;
    change(&warehouse, &object, &[changes(&object, &[((Some(1), None, 1), 1)])]).await;
    catalog.order(Fault::Fails(catalog::ErrorKind::Conflict));
    assert!(tier(&warehouse, object.id, &TieringPolicy::default(), true).await.unwrap().is_some());
    change(&warehouse, &object, &[changes(&object, &[((Some(2), None, 1), 1)])]).await;
    catalog.order(Fault::AnswerLost);
    assert!(tier(&warehouse, object.id, &TieringPolicy::default(), true).await.unwrap().is_some());
    let state = state(&warehouse, &object).await;
    assert!(state.hot.is_empty());
    assert_eq!(printed(&read_all(&warehouse, &object, &state).await.unwrap()), ["1,NULL,1", "2,NULL,1"]);
    let error = tier(&warehouse, catalog::ObjectId(99), &TieringPolicy::default(), true).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_forced_tier_of_an_empty_table_makes_it_visible() {
    let warehouse = memory_warehouse().await;
    let object = create(&warehouse, object(Kind::Multiset)).await;
    tier(&warehouse, object.id, &TieringPolicy::default(), true).await.unwrap().unwrap();
    let now = state(&warehouse, &object).await;
    let loaded = LoadedTable::load(&warehouse, now.metadata_location.as_ref().unwrap()).await.unwrap();
    assert_eq!((loaded.live_rows(), loaded.metadata.snapshots().len()), (0, 0));
    assert_eq!(loaded.metadata.last_updated_ms(), warehouse.clock().now_ms());
    assert_eq!(tier(&warehouse, object.id, &TieringPolicy::default(), true).await.unwrap(), None);
    change(&warehouse, &object, &[changes(&object, &[((Some(1), None, 1), 1)])]).await;
    tier(&warehouse, object.id, &TieringPolicy::default(), true).await.unwrap().unwrap();
    let now = state(&warehouse, &object).await;
    assert_eq!(printed(&read_all(&warehouse, &object, &now).await.unwrap()), ["1,NULL,1"]);
}

/// A long run leaves few files, few snapshots, few manifests.
#[tokio::test]
async fn files_and_metadata_stay_bounded() {
    for kind in [Kind::InsertOnly, Kind::Keyed] {
        let mut history = History::new(kind).await;
        let delta = policy(&Step::Tier(false));
        let policy = TieringPolicy { max_small_files: 4, max_delete_files: 4, max_deleted_percent: 50, ..delta };
        for round in 0..40 {
            history.step(&put(round % 10)).await;
            history.step(&put(round)).await;
            history.commit().await;
            tier(&history.warehouse, history.object.id, &policy, true).await.unwrap();
            while tier(&history.warehouse, history.object.id, &policy, false).await.unwrap().is_some() {}
        }
        let now = state(&history.warehouse, &history.object).await;
        let loaded = LoadedTable::load(&history.warehouse, now.metadata_location.as_ref().unwrap()).await.unwrap();
        assert!(loaded.files.len() <= 5, "{} files", loaded.files.len());
        assert!(loaded.delete_files.len() <= 5, "{} delete files", loaded.delete_files.len());
        assert!(loaded.metadata.snapshots().len() <= 10);
        assert!(loaded.metadata.metadata_log().len() <= 10);
        assert!(loaded.manifests.len() <= 34, "{} manifests", loaded.manifests.len());
        let summary = &loaded.metadata.current_snapshot().unwrap().summary().additional_properties;
        assert_eq!(summary["total-data-files"], loaded.files.len().to_string());
        assert_eq!(summary["total-delete-files"], loaded.delete_files.len().to_string());
        assert_eq!(loaded.live_rows(), history.model.rows.len() as u64);
        history.check().await;
    }
}
