//! Which tables were changed: told by whoever commits, read by whoever maintains tables.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use catalog::ObjectId;
use tokio::sync::Notify;

/// Tables that this process has changed, or found unfinished, and that may hold hot segments.
#[derive(Debug, Default)]
pub struct Touched {
    tables: Mutex<Tables>,
    told: Notify,
}

#[derive(Debug, Default)]
struct Tables {
    /// Since the last [`Touched::take`].
    new: BTreeSet<ObjectId>,
    /// Since the start of the process.
    all: BTreeSet<ObjectId>,
}

impl Touched {
    /// Notes a table.
    pub fn add(&self, table: ObjectId) {
        self.with(|tables| {
            tables.new.insert(table);
            tables.all.insert(table);
        });
        self.told.notify_one();
    }

    /// Waits until a table is noted that was not taken before. For one reader.
    pub async fn changed(&self) {
        while self.with(|tables| tables.new.is_empty()) {
            self.told.notified().await;
        }
    }

    /// Takes the tables noted since the last time.
    pub fn take(&self) -> BTreeSet<ObjectId> {
        self.with(|tables| std::mem::take(&mut tables.new))
    }

    /// Every table noted since the start of the process.
    pub fn all(&self) -> BTreeSet<ObjectId> {
        self.with(|tables| tables.all.clone())
    }

    fn with<T>(&self, work: impl FnOnce(&mut Tables) -> T) -> T {
        work(&mut self.tables.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
