//! A worker of the simulation: joins whoever leads, and does the epochs that it is told to, one slot's worth.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::world::{Life, Message, Node, What, World};

/// How often a worker looks after its affairs, in ms.
const TIMER: i64 = 250;
/// After how much silence of the coordinator it counts as lost.
const SILENCE: i64 = 2_000;

/// Connections between workers are numbered from here on, by attempt.
const LINKS: u64 = 1 << 32;

/// See the module.
#[derive(Debug, Default)]
pub struct WorkerNode {
    pub life: u32,
    pub alive: bool,
    /// The connection to a coordinator: whose, which, and when it was heard of.
    connection: Option<(Life, u64, i64)>,
    joined: bool,
    next: usize,
    hosting: BTreeMap<u64, Hosting>,
}

/// What runs of one attempt.
#[derive(Debug)]
struct Hosting {
    hosts: Vec<Life>,
    /// Rows read since the attempt began.
    rows: u64,
    /// Epochs that were started and are not done.
    started: VecDeque<(u64, bool)>,
    /// The first of them is read.
    read: bool,
    /// Whose barriers have come, by epoch.
    barriers: BTreeMap<u64, BTreeSet<Life>>,
}

impl WorkerNode {
    /// Starts a dead one. Gives its life.
    pub fn start(&mut self) -> Option<u32> {
        if self.alive {
            return None;
        }
        *self = Self { life: self.life + 1, alive: true, ..Self::default() };
        Some(self.life)
    }

    /// Ends it. Gives the connections that close.
    pub fn die(&mut self) -> (u32, Vec<(Life, u64)>) {
        self.alive = false;
        self.hosting.clear();
        (self.life, self.connection.take().map(|(peer, connection, _)| (peer, connection)).into_iter().collect())
    }

    fn me(&self, i: usize) -> Life {
        (Node::Worker(i), self.life)
    }

    /// Something happens to it.
    pub fn on(&mut self, world: &mut World, i: usize, what: What) {
        match what {
            What::Timer(_) => self.look_after(world, i),
            What::Closed { connection, peer, .. } if connection >= LINKS => {
                self.tell(world, i, Message::Unlinked { attempt: connection - LINKS, peer });
            }
            What::Closed { connection, .. } if self.connection.is_some_and(|(_, own, _)| own == connection) => {
                self.cut_off();
            }
            What::Worked { attempt, epoch, .. } => {
                let rows = world.random(50) as u64;
                let me = self.me(i);
                let Some(hosting) = self.hosting.get_mut(&attempt) else { return };
                hosting.rows += rows;
                hosting.read = true;
                for peer in hosting.hosts.clone().into_iter().filter(|peer| *peer != me) {
                    world.send(me, peer, LINKS + attempt, Message::Barrier { attempt, epoch });
                }
                self.finish(world, i, attempt);
            }
            What::Message { from, connection, message, .. } => self.take(world, i, from, connection, message),
            _ => {}
        }
    }

    fn take(&mut self, world: &mut World, i: usize, from: Life, connection: u64, message: Message) {
        if let Message::Barrier { attempt, epoch } = message {
            match self.hosting.get_mut(&attempt) {
                Some(hosting) => {
                    hosting.barriers.entry(epoch).or_default().insert(from);
                    self.finish(world, i, attempt);
                }
                // The receiver knows nothing of the attempt any more: the link breaks.
                None => world.close(self.me(i), from, LINKS + attempt),
            }
            return;
        }
        let Some((coordinator, own, heard)) = &mut self.connection else { return };
        if *own != connection || *coordinator != from {
            return;
        }
        *heard = world.now;
        match message {
            Message::Welcome => self.joined = true,
            Message::Refused => self.cut_off(),
            Message::Probe => self.tell(world, i, Message::Beat),
            Message::Deploy { attempt, hosts } => {
                let hosting =
                    Hosting { hosts, rows: 0, started: VecDeque::new(), read: false, barriers: BTreeMap::new() };
                self.hosting.insert(attempt, hosting);
                self.tell(world, i, Message::Deployed { attempt });
            }
            Message::Start { attempt, epoch, checkpoint } => {
                let me = self.me(i);
                let Some(hosting) = self.hosting.get_mut(&attempt) else { return };
                hosting.started.push_back((epoch, checkpoint));
                if hosting.started.len() == 1 {
                    let delay = 1 + world.random(30);
                    world.after(delay, What::Worked { to: me, attempt, epoch });
                }
            }
            Message::Release { attempt } => drop(self.hosting.remove(&attempt)),
            _ => {}
        }
    }

    /// Ends the first epoch that is read and for which all barriers have come, and begins the next.
    fn finish(&mut self, world: &mut World, i: usize, attempt: u64) {
        let me = self.me(i);
        let Some(hosting) = self.hosting.get_mut(&attempt) else { return };
        let Some((epoch, checkpoint)) = hosting.started.front().copied().filter(|_| hosting.read) else { return };
        let others = hosting.hosts.iter().filter(|host| **host != me);
        if !others.into_iter().all(|host| hosting.barriers.get(&epoch).is_some_and(|come| come.contains(host))) {
            return;
        }
        hosting.started.pop_front();
        hosting.read = false;
        hosting.barriers.remove(&epoch);
        let rows = hosting.rows;
        if let Some((next, _)) = hosting.started.front().copied() {
            let delay = 1 + world.random(30);
            world.after(delay, What::Worked { to: me, attempt, epoch: next });
        }
        self.tell(world, i, Message::EpochDone { attempt, epoch });
        if checkpoint {
            self.tell(world, i, Message::Written { attempt, epoch, rows });
        }
    }

    fn tell(&self, world: &mut World, i: usize, message: Message) {
        if let Some((coordinator, connection, _)) = self.connection {
            world.send(self.me(i), coordinator, connection, message);
        }
    }

    fn look_after(&mut self, world: &mut World, i: usize) {
        world.after(TIMER, What::Timer(self.me(i)));
        if self.connection.is_some_and(|(_, _, heard)| world.now - heard >= SILENCE)
            && let Some((coordinator, connection, _)) = self.connection
        {
            world.close(self.me(i), coordinator, connection);
            self.cut_off();
        }
        match self.connection {
            Some(_) if self.joined => self.tell(world, i, Message::Beat),
            Some(_) => {}
            None => {
                self.next = (self.next + 1) % world.coordinators.len();
                let coordinator = (Node::Coordinator(self.next), world.coordinators[self.next].life);
                if world.lives(coordinator) {
                    self.connection = Some((coordinator, world.connection(), world.now));
                    self.tell(world, i, Message::Join);
                }
            }
        }
    }

    /// Nobody counts on what runs here any more.
    fn cut_off(&mut self) {
        self.connection = None;
        self.joined = false;
        self.hosting.clear();
    }
}
