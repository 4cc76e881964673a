//! The only module of the program that reads the clock, draws random numbers or makes ids, so that a run can be replayed.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

/// Where the program gets time, randomness and ids from.
///
/// Everything that decides takes its time as an argument; only the outermost shell asks a `Clock`.
pub trait Clock: Send + Sync + Debug {
    /// Wall-clock time in milliseconds since the Unix epoch.
    fn now_ms(&self) -> i64;
    /// Time since an arbitrary fixed instant; never goes backwards. For measuring durations.
    fn monotonic(&self) -> Duration;
    /// A fresh id, unique across processes.
    fn uuid(&self) -> Uuid;
    /// Bytes that nobody can guess.
    fn secret(&self) -> [u8; 32];
}

/// The real clock.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }

    fn secret(&self) -> [u8; 32] {
        // 122 bits of each are random.
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(Uuid::new_v4().as_bytes());
        bytes[16..].copy_from_slice(Uuid::new_v4().as_bytes());
        bytes
    }
}

/// A clock that a test moves by hand; ids are a counter under a seed, so a run repeats exactly.
#[derive(Debug)]
pub struct ManualClock {
    now_ms: AtomicU64,
    next_id: AtomicU64,
    seed: u64,
}

impl ManualClock {
    /// A clock that stands at `now_ms` and numbers its ids under `seed`.
    pub fn new(now_ms: u64, seed: u64) -> Self {
        Self { now_ms: AtomicU64::new(now_ms), next_id: AtomicU64::new(0), seed }
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.now_ms.fetch_add(by.as_millis() as u64, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::SeqCst) as i64
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.now_ms.load(Ordering::SeqCst))
    }

    fn uuid(&self) -> Uuid {
        let n = self.next_id.fetch_add(1, Ordering::SeqCst);
        Uuid::from_u64_pair(self.seed, n)
    }

    fn secret(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(self.uuid().as_bytes());
        bytes
    }
}
