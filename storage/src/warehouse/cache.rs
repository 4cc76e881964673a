//! A cache of immutable things by name, bounded by the bytes that they hold.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

struct Entry<T> {
    value: Arc<T>,
    bytes: u64,
    used: u64,
}

struct Inner<T> {
    entries: HashMap<String, Entry<T>>,
    bytes: u64,
    uses: u64,
}

/// Least recently used goes first.
pub struct Cache<T> {
    limit: u64,
    inner: Mutex<Inner<T>>,
}

impl<T> Cache<T> {
    /// A cache of at most `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self { limit, inner: Mutex::new(Inner { entries: HashMap::new(), bytes: 0, uses: 0 }) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is kept under the name.
    pub fn get(&self, name: &str) -> Option<Arc<T>> {
        let mut inner = self.lock();
        inner.uses += 1;
        let used = inner.uses;
        let entry = inner.entries.get_mut(name)?;
        entry.used = used;
        Some(entry.value.clone())
    }

    /// Keeps a value, at the cost of those that were not used for longest. One larger than a half of the cache is not kept.
    pub fn put(&self, name: &str, value: Arc<T>, bytes: u64) {
        if bytes > self.limit / 2 {
            return;
        }
        let mut inner = self.lock();
        inner.uses += 1;
        let used = inner.uses;
        if let Some(old) = inner.entries.insert(name.to_string(), Entry { value, bytes, used }) {
            inner.bytes -= old.bytes;
        }
        inner.bytes += bytes;
        while inner.bytes > self.limit {
            let oldest = inner.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(name, _)| name.clone());
            match oldest.and_then(|name| inner.entries.remove(&name)) {
                Some(entry) => inner.bytes -= entry.bytes,
                None => break,
            }
        }
    }

    /// Forgets what nobody will ask for again.
    pub fn remove(&self, name: &str) {
        let mut inner = self.lock();
        if let Some(entry) = inner.entries.remove(name) {
            inner.bytes -= entry.bytes;
        }
    }

    /// Forgets everything, so that a test reads from the store.
    #[cfg(test)]
    pub fn clear(&self) {
        let mut inner = self.lock();
        inner.entries.clear();
        inner.bytes = 0;
    }
}

impl<T> fmt::Debug for Cache<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.lock();
        write!(f, "Cache({} entries, {} of {} bytes)", inner.entries.len(), inner.bytes, self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let cache = Cache::new(10);
        cache.put("a", Arc::new(1), 4);
        cache.put("b", Arc::new(2), 4);
        assert_eq!(cache.get("a").as_deref(), Some(&1));
        cache.put("c", Arc::new(3), 4);
        assert_eq!(cache.get("b"), None);
        assert_eq!(cache.get("a").as_deref(), Some(&1));
        cache.put("a", Arc::new(5), 1);
        cache.put("d", Arc::new(4), 5);
        assert_eq!(
            [cache.get("a"), cache.get("c"), cache.get("d")].map(|v| v.map(|v| *v)),
            [Some(5), Some(3), Some(4)]
        );
        cache.put("big", Arc::new(6), 6);
        assert_eq!(cache.get("big"), None);
        cache.remove("d");
        cache.put("e", Arc::new(7), 5);
        assert_eq!([cache.get("c"), cache.get("d"), cache.get("e")].map(|v| v.map(|v| *v)), [Some(3), None, Some(7)]);
        cache.clear();
        assert_eq!(cache.get("a"), None);
    }
}
