//! `/metrics`: what the engine counted, for Prometheus. Everything is read when it is asked for.

mod collect;
mod names;
mod text;

use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName};
use engine::error::{Error, ErrorKind};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::Context;
use super::error::Failed;
use super::routes::Routes;
use super::workers::Cluster;
use crate::process::usage;
use collect::Samples;

/// The routes of this module.
pub fn routes() -> Routes {
    Routes::default().get("/metrics", metrics)
}

type Scraped = ([(HeaderName, &'static str); 1], String);

async fn metrics(State(context): State<Context>, headers: HeaderMap) -> Result<Scraped, Failed> {
    let cluster = Cluster::of(&context.engine);
    let samples = Samples::of(&context.engine.measures().await?, cluster.as_ref(), usage());
    let mut registry = Registry::default();
    registry.register_collector(Box::new(samples));
    let mut body = String::new();
    encode(&mut body, &registry)
        .map_err(|error| Error::new(ErrorKind::Internal, "metrics cannot be written").because(error))?;
    let wants_open_metrics = headers
        .get_all(ACCEPT)
        .iter()
        .any(|accept| accept.to_str().is_ok_and(|accept| accept.contains("application/openmetrics-text")));
    Ok(match wants_open_metrics {
        true => ([(CONTENT_TYPE, text::OPEN_METRICS)], body),
        false => ([(CONTENT_TYPE, text::PLAIN)], text::plain(&body)),
    })
}
