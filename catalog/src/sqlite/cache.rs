//! The head and a few recent snapshots, by version. Versions never change, so nothing in here goes stale.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::{Snapshot, Version};
use crate::transition::Head;

/// How many past snapshots are kept. They share what they have in common.
const RECENT: usize = 16;

/// See the module.
#[derive(Debug, Default)]
pub struct Cache {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    head: Option<Head>,
    recent: VecDeque<Arc<Snapshot>>,
}

impl Cache {
    /// The newest head that this process has seen.
    pub fn head(&self) -> Option<Head> {
        self.lock().head.clone()
    }

    /// The head, if it is of this version.
    pub fn head_at(&self, version: Version) -> Option<Head> {
        self.lock().head.clone().filter(|head| head.snapshot.version == version)
    }

    /// Remembers a head unless a newer one is known.
    pub fn put(&self, head: &Head) {
        let mut state = self.lock();
        if state.head.as_ref().is_none_or(|known| known.snapshot.version < head.snapshot.version) {
            state.head = Some(head.clone());
            state.remember(&head.snapshot);
        }
    }

    /// The snapshot of a version, with the jobs and rights that were the newest when it was read.
    pub fn snapshot(&self, version: Version) -> Option<Arc<Snapshot>> {
        self.lock().recent.iter().find(|snapshot| snapshot.version == version).cloned()
    }

    /// Remembers a snapshot of the past.
    pub fn put_past(&self, snapshot: &Arc<Snapshot>) {
        self.lock().remember(snapshot);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change leaves the state whole, so another thread's panic does not matter.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remember(&mut self, snapshot: &Arc<Snapshot>) {
        if self.recent.iter().any(|known| known.version == snapshot.version) {
            return;
        }
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(Arc::clone(snapshot));
    }
}
