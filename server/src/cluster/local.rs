//! Workers that a coordinator starts and stops itself, on its own machine, as many as the load asks for.

use std::process::Stdio;
use std::time::Duration;

use engine::session::Engine;
use tokio::process::{Child, Command};

/// How often to look whether one has ended.
const LOOK: Duration = Duration::from_millis(200);

/// How they are started.
#[derive(Debug, Clone)]
pub struct LocalWorkers {
    /// Slots of each.
    pub slots: u16,
    /// What they must know to join.
    pub secret: Option<String>,
}

impl LocalWorkers {
    /// Keeps as many workers as are recommended, until it is dropped: they end then. One that dies is replaced.
    pub async fn keep(&self, engine: &Engine) {
        let (Some(mut recommended), Some(address)) = (engine.recommended_workers(), engine.cluster_address()) else {
            return;
        };
        let mut workers: Vec<Child> = Vec::new();
        let mut leaving: Vec<Child> = Vec::new();
        loop {
            let wanted = recommended.borrow_and_update().workers;
            for list in [&mut workers, &mut leaving] {
                list.retain_mut(|worker| matches!(worker.try_wait(), Ok(None)));
            }
            while workers.len() < wanted {
                match self.start(&address.to_string()) {
                    Ok(worker) => workers.push(worker),
                    Err(error) => {
                        tracing::error!(%error, "a worker cannot be started");
                        break;
                    }
                }
            }
            // The newest have had the least time to gather what is worth keeping.
            while workers.len() > wanted.max(1) {
                let Some(mut worker) = workers.pop() else { break };
                // It hands over what it has when nobody holds its standard input any more.
                drop(worker.stdin.take());
                leaving.push(worker);
            }
            tokio::select! {
                changed = recommended.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    fn start(&self, coordinator: &str) -> std::io::Result<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["worker", "--coordinator", coordinator, "--while-stdin-is-open", "--slots"]);
        command.arg(self.slots.to_string());
        if let Some(secret) = &self.secret {
            command.env("FRAZIL_CLUSTER_SECRET", secret);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()
    }
}
