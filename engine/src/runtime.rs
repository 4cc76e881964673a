//! The runtime: pipelines of jobs, their epochs and checkpoints, the slots that work, the commits that make it durable.
//!
//! `coordinator` decides and does nothing else; `pipeline` is the shell around it; `host` holds slots, and `slot` moves
//! changes through operators.

pub mod checkpoint;
pub mod commit;
pub mod coordinator;
pub mod dataflow;
pub mod exchange;
pub mod feed;
pub mod host;
pub mod instance;
pub mod metrics;
pub mod pipeline;
pub mod placement;
pub mod planning;
pub mod slot;
pub mod state;
pub mod timing;
pub mod touched;
pub mod watermark;
