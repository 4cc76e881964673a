//! HTTP over TLS: connections come to the router when they are encrypted, and none waits for another's handshake.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use pgwire::tokio::TlsAcceptor;
use pgwire::tokio::tokio_rustls::server::TlsStream;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections that are encrypted and wait for the router.
const WAITING: usize = 64;

/// Where a connection comes from.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

impl Connected<IncomingStream<'_, TcpListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

impl Connected<IncomingStream<'_, Encrypted>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Encrypted>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// Listens for encrypted connections.
pub struct Encrypted {
    address: SocketAddr,
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    accepting: JoinHandle<()>,
}

impl Encrypted {
    /// Listens until it is dropped.
    ///
    /// # Errors
    /// If the listener has no address.
    pub fn new(mut listener: TcpListener, tls: TlsAcceptor) -> std::io::Result<Self> {
        let address = TcpListener::local_addr(&listener)?;
        let (sender, ready) = mpsc::channel(WAITING);
        let accepting = tokio::spawn(async move {
            loop {
                // It waits by itself after an error.
                let (socket, peer) = Listener::accept(&mut listener).await;
                let (tls, sender) = (tls.clone(), sender.clone());
                tokio::spawn(async move {
                    match tokio::time::timeout(PATIENCE, tls.accept(socket)).await {
                        Ok(Ok(stream)) => drop(sender.send((stream, peer)).await),
                        Ok(Err(error)) => tracing::debug!(%peer, %error, "a handshake failed"),
                        Err(_) => tracing::debug!(%peer, "a handshake took too long"),
                    }
                });
            }
        });
        Ok(Self { address, ready, accepting })
    }
}

impl Drop for Encrypted {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Listener for Encrypted {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(accepted) => accepted,
            // The task that accepts never ends by itself.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.address)
    }
}
