//! A coordinator of the simulation: stands by, leads, and runs one job on the slots of the workers that joined, with the program's own
//! [`Membership`], [`spread`] and [`Coordinator`].

use std::collections::{BTreeMap, BTreeSet};

use super::catalog::Wish;
use super::world::{Life, Message, Node, What, World};
use crate::cluster::membership::{Command as Member, Event as Membership_, Membership, Patience};
use crate::cluster::message::WorkerId;
use crate::runtime::coordinator::{Command, Coordinator, EpochDone, Event, Input, Settings};
use crate::runtime::placement::{Bounds, spread};

const TTL: i64 = 2_000;
/// How often a coordinator looks after its affairs, in ms.
const TIMER: i64 = 100;
const PATIENCE: Patience = Patience { silence_ms: 2_000, probe_ms: 200 };

/// See the module.
#[derive(Debug, Default)]
pub struct CoordinatorNode {
    pub life: u32,
    pub alive: bool,
    /// It does not lead any more, and ends.
    pub exits: bool,
    /// By how much its clock is ahead.
    skew: i64,
    leads: Option<Leads>,
}

/// What a coordinator knows while it leads.
#[derive(Debug)]
struct Leads {
    lease: u64,
    token: u64,
    renewed: i64,
    membership: Membership,
    joined: WorkerId,
    members: BTreeMap<WorkerId, (Life, u64)>,
    attempt: Option<Attempt>,
}

/// One attempt to run the job.
#[derive(Debug)]
struct Attempt {
    id: u64,
    machine: Coordinator,
    hosts: Vec<WorkerId>,
    deployed: BTreeSet<WorkerId>,
    collecting: BTreeMap<u64, Collecting>,
    /// Rows in the catalog when it began, and by its last commit.
    began_with: u64,
    committed: u64,
    committing: bool,
    wake_at: i64,
    /// Slots are gone: it ends with the commit that is under way.
    interrupted: bool,
}

#[derive(Debug, Default)]
struct Collecting {
    written: BTreeMap<WorkerId, u64>,
    closed: bool,
}

impl CoordinatorNode {
    /// Starts a dead one with a clock that is ahead by so much. Gives its life.
    pub fn start(&mut self, skew: i64) -> Option<u32> {
        if self.alive {
            return None;
        }
        *self = Self { life: self.life + 1, alive: true, skew, ..Self::default() };
        Some(self.life)
    }

    /// Ends it. Gives the connections that close.
    pub fn die(&mut self) -> (u32, Vec<(Life, u64)>) {
        self.alive = false;
        let connections = self.leads.take().map(|leads| leads.members.into_values().collect()).unwrap_or_default();
        (self.life, connections)
    }

    /// Something happens to it.
    pub fn on(&mut self, world: &mut World, i: usize, what: What) {
        let me = (Node::Coordinator(i), self.life);
        if let What::Timer(_) = what {
            world.after(TIMER, What::Timer(me));
            self.keep_lease(world, (i, self.life));
        }
        let Some(leads) = &mut self.leads else {
            if let What::Message { from, connection, .. } = what {
                world.send(me, from, connection, Message::Refused);
            }
            return;
        };
        match what {
            What::Timer(_) => leads.member(world, me, Membership_::Tick),
            What::Message { from, connection, message, .. } => leads.take(world, me, from, connection, message),
            What::Closed { connection, .. } => {
                if let Some(worker) = leads.member_of(connection) {
                    leads.member(world, me, Membership_::Closed(worker));
                }
            }
            // Only the newest wish counts.
            What::Wake { attempt, at, .. } if leads.attempt.as_ref().is_some_and(|own| own.wake_at == at) => {
                leads.event(world, me, attempt, Event::Tick);
            }
            What::Unanswered { wish, .. } => world.after(0, What::Commit { from: me, wish }),
            What::Committed { wish, answer, .. } => match answer {
                Ok(()) => leads.committed(world, me, &wish),
                // Somebody else leads.
                Err(_) => self.exits = true,
            },
            _ => {}
        }
        if let Some(leads) = &mut self.leads {
            leads.go_on(world, me);
        }
    }

    fn keep_lease(&mut self, world: &mut World, owner: (usize, u32)) {
        let clock = world.now + self.skew;
        match &mut self.leads {
            None => {
                if let Some((lease, token)) = world.catalog.lead(owner, clock, TTL) {
                    self.leads = Some(Leads {
                        lease,
                        token,
                        renewed: world.now,
                        membership: Membership::new(PATIENCE),
                        joined: 0,
                        members: BTreeMap::new(),
                        attempt: None,
                    });
                }
            }
            Some(leads) if world.now - leads.renewed >= TTL / 4 => match world.catalog.renew(leads.lease, clock, TTL) {
                true => leads.renewed = world.now,
                false => self.exits = true,
            },
            Some(_) => {}
        }
    }
}

impl Leads {
    fn member_of(&self, connection: u64) -> Option<WorkerId> {
        self.members.iter().find(|(_, (_, own))| *own == connection).map(|(worker, _)| *worker)
    }

    fn tell(&self, world: &mut World, me: Life, worker: WorkerId, message: Message) {
        if let Some((to, connection)) = self.members.get(&worker) {
            world.send(me, *to, *connection, message);
        }
    }

    fn member(&mut self, world: &mut World, me: Life, event: Membership_) {
        for command in self.membership.on(world.now, event) {
            match command {
                Member::Probe(worker) => self.tell(world, me, worker, Message::Probe),
                Member::Lost(worker, _) => {
                    if let Some((peer, connection)) = self.members.remove(&worker) {
                        world.close(me, peer, connection);
                    }
                    if let Some(attempt) = self.attempt.as_mut().filter(|attempt| attempt.hosts.contains(&worker)) {
                        attempt.interrupted = true;
                    }
                }
            }
        }
    }

    fn take(&mut self, world: &mut World, me: Life, from: Life, connection: u64, message: Message) {
        if let Message::Join = message {
            self.joined += 1;
            let worker = self.joined;
            self.members.insert(worker, (from, connection));
            self.member(world, me, Membership_::Joined(worker));
            self.tell(world, me, worker, Message::Welcome);
            if let Some(id) = self.attempt.as_ref().map(|attempt| attempt.id) {
                self.event(world, me, id, Event::StopRequested);
            }
            return;
        }
        let Some(worker) = self.member_of(connection) else { return world.close(me, from, connection) };
        self.member(world, me, Membership_::Heard(worker));
        match message {
            Message::Beat => self.tell(world, me, worker, Message::Beat),
            Message::Deployed { attempt } => {
                let Some(own) = self.attempt.as_mut().filter(|own| own.id == attempt) else { return };
                own.deployed.insert(worker);
                if own.deployed.len() == own.hosts.len() {
                    self.event(world, me, attempt, Event::StagedEnded);
                    self.event(world, me, attempt, Event::Started);
                }
            }
            Message::EpochDone { attempt, epoch } => {
                let Some(own) = self.attempt.as_ref().filter(|own| own.id == attempt) else { return };
                let Some(slot) = own.hosts.iter().position(|host| *host == worker) else { return };
                let done = EpochDone { slot, epoch, rows_in: 1, input: Input::More, seen: vec![], moment: None };
                self.event(world, me, attempt, Event::EpochDone(done));
            }
            Message::Written { attempt, epoch, rows } => {
                let Some(own) = self.attempt.as_mut().filter(|own| own.id == attempt) else { return };
                own.collecting.entry(epoch).or_default().written.insert(worker, rows);
                self.commit_if_whole(world, me, epoch);
            }
            Message::Unlinked { attempt, peer } => {
                let suspected = self.members.iter().find(|(_, (life, _))| *life == peer).map(|(worker, _)| *worker);
                if let Some(suspected) = suspected {
                    self.member(world, me, Membership_::Suspected(suspected));
                }
                if let Some(own) = self.attempt.as_mut().filter(|own| own.id == attempt) {
                    own.interrupted = true;
                }
            }
            _ => {}
        }
    }

    fn event(&mut self, world: &mut World, me: Life, attempt: u64, event: Event) {
        let now = world.now;
        let Some(own) = self.attempt.as_mut().filter(|own| own.id == attempt) else { return };
        let hosts = own.hosts.clone();
        for command in own.machine.on(now, event) {
            match command {
                Command::Start { epoch, checkpoint, .. } => {
                    for worker in &hosts {
                        let start = Message::Start { attempt, epoch: epoch.number, checkpoint };
                        self.tell(world, me, *worker, start);
                    }
                }
                Command::Commit { epoch, .. } => {
                    if let Some(own) = &mut self.attempt {
                        own.collecting.entry(epoch.number).or_default().closed = true;
                    }
                    self.commit_if_whole(world, me, epoch.number);
                }
                Command::WakeAt(at) => {
                    if let Some(own) = &mut self.attempt {
                        own.wake_at = at;
                    }
                    world.after(at - now, What::Wake { to: me, attempt, at });
                }
                Command::Finish { .. } => self.end(world, me),
            }
        }
    }

    fn commit_if_whole(&mut self, world: &mut World, me: Life, epoch: u64) {
        let id = world.uuid();
        let Some(own) = &mut self.attempt else { return };
        let whole = |collecting: &Collecting| collecting.closed && collecting.written.len() == own.hosts.len();
        // What has lost slots commits nothing that it has not begun to.
        if own.interrupted || !own.collecting.get(&epoch).is_some_and(whole) {
            return;
        }
        let Some(Collecting { written, .. }) = own.collecting.remove(&epoch) else { return };
        own.committing = true;
        let to = own.began_with + written.values().sum::<u64>();
        let wish = Wish { id, attempt: own.id, token: self.token, epoch, from: own.committed, to };
        own.committed = to;
        let delay = 1 + world.random(15);
        world.after(delay, What::Commit { from: me, wish });
    }

    fn committed(&mut self, world: &mut World, me: Life, wish: &Wish) {
        if let Some(own) = self.attempt.as_mut().filter(|own| own.id == wish.attempt) {
            own.committing = false;
        }
        self.event(world, me, wish.attempt, Event::Committed { epoch: wish.epoch });
    }

    fn end(&mut self, world: &mut World, me: Life) {
        let Some(own) = self.attempt.take() else { return };
        for worker in own.hosts {
            self.tell(world, me, worker, Message::Release { attempt: own.id });
        }
    }

    /// Ends an attempt that has lost slots, and begins one where there are any.
    fn go_on(&mut self, world: &mut World, me: Life) {
        if self.attempt.as_ref().is_some_and(|own| own.interrupted && !own.committing) {
            self.end(world, me);
        }
        if self.attempt.is_some() {
            return;
        }
        let workers: Vec<WorkerId> = self.members.keys().copied().collect();
        let offers: Vec<_> = workers.iter().map(|worker| (worker.to_string(), 1)).collect();
        let Some(places) = spread(&offers, 1, Bounds::default()) else { return };
        let hosts: Vec<WorkerId> = places.into_iter().map(|place| workers[place]).collect();
        let (epoch, rows) = world.catalog.checkpoint;
        let settings = Settings {
            slots: hosts.len(),
            max_in_flight: 2,
            commit_interval_ms: 300,
            restored_epoch: epoch,
            restored_timestamp_ms: 0,
            fresh: epoch == 0,
            backfilling: false,
            timed: vec![],
            watermark_epochs: 0,
        };
        let id = world.attempt();
        let lives: Vec<Life> = hosts.iter().filter_map(|host| self.members.get(host)).map(|(life, _)| *life).collect();
        for worker in &hosts {
            self.tell(world, me, *worker, Message::Deploy { attempt: id, hosts: lives.clone() });
        }
        self.attempt = Some(Attempt {
            id,
            machine: Coordinator::new(settings),
            hosts,
            deployed: BTreeSet::new(),
            collecting: BTreeMap::new(),
            began_with: rows,
            committed: rows,
            committing: false,
            wake_at: 0,
            interrupted: false,
        });
    }
}
