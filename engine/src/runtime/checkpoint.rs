//! What a job's checkpoint holds: how far its inputs are read, and which files hold its state.

use std::collections::BTreeMap;

use catalog::{Checkpoint, Job, ObjectId, Version};
use serde::{Deserialize, Serialize};
use storage::state::StateFile;

use crate::error::{Error, ErrorKind, Result};
use crate::source::SplitPosition;

/// Version of the payload's form.
const FORMAT: u32 = 1;

/// How far a stored table is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TablePosition {
    /// All changes up to and including this version.
    Version(Version),
    /// All changes up to and including the version of the checkpoint itself: the table's job is of the same pipeline.
    Live,
}

/// How far a job's inputs are read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Positions {
    /// Stored tables, by object.
    pub tables: BTreeMap<ObjectId, TablePosition>,
    /// Connectors: splits by their id, by source.
    pub sources: BTreeMap<String, BTreeMap<String, SplitPosition>>,
    /// Watermarks of connectors and stored tables, by the same names as sources.
    #[serde(default)]
    pub watermarks: BTreeMap<String, i64>,
}

/// The payload of a job's checkpoint, stored as JSON in the catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    format: u32,
    /// Identifies the plan that wrote the state.
    pub fingerprint: String,
    /// The epoch's time in ms since the Unix epoch.
    pub timestamp_ms: i64,
    /// How far inputs are read.
    pub positions: Positions,
    /// State files, oldest first; later rows replace earlier ones.
    pub state: Vec<StateFile>,
    /// Malformed rows skipped since the job's creation.
    pub skipped: u64,
    /// Values that became NULL because they could not be computed, since the job's creation.
    #[serde(default)]
    pub failed: u64,
    /// Rows left out since the job's creation because they came behind the watermark.
    #[serde(default)]
    pub late: u64,
    /// Epochs after this one until the watermarks have had all their effects.
    #[serde(default)]
    pub settling: u64,
    /// The next moment (ms since the Unix epoch) at which time alone changes a result.
    #[serde(default)]
    pub moment: Option<i64>,
}

impl Payload {
    /// A payload of the present form.
    pub fn new(
        fingerprint: String,
        timestamp_ms: i64,
        positions: Positions,
        state: Vec<StateFile>,
        skipped: u64,
    ) -> Self {
        let (failed, late, settling, moment) = (0, 0, 0, None);
        Self { format: FORMAT, fingerprint, timestamp_ms, positions, state, skipped, failed, late, settling, moment }
    }

    /// Reads a checkpoint of `job`; positions that were live are resolved to the checkpoint's own version.
    pub fn read(job: &Job, checkpoint: &Checkpoint) -> Result<Self> {
        let damaged = |what: String| {
            Error::new(ErrorKind::Corrupt, format!("the checkpoint of job {} cannot be read: {what}", job.name))
                .with("epoch", checkpoint.epoch)
                .hint("it was written by another version of frazil, or the catalog is damaged: drop the view and create it again")
        };
        let mut payload: Payload =
            serde_json::from_value(checkpoint.payload.clone()).map_err(|e| damaged(e.to_string()))?;
        if payload.format != FORMAT {
            return Err(damaged(format!("format {}, this program reads {FORMAT}", payload.format)));
        }
        for position in payload.positions.tables.values_mut() {
            if *position == TablePosition::Live {
                *position = TablePosition::Version(checkpoint.version);
            }
        }
        Ok(payload)
    }

    /// As the catalog stores it.
    pub fn to_json(&self) -> Result<serde_json::Value> {
        serde_json::to_value(self).map_err(|e| Error::internal("a checkpoint cannot be written").because(e))
    }
}

/// Whether the state files should be folded into one: when reading them back costs much more than the state is worth.
///
/// A fold rewrites everything, so it is owed only when what was added since the last fold (the first file) has grown as
/// large as that; restoring then reads at most about three times the state, and folding costs a constant factor.
pub fn fold_due(state: &[StateFile]) -> bool {
    const MIN_FILES: usize = 8;
    const MAX_FILES: usize = 64;
    match state {
        [base, deltas @ ..] if deltas.len() >= MIN_FILES => {
            let added: u64 = deltas.iter().map(|file| file.bytes).sum();
            added >= base.bytes || deltas.len() >= MAX_FILES
        }
        _ => false,
    }
}
