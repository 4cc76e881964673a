//! What this process takes from the machine.

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// Memory and CPU of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Memory that is resident.
    pub memory_bytes: u64,
    /// CPU time of all threads since the process began.
    pub cpu_seconds: f64,
    /// When the process began, in seconds since the Unix epoch.
    pub started_seconds: u64,
}

/// What the process takes now; zeros where the system does not tell.
pub fn usage() -> Usage {
    let pid = Pid::from_u32(std::process::id());
    let mut system = System::new();
    let what = ProcessRefreshKind::nothing().with_memory().with_cpu();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, what);
    system.process(pid).map_or_else(Usage::default, |process| Usage {
        memory_bytes: process.memory(),
        cpu_seconds: process.accumulated_cpu_time() as f64 / 1e3,
        started_seconds: process.start_time(),
    })
}
