//! The part of Arrow Flight that the cluster speaks: DoExchange for control, DoPut for rows. Everything else is refused.

use std::net::SocketAddr;
use std::pin::Pin;

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, SchemaResult, Ticket,
};
use async_trait::async_trait;
use futures::Stream;
use tokio::net::TcpListener;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

use crate::error::{Error, ErrorKind, Result};

/// What one side sends on a stream.
pub type Sent<T> = Pin<Box<dyn Stream<Item = std::result::Result<T, Status>> + Send + 'static>>;

/// Bytes of one stream, and of one connection, that may be under way unread.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// How long a connection may take to be opened.
const CONNECT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2);

/// What a process answers.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// A control stream.
    async fn exchange(&self, _: Streaming<FlightData>) -> std::result::Result<Sent<FlightData>, Status> {
        Err(refused())
    }

    /// A link.
    async fn put(&self, _: Streaming<FlightData>) -> std::result::Result<Sent<PutResult>, Status> {
        Err(refused())
    }
}

fn refused() -> Status {
    Status::unimplemented("this process of a frazil cluster does not answer this")
}

/// Serves until the future is dropped or the listener fails.
pub async fn serve(listener: TcpListener, handler: impl Handler) -> Result<()> {
    let service = FlightServiceServer::new(Service(handler))
        .max_decoding_message_size(usize::MAX)
        .max_encoding_message_size(usize::MAX);
    let incoming = futures::stream::unfold(listener, |listener| async move {
        let accepted = listener.accept().await.map(|(stream, _)| {
            let _ = stream.set_nodelay(true);
            stream
        });
        Some((accepted, listener))
    });
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .add_service(service)
        .serve_with_incoming(incoming)
        .await
        .map_err(|e| Error::new(ErrorKind::Unavailable, "the cluster's port cannot be served any more").because(e))
}

/// Connects to another process of the cluster. `address`: host and port.
pub async fn connect(address: &str) -> Result<FlightServiceClient<Channel>> {
    let failed = |e: tonic::transport::Error| {
        let cause = std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string);
        Error::new(ErrorKind::Unavailable, format!("cannot connect: {cause}")).with("address", address)
    };
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(failed)?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let channel = endpoint.connect().await.map_err(failed)?;
    Ok(FlightServiceClient::new(channel).max_decoding_message_size(usize::MAX).max_encoding_message_size(usize::MAX))
}

/// An error as a peer sees it.
pub fn status(error: &Error) -> Status {
    Status::unavailable(error.to_string())
}

/// What a peer said, as an error.
pub fn error(status: &Status) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the connection broke: {}", status.message()))
}

/// Listens on an address. Gives the address that it got, too, since port 0 takes a free one.
///
/// # Errors
/// If the address is taken or not of this machine.
pub async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let failed = |e| Error::new(ErrorKind::Unavailable, format!("cannot listen on {address}")).because(e);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

struct Service<H>(H);

#[async_trait]
impl<H: Handler> FlightService for Service<H> {
    type HandshakeStream = Sent<HandshakeResponse>;
    type ListFlightsStream = Sent<FlightInfo>;
    type DoGetStream = Sent<FlightData>;
    type DoPutStream = Sent<PutResult>;
    type DoExchangeStream = Sent<FlightData>;
    type DoActionStream = Sent<arrow_flight::Result>;
    type ListActionsStream = Sent<ActionType>;

    async fn do_put(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> std::result::Result<Response<Self::DoPutStream>, Status> {
        self.0.put(request.into_inner()).await.map(Response::new)
    }

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> std::result::Result<Response<Self::DoExchangeStream>, Status> {
        self.0.exchange(request.into_inner()).await.map(Response::new)
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> std::result::Result<Response<Self::HandshakeStream>, Status> {
        Err(refused())
    }

    async fn list_flights(
        &self,
        _: Request<Criteria>,
    ) -> std::result::Result<Response<Self::ListFlightsStream>, Status> {
        Err(refused())
    }

    async fn get_flight_info(&self, _: Request<FlightDescriptor>) -> std::result::Result<Response<FlightInfo>, Status> {
        Err(refused())
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> std::result::Result<Response<PollInfo>, Status> {
        Err(refused())
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> std::result::Result<Response<SchemaResult>, Status> {
        Err(refused())
    }

    async fn do_get(&self, _: Request<Ticket>) -> std::result::Result<Response<Self::DoGetStream>, Status> {
        Err(refused())
    }

    async fn do_action(&self, _: Request<Action>) -> std::result::Result<Response<Self::DoActionStream>, Status> {
        Err(refused())
    }

    async fn list_actions(&self, _: Request<Empty>) -> std::result::Result<Response<Self::ListActionsStream>, Status> {
        Err(refused())
    }
}
