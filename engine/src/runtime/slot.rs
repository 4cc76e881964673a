//! One slot: a thread that hosts one instance of every node of a pipeline and moves changes and barriers between them.
//!
//! Changes are tagged with their epoch. A node closes an epoch when a barrier has come over every one of its inputs;
//! what arrives for a later epoch before that is set aside. Nothing here waits but for the inbox: how much is under way is
//! bounded by the rows that sources may read per epoch and by the number of open epochs, and nothing is read while too many bytes
//! wait for slots of other processes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use catalog::{Clock, ObjectId};
use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};
use serde::{Deserialize, Serialize};

use crate::change::Changes;
use crate::error::{Error, ErrorKind, Result};
use crate::operator::{Epoch, StateDelta};
use crate::plan::Route;
use crate::runtime::coordinator::{EpochDone, Input};
use crate::runtime::dataflow::{Dataflow, NodeId, Role};
use crate::runtime::exchange::{Exchange, Peer};
use crate::runtime::instance::Instance;
use crate::runtime::metrics::Metrics;
use crate::runtime::watermark::Seen;
use crate::source::{Split, SplitPosition};
use crate::watermark::Bound;
use meter::Meter;
use reading::{Reader, Turns};
use time::{Sifted, SlotTime};

mod meter;
mod reading;
mod time;

/// While receivers are behind: how often to ask whether they still are.
const FULL_WAIT: Duration = Duration::from_millis(1);

/// A split that a slot is to read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Assignment {
    /// The source node.
    pub node: NodeId,
    /// What to read.
    pub split: Split,
    /// From where.
    pub from: SplitPosition,
}

/// What a slot is told to do with an epoch.
#[derive(Debug, Clone)]
pub struct Start {
    /// The epoch.
    pub epoch: Epoch,
    /// Whether a checkpoint rides on its barrier.
    pub checkpoint: bool,
    /// Rows staged for feeds of this slot.
    pub staged: Vec<(NodeId, Changes)>,
    /// How long the oldest of them have waited for the epoch.
    pub waited: Duration,
    /// Splits that this slot reads from now on.
    pub splits: Vec<Assignment>,
    /// The watermark of every input of [`Dataflow::timed`].
    pub watermarks: Arc<[i64]>,
    /// History is still being read.
    pub backfilling: bool,
}

/// What travels along the edges.
#[derive(Debug)]
pub enum Payload {
    /// Changes.
    Data {
        /// What.
        changes: Changes,
        /// The node that emitted or read them.
        from: NodeId,
        /// When it sent them, by the monotonic clock.
        sent: Duration,
    },
    /// The sender has sent all of the epoch.
    Barrier,
}

/// Something that arrives at a node.
#[derive(Debug)]
pub struct Delivery {
    /// The node.
    pub node: NodeId,
    /// Which of its inputs.
    pub input: usize,
    /// The epoch it belongs to.
    pub epoch: u64,
    /// What.
    pub payload: Payload,
}

/// A message to a slot.
#[derive(Debug)]
pub enum ToSlot {
    /// Open an epoch.
    Start(Box<Start>),
    /// From another slot.
    Deliver(Delivery),
    /// End the thread.
    Stop,
}

/// A slot's part of a checkpoint.
#[derive(Debug, Default)]
pub struct SlotCheckpoint {
    /// Changed state: (job, operator, delta).
    pub state: Vec<(usize, u32, StateDelta)>,
    /// Changes of stored tables since the last checkpoint.
    pub outputs: Vec<(ObjectId, Vec<Changes>)>,
    /// How far splits are read: (source node, split, position).
    pub positions: Vec<(NodeId, String, SplitPosition)>,
    /// Malformed rows skipped since the start of the slot, by source node.
    pub skipped: Vec<(NodeId, u64)>,
    /// Rows left out behind the watermark since the start of the slot, by source or feed node.
    pub late: Vec<(NodeId, u64)>,
}

/// A message from a slot.
#[derive(Debug)]
pub enum FromSlot {
    /// An epoch is closed at all nodes.
    EpochDone {
        /// What to know of it.
        done: EpochDone,
        /// The slot's part of the checkpoint, if one rode on the epoch.
        checkpoint: Option<SlotCheckpoint>,
    },
    /// The slot has stopped because of an error.
    Failed {
        /// The job whose node failed, as an index into the dataflow.
        job: usize,
        /// Why.
        error: Error,
    },
}

/// What a slot is made of.
pub struct SlotParts {
    /// Its number, from 0.
    pub index: usize,
    /// The graph.
    pub flow: Arc<Dataflow>,
    /// Messages to it.
    pub inbox: Receiver<ToSlot>,
    /// The ways to all slots, itself included.
    pub peers: Vec<Peer>,
    /// Messages from it.
    pub reports: tokio::sync::mpsc::UnboundedSender<FromSlot>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// State to start from: (node, delta), in the order in which it was written, only rows of vnodes of this slot.
    pub restored: Vec<(NodeId, StateDelta)>,
}

/// A node's instance and how far it is.
struct NodeState {
    instance: Instance,
    epoch: u64,
    barriers: usize,
    expected: usize,
    set_aside: VecDeque<Delivery>,
    /// The watermarks that the instance knows, by input.
    bounds: Vec<Vec<Bound>>,
}

/// An epoch that this slot knows of.
struct OpenEpoch {
    epoch: Epoch,
    checkpoint: Option<SlotCheckpoint>,
    closed_nodes: usize,
    rows_in: u64,
    input: Input,
    watermarks: Arc<[i64]>,
    /// Watermarks of every node's output.
    bounds: Arc<[Vec<Bound>]>,
    /// Greatest event times of the rows staged for this epoch, by timed input.
    staged: Vec<Option<i64>>,
    seen: Vec<Seen>,
}

struct Slot {
    index: usize,
    flow: Arc<Dataflow>,
    exchange: Exchange,
    nodes: Vec<NodeState>,
    readers: Vec<Reader>,
    turns: Turns,
    inbox: Receiver<ToSlot>,
    reports: tokio::sync::mpsc::UnboundedSender<FromSlot>,
    clock: Arc<dyn Clock>,
    meter: Meter,
    /// Epochs whose sources are still to be read, in order.
    starts: VecDeque<Start>,
    /// Rows that the sources may still read for the first of `starts`; `None` before its first read.
    budget: Option<usize>,
    open: BTreeMap<u64, OpenEpoch>,
    work: VecDeque<Delivery>,
    time: SlotTime,
    stopped: bool,
}

/// An error and the job it belongs to.
struct Failure {
    job: usize,
    error: Error,
}

/// Runs a slot until it is stopped or fails; the body of its thread.
pub fn run(parts: SlotParts) {
    let reports = parts.reports.clone();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| Slot::new(parts).and_then(Slot::run)));
    let failure = match result {
        Ok(Ok(())) => return,
        Ok(Err(failure)) => failure,
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_string()))
                .unwrap_or_default();
            Failure { job: 0, error: Error::internal(format!("a task panicked: {text}")) }
        }
    };
    let _ = reports.send(FromSlot::Failed { job: failure.job, error: failure.error });
}

impl Slot {
    fn new(parts: SlotParts) -> Result<Self, Failure> {
        let SlotParts { index, flow, inbox, peers, reports, clock, metrics, restored } = parts;
        let slots = peers.len();
        let first = flow.jobs.iter().filter_map(|j| j.job.checkpoint.as_ref()).map(|c| c.epoch).max().unwrap_or(0) + 1;
        let mut nodes = Vec::with_capacity(flow.nodes.len());
        for node in &flow.nodes {
            let instance = Instance::new(node, &flow, index).map_err(|error| Failure { job: node.job, error })?;
            // Every leaf of the graph gets one more barrier, from the slot itself, when its input of the epoch is delivered.
            let own = usize::from(node.is_leaf());
            let senders =
                node.inputs.iter().map(|(_, route)| if *route == Route::Local { 1 } else { slots }).sum::<usize>();
            nodes.push(NodeState {
                instance,
                epoch: first,
                barriers: 0,
                expected: own + senders,
                set_aside: VecDeque::new(),
                bounds: vec![vec![]; node.inputs.len()],
            });
        }
        for (node, delta) in restored {
            let job = flow.nodes[node].job;
            nodes[node].instance.restore(delta).map_err(|error| Failure { job, error })?;
        }
        let meter = Meter::new(index, clock.clone(), metrics, nodes.len());
        let slot = Self {
            index,
            exchange: Exchange::new(index, peers),
            nodes,
            readers: Vec::new(),
            turns: Turns::default(),
            inbox,
            reports,
            clock,
            meter,
            starts: VecDeque::new(),
            budget: None,
            open: BTreeMap::new(),
            work: VecDeque::new(),
            time: SlotTime::new(&flow),
            flow,
            stopped: false,
        };
        slot.measure_state();
        Ok(slot)
    }

    fn run(mut self) -> Result<(), Failure> {
        while !self.stopped {
            match self.inbox.try_recv() {
                Ok(message) => self.on_message(message)?,
                Err(TryRecvError::Disconnected) => return Ok(()),
                Err(TryRecvError::Empty) if !self.starts.is_empty() => match self.exchange.is_full() {
                    false => self.read_step()?,
                    true => match self.inbox.recv_timeout(FULL_WAIT) {
                        Ok(message) => self.on_message(message)?,
                        Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => return Ok(()),
                    },
                },
                Err(TryRecvError::Empty) => match self.inbox.recv() {
                    Ok(message) => self.on_message(message)?,
                    Err(_) => return Ok(()),
                },
            }
            self.drain()?;
        }
        Ok(())
    }

    fn on_message(&mut self, message: ToSlot) -> Result<(), Failure> {
        self.meter.begin();
        match message {
            ToSlot::Start(start) => self.start(*start)?,
            ToSlot::Deliver(delivery) => self.work.push_back(delivery),
            ToSlot::Stop => self.stopped = true,
        }
        Ok(())
    }

    fn start(&mut self, mut start: Start) -> Result<(), Failure> {
        let number = start.epoch.number;
        let bounds = self.time.bounds(&self.flow, &start.watermarks, start.backfilling);
        let mut staged = vec![None; self.flow.timed.len()];
        let fed: BTreeSet<NodeId> = start.staged.iter().map(|(node, _)| *node).collect();
        for node in fed {
            self.meter.waited(node, start.waited);
        }
        for (node, changes) in start.staged.drain(..) {
            self.meter.node(node).read.add(changes.len() as u64);
            let sifted = self.time.sift(&self.flow, node, changes, &start.watermarks);
            let Sifted { changes, latest, late } = self.blame(node, sifted)?;
            if let Some(input) = self.time.input_of(node) {
                staged[input] = staged[input].max(latest);
            }
            self.meter.event_time(&self.flow, node, latest);
            self.count_late(node, &late);
            self.deliver_read(node, node, number, changes);
        }
        let open = OpenEpoch {
            epoch: start.epoch,
            checkpoint: start.checkpoint.then(SlotCheckpoint::default),
            closed_nodes: 0,
            rows_in: 0,
            input: Input::Idle,
            watermarks: start.watermarks.clone(),
            bounds,
            staged,
            seen: vec![],
        };
        self.open.insert(number, open);
        self.starts.push_back(start);
        Ok(())
    }

    fn count_late(&self, node: NodeId, late: &Option<Changes>) {
        let late = late.as_ref().map_or(0, Changes::len) as u64;
        self.meter.node(node).late.add(late);
        // What is left out never arrives, so it is counted here.
        self.meter.node(node).rows_in.add(late);
    }

    /// Puts what was read at `from` into the queue of a leaf.
    fn deliver_read(&mut self, from: NodeId, to: NodeId, epoch: u64, changes: Changes) {
        let payload = Payload::Data { changes, from, sent: self.meter.now() };
        self.work.push_back(Delivery { node: to, input: 0, epoch, payload });
    }

    fn blame<T>(&self, node: NodeId, result: Result<T>) -> Result<T, Failure> {
        result.map_err(|error| Failure { job: self.flow.nodes[node].job, error })
    }

    /// Works until nothing is left to do in this slot.
    fn drain(&mut self) -> Result<(), Failure> {
        while let Some(delivery) = self.work.pop_front() {
            let node = delivery.node;
            let state = &mut self.nodes[node];
            if delivery.epoch > state.epoch {
                state.set_aside.push_back(delivery);
                continue;
            }
            debug_assert_eq!(delivery.epoch, state.epoch, "a delivery for a closed epoch");
            match delivery.payload {
                Payload::Data { changes, from, sent } => {
                    self.meter.taken(from, sent);
                    let rows = changes.len() as u64;
                    self.meter.node(node).rows_in.add(rows);
                    let mut out = Vec::new();
                    let result = state.instance.on_changes(delivery.input, changes, &mut out);
                    self.blame(node, result)?;
                    if self.nodes[node].instance.is_output() {
                        self.meter.node(node).rows_out.add(rows);
                    }
                    self.emit(node, delivery.epoch, out)?;
                    self.meter.worked(node);
                }
                Payload::Barrier => {
                    state.barriers += 1;
                    if state.barriers == state.expected {
                        self.close(node)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// All barriers of a node's epoch have come.
    fn close(&mut self, node: NodeId) -> Result<(), Failure> {
        let number = self.nodes[node].epoch;
        let Some(open) = self.open.get(&number) else {
            return self.blame(node, Err(Error::internal("a barrier before the start of its epoch")));
        };
        let (epoch, checkpoint) = (open.epoch, open.checkpoint.is_some());
        let bounds = open.bounds.clone();
        for (input, (from, _)) in self.flow.clone().nodes[node].inputs.iter().enumerate() {
            let state = &mut self.nodes[node];
            if state.bounds[input] != bounds[*from] {
                state.bounds[input].clone_from(&bounds[*from]);
                let result = state.instance.on_watermark(input, &bounds[*from]);
                self.blame(node, result)?;
            }
        }
        let mut out = Vec::new();
        let result = self.nodes[node].instance.close_epoch(epoch, &mut out);
        self.blame(node, result)?;
        self.emit(node, number, out)?;
        if checkpoint {
            self.checkpoint(node, number)?;
        }
        self.meter.watermarks(&self.flow, node, &bounds[node]);
        self.meter.worked(node);
        for edge in &self.flow.clone().nodes[node].outputs {
            let barrier = || Delivery { node: edge.to, input: edge.input, epoch: number, payload: Payload::Barrier };
            self.work.push_back(barrier());
            if edge.route != Route::Local {
                self.exchange.to_others(barrier);
            }
        }
        let state = &mut self.nodes[node];
        state.epoch += 1;
        state.barriers = 0;
        // To the front: what was set aside came before anything of that epoch that already waits in the queue.
        for delivery in std::mem::take(&mut state.set_aside).into_iter().rev() {
            self.work.push_front(delivery);
        }
        self.node_closed(number);
        Ok(())
    }

    fn checkpoint(&mut self, node: NodeId, epoch: u64) -> Result<(), Failure> {
        let flow = self.flow.clone();
        let flow = &flow.nodes[node];
        let (job, operator) = (flow.job, flow.operator);
        let deltas = self.nodes[node].instance.checkpoint();
        let mut deltas = self.blame(node, deltas)?;
        if matches!(flow.role, Role::Upsert { .. }) {
            deltas.clear();
        }
        let output = self.nodes[node].instance.take_output();
        let output = self.blame(node, output)?;
        if let Some(checkpoint) = self.open.get_mut(&epoch).and_then(|open| open.checkpoint.as_mut()) {
            checkpoint
                .state
                .extend(deltas.into_iter().filter(|d| d.rows.num_rows() > 0).map(|delta| (job, operator, delta)));
            checkpoint.outputs.extend(output.filter(|(_, changes)| changes.iter().any(|c| !c.is_empty())));
        }
        Ok(())
    }

    fn node_closed(&mut self, epoch: u64) {
        let Some(open) = self.open.get_mut(&epoch) else { return };
        open.closed_nodes += 1;
        if open.closed_nodes < self.nodes.len() {
            return;
        }
        if let Some(OpenEpoch { checkpoint, rows_in, input, seen, .. }) = self.open.remove(&epoch) {
            if self.meter.state_is_due(checkpoint.is_some()) {
                self.measure_state();
            }
            let moments = self.nodes.iter().filter_map(|node| node.instance.next_moment());
            let moment = moments.chain(self.idle_moment()).min();
            let slot = self.index;
            let done = EpochDone { slot, epoch, rows_in, input, seen, moment };
            let _ = self.reports.send(FromSlot::EpochDone { done, checkpoint });
        }
    }

    fn measure_state(&self) {
        for (node, state) in self.nodes.iter().enumerate() {
            let (rows, bytes) = state.instance.state_size();
            self.meter.node(node).set_state(rows, bytes);
        }
    }

    /// Sends a node's changes to its consumers.
    fn emit(&mut self, node: NodeId, epoch: u64, out: Vec<Changes>) -> Result<(), Failure> {
        if out.is_empty() {
            return Ok(());
        }
        if let Role::TableOutput { .. } | Role::SinkOutput(_) = self.flow.nodes[node].role {
            return self.blame(node, Err(Error::new(ErrorKind::Internal, "an output node emitted changes")));
        }
        let flow = self.flow.clone();
        let sent = self.meter.worked(node);
        for changes in out.into_iter().filter(|changes| !changes.is_empty()) {
            self.meter.node(node).rows_out.add(changes.len() as u64);
            for edge in &flow.nodes[node].outputs {
                let routed = self.exchange.route(&edge.route, &changes);
                for (slot, changes) in self.blame(node, routed)? {
                    let payload = Payload::Data { changes, from: node, sent };
                    let delivery = Delivery { node: edge.to, input: edge.input, epoch, payload };
                    match slot == self.index {
                        true => self.work.push_back(delivery),
                        false => self.exchange.send(slot, delivery),
                    }
                }
            }
        }
        Ok(())
    }
}
