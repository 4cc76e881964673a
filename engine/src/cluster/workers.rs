//! The coordinator's side: takes workers in, gives their slots to pipelines, and notices when one is lost.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arrow_flight::FlightData;
use async_trait::async_trait;
use catalog::Clock;
use futures::StreamExt;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tonic::{Status, Streaming};
use uuid::Uuid;

use super::membership::{Command, Event, Loss, Membership, Patience};
use super::message::{FromWorker, Order, SlotStart, ToWorker, WorkerId};
use super::service::{self, Sent};
use super::wire;
use crate::error::{Error, ErrorKind, Result, Told};
use crate::runtime::host::{Deployment, FromHost, Host, Site};
use crate::runtime::slot::Start;

/// How long a worker that others have lost has to answer.
const PROBE: Duration = Duration::from_millis(200);
/// How long to wait, when a link has broken, for the news that its other end is gone.
const NEWS: Duration = Duration::from_millis(50);

/// How workers are dealt with.
#[derive(Debug, Clone)]
pub struct WorkersOptions {
    /// URL of the warehouse's root, where workers find it too.
    pub warehouse: String,
    /// How often a worker has to be heard of.
    pub heartbeat: Duration,
    /// After how much silence it is lost.
    pub timeout: Duration,
    /// What a worker must know to join, if anything.
    pub secret: Option<String>,
    /// Where workers join.
    pub address: SocketAddr,
}

/// A worker, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerInfo {
    /// Its number.
    pub id: WorkerId,
    /// Where it takes rows.
    pub address: String,
    /// How many slots it has.
    pub slots: usize,
    /// It gets no more slots to run and goes when it has none.
    pub draining: bool,
    /// Deployments that it runs slots of.
    pub deployments: usize,
}

/// The workers of a cluster.
pub struct Workers {
    options: WorkersOptions,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Wakes the watch over silent workers: there may be an earlier moment to look.
    sooner: Notify,
    /// Counts joins and leaves.
    changes: watch::Sender<u64>,
    /// Whether workers are taken in: only by a coordinator that leads.
    open: AtomicBool,
}

struct State {
    membership: Membership,
    joined: WorkerId,
    workers: BTreeMap<WorkerId, Arc<Worker>>,
}

/// A worker that is connected, or was.
struct Worker {
    id: WorkerId,
    slots: usize,
    address: String,
    inner: Mutex<Connection>,
}

struct Connection {
    /// `None` once it is lost.
    outbox: Option<mpsc::UnboundedSender<FlightData>>,
    draining: bool,
    deployments: HashMap<Uuid, Hosted>,
}

/// A deployment's host on a worker.
struct Hosted {
    deployment: Arc<Deployment>,
    reports: mpsc::UnboundedSender<FromHost>,
    /// Told when the slots are ready, or why they are not.
    ready: Option<oneshot::Sender<Result<()>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing can panic while one is held, so a poisoned lock still guards whole data.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Workers {
    /// Listens for workers as long as somebody holds this. They are turned away until [`Workers::open`] is called.
    pub fn start(listener: TcpListener, options: WorkersOptions, clock: Arc<dyn Clock>) -> Arc<Self> {
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let patience = Patience { silence_ms: millis(options.timeout), probe_ms: millis(PROBE) };
        let state = State { membership: Membership::new(patience), joined: 0, workers: BTreeMap::new() };
        let workers = Arc::new(Self {
            options,
            clock,
            state: Mutex::new(state),
            sooner: Notify::new(),
            changes: watch::Sender::new(0),
            open: AtomicBool::new(false),
        });
        tokio::spawn(watch_over(Arc::downgrade(&workers)));
        let door = Door(Arc::downgrade(&workers));
        let open = Arc::downgrade(&workers);
        tokio::spawn(async move {
            let gone = async {
                while open.strong_count() > 0 {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Ok(())
            };
            let served = tokio::select! {
                served = service::serve(listener, door) => served,
                gone = gone => gone,
            };
            if let Err(error) = served {
                tracing::error!(%error, "no worker can join any more");
            }
        });
        workers
    }

    /// Takes workers in from now on.
    pub fn open(&self) {
        self.open.store(true, Ordering::Release);
    }

    /// Where they join.
    pub fn address(&self) -> SocketAddr {
        self.options.address
    }

    /// Counts joins and leaves, as they happen.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The workers that take slots, in the order in which they joined.
    pub fn sites(&self) -> Vec<Arc<dyn Site>> {
        let available = |worker: &&Arc<Worker>| !lock(&worker.inner).draining;
        let workers: Vec<_> = lock(&self.state).workers.values().filter(available).cloned().collect();
        workers.into_iter().map(|worker| Arc::new(WorkerSite(worker)) as Arc<dyn Site>).collect()
    }

    /// All workers.
    pub fn list(&self) -> Vec<WorkerInfo> {
        let workers: Vec<_> = lock(&self.state).workers.values().cloned().collect();
        let info = |worker: Arc<Worker>| {
            let connection = lock(&worker.inner);
            let (draining, deployments) = (connection.draining, connection.deployments.len());
            WorkerInfo { id: worker.id, address: worker.address.clone(), slots: worker.slots, draining, deployments }
        };
        workers.into_iter().map(info).collect()
    }

    /// Lets workers go that want to and of which no slot is used any more.
    pub fn dismiss_drained(&self) {
        let workers: Vec<_> = lock(&self.state).workers.values().cloned().collect();
        for worker in workers {
            let idle = {
                let connection = lock(&worker.inner);
                connection.draining && connection.deployments.is_empty()
            };
            if idle {
                worker.send(&ToWorker::Dismissed);
            }
        }
    }

    fn now(&self) -> i64 {
        i64::try_from(self.clock.monotonic().as_millis()).unwrap_or(i64::MAX)
    }

    fn on(&self, event: Event) {
        let now = self.now();
        let commands = lock(&self.state).membership.on(now, event);
        for command in commands {
            match command {
                Command::Probe(worker) => {
                    let worker = lock(&self.state).workers.get(&worker).cloned();
                    if let Some(worker) = worker {
                        worker.send(&ToWorker::Probe);
                    }
                    self.sooner.notify_one();
                }
                Command::Lost(worker, why) => self.lose(worker, why),
            }
        }
    }

    fn lose(&self, worker: WorkerId, why: Loss) {
        let Some(worker) = lock(&self.state).workers.remove(&worker) else { return };
        let (hosted, draining) = {
            let mut connection = lock(&worker.inner);
            // Closes its stream, by which it learns that it does not count any more.
            connection.outbox = None;
            (std::mem::take(&mut connection.deployments), connection.draining)
        };
        if hosted.is_empty() && draining {
            tracing::info!(worker = worker.id, address = worker.address, "a worker has left");
        } else {
            tracing::warn!(worker = worker.id, address = worker.address, "a worker is lost: {why}");
        }
        for hosted in hosted.into_values() {
            let _ = hosted.reports.send(FromHost::Lost(worker.lost(&why.to_string())));
        }
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Takes a worker in. Gives its number and what it is sent.
    fn join(&self, slots: usize, address: String) -> (WorkerId, mpsc::UnboundedReceiver<FlightData>) {
        let (outbox, sent) = mpsc::unbounded_channel();
        let connection = Connection { outbox: Some(outbox), draining: false, deployments: HashMap::new() };
        let now = self.now();
        let worker = {
            let mut state = lock(&self.state);
            state.joined += 1;
            let id = state.joined;
            let worker = Arc::new(Worker { id, slots, address, inner: Mutex::new(connection) });
            state.workers.insert(id, worker.clone());
            state.membership.on(now, Event::Joined(id));
            worker
        };
        worker.send(&ToWorker::Welcome {
            worker: worker.id,
            warehouse: self.options.warehouse.clone(),
            heartbeat: self.options.heartbeat,
            timeout: self.options.timeout,
        });
        tracing::info!(worker = worker.id, address = worker.address, slots, "a worker has joined");
        self.sooner.notify_one();
        self.changes.send_modify(|changes| *changes += 1);
        (worker.id, sent)
    }

    /// Refuses what cannot be a member.
    fn admit(&self, version: &str, secret: Option<&str>, slots: usize) -> Result<()> {
        let refuse = |text: String| Err(Error::new(ErrorKind::Denied, text));
        if self.options.secret.as_deref() != secret {
            return refuse("the worker does not know the cluster's secret".to_string());
        }
        if version != VERSION {
            return refuse(format!(
                "the worker is frazil {version} and the coordinator {VERSION}: they must be the same"
            ));
        }
        if slots == 0 {
            return refuse("a worker needs at least one slot".to_string());
        }
        Ok(())
    }

    fn take(self: &Arc<Self>, from: WorkerId, message: FromWorker) {
        self.on(Event::Heard(from));
        let Some(worker) = lock(&self.state).workers.get(&from).cloned() else { return };
        match message {
            FromWorker::Join { .. } => {}
            FromWorker::Beat => worker.send(&ToWorker::Beat),
            FromWorker::Drain => {
                lock(&worker.inner).draining = true;
                tracing::info!(worker = from, "a worker asks to leave");
                self.changes.send_modify(|changes| *changes += 1);
                self.dismiss_drained();
            }
            FromWorker::Deployed { deployment } => worker.ready(deployment, Ok(())),
            FromWorker::Refused { deployment, error } => worker.ready(deployment, Err(Error::from(error))),
            FromWorker::EpochDone { deployment, done } => worker.report(deployment, FromHost::EpochDone(done)),
            FromWorker::Written { deployment, epoch, part } => {
                worker.report(deployment, FromHost::Written { epoch, part });
            }
            FromWorker::Failed { deployment, job, error } => {
                worker.report(deployment, FromHost::Failed { job, error: error.into() });
            }
            FromWorker::Unlinked { deployment, host, error } => self.unlinked(&worker, deployment, host, error),
            FromWorker::Counted { deployment, slots } => worker.counted(deployment, &slots),
        }
    }

    /// A link broke. Most often its other end is gone, which is known in a moment; else the deployment starts anew.
    fn unlinked(self: &Arc<Self>, worker: &Arc<Worker>, deployment: Uuid, host: usize, error: Told) {
        let address = {
            let connection = lock(&worker.inner);
            let hosted = connection.deployments.get(&deployment);
            hosted.and_then(|hosted| hosted.deployment.addresses.get(host).cloned())
        };
        let peer =
            lock(&self.state).workers.values().find(|peer| Some(&peer.address) == address.as_ref()).map(|p| p.id);
        if let Some(peer) = peer {
            self.on(Event::Suspected(peer));
        }
        let worker = worker.clone();
        tokio::spawn(async move {
            tokio::time::sleep(NEWS).await;
            let error = Error::from(error).with("from worker", worker.id);
            worker.report(deployment, FromHost::Lost(error));
        });
    }
}

/// The program's version: all members of a cluster must have the same, since they plan the same jobs.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

impl std::fmt::Debug for Workers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.list()).finish()
    }
}

impl Worker {
    fn lost(&self, why: &str) -> Error {
        Error::new(ErrorKind::Unavailable, format!("worker {} is lost: {why}", self.id)).with("address", &self.address)
    }

    /// Sends a message, unless the worker is lost: whoever waits for it hears of that.
    fn send(&self, message: &ToWorker) {
        match wire::message(message) {
            Ok(data) => self.send_data(data),
            Err(error) => tracing::error!(%error, "a message to a worker"),
        }
    }

    fn send_data(&self, data: FlightData) {
        if let Some(outbox) = &lock(&self.inner).outbox {
            let _ = outbox.send(data);
        }
    }

    fn ready(&self, deployment: Uuid, result: Result<()>) {
        let ready = lock(&self.inner).deployments.get_mut(&deployment).and_then(|hosted| hosted.ready.take());
        if let Some(ready) = ready {
            let _ = ready.send(result);
        }
    }

    fn report(&self, deployment: Uuid, report: FromHost) {
        if let Some(hosted) = lock(&self.inner).deployments.get(&deployment) {
            let _ = hosted.reports.send(report);
        }
    }

    fn counted(&self, deployment: Uuid, slots: &[(usize, Vec<crate::runtime::metrics::NodeTotals>)]) {
        let metrics = lock(&self.inner).deployments.get(&deployment).map(|hosted| hosted.deployment.metrics.clone());
        let Some(metrics) = metrics else { return };
        for (slot, nodes) in slots.iter().filter(|(slot, _)| *slot < metrics.slots()) {
            for (counters, totals) in metrics.slot(*slot).iter().zip(nodes) {
                counters.replace(totals);
            }
        }
    }
}

/// Looks after workers that fall silent.
async fn watch_over(workers: Weak<Workers>) {
    loop {
        let Some(alive) = workers.upgrade() else { return };
        alive.on(Event::Tick);
        let now = alive.now();
        let at = lock(&alive.state).membership.wake_at().unwrap_or(i64::MAX);
        let wait = Duration::from_millis((at.saturating_sub(now)).clamp(1, 1_000) as u64);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = alive.sooner.notified() => {}
        }
    }
}

/// Where workers come in.
struct Door(Weak<Workers>);

#[async_trait]
impl service::Handler for Door {
    async fn exchange(&self, mut incoming: Streaming<FlightData>) -> Result<Sent<FlightData>, Status> {
        let workers = self.0.upgrade().ok_or_else(|| Status::unavailable("the coordinator is ending"))?;
        if !workers.open.load(Ordering::Acquire) {
            return Err(Status::unavailable("this coordinator stands by"));
        }
        let first = incoming.message().await?.ok_or_else(|| Status::invalid_argument("nobody joins"))?;
        let joins = wire::read(&first).map_err(|error| service::status(&error))?;
        let FromWorker::Join { version, secret, slots, address } = joins else {
            return Err(Status::invalid_argument("the first message must be Join"));
        };
        if let Err(error) = workers.admit(&version, secret.as_deref(), slots) {
            tracing::warn!(address, %error, "a worker was refused");
            let refusal = wire::message(&ToWorker::Refused((&error).into())).map_err(|e| service::status(&e))?;
            return Ok(futures::stream::iter([Ok(refusal)]).boxed());
        }
        let (id, sent) = workers.join(slots, address);
        let workers = Arc::downgrade(&workers);
        tokio::spawn(async move {
            loop {
                let message = incoming.message().await;
                let Some(workers) = workers.upgrade() else { return };
                match message.map_err(|status| service::error(&status)).map(|data| data.as_ref().map(wire::read)) {
                    Ok(Some(Ok(message))) => workers.take(id, message),
                    Ok(Some(Err(error))) | Err(error) => {
                        tracing::debug!(worker = id, %error, "a worker's stream ended");
                        return workers.on(Event::Closed(id));
                    }
                    Ok(None) => return workers.on(Event::Closed(id)),
                }
            }
        });
        let sent =
            futures::stream::unfold(sent, |mut sent| async move { sent.recv().await.map(|data| (Ok(data), sent)) });
        Ok(sent.boxed())
    }
}

/// A worker as a place for slots.
struct WorkerSite(Arc<Worker>);

#[async_trait]
impl Site for WorkerSite {
    fn slots(&self) -> usize {
        self.0.slots
    }

    fn address(&self) -> String {
        self.0.address.clone()
    }

    async fn deploy(
        &self,
        deployment: &Arc<Deployment>,
        host: usize,
        reports: mpsc::UnboundedSender<FromHost>,
    ) -> Result<Box<dyn Host>> {
        let worker = self.0.clone();
        let order = wire::message(&ToWorker::Deploy(Box::new(Order::new(deployment, host))))?;
        let (ready, is_ready) = oneshot::channel();
        {
            let mut connection = lock(&worker.inner);
            let Some(outbox) = &connection.outbox else { return Err(worker.lost("it left")) };
            let _ = outbox.send(order);
            let hosted = Hosted { deployment: deployment.clone(), reports, ready: Some(ready) };
            connection.deployments.insert(deployment.id, hosted);
        }
        let host = RemoteHost { worker, deployment: deployment.id };
        match is_ready.await {
            Ok(result) => result.map_err(|error| error.with("worker", host.worker.id))?,
            Err(_) => return Err(host.worker.lost("it was lost before its slots were ready")),
        }
        Ok(Box::new(host))
    }
}

/// The slots of a pipeline on a worker.
struct RemoteHost {
    worker: Arc<Worker>,
    deployment: Uuid,
}

impl Host for RemoteHost {
    fn start(&self, starts: Vec<(usize, Start)>) {
        let deployment = self.deployment;
        let rows = starts.iter().flat_map(|(slot, start)| start.staged.iter().map(|staged| (*slot, staged)));
        for (slot, (node, changes)) in rows {
            match wire::message_with(&ToWorker::Rows { deployment, slot, node: *node }, changes) {
                Ok(data) => self.worker.send_data(data),
                Err(error) => return self.worker.report(deployment, FromHost::Failed { job: None, error }),
            }
        }
        let starts = starts.iter().map(|(slot, start)| SlotStart::of(*slot, start)).collect();
        self.worker.send(&ToWorker::Start { deployment, starts });
    }
}

impl Drop for RemoteHost {
    fn drop(&mut self) {
        lock(&self.worker.inner).deployments.remove(&self.deployment);
        self.worker.send(&ToWorker::Release { deployment: self.deployment });
    }
}
