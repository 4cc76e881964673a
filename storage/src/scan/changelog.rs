//! The changelog of a table: its segments, tiered or not, in the order of their versions.

use std::sync::Arc;

use catalog::{Object, Segment, TableState, Version};
use futures::stream::{self, BoxStream, StreamExt};

use crate::change::Changes;
use crate::error::{Error, ErrorKind, Result};
use crate::segment::read_segment;
use crate::warehouse::Warehouse;

/// Changes by version, oldest first.
pub type Changelog = BoxStream<'static, Result<(Version, Vec<Changes>)>>;

/// The changes that commits after version `from` made, one item per version, oldest first. Versions that changed
/// nothing are left out. `NotFound` if some of them are no longer kept: then the reader must start from a snapshot.
pub fn changes_since(
    warehouse: Arc<Warehouse>,
    object: &Object,
    state: &TableState,
    from: Version,
) -> Result<Changelog> {
    if from < state.changelog_from {
        return Err(Error::new(
            ErrorKind::NotFound,
            "the changelog no longer reaches back that far; read the table and go on from its version",
        )
        .with("table", &object.name)
        .with("from", from)
        .with("kept from", state.changelog_from));
    }
    let versions = by_version(state, from);
    let read = move |(version, paths): (Version, Vec<String>)| {
        let warehouse = warehouse.clone();
        async move {
            let mut changes = Vec::new();
            for path in paths {
                changes.extend(read_segment(&warehouse, &path).await?.iter().cloned());
            }
            Ok((version, changes))
        }
    };
    Ok(stream::iter(versions).map(read).buffered(2).boxed())
}

/// Paths of the segments after `from`, by version.
fn by_version(state: &TableState, from: Version) -> Vec<(Version, Vec<String>)> {
    let newer = |segment: &&Segment| segment.version > from;
    let mut segments = state.retained.iter().chain(&state.hot).filter(newer).collect::<Vec<_>>();
    segments.sort_by_key(|segment| segment.version);
    let mut versions: Vec<(Version, Vec<String>)> = Vec::new();
    for segment in segments {
        match versions.last_mut() {
            Some((version, paths)) if *version == segment.version => paths.push(segment.file.path.clone()),
            _ => versions.push((segment.version, vec![segment.file.path.clone()])),
        }
    }
    versions
}
