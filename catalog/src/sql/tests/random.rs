//! Random commits through two handles, against a model that keeps a whole copy of everything for every version.
//!
//! Checks at once: what the pure transition says, what is written, what a whole read gives, what reading only the
//! changes gives, and reads at every version that is kept.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Store, commit};
use crate::conformance::{assert_same, job, object, segment};
use crate::{Action, Catalog, ObjectId, ObjectKind, Snapshot, SqlCatalog};

/// One step of a commit, on one of a few slots so that steps meet.
#[derive(Debug, Clone)]
enum Step {
    Create(u8),
    Drop(u8),
    Add(u8, u8),
    /// Tiers the hot segments whose bit is set.
    Tier(u8, u16),
    /// Swaps from a location that was never current.
    SwapStale(u8),
    /// Drops the retained segments whose bit is set.
    Forget(u8, u16),
    /// Keeps so many versions.
    Expire(u8),
    CreateJob(u8),
    DropJob(u8),
    Checkpoint(u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let slot = || 0..3_u8;
    prop_oneof![
        3 => slot().prop_map(Step::Create),
        1 => slot().prop_map(Step::Drop),
        8 => (slot(), 1..4_u8).prop_map(|(s, n)| Step::Add(s, n)),
        5 => (slot(), any::<u16>()).prop_map(|(s, m)| Step::Tier(s, m)),
        1 => slot().prop_map(Step::SwapStale),
        3 => (slot(), any::<u16>()).prop_map(|(s, m)| Step::Forget(s, m)),
        1 => (0..12_u8).prop_map(Step::Expire),
        1 => slot().prop_map(Step::CreateJob),
        1 => slot().prop_map(Step::DropJob),
        3 => (slot(), 0..4_u8).prop_map(|(s, n)| Step::Checkpoint(s, n)),
    ]
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Table {
    location: Option<String>,
    hot: Vec<(u64, String)>,
    retained: Vec<(u64, String)>,
    changed: u64,
    changelog_from: u64,
}

/// Everything at one version.
#[derive(Debug, Clone, Default, PartialEq)]
struct World {
    names: BTreeMap<String, i64>,
    tables: BTreeMap<i64, Table>,
    /// Epoch and version of the newest checkpoint, by name.
    jobs: BTreeMap<String, (i64, Option<(u64, u64)>)>,
}

#[derive(Debug, Default)]
struct Model {
    history: Vec<World>,
    oldest: u64,
    next_id: i64,
    next_file: u64,
}

impl Model {
    /// The actions for these steps and, if they are all allowed, the world after them.
    fn plan(&mut self, steps: &[Step]) -> (Vec<Action>, Option<World>) {
        let mut world = self.history.last().cloned().unwrap_or_default();
        let version = self.history.len() as u64;
        let mut allowed = true;
        let mut oldest = self.oldest;
        let mut actions = Vec::new();
        for step in steps {
            let (action, fine) = self.translate(step, version, &mut world, &mut oldest);
            actions.push(action);
            allowed &= fine;
        }
        if allowed {
            self.oldest = oldest;
        }
        (actions, allowed.then_some(world))
    }

    fn fresh_id(&mut self) -> i64 {
        self.next_id += 1;
        self.next_id
    }

    fn fresh_file(&mut self) -> String {
        self.next_file += 1;
        format!("file-{:04}", 9999 - self.next_file)
    }

    fn translate(&mut self, step: &Step, version: u64, world: &mut World, oldest: &mut u64) -> (Action, bool) {
        let slot = |n: &u8| format!("t{n}");
        let id_of = |world: &World, n: &u8| world.names.get(&slot(n)).copied();
        match step {
            Step::Create(n) => {
                let id = self.fresh_id();
                let free = id_of(world, n).is_none();
                if free {
                    world.names.insert(slot(n), id);
                    world.tables.insert(id, Table::default());
                }
                (Action::CreateObject(object(ObjectId(id), &slot(n), ObjectKind::Table, &[])), free)
            }
            Step::Drop(n) => {
                let id = world.names.remove(&slot(n));
                let gone = id.and_then(|id| world.tables.remove(&id)).is_some();
                (Action::DropObject(ObjectId(id.unwrap_or(-1))), gone)
            }
            Step::Add(n, count) => {
                let id = id_of(world, n).unwrap_or(-1);
                let paths: Vec<String> = (0..*count).map(|_| self.fresh_file()).collect();
                let fine = world.tables.get_mut(&id).map(|table| {
                    table.hot.extend(paths.iter().map(|path| (version, path.clone())));
                    table.changed = version;
                });
                let segments = paths.iter().map(|path| segment(path)).collect();
                (Action::AddSegments { table: ObjectId(id), segments }, fine.is_some())
            }
            Step::Tier(n, mask) => {
                let id = id_of(world, n).unwrap_or(-1);
                let location = self.fresh_file();
                let mut expected = None;
                let mut tiered = Vec::new();
                let fine = world.tables.get_mut(&id).map(|table| {
                    let moved = pick(&mut table.hot, *mask);
                    tiered = moved.iter().map(|(_, path)| path.clone()).collect();
                    table.retained.extend(moved);
                    expected = table.location.replace(location.clone());
                });
                (Action::SwapMetadata { table: ObjectId(id), expected, location, tiered }, fine.is_some())
            }
            Step::SwapStale(n) => {
                let table = ObjectId(id_of(world, n).unwrap_or(-1));
                let action = Action::SwapMetadata {
                    table,
                    expected: Some("never".into()),
                    location: "x".into(),
                    tiered: vec![],
                };
                (action, false)
            }
            Step::Forget(n, mask) => {
                let id = id_of(world, n).unwrap_or(-1);
                let mut paths = Vec::new();
                let fine = world.tables.get_mut(&id).map(|table| {
                    for (version, path) in pick(&mut table.retained, *mask) {
                        table.changelog_from = table.changelog_from.max(version);
                        paths.push(path);
                    }
                });
                (Action::DropRetained { table: ObjectId(id), paths }, fine.is_some())
            }
            Step::Expire(keep) => {
                let before = version.saturating_sub(u64::from(*keep));
                *oldest = (*oldest).max(before);
                (Action::ExpireVersionsBefore(before), true)
            }
            Step::CreateJob(n) => {
                let id = self.fresh_id();
                let free = !world.jobs.contains_key(&slot(n));
                if free {
                    world.jobs.insert(slot(n), (id, None));
                }
                (Action::CreateJob(job(ObjectId(id), &slot(n), &[], &[])), free)
            }
            Step::DropJob(n) => {
                let gone = world.jobs.remove(&slot(n));
                (Action::DropJob(ObjectId(gone.map_or(-1, |job| job.0))), gone.is_some())
            }
            Step::Checkpoint(n, epoch) => {
                let epoch = u64::from(*epoch) + version;
                let found = world.jobs.get_mut(&slot(n));
                let id = found.as_ref().map_or(-1, |job| job.0);
                let fine = found.is_some_and(|job| {
                    let newer = job.1.is_none_or(|(present, _)| present < epoch);
                    job.1 = Some((epoch, version));
                    newer
                });
                let payload = serde_json::json!([epoch]);
                (Action::Checkpoint { job: ObjectId(id), epoch, payload, files: vec![] }, fine)
            }
        }
    }
}

/// Takes out the elements whose bit is set.
fn pick(from: &mut Vec<(u64, String)>, mask: u16) -> Vec<(u64, String)> {
    let chosen = |place: usize| mask & (1 << (place % 16)) != 0;
    let taken = from.iter().enumerate().filter(|(place, _)| chosen(*place)).map(|(_, s)| s.clone()).collect();
    let mut place = 0;
    from.retain(|_| {
        place += 1;
        !chosen(place - 1)
    });
    taken
}

/// What a snapshot says, in the model's terms. Jobs are left to the caller: they are always the newest.
fn world(snapshot: &Snapshot) -> World {
    let pairs = |segments: &[crate::Segment]| segments.iter().map(|s| (s.version, s.file.path.clone())).collect();
    let table = |state: &crate::TableState| Table {
        location: state.metadata_location.clone(),
        hot: pairs(&state.hot),
        retained: pairs(&state.retained),
        changed: state.changed,
        changelog_from: state.changelog_from,
    };
    let checkpoint = |job: &crate::Job| job.checkpoint.as_ref().map(|c| (c.epoch, c.version));
    World {
        names: snapshot.objects.values().map(|o| (o.name.clone(), o.id.0)).collect(),
        tables: snapshot.tables.iter().map(|(id, state)| (id.0, table(state))).collect(),
        jobs: snapshot.jobs.values().map(|j| (j.name.clone(), (j.id.0, checkpoint(j)))).collect(),
    }
}

/// The order of segments that were tiered at different times does not matter within a version.
fn sorted(mut world: World) -> World {
    for table in world.tables.values_mut() {
        assert!(table.hot.is_sorted_by_key(|s| s.0));
        table.retained.sort();
    }
    world
}

async fn check(catalog: &SqlCatalog, model: &Model) {
    let newest = model.history.last().cloned().unwrap_or_default();
    for (version, past) in model.history.iter().enumerate() {
        let read = catalog.snapshot(Some(version as u64)).await;
        if (version as u64) < model.oldest {
            assert!(read.is_err(), "version {version} should be expired");
            continue;
        }
        let expected = World { jobs: newest.jobs.clone(), ..past.clone() };
        assert_eq!(sorted(world(&read.unwrap())), sorted(expected), "version {version}");
    }
}

/// Steps of a commit, whether it goes through the first handle, and whether all look at it then.
type Played = (Vec<Step>, bool, bool);

fn played() -> impl Strategy<Value = Vec<Played>> {
    prop::collection::vec((prop::collection::vec(step(), 1..4), any::<bool>(), any::<bool>()), 1..25)
}

fn play_on(store: fn() -> Store, commits: Vec<Played>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(play(&store(), commits));
}

async fn play(store: &Store, commits: Vec<Played>) {
    let (a, b) = (store.open().await.unwrap(), store.open().await.unwrap());
    let mut model = Model { history: vec![World::default()], ..Model::default() };
    for (steps, through_a, look) in commits {
        let (writer, reader) = if through_a { (&a, &b) } else { (&b, &a) };
        let (actions, next) = model.plan(&steps);
        let outcome = writer.commit(commit(actions)).await;
        match (&outcome, next) {
            (Ok(version), Some(next)) => {
                assert_eq!(*version, model.history.len() as u64);
                model.history.push(next);
            }
            (Err(_), None) => {}
            (outcome, next) => panic!("{steps:?} gave {outcome:?}, expected {next:?}"),
        }
        if look {
            let newest = reader.snapshot(None).await.unwrap();
            assert_same(&newest, &writer.snapshot(None).await.unwrap());
            assert_same(&newest, &store.open().await.unwrap().snapshot(None).await.unwrap());
        }
    }
    for catalog in [&a, &b, &store.open().await.unwrap()] {
        check(catalog, &model).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn random_commits_to_a_file_agree_with_a_model(commits in played()) {
        play_on(Store::file, commits);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 50, ..ProptestConfig::default() })]

    #[test]
    fn random_commits_to_a_server_agree_with_a_model(commits in played()) {
        play_on(Store::server, commits);
    }
}
