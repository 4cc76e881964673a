//! Writers of one process that take turns at a table, so that they do not undo each other's work again and again.
//!
//! Nothing depends on this for being right: every commit says what must not have changed.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use catalog::ObjectId;
use tokio::sync::OwnedMutexGuard;

type Turn = Arc<tokio::sync::Mutex<()>>;

/// Who may write which table now.
#[derive(Debug, Default)]
pub struct Writers(Mutex<HashMap<ObjectId, Turn>>);

impl Writers {
    /// Waits for the turn at some tables. It ends when what is returned is dropped.
    pub async fn turn(&self, tables: impl Iterator<Item = ObjectId>) -> Vec<OwnedMutexGuard<()>> {
        // In one order for all, so that no two wait for each other.
        let tables: BTreeSet<_> = tables.collect();
        let mut turns = Vec::new();
        for table in tables {
            let turn = self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(table).or_default().clone();
            turns.push(turn.lock_owned().await);
        }
        turns
    }
}
