//! Many processes: a coordinator that decides, and workers that have slots for its pipelines.
//!
//! A worker opens one connection to the coordinator and keeps it: what it is told and what it reports are messages on that
//! stream ([`message`]). Rows go from worker to worker directly ([`link`]). Both are Arrow Flight (`service`), and `wire` is the only
//! module that knows how things look there.
//!
//! What travels are definitions, never plans: a worker plans the jobs of a deployment from the same part of the catalog as the
//! coordinator did, and refuses it if the plans differ. It reads and writes files of the warehouse, and has no catalog: whatever it
//! writes exists only once the coordinator names it. So a worker that is cut off can do no harm, however long it believes to be
//! needed: its connection is gone, a new attempt has another id, and no link of the old one reaches it.

pub mod autoscale;
pub mod leader;
pub mod link;
pub mod membership;
pub mod message;
mod service;
#[cfg(test)]
mod simulation;
mod wire;
pub mod worker;
pub mod workers;

pub use service::listen;
pub use worker::{Worker, WorkerOptions};
pub use workers::{WorkerInfo, Workers, WorkersOptions};
