//! Who holds a lease: a text that tells other processes of this machine whether the holder still lives.

use catalog::Clock;

/// Names this process: machine boot, process id, start time of the process, and a fresh id.
pub fn of_this_process(clock: &dyn Clock) -> String {
    let pid = std::process::id();
    format!("{}/{pid}/{}/{}", boot(), started(pid).unwrap_or_default(), clock.uuid())
}

/// Whether the owner is known to be dead: it ran on this machine, and no process of that id and start time exists.
/// An owner on another machine is never known to be dead; its lease has to lapse.
pub fn is_dead(owner: &str) -> bool {
    let mut parts = owner.split('/');
    let (Some(machine), Some(pid), Some(start)) = (parts.next(), parts.next(), parts.next()) else { return false };
    let boot = boot();
    let Ok(pid) = pid.parse() else { return false };
    !boot.is_empty() && machine == boot && started(pid).unwrap_or_default() != start
}

/// Identifies this machine since its last boot; empty where the system does not tell.
fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_string()).unwrap_or_default()
}

/// When a process started, in clock ticks since boot: field 22 of `/proc/<pid>/stat` (proc_pid_stat(5)).
fn started(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program, in parentheses, may hold blanks: count from behind it.
    let (_, rest) = stat.rsplit_once(')')?;
    let state = rest.split_whitespace().next()?;
    // A zombie has ended; it only waits for its parent to notice.
    if state == "Z" || state == "X" {
        return None;
    }
    rest.split_whitespace().nth(19).map(str::to_string)
}

#[cfg(test)]
mod tests {
    use catalog::SystemClock;

    use super::*;

    #[test]
    fn this_process_lives_and_one_that_has_ended_is_dead() {
        let own = of_this_process(&SystemClock::new());
        assert!(!is_dead(&own));
        let mut parts: Vec<_> = own.split('/').collect();
        parts[2] = "1";
        assert!(is_dead(&parts.join("/")));
        assert!(!is_dead("elsewhere/1/1/x"));
    }
}
