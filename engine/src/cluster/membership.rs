//! Which workers there are, and when one counts as lost: a pure state machine.
//!
//! A worker that dies is reported by its connection, which closes. One that falls silent without that (a machine that stops, a
//! network that swallows everything) is found by whoever misses it first: a worker whose link to it breaks, upon which it is
//! probed, or, last, the missing heartbeat.

use std::collections::BTreeMap;

use super::message::WorkerId;

/// How patient the coordinator is.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// A worker that was not heard of for so long, in ms, is lost.
    pub silence_ms: i64,
    /// One that others suspect has so long, in ms, to answer.
    pub probe_ms: i64,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A worker has joined.
    Joined(WorkerId),
    /// Something came from it.
    Heard(WorkerId),
    /// Its connection closed.
    Closed(WorkerId),
    /// Another worker's link to it broke.
    Suspected(WorkerId),
    /// Time passed.
    Tick,
}

/// Why a worker is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// It ended, or its connection was cut.
    Closed,
    /// Others had lost it, and it did not answer.
    Unanswered,
    /// It fell silent.
    Silent,
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Closed => "its connection closed",
            Self::Unanswered => "another worker lost it, and it did not answer",
            Self::Silent => "it sent no heartbeat",
        })
    }
}

/// What has to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Ask it to answer.
    Probe(WorkerId),
    /// Its slots are gone.
    Lost(WorkerId, Loss),
}

#[derive(Debug)]
struct Member {
    heard_ms: i64,
    /// When it was asked to answer, unless it has.
    probed_ms: Option<i64>,
}

/// The workers that count.
#[derive(Debug)]
pub struct Membership {
    patience: Patience,
    members: BTreeMap<WorkerId, Member>,
}

impl Membership {
    /// Nobody is there.
    pub fn new(patience: Patience) -> Self {
        Self { patience, members: BTreeMap::new() }
    }

    /// Takes an event that happened at `now_ms` and says what to do.
    pub fn on(&mut self, now_ms: i64, event: Event) -> Vec<Command> {
        match event {
            Event::Joined(worker) => {
                self.members.insert(worker, Member { heard_ms: now_ms, probed_ms: None });
                vec![]
            }
            Event::Heard(worker) => {
                if let Some(member) = self.members.get_mut(&worker) {
                    *member = Member { heard_ms: now_ms, probed_ms: None };
                }
                vec![]
            }
            Event::Closed(worker) => self.lose(worker, Loss::Closed).into_iter().collect(),
            Event::Suspected(worker) => match self.members.get_mut(&worker) {
                Some(member) if member.probed_ms.is_none() => {
                    member.probed_ms = Some(now_ms);
                    vec![Command::Probe(worker)]
                }
                _ => vec![],
            },
            Event::Tick => self.overdue(now_ms),
        }
    }

    /// When the next [`Event::Tick`] may find somebody overdue.
    pub fn wake_at(&self) -> Option<i64> {
        self.members.values().map(|member| self.deadline(member)).min()
    }

    fn deadline(&self, member: &Member) -> i64 {
        let silence = member.heard_ms.saturating_add(self.patience.silence_ms);
        let probe = member.probed_ms.map(|probed| probed.saturating_add(self.patience.probe_ms));
        probe.map_or(silence, |probe| probe.min(silence))
    }

    fn overdue(&mut self, now_ms: i64) -> Vec<Command> {
        let late = self.members.iter().filter(|(_, member)| self.deadline(member) <= now_ms);
        let late: Vec<_> = late.map(|(worker, member)| (*worker, member.probed_ms.is_some())).collect();
        let loss = |probed| if probed { Loss::Unanswered } else { Loss::Silent };
        late.into_iter().filter_map(|(worker, probed)| self.lose(worker, loss(probed))).collect()
    }

    fn lose(&mut self, worker: WorkerId, why: Loss) -> Option<Command> {
        self.members.remove(&worker).map(|_| Command::Lost(worker, why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership() -> Membership {
        let mut membership = Membership::new(Patience { silence_ms: 2_000, probe_ms: 200 });
        for worker in 1..=3 {
            assert_eq!(membership.on(0, Event::Joined(worker)), vec![]);
        }
        membership
    }

    #[test]
    fn a_closed_connection_loses_a_worker_at_once_and_once() {
        let mut membership = membership();
        assert_eq!(membership.on(10, Event::Closed(2)), vec![Command::Lost(2, Loss::Closed)]);
        assert_eq!(membership.on(10, Event::Closed(2)), vec![]);
        assert_eq!(membership.on(10, Event::Suspected(2)), vec![]);
    }

    #[test]
    fn silence_is_waited_for_as_long_as_was_said() {
        let mut membership = membership();
        membership.on(1_500, Event::Heard(1));
        membership.on(1_500, Event::Heard(3));
        assert_eq!(membership.wake_at(), Some(2_000));
        assert_eq!(membership.on(1_999, Event::Tick), vec![]);
        assert_eq!(membership.on(2_000, Event::Tick), vec![Command::Lost(2, Loss::Silent)]);
        assert_eq!(membership.wake_at(), Some(3_500));
    }

    #[test]
    fn who_is_suspected_is_probed_once_and_has_little_time() {
        let mut membership = membership();
        assert_eq!(membership.on(100, Event::Suspected(2)), vec![Command::Probe(2)]);
        assert_eq!(membership.on(150, Event::Suspected(2)), vec![]);
        assert_eq!(membership.on(299, Event::Tick), vec![]);
        assert_eq!(membership.on(300, Event::Tick), vec![Command::Lost(2, Loss::Unanswered)]);
        assert_eq!(membership.on(300, Event::Suspected(1)), vec![Command::Probe(1)]);
        membership.on(400, Event::Heard(1));
        assert_eq!(membership.on(600, Event::Tick), vec![]);
    }
}
