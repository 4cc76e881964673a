//! Cancel requests: they come over connections of their own and name the connection whose statement is to end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use pgwire::messages::cancel::CancelRequest;
use pgwire::messages::startup::SecretKey;
use tokio::sync::watch;

/// A connection, as only its client can name it.
type Key = (i32, Bytes);

/// The connections that there are.
#[derive(Debug, Default)]
pub struct Cancellations(Mutex<HashMap<Key, watch::Sender<()>>>);

/// A connection's entry; it goes with the connection.
#[derive(Debug)]
pub struct Registration {
    all: Arc<Cancellations>,
    key: Key,
}

/// Becomes ready when the statement is to end.
#[derive(Debug)]
pub struct Cancelled(Option<watch::Receiver<()>>);

impl Cancellations {
    /// Enters a connection.
    pub fn register(self: &Arc<Self>, pid: i32, secret: &SecretKey) -> Registration {
        let key = (pid, secret.to_bytes());
        self.with(|all| all.insert(key.clone(), watch::Sender::new(())));
        Registration { all: self.clone(), key }
    }

    /// Breaks off what the connection does that a request names.
    pub fn cancel(&self, request: &CancelRequest) {
        let key = (request.pid, request.secret_key.to_bytes());
        self.with(|all| all.get(&key).map(|signal| signal.send(())));
    }

    fn with<T>(&self, work: impl FnOnce(&mut HashMap<Key, watch::Sender<()>>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Registration {
    /// What a statement that begins now listens to.
    pub fn listen(&self) -> Cancelled {
        Cancelled(self.all.with(|all| all.get(&self.key).map(watch::Sender::subscribe)))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.all.with(|all| all.remove(&self.key));
    }
}

impl Cancelled {
    /// Waits until the statement is to end.
    pub async fn wait(mut self) {
        if let Some(signal) = &mut self.0
            && signal.changed().await.is_ok()
        {
            return;
        }
        // The connection is going: whatever works for it is dropped with it.
        std::future::pending().await
    }
}
