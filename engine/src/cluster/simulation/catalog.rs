//! The catalog of the simulation: the program's own rules for commits, and leases.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use catalog::transition::{Head, apply};
use catalog::{Action, Commit, Job, JobKind, JobStatus, ObjectId, Requirement, Snapshot};
use uuid::Uuid;

/// The job that runs.
const JOB: ObjectId = ObjectId(1);
/// The lease that allows to run it.
const LEASE: &str = "job/1";

/// What an attempt wants to commit.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Names the commit.
    pub id: Uuid,
    /// The attempt to run the job.
    pub attempt: u64,
    /// The token under which the attempt was started.
    pub token: u64,
    /// The epoch.
    pub epoch: u64,
    /// Rows before those that it adds.
    pub from: u64,
    /// Rows with them.
    pub to: u64,
}

/// Who holds a lease.
#[derive(Debug, Clone)]
pub struct Held {
    /// The holder: coordinator and life.
    pub owner: (usize, u32),
    /// Its fencing token.
    pub token: u64,
    expires: i64,
}

/// See the module.
pub struct SimCatalog {
    head: Head,
    leader: Option<Held>,
    job: Option<Held>,
    tokens: u64,
    done: BTreeMap<Uuid, Result<(), String>>,
    /// The newest checkpoint: epoch, and rows read.
    pub checkpoint: (u64, u64),
    /// All commits, in order: attempt and epoch.
    pub log: Vec<(u64, u64)>,
    /// How often leadership changed hands.
    pub leaders: u64,
}

impl SimCatalog {
    pub fn new() -> Self {
        let job = Job {
            id: JOB,
            name: "j".into(),
            kind: JobKind::Insert,
            sql: String::new(),
            targets: vec![],
            inputs: vec![],
            settings: BTreeMap::new(),
            status: JobStatus::Running,
            error: None,
            checkpoint: None,
        };
        let snapshot = Snapshot { jobs: BTreeMap::from([(JOB, Arc::new(job))]), version: 1, ..Snapshot::default() };
        let head = Head { snapshot: Arc::new(snapshot), ..Head::default() };
        let (done, log) = (BTreeMap::new(), vec![]);
        Self { head, leader: None, job: None, tokens: 0, done, checkpoint: (0, 0), log, leaders: 0 }
    }

    /// How many attempts have committed anything.
    pub fn attempts(&self) -> usize {
        self.log.iter().map(|(attempt, _)| *attempt).collect::<BTreeSet<_>>().len()
    }

    /// Takes leadership, and the job's lease from whoever led before. Gives the token of the job's lease.
    pub fn lead(&mut self, owner: (usize, u32), now: i64, ttl: i64) -> Option<(u64, u64)> {
        if self.leader.as_ref().is_some_and(|held| held.expires > now && held.owner != owner) {
            return None;
        }
        self.leaders += 1;
        self.tokens += 2;
        self.leader = Some(Held { owner, token: self.tokens - 1, expires: now + ttl });
        self.job = Some(Held { owner, token: self.tokens, expires: i64::MAX });
        Some((self.tokens - 1, self.tokens))
    }

    /// Renews leadership; false if somebody else took it.
    pub fn renew(&mut self, token: u64, now: i64, ttl: i64) -> bool {
        match &mut self.leader {
            Some(held) if held.token == token => {
                held.expires = now + ttl;
                true
            }
            _ => false,
        }
    }

    /// A commit arrives. `Err` says which law was broken; the inner result is the answer.
    pub fn commit(&mut self, wish: &Wish) -> Result<Result<(), String>, String> {
        if let Some(done) = self.done.get(&wish.id) {
            return Ok(done.clone());
        }
        let payload = serde_json::json!({"rows": wish.to});
        let action = Action::Checkpoint { job: JOB, epoch: wish.epoch, payload, files: vec![] };
        let fence = Requirement::Fence { lease: LEASE.into(), token: wish.token };
        let commit = Commit { id: wish.id, now_ms: 0, requires: vec![fence], actions: vec![action] };
        let tokens = self.job.iter().map(|held| (LEASE.to_string(), held.token)).collect();
        let answer = match apply(&self.head, &tokens, &commit) {
            Ok(head) => {
                let (epoch, rows) = self.checkpoint;
                if wish.from != rows || wish.epoch <= epoch {
                    let what = format!("{wish:?} is committed after epoch {epoch} with {rows} rows");
                    return Err(format!("rows are lost or doubled: {what}"));
                }
                if self.log.iter().any(|(attempt, _)| *attempt > wish.attempt) {
                    return Err(format!("an attempt commits after a later one did: {wish:?}"));
                }
                self.head = head;
                self.checkpoint = (wish.epoch, wish.to);
                self.log.push((wish.attempt, wish.epoch));
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        };
        self.done.insert(wish.id, answer.clone());
        Ok(answer)
    }
}
