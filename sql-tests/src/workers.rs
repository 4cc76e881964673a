//! Workers under a test: each with threads of its own, so that it can be killed as a process is.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use catalog::Clock;
use engine::Error;
use engine::cluster::autoscale::Policy;
use engine::cluster::{Worker, WorkerOptions, listen};
use engine::session::{ClusterOptions, Engine};
use tokio::runtime::{Builder, Runtime};

/// How long workers may take to join.
const PATIENCE: Duration = Duration::from_secs(30);

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// How an engine under a test takes workers in. A machine that is busy with other tests is no reason to lose one.
pub fn cluster() -> ClusterOptions {
    ClusterOptions {
        listen: ANY_PORT,
        heartbeat: Duration::from_millis(500),
        timeout: Duration::from_secs(20),
        secret: None,
        policy: Policy::within(1, 1),
    }
}

/// The workers of one engine, the oldest first.
pub struct Workers {
    coordinator: String,
    clock: Arc<dyn Clock>,
    runtimes: VecDeque<Runtime>,
}

impl Workers {
    /// So many workers, which have joined when this returns.
    pub async fn start(engine: &Engine, clock: Arc<dyn Clock>, count: usize) -> Result<Self, Error> {
        let coordinator = engine.cluster_address().map(|address| address.to_string()).unwrap_or_default();
        let mut workers = Self { coordinator, clock, runtimes: VecDeque::new() };
        for _ in 0..count {
            workers.add()?;
        }
        let joined = async {
            while engine.workers().is_some_and(|joined| joined.len() < count) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, joined).await.map_err(|_| Error::internal("the workers do not join"))?;
        Ok(workers)
    }

    /// Kills the worker that is there longest, and starts another one.
    pub fn replace_oldest(&mut self) -> Result<(), Error> {
        if let Some(oldest) = self.runtimes.pop_front() {
            oldest.shutdown_background();
        }
        self.add()
    }

    fn add(&mut self) -> Result<(), Error> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|e| Error::internal("no runtime").because(e))?;
        let options = WorkerOptions {
            coordinators: vec![self.coordinator.clone()],
            slots: 1,
            advertise: None,
            secret: None,
            clock: self.clock.clone(),
        };
        runtime.spawn(async move {
            let (listener, address) = listen(ANY_PORT).await?;
            Worker::new(options, listener, address).run(std::future::pending()).await
        });
        self.runtimes.push_back(runtime);
        Ok(())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.runtimes.drain(..).for_each(Runtime::shutdown_background);
    }
}
