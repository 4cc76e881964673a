//! `/api/v1/workers`: those of a coordinator, and how many there should be.

use axum::Json;
use axum::extract::State;
use engine::cluster::WorkerInfo;
use engine::cluster::autoscale::Recommendation;
use engine::error::{Error, ErrorKind};
use engine::session::Engine;
use serde_json::{Value, json};

use super::Context;
use super::error::Failed;
use super::routes::Routes;

/// The routes of this module.
pub fn routes() -> Routes {
    Routes::default().get("/api/v1/workers", workers).get("/api/v1/autoscaler", autoscaler)
}

/// What there is of workers, and what there should be.
pub struct Cluster {
    /// Those that there are.
    pub workers: Vec<WorkerInfo>,
    /// How many there should be.
    pub recommended: Recommendation,
}

impl Cluster {
    /// That of an engine; `None` if it runs its jobs itself.
    pub fn of(engine: &Engine) -> Option<Self> {
        let recommended = engine.recommended_workers()?.borrow().clone();
        Some(Self { workers: engine.workers()?, recommended })
    }
}

async fn workers(State(context): State<Context>) -> Json<Value> {
    let workers = context.engine.workers().unwrap_or_default();
    let shape = |worker: &WorkerInfo| {
        json!({
            "worker": worker.id,
            "address": worker.address,
            "slots": worker.slots,
            "pipelines": worker.deployments,
            "state": if worker.draining { "leaving" } else { "active" },
        })
    };
    Json(json!({"workers": workers.iter().map(shape).collect::<Vec<_>>()}))
}

async fn autoscaler(State(context): State<Context>) -> Result<Json<Value>, Failed> {
    let cluster = Cluster::of(&context.engine).ok_or_else(|| {
        Error::new(ErrorKind::Sql, "this server runs its jobs itself and has no workers")
            .hint("start it as frazil coordinator")
    })?;
    Ok(Json(json!({
        "workers": cluster.recommended.workers,
        "reason": cluster.recommended.reason,
        "present": cluster.workers.iter().filter(|worker| !worker.draining).count(),
    })))
}
