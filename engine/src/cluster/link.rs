//! The way of rows from one worker to another: one stream per deployment and pair of hosts.
//!
//! Senders never wait, so that no two slots can wait for each other. What waits here is counted in bytes instead, and while it is
//! too much the slots read no further input ([`crate::runtime::exchange::Link::is_full`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_flight::{FlightData, FlightDescriptor};
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::{service, wire};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::exchange::Link;
use crate::runtime::slot::Delivery;

/// Bytes that may wait for one host before reading stops.
const FULL: usize = 16 << 20;

/// Which link a stream is, in its first message.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Hello {
    /// The deployment.
    pub deployment: Uuid,
    /// The host that sends.
    pub from: usize,
    /// What the cluster's members know and others do not.
    pub secret: Option<String>,
}

/// The sending end.
pub struct Outgoing {
    queue: mpsc::UnboundedSender<(usize, Delivery)>,
    waiting: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Outgoing {
    /// A link to the host at `address`, which is connected when the first thing is sent. `broken` is called if it breaks, once.
    pub fn new(hello: Hello, address: String, broken: impl FnOnce(Error) + Send + 'static) -> Self {
        let (queue, inbox) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let counted = waiting.clone();
        let task = tokio::spawn(async move {
            if let Err(error) = run(hello, &address, inbox, counted).await {
                broken(error.with("address", address));
            }
        });
        Self { queue, waiting, task }
    }
}

impl Link for Outgoing {
    fn send(&self, slot: usize, delivery: Delivery) {
        self.waiting.fetch_add(wire::size(&delivery), Ordering::Relaxed);
        // A link that is broken has said so.
        let _ = self.queue.send((slot, delivery));
    }

    fn is_full(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > FULL
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    hello: Hello,
    address: &str,
    mut queue: mpsc::UnboundedReceiver<(usize, Delivery)>,
    waiting: Arc<AtomicUsize>,
) -> Result<()> {
    let Some(first) = queue.recv().await else { return Ok(()) };
    let mut client = service::connect(address).await?;
    let path = vec![serde_json::to_string(&hello).map_err(|e| Error::internal("a link has no name").because(e))?];
    let hello = FlightData::new().with_descriptor(FlightDescriptor::new_path(path));
    let (failed, mut failure) = mpsc::unbounded_channel();
    // A message is made when the connection has room for it, and counts as waiting until then.
    let state = (Some(first), queue, wire::Encoder::new());
    let deliveries = futures::stream::unfold(state, move |(first, mut queue, mut encoder)| {
        let (waiting, failed) = (waiting.clone(), failed.clone());
        async move {
            let (slot, delivery) = match first {
                Some(first) => first,
                None => queue.recv().await?,
            };
            waiting.fetch_sub(wire::size(&delivery), Ordering::Relaxed);
            let data = encoder.delivery(slot, &delivery).map_err(|error| failed.send(error)).ok()?;
            Some((data, (None, queue, encoder)))
        }
    });
    let stream = futures::stream::iter([hello]).chain(deliveries);
    let mut answers = client.do_put(stream).await.map_err(|status| service::error(&status))?.into_inner();
    // The receiver answers nothing as long as all is well.
    match answers.message().await {
        Err(status) => Err(service::error(&status)),
        Ok(_) => match failure.try_recv() {
            Ok(error) => Err(error),
            Err(_) => Err(Error::new(ErrorKind::Unavailable, "the receiving worker closed the connection")),
        },
    }
}
