//! The start of a connection: what a client says of itself, whether it may come in, what it is told of the server.

use engine::session::Engine;
use futures::StreamExt;
use pgwire::api::auth::{
    DefaultServerParameterProvider, finish_authentication, protocol_negotiation, save_startup_parameters_to_metadata,
};
use pgwire::api::{ClientInfo, PidSecretKeyGenerator, RandomPidSecretKeyGenerator};
use pgwire::error::PgWireResult;
use pgwire::messages::PgWireFrontendMessage;

use super::cancel::Cancellations;
use super::codec::Newcomer;
use super::error::fatal;
use super::scram::prove;
use crate::auth::{Door, Entry};
use crate::sqlstate::sqlstate;

/// What clients are told about the server they talk to: the PostgreSQL whose protocol and types these are.
pub const SERVER_VERSION: &str = "16.6";

/// A client that may come in.
#[derive(Debug)]
pub struct Admitted {
    /// The name that it gave.
    pub user: String,
}

/// Lets a client in that is who it says. `None`: it was there for a cancel request only, or has gone away.
///
/// # Errors
/// What is sent to the client before the connection is closed.
pub async fn introduce(
    client: &mut Newcomer,
    cancellations: &Cancellations,
    engine: &Engine,
    door: &Door,
) -> PgWireResult<Option<Admitted>> {
    let startup = match client.next().await {
        Some(Ok(PgWireFrontendMessage::Startup(startup))) => startup,
        Some(Ok(PgWireFrontendMessage::CancelRequest(request))) => {
            cancellations.cancel(&request);
            return Ok(None);
        }
        Some(Ok(_)) => return Err(fatal("08P01", "a connection begins with a startup message")),
        Some(Err(error)) => return Err(error),
        None => return Ok(None),
    };
    protocol_negotiation(client, &startup).await?;
    save_startup_parameters_to_metadata(client, &startup);
    let Some(user) = startup.parameters.get("user").cloned() else {
        return Err(fatal("28000", "no user name was given"));
    };
    let access = engine.access().await.map_err(|error| fatal(sqlstate(&error), error.to_string()))?;
    match door.entry(&access, &user, client.socket_addr().ip()) {
        Entry::Open => {}
        Entry::Password(verifier) => match prove(client, verifier, &door.nonce()).await? {
            Some(true) => {}
            Some(false) => return Err(fatal("28P01", format!("password authentication failed for user \"{user}\""))),
            None => return Ok(None),
        },
        Entry::Closed => {
            let message = "the warehouse has no users, so connections from other machines are refused";
            return Err(fatal("28000", message));
        }
    }
    let (pid, key) = RandomPidSecretKeyGenerator::default().generate(client);
    client.set_pid_and_secret_key(pid, key);
    let mut parameters = DefaultServerParameterProvider::default();
    parameters.server_version = SERVER_VERSION.to_owned();
    parameters.time_zone = "UTC".to_owned();
    finish_authentication(client, &parameters).await?;
    Ok(Some(Admitted { user }))
}
