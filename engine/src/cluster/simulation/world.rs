//! Simulated time, processes, connections, and the faults that a seed brings.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use super::catalog::{SimCatalog, Wish};
use super::coordinator::CoordinatorNode;
use super::worker::WorkerNode;

/// How long faults come, in ms.
const TROUBLE: i64 = 20_000;
/// When commits must have gone on after that.
const CALM: i64 = 12_000;
const COORDINATORS: usize = 2;
const WORKERS: usize = 4;
/// Events that are shown when something is wrong.
const TRACE: usize = 60;

/// A process, by what it is and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    Coordinator(usize),
    Worker(usize),
}

/// A life of a process: one that starts again is another.
pub type Life = (Node, u32);

/// What coordinator and workers tell each other.
#[derive(Debug, Clone)]
pub enum Message {
    Join,
    Refused,
    Welcome,
    Beat,
    Probe,
    Deploy {
        attempt: u64,
        hosts: Vec<Life>,
    },
    Deployed {
        attempt: u64,
    },
    Start {
        attempt: u64,
        epoch: u64,
        checkpoint: bool,
    },
    Release {
        attempt: u64,
    },
    EpochDone {
        attempt: u64,
        epoch: u64,
    },
    Written {
        attempt: u64,
        epoch: u64,
        rows: u64,
    },
    Unlinked {
        attempt: u64,
        peer: Life,
    },
    /// From worker to worker.
    Barrier {
        attempt: u64,
        epoch: u64,
    },
}

/// Something that happens at a moment.
#[derive(Debug, Clone)]
pub enum What {
    /// A message arrives over a connection.
    Message { from: Life, to: Life, connection: u64, message: Message },
    /// A process learns that a connection is gone.
    Closed { to: Life, connection: u64, peer: Life },
    /// A process looks after its affairs: leases, silence, reconnecting.
    Timer(Life),
    /// The coordinator of an attempt wants to be woken.
    Wake { to: Life, attempt: u64, at: i64 },
    /// A worker is done with its part of an epoch.
    Worked { to: Life, attempt: u64, epoch: u64 },
    /// A commit arrives at the catalog; the answer may get lost.
    Commit { from: Life, wish: Wish },
    /// The catalog's answer arrives.
    Committed { to: Life, wish: Wish, answer: Result<(), String> },
    /// No answer came.
    Unanswered { to: Life, wish: Wish },
    /// The next fault.
    Fault,
    /// A dead process starts again.
    Revive(Node),
    /// Both can reach each other again.
    Heal(Node, Node),
}

/// Everything.
pub struct World {
    pub now: i64,
    pub rng: StdRng,
    pub catalog: SimCatalog,
    pub coordinators: Vec<CoordinatorNode>,
    pub workers: Vec<WorkerNode>,
    pub verdict: Result<(), String>,
    queue: BinaryHeap<Reverse<(i64, u64, usize)>>,
    events: Vec<Option<What>>,
    happened: u64,
    connections: u64,
    attempts: u64,
    /// Pairs that cannot reach each other, and what waits for them to.
    cut: BTreeSet<(Node, Node)>,
    held: Vec<(Node, Node, u64, What)>,
    /// Processes that do nothing until then.
    hanging: Vec<(Node, i64)>,
    trace: VecDeque<String>,
}

impl World {
    /// Plays one seed to its end.
    pub fn play(seed: u64) -> Self {
        let mut world = Self {
            now: 0,
            rng: StdRng::seed_from_u64(seed),
            catalog: SimCatalog::new(),
            coordinators: vec![],
            workers: vec![],
            verdict: Ok(()),
            queue: BinaryHeap::new(),
            events: vec![],
            happened: 0,
            connections: 0,
            attempts: 0,
            cut: BTreeSet::new(),
            held: vec![],
            hanging: vec![],
            trace: VecDeque::new(),
        };
        world.coordinators = (0..COORDINATORS).map(|_| CoordinatorNode::default()).collect();
        world.workers = (0..WORKERS).map(|_| WorkerNode::default()).collect();
        let nodes = (0..COORDINATORS).map(Node::Coordinator).chain((0..WORKERS).map(Node::Worker));
        nodes.for_each(|node| world.revive(node));
        world.after(500, What::Fault);
        world.run();
        world
    }

    /// The last events.
    pub fn trace(&self) -> String {
        self.trace.iter().map(|line| format!("  {line}\n")).collect()
    }

    /// A number below `below`.
    pub fn random(&mut self, below: i64) -> i64 {
        self.rng.random_range(0..below.max(1))
    }

    /// A fresh id.
    pub fn uuid(&mut self) -> Uuid {
        Uuid::from_u128(self.rng.random())
    }

    /// The number of a new attempt.
    pub fn attempt(&mut self) -> u64 {
        self.attempts += 1;
        self.attempts
    }

    /// A new connection.
    pub fn connection(&mut self) -> u64 {
        self.connections += 1;
        self.connections
    }

    /// Lets something happen some ms later.
    pub fn after(&mut self, delay: i64, what: What) {
        self.happened += 1;
        self.put(self.now + delay.max(0), self.happened, what);
    }

    /// What was put off keeps its number, and so its place among what comes at the same moment.
    fn put(&mut self, at: i64, number: u64, what: What) {
        self.events.push(Some(what));
        self.queue.push(Reverse((at, number, self.events.len() - 1)));
    }

    /// Sends a message. What goes over one connection arrives in its order: a network delays all of it alike.
    pub fn send(&mut self, from: Life, to: Life, connection: u64, message: Message) {
        // One delay for both directions of a pair at a time, so that nothing overtakes.
        let delay = 1 + (connection % 3) as i64;
        self.after(delay, What::Message { from, to, connection, message });
    }

    /// Whether this life of a process goes on.
    pub fn lives(&self, (node, life): Life) -> bool {
        let (present, alive) = match node {
            Node::Coordinator(i) => (self.coordinators[i].life, self.coordinators[i].alive),
            Node::Worker(i) => (self.workers[i].life, self.workers[i].alive),
        };
        alive && present == life
    }

    /// The peer of a connection hears that it is gone, unless it cannot be reached.
    pub fn close(&mut self, from: Life, to: Life, connection: u64) {
        let delay = self.random(5);
        self.after(delay, What::Closed { to, connection, peer: from });
    }

    fn run(&mut self) {
        let mut before = None;
        while let Some(Reverse((at, number, place))) = self.queue.pop() {
            self.now = at;
            if before.is_none() && at >= TROUBLE {
                before = Some(self.catalog.checkpoint);
            }
            if at >= TROUBLE + CALM {
                let (epoch, rows) = self.catalog.checkpoint;
                if before.is_none_or(|before| epoch <= before.0 || rows <= before.1) {
                    self.verdict = Err(format!("no commit in {CALM} ms without faults: {before:?}"));
                }
                return;
            }
            let Some(what) = self.events[place].take() else { continue };
            self.happen(number, what);
            if self.verdict.is_err() {
                return;
            }
        }
        self.verdict = Err("nothing happens any more".into());
    }

    fn happen(&mut self, number: u64, what: What) {
        let (to, from) = match &what {
            What::Message { from, to, .. } | What::Closed { to, peer: from, .. } => (Some(*to), Some(from.0)),
            What::Timer(to) | What::Wake { to, .. } | What::Worked { to, .. } => (Some(*to), None),
            What::Committed { to, .. } | What::Unanswered { to, .. } => (Some(*to), None),
            What::Commit { .. } | What::Fault | What::Revive(_) | What::Heal(..) => (None, None),
        };
        if let (Some(to), Some(from)) = (to, from)
            && self.cut.contains(&pair(to.0, from))
        {
            return self.held.push((to.0, from, number, what));
        }
        if let Some(to) = to {
            if !self.lives(to) {
                return self.undeliverable(what);
            }
            if let Some((_, until)) = self.hanging.iter().find(|(node, until)| *node == to.0 && *until > self.now) {
                return self.put(*until, number, what);
            }
        }
        if !matches!(what, What::Timer(_)) {
            self.trace.push_back(format!("{:>6} {what:?}", self.now));
            if self.trace.len() > TRACE {
                self.trace.pop_front();
            }
        }
        match what {
            What::Message { to: (Node::Coordinator(i), _), .. }
            | What::Closed { to: (Node::Coordinator(i), _), .. }
            | What::Timer((Node::Coordinator(i), _))
            | What::Wake { to: (Node::Coordinator(i), _), .. }
            | What::Committed { to: (Node::Coordinator(i), _), .. }
            | What::Unanswered { to: (Node::Coordinator(i), _), .. } => {
                let mut node = std::mem::take(&mut self.coordinators[i]);
                node.on(self, i, what);
                let exits = node.exits;
                self.coordinators[i] = node;
                if exits {
                    self.kill(Node::Coordinator(i));
                }
            }
            What::Message { to: (Node::Worker(i), _), .. }
            | What::Closed { to: (Node::Worker(i), _), .. }
            | What::Timer((Node::Worker(i), _))
            | What::Worked { to: (Node::Worker(i), _), .. } => {
                let mut node = std::mem::take(&mut self.workers[i]);
                node.on(self, i, what);
                self.workers[i] = node;
            }
            What::Commit { from, wish } => self.arrive(from, wish),
            What::Fault => self.fault(),
            What::Revive(node) => self.revive(node),
            What::Heal(a, b) => self.heal(a, b),
            What::Wake { .. } | What::Worked { .. } | What::Committed { .. } | What::Unanswered { .. } => {}
        }
    }

    /// A process that is gone: whoever sends to it hears so.
    fn undeliverable(&mut self, what: What) {
        if let What::Message { from, to, connection, .. } = what {
            self.close(to, from, connection);
        }
    }

    fn arrive(&mut self, from: Life, wish: Wish) {
        match self.catalog.commit(&wish) {
            Err(broken) => self.verdict = Err(broken),
            Ok(answer) => {
                let delay = 1 + self.random(8);
                let lost = self.now < TROUBLE && self.random(20) == 0;
                match lost {
                    true => self.after(200, What::Unanswered { to: from, wish }),
                    false => self.after(delay, What::Committed { to: from, wish, answer }),
                }
            }
        }
    }

    fn fault(&mut self) {
        if self.now >= TROUBLE {
            return;
        }
        let node = match self.random((COORDINATORS + 2 * WORKERS) as i64) as usize {
            i if i < COORDINATORS => Node::Coordinator(i),
            i => Node::Worker((i - COORDINATORS) % WORKERS),
        };
        match self.random(3) {
            0 => self.kill(node),
            1 => {
                let until = self.now + 100 + self.random(5_000);
                self.hanging.retain(|(hanging, _)| *hanging != node);
                self.hanging.push((node, until.min(TROUBLE)));
            }
            _ => {
                let other = match self.random(3) {
                    0 => Node::Coordinator(self.random(COORDINATORS as i64) as usize),
                    _ => Node::Worker(self.random(WORKERS as i64) as usize),
                };
                if other != node {
                    self.cut.insert(pair(node, other));
                    let delay = 50 + self.random(4_000);
                    self.after(delay, What::Heal(node, other));
                }
            }
        }
        let delay = 20 + self.random(1_200);
        self.after(delay, What::Fault);
    }

    /// Ends a process; it starts again some time later.
    pub fn kill(&mut self, node: Node) {
        let (life, connections) = match node {
            Node::Coordinator(i) => self.coordinators[i].die(),
            Node::Worker(i) => self.workers[i].die(),
        };
        for (peer, connection) in connections {
            self.close((node, life), peer, connection);
        }
        let delay = 10 + self.random(1_500);
        self.after(delay, What::Revive(node));
    }

    fn revive(&mut self, node: Node) {
        // Clocks of machines differ; that of a process does not change while it lives.
        let skew = self.random(6_000) - 3_000;
        let life = match node {
            Node::Coordinator(i) => self.coordinators[i].start(skew),
            Node::Worker(i) => self.workers[i].start(),
        };
        if let Some(life) = life {
            let delay = self.random(100);
            self.after(delay, What::Timer((node, life)));
        }
    }

    fn heal(&mut self, a: Node, b: Node) {
        self.cut.remove(&pair(a, b));
        let (now, waits) =
            std::mem::take(&mut self.held).into_iter().partition::<Vec<_>, _>(|(x, y, ..)| pair(*x, *y) == pair(a, b));
        self.held = waits;
        now.into_iter().for_each(|(_, _, number, what)| self.put(self.now, number, what));
    }
}

fn pair(a: Node, b: Node) -> (Node, Node) {
    if a < b { (a, b) } else { (b, a) }
}
