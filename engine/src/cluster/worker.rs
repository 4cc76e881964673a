//! A worker process: joins a coordinator, runs slots of its pipelines, passes rows on to other workers.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow_flight::{FlightData, PutResult};
use async_trait::async_trait;
use catalog::{Clock, Detached};
use crossbeam_channel::Sender;
use futures::StreamExt;
use storage::Warehouse;
use storage::warehouse::Location;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tonic::{Status, Streaming};
use uuid::Uuid;

use super::link::{Hello, Outgoing};
use super::message::{FromWorker, Order, SlotStart, ToWorker};
use super::service::{self, Sent};
use super::wire;
use super::workers::VERSION;
use crate::change::Changes;
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::dataflow::{Dataflow, NodeId};
use crate::runtime::exchange::Link;
use crate::runtime::host::{Deployment, FromHost, Host, LocalHost};
use crate::runtime::metrics::{Metrics, NodeCounters};
use crate::runtime::planning::plan_job;
use crate::runtime::slot::ToSlot;
use crate::sql::context::Planner;

/// How long to wait before a coordinator that cannot be reached is asked again.
const RECONNECT: Duration = Duration::from_millis(250);

/// How long a coordinator may take to say welcome.
const WELCOME: Duration = Duration::from_secs(5);

/// What a worker is started with.
#[derive(Clone)]
pub struct WorkerOptions {
    /// Where coordinators take workers in, as host and port; one of them leads.
    pub coordinators: Vec<String>,
    /// How many slots it has for every pipeline.
    pub slots: usize,
    /// How other workers reach it, if not at the address that it listens on: host and port.
    pub advertise: Option<String>,
    /// What the cluster's members know, if anything.
    pub secret: Option<String>,
    /// Time, ids.
    pub clock: Arc<dyn Clock>,
}

/// A worker.
pub struct Worker {
    options: WorkerOptions,
    address: String,
    deployments: Arc<Deployments>,
}

/// What runs here, by attempt.
#[derive(Default)]
struct Deployments(Mutex<HashMap<Uuid, Running>>);

/// The slots of one deployment.
enum Running {
    /// They are being made ready.
    Preparing(AbortHandle),
    /// They take epochs.
    Ready {
        flow: Arc<Dataflow>,
        host: LocalHost,
        own: Vec<usize>,
        metrics: Arc<Metrics>,
        /// Rows of tables for the next epoch, by slot.
        staged: BTreeMap<usize, Vec<(NodeId, Changes)>>,
    },
}

/// Where messages to slots go, by their numbers.
type Inboxes = BTreeMap<usize, Sender<ToSlot>>;

/// How a connection to the coordinator ended.
enum End {
    /// The worker may go.
    Dismissed,
    /// It was cut off.
    Cut(Error),
}

impl Deployments {
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Running>> {
        // Nothing can panic while it is held, so a poisoned lock still guards whole data.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the slots of a deployment.
    fn release(&self, deployment: &Uuid) {
        let running = self.lock().remove(deployment);
        if let Some(Running::Preparing(task)) = running {
            task.abort();
        }
    }

    /// Ends everything.
    fn release_all(&self) {
        let all: Vec<Uuid> = self.lock().keys().copied().collect();
        all.iter().for_each(|deployment| self.release(deployment));
    }

    /// What another host needs to send rows to a deployment: its dataflow, and the inboxes of its slots here.
    fn receivers(&self, deployment: &Uuid) -> Option<(Arc<Dataflow>, Inboxes)> {
        match self.lock().get(deployment)? {
            Running::Preparing(_) => None,
            Running::Ready { flow, host, own, .. } => {
                let inboxes = own.iter().filter_map(|slot| Some((*slot, host.inbox(*slot)?.clone())));
                Some((flow.clone(), inboxes.collect()))
            }
        }
    }
}

impl Worker {
    /// A worker that takes rows on a port.
    pub fn new(options: WorkerOptions, listener: TcpListener, address: SocketAddr) -> Self {
        let deployments: Arc<Deployments> = Arc::default();
        let (clock, secret) = (options.clock.clone(), options.secret.clone());
        let door = Door { deployments: deployments.clone(), clock, secret };
        tokio::spawn(async move {
            if let Err(error) = service::serve(listener, door).await {
                tracing::error!(%error, "no rows can come from other workers any more");
            }
        });
        let address = options.advertise.clone().unwrap_or_else(|| address.to_string());
        Self { options, address, deployments }
    }

    /// Works for the coordinator, whichever it is and however often the connection breaks, until `leave` resolves and no slot is
    /// needed here any more.
    ///
    /// # Errors
    /// If the coordinator refuses the worker.
    pub async fn run(self, leave: impl Future<Output = ()>) -> Result<()> {
        let mut leave = std::pin::pin!(leave);
        let mut leaving = false;
        let mut told = false;
        for coordinator in self.options.coordinators.iter().cycle() {
            let ended = self.serve(coordinator, leave.as_mut(), &mut leaving).await;
            // Whoever is cut off is not counted on any more, and what it has not reported is computed again elsewhere.
            self.deployments.release_all();
            match ended {
                Ok(End::Dismissed) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Denied => return Err(error),
                Ok(End::Cut(_)) | Err(_) if leaving => return Ok(()),
                Ok(End::Cut(error)) => {
                    tracing::warn!(%error, "the coordinator is gone; looking for the one that leads");
                    told = true;
                }
                Err(error) if !told => {
                    tracing::warn!(%error, "no coordinator takes workers in; asking until one does");
                    told = true;
                }
                Err(_) => {}
            }
            tokio::select! {
                () = tokio::time::sleep(RECONNECT) => {}
                () = leave.as_mut() => return Ok(()),
            }
        }
        Err(Error::new(ErrorKind::Option, "a worker needs the address of a coordinator"))
    }

    /// Works for one coordinator until the connection ends.
    async fn serve(
        &self,
        coordinator: &str,
        mut leave: Pin<&mut impl Future<Output = ()>>,
        leaving: &mut bool,
    ) -> Result<End> {
        let mut client = service::connect(coordinator).await?;
        let (outbox, sent) = mpsc::unbounded_channel::<FlightData>();
        let outbox = Outbox(outbox);
        outbox.send(&FromWorker::Join {
            version: VERSION.to_string(),
            secret: self.options.secret.clone(),
            slots: self.options.slots,
            address: self.address.clone(),
        });
        let sent = futures::stream::unfold(sent, |mut sent| async move { sent.recv().await.map(|data| (data, sent)) });
        let answer = client.do_exchange(sent).await.map_err(|status| service::error(&status))?;
        let mut incoming = answer.into_inner();
        let mut session: Option<Session> = None;
        let mut timeout = WELCOME;
        loop {
            let data = tokio::select! {
                data = incoming.message() => data,
                () = tokio::time::sleep(timeout) => {
                    return Ok(End::Cut(Error::new(ErrorKind::Unavailable, "the coordinator fell silent")));
                }
                () = leave.as_mut(), if !*leaving => {
                    *leaving = true;
                    outbox.send(&FromWorker::Drain);
                    continue;
                }
            };
            let data = match data {
                Ok(Some(data)) => data,
                Ok(None) => {
                    return Ok(End::Cut(Error::new(ErrorKind::Unavailable, "the coordinator closed the connection")));
                }
                Err(status) => return Ok(End::Cut(service::error(&status))),
            };
            match (wire::read(&data)?, &mut session) {
                (ToWorker::Refused(error), _) => return Err(error.into()),
                (ToWorker::Dismissed, _) => return Ok(End::Dismissed),
                (ToWorker::Welcome { worker, warehouse, heartbeat, timeout: silence }, _) => {
                    tracing::info!(worker, coordinator, "joined");
                    timeout = silence;
                    let warehouse = detached(&warehouse, self.options.clock.clone())?;
                    let mut tasks = JoinSet::new();
                    tasks.spawn(beat(outbox.clone(), self.deployments.clone(), heartbeat));
                    session = Some(Session {
                        warehouse,
                        outbox: outbox.clone(),
                        deployments: self.deployments.clone(),
                        secret: self.options.secret.clone(),
                        tasks,
                    });
                }
                (message, Some(session)) => session.take(message, &data)?,
                (_, None) => return Err(Error::new(ErrorKind::Unavailable, "the coordinator did not say welcome")),
            }
        }
    }
}

/// A warehouse whose files are read and written, and nothing else.
fn detached(root: &str, clock: Arc<dyn Clock>) -> Result<Arc<Warehouse>> {
    let catalog = Arc::new(Detached);
    Ok(match Location::parse(root, None)? {
        Location::Directory { path, .. } => Warehouse::local(&path, catalog, clock)?,
        Location::S3 { bucket, prefix, .. } => Warehouse::s3(&bucket, &prefix, catalog, clock)?,
        Location::Memory => {
            return Err(Error::new(ErrorKind::Option, "a warehouse in memory cannot be shared with workers"));
        }
    })
}

#[derive(Clone)]
struct Outbox(mpsc::UnboundedSender<FlightData>);

impl Outbox {
    fn send(&self, message: &FromWorker) {
        match wire::message(message) {
            // A connection that is gone is noticed where it is read.
            Ok(data) => drop(self.0.send(data)),
            Err(error) => tracing::error!(%error, "a message to the coordinator"),
        }
    }
}

/// Lets the coordinator hear of this worker, and what its slots have counted.
async fn beat(outbox: Outbox, deployments: Arc<Deployments>, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        outbox.send(&FromWorker::Beat);
        for (deployment, running) in deployments.lock().iter() {
            if let Running::Ready { own, metrics, .. } = running {
                let totals = |slot: &usize| (*slot, metrics.slot(*slot).iter().map(NodeCounters::totals).collect());
                let slots = own.iter().map(totals).collect();
                outbox.send(&FromWorker::Counted { deployment: *deployment, slots });
            }
        }
    }
}

/// What a worker is while it is connected.
struct Session {
    warehouse: Arc<Warehouse>,
    outbox: Outbox,
    deployments: Arc<Deployments>,
    secret: Option<String>,
    /// They end with the connection.
    tasks: JoinSet<()>,
}

impl Session {
    fn take(&mut self, message: ToWorker, data: &FlightData) -> Result<()> {
        match message {
            ToWorker::Deploy(order) => self.deploy(*order),
            ToWorker::Rows { deployment, slot, node } => {
                let rows = wire::rows(data)?;
                if let Some(Running::Ready { staged, .. }) = self.deployments.lock().get_mut(&deployment) {
                    staged.entry(slot).or_default().extend(rows.into_iter().map(|changes| (node, changes)));
                }
            }
            ToWorker::Start { deployment, starts } => {
                if let Some(Running::Ready { host, staged, .. }) = self.deployments.lock().get_mut(&deployment) {
                    let mut with_rows = |start: SlotStart| {
                        let slot = start.slot();
                        (slot, start.with(staged.remove(&slot).unwrap_or_default()))
                    };
                    host.start(starts.into_iter().map(&mut with_rows).collect());
                }
            }
            ToWorker::Release { deployment } => self.deployments.release(&deployment),
            ToWorker::Probe => self.outbox.send(&FromWorker::Beat),
            ToWorker::Beat | ToWorker::Welcome { .. } | ToWorker::Dismissed | ToWorker::Refused(_) => {}
        }
        Ok(())
    }

    fn deploy(&mut self, order: Order) {
        let id = order.id;
        let (warehouse, outbox, secret) = (self.warehouse.clone(), self.outbox.clone(), self.secret.clone());
        let deployments = self.deployments.clone();
        // Nothing of it may be ready before it is known that it is being prepared.
        let mut known = self.deployments.lock();
        let task = self.tasks.spawn(async move {
            match prepare(warehouse, order, outbox.clone(), secret).await {
                Ok(ready) => {
                    let mut running = deployments.lock();
                    if let Some(place) = running.get_mut(&id) {
                        *place = ready;
                        outbox.send(&FromWorker::Deployed { deployment: id });
                    }
                }
                Err(error) => {
                    deployments.lock().remove(&id);
                    outbox.send(&FromWorker::Refused { deployment: id, error: (&error).into() });
                }
            }
        });
        known.insert(id, Running::Preparing(task));
    }
}

/// Plans the jobs of an order, and starts the slots that are to run here.
async fn prepare(warehouse: Arc<Warehouse>, order: Order, outbox: Outbox, secret: Option<String>) -> Result<Running> {
    let Order { id, host, addresses, places, definitions, jobs, fingerprints, base_dirs } = order;
    let snapshot = Arc::new(definitions.into_snapshot());
    let planner = Planner {
        warehouse: warehouse.clone(),
        snapshot: snapshot.clone(),
        base_dirs: Arc::new(base_dirs.into_iter().collect()),
        partitions: places.len(),
        read_up_to: None,
        // Of batch queries, of which there are none here.
        memory: 0,
    };
    let mut planned = Vec::new();
    for (job, fingerprint) in jobs.iter().zip(&fingerprints) {
        let job = snapshot.jobs.get(job).ok_or_else(|| Error::internal("a job without definition"))?;
        let plan = plan_job(&planner, job).await.map_err(|e| e.with("job", &job.name))?;
        if plan.fingerprint != *fingerprint {
            return Err(
                Error::internal("the worker plans a job differently than the coordinator").with("job", &job.name)
            );
        }
        planned.push(plan);
    }
    let flow = Arc::new(Dataflow::build(planned, &planner)?);
    let metrics = Arc::new(Metrics::new(places.len(), flow.nodes.len(), flow.jobs.len()));
    let base_dirs = planner.base_dirs.clone();
    let (flow_, metrics_) = (flow.clone(), metrics.clone());
    let deployment =
        Arc::new(Deployment { id, flow: flow_, snapshot, metrics: metrics_, places, addresses, base_dirs });
    let links: Vec<Arc<dyn Link>> = deployment
        .addresses
        .iter()
        .enumerate()
        .map(|(to, address)| {
            let outbox = outbox.clone();
            let hello = Hello { deployment: id, from: host, secret: secret.clone() };
            let broken = move |error: Error| {
                outbox.send(&FromWorker::Unlinked { deployment: id, host: to, error: (&error).into() });
            };
            Arc::new(Outgoing::new(hello, address.clone(), broken)) as Arc<dyn Link>
        })
        .collect();
    let (reports, from_host) = mpsc::unbounded_channel();
    let own = deployment.slots_of(host);
    let host = LocalHost::start(&warehouse, &deployment, host, |to| links.get(to).cloned(), reports).await?;
    tokio::spawn(pass_on(id, from_host, outbox));
    Ok(Running::Ready { flow, host, own, metrics, staged: BTreeMap::new() })
}

/// Tells the coordinator what a host reports.
async fn pass_on(deployment: Uuid, mut reports: mpsc::UnboundedReceiver<FromHost>, outbox: Outbox) {
    while let Some(report) = reports.recv().await {
        outbox.send(&match report {
            FromHost::EpochDone(done) => FromWorker::EpochDone { deployment, done },
            FromHost::Written { epoch, part } => FromWorker::Written { deployment, epoch, part },
            FromHost::Failed { job, error } => FromWorker::Failed { deployment, job, error: (&error).into() },
            FromHost::Lost(error) => FromWorker::Failed { deployment, job: None, error: (&error).into() },
        });
    }
}

/// Where rows come in.
struct Door {
    deployments: Arc<Deployments>,
    clock: Arc<dyn Clock>,
    secret: Option<String>,
}

#[async_trait]
impl service::Handler for Door {
    async fn put(&self, mut incoming: Streaming<FlightData>) -> Result<Sent<PutResult>, Status> {
        let first = incoming.message().await?.ok_or_else(|| Status::invalid_argument("an empty link"))?;
        let name =
            first.flight_descriptor.and_then(|descriptor| descriptor.path.into_iter().next()).unwrap_or_default();
        let hello: Hello = serde_json::from_str(&name).map_err(|_| Status::invalid_argument("a link without name"))?;
        if hello.secret != self.secret {
            return Err(Status::permission_denied("the sender does not know the cluster's secret"));
        }
        let Some((flow, inboxes)) = self.deployments.receivers(&hello.deployment) else {
            return Err(Status::not_found("this attempt to run the job is over here"));
        };
        let clock = self.clock.clone();
        let (ended, end) = oneshot::channel();
        tokio::spawn(async move {
            let result = receive(&mut incoming, &flow, &inboxes, clock.as_ref()).await;
            let _ = ended.send(result);
        });
        let answer = async move {
            match end.await {
                Ok(Err(error)) => Err(service::status(&error)),
                _ => Ok(PutResult::default()),
            }
        };
        Ok(futures::stream::once(answer).boxed())
    }
}

async fn receive(
    incoming: &mut Streaming<FlightData>,
    flow: &Dataflow,
    inboxes: &Inboxes,
    clock: &dyn Clock,
) -> Result<()> {
    while let Some(data) = incoming.message().await.map_err(|status| service::error(&status))? {
        let (slot, delivery) = wire::delivery(flow, &data, clock.monotonic())?;
        let inbox = inboxes.get(&slot).ok_or_else(|| Error::internal("rows for a slot of another worker"))?;
        if inbox.send(ToSlot::Deliver(delivery)).is_err() {
            return Err(Error::new(ErrorKind::Unavailable, "the receiving slot has ended"));
        }
    }
    Ok(())
}
