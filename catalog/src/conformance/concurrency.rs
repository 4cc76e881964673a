//! Many tasks on two handles at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Setup, add, swap};
use crate::{Action, Catalog, Error, ErrorKind, ObjectId, Result, Version};

const TASKS: usize = 6;
const ROUNDS: usize = 5;

/// Runs one task per number, half of them on each handle, and collects what they give.
async fn contend<T, F, R>(s: &Setup, task: F) -> Result<Vec<T>>
where
    T: Send + 'static,
    F: Fn(Setup, usize, Arc<dyn Catalog>) -> R,
    R: Future<Output = Result<T>> + Send + 'static,
{
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..TASKS {
        let handle = if number % 2 == 0 { &s.a } else { &s.b };
        tasks.spawn(task(s.clone(), number, Arc::clone(handle)));
    }
    let mut given = Vec::new();
    while let Some(outcome) = tasks.join_next().await {
        given.push(outcome.map_err(|error| Error::new(ErrorKind::Unavailable, "a task died").because(error))??);
    }
    Ok(given)
}

pub(super) async fn handles_see_each_other(s: Setup) -> Result<()> {
    let t = s.table("t").await?;
    for round in 0..4 {
        let (writer, reader) = if round % 2 == 0 { (&s.a, &s.b) } else { (&s.b, &s.a) };
        let version = writer.commit(s.request(vec![], vec![add(t, &format!("t/{round}"))])).await?;
        assert_eq!(reader.version().await?, version);
        assert_eq!(reader.snapshot(None).await?.tables[&t].hot.len(), round + 1);
        s.newest().await?;
    }
    Ok(())
}

/// Each task appends its marks to the pointer; a lost update would lose a mark.
pub(super) async fn compare_and_set_loses_no_update(s: Setup) -> Result<()> {
    let t = s.table("t").await?;
    let first = s.a.version().await?;
    contend(&s, move |s, number, catalog| async move {
        for round in 0..ROUNDS {
            append_mark(&s, catalog.as_ref(), t, &format!("{number}.{round}")).await?;
        }
        Ok(())
    })
    .await?;
    let snapshot = s.newest().await?;
    let location = snapshot.tables[&t].metadata_location.clone().unwrap_or_default();
    let marks: BTreeSet<&str> = location.split('/').skip(1).collect();
    assert_eq!(marks.len(), TASKS * ROUNDS, "{location}");
    assert_eq!(snapshot.version, first + (TASKS * ROUNDS) as Version, "conflicts make no versions");
    Ok(())
}

async fn append_mark(s: &Setup, catalog: &dyn Catalog, table: ObjectId, mark: &str) -> Result<()> {
    loop {
        let snapshot = catalog.snapshot(None).await?;
        let expected = snapshot.tables[&table].metadata_location.as_deref();
        let location = format!("{}/{mark}", expected.unwrap_or("m"));
        match catalog.commit(s.request(vec![], vec![swap(table, expected, &location, &[])])).await {
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            outcome => return outcome.map(|_| ()),
        }
    }
}

pub(super) async fn appends_do_not_conflict(s: Setup) -> Result<()> {
    let t = s.table("t").await?;
    let versions = contend(&s, move |s, number, catalog| async move {
        let mut versions = Vec::new();
        for round in 0..ROUNDS {
            let request = s.request(vec![], vec![add(t, &format!("t/{number}.{round}"))]);
            versions.push(catalog.commit(request).await?);
        }
        assert!(versions.is_sorted());
        Ok(versions)
    })
    .await?;
    let distinct: BTreeSet<Version> = versions.iter().flatten().copied().collect();
    assert_eq!(distinct.len(), TASKS * ROUNDS, "every commit has a version of its own");
    let hot = s.state(t).await?.hot;
    assert_eq!(hot.len(), TASKS * ROUNDS);
    assert!(hot.is_sorted_by_key(|segment| segment.version));
    Ok(())
}

/// Every commit adds to both tables: a reader that saw half of one would count differently.
pub(super) async fn reads_stay_whole_while_commits_go_on(s: Setup) -> Result<()> {
    let (t, u) = (s.table("t").await?, s.table("u").await?);
    let first = s.a.version().await?;
    contend(&s, move |s, number, catalog| async move {
        for round in 0..ROUNDS {
            if number < 2 {
                let name = format!("{number}.{round}");
                let both = vec![add(t, &format!("t/{name}")), add(u, &format!("u/{name}"))];
                catalog.commit(s.request(vec![], both)).await?;
                continue;
            }
            let newest = catalog.snapshot(None).await?;
            let pinned = catalog.snapshot(Some(newest.version)).await?;
            for snapshot in [&newest, &pinned, &catalog.snapshot(Some((first + newest.version) / 2)).await?] {
                let expected = (snapshot.version - first) as usize;
                assert_eq!(snapshot.tables[&t].hot.len(), expected);
                assert_eq!(snapshot.tables[&u].hot.len(), expected);
            }
        }
        Ok(())
    })
    .await?;
    s.newest().await?;
    Ok(())
}

pub(super) async fn one_contender_gets_the_lease(s: Setup) -> Result<()> {
    let got = contend(&s, |s, number, catalog| async move {
        match catalog.acquire_lease("leader", &format!("owner {number}"), None, s.now(), 100).await {
            Ok(lease) => Ok(Some(lease)),
            Err(error) if error.kind() == ErrorKind::Fenced => Ok(None),
            Err(error) => Err(error),
        }
    })
    .await?;
    let winners: Vec<_> = got.into_iter().flatten().collect();
    assert_eq!(winners.len(), 1, "{winners:?}");
    assert_eq!(s.a.lease("leader", s.now()).await?.as_ref(), winners.first());
    Ok(())
}

pub(super) async fn ids_drawn_at_once_differ(s: Setup) -> Result<()> {
    let drawn = contend(&s, |_, _, catalog| async move {
        let mut ids = Vec::new();
        for _ in 0..ROUNDS {
            let first = catalog.allocate_ids(3).await?.0;
            ids.extend(first..first + 3);
        }
        Ok(ids)
    })
    .await?;
    let distinct: BTreeSet<i64> = drawn.iter().flatten().copied().collect();
    assert_eq!(distinct.len(), TASKS * ROUNDS * 3);
    // Ids are drawn without making versions.
    assert_eq!(s.a.version().await?, 0);
    let create = super::object(ObjectId(1000), "t", crate::ObjectKind::Table, &[]);
    s.commit(vec![Action::CreateObject(create)]).await?;
    Ok(())
}
