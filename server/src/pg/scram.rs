//! SCRAM-SHA-256: a client proves that it has the password without sending it (PostgreSQL 16, "SASL Authentication"; RFC 7677).

use engine::access::password::Verifier;
use futures::{SinkExt, StreamExt};
use pgwire::api::{ClientInfo, PgWireConnectionState};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::startup::{Authentication, PasswordMessageFamily};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::config::SASLConfig;
use rsasl::mechanisms::scram::properties::ScramStoredPassword;
use rsasl::prelude::{Mechname, SASLServer, SessionError, Validation};
use rsasl::validate::{Validate, ValidationError};

use super::codec::Newcomer;
use super::error::fatal;

const MECHANISM: &str = "SCRAM-SHA-256";

/// What the proof is checked against.
struct Stored(Verifier);

/// The mark of a proof that was right.
struct Proved;

impl Validation for Proved {
    type Value = ();
}

impl SessionCallback for Stored {
    fn callback(&self, _: &SessionData, _: &Context, request: &mut Request) -> Result<(), SessionError> {
        let Verifier { iterations, salt, stored_key, server_key } = &self.0;
        let stored = ScramStoredPassword::new(*iterations, salt, stored_key, server_key);
        request.satisfy::<ScramStoredPassword>(&stored)?;
        Ok(())
    }

    // The name in the client's message says nothing: the one of the startup message counts, as in PostgreSQL.
    fn validate(&self, _: &SessionData, _: &Context, validate: &mut Validate<'_>) -> Result<(), ValidationError> {
        validate.with::<Proved, _>(|| Ok(()))?;
        Ok(())
    }
}

/// Lets a client prove that it has the password. `None`: it has gone away.
///
/// # Errors
/// If the client does not keep to the protocol.
pub async fn prove(client: &mut Newcomer, verifier: Verifier) -> PgWireResult<Option<bool>> {
    client.set_state(PgWireConnectionState::AuthenticationInProgress);
    let config = SASLConfig::builder()
        .with_default_mechanisms()
        .with_callback(Stored(verifier))
        .map_err(|error| fatal("XX000", format!("passwords cannot be checked: {error}")))?;
    let mechanism = Mechname::parse(MECHANISM.as_bytes()).map_err(broken)?;
    let mut exchange = SASLServer::<Proved>::new(config).start_suggested(mechanism).map_err(broken)?;
    send(client, Authentication::SASL(vec![MECHANISM.to_owned()])).await?;

    let Some(message) = password_message(client).await? else { return Ok(None) };
    let first = initial_response(&message)?;
    let mut answer = Vec::new();
    exchange.step(Some(first), &mut answer).map_err(broken)?;
    send(client, Authentication::SASLContinue(answer.into())).await?;

    let Some(message) = password_message(client).await? else { return Ok(None) };
    let mut answer = Vec::new();
    exchange.step(Some(&message), &mut answer).map_err(broken)?;
    let proved = exchange.validation().is_some();
    if proved {
        send(client, Authentication::SASLFinal(answer.into())).await?;
    }
    Ok(Some(proved))
}

async fn send(client: &mut Newcomer, message: Authentication) -> PgWireResult<()> {
    Ok(client.send(PgWireBackendMessage::Authentication(message)).await?)
}

/// The body of the message that the client has to send now.
async fn password_message(client: &mut Newcomer) -> PgWireResult<Option<Vec<u8>>> {
    match client.next().await {
        Some(Ok(PgWireFrontendMessage::PasswordMessageFamily(PasswordMessageFamily::Raw(body)))) => {
            Ok(Some(body.to_vec()))
        }
        Some(Ok(_)) => Err(fatal("08P01", "the client was expected to prove its password")),
        Some(Err(error)) => Err(error),
        None => Ok(None),
    }
}

/// What the client's first message brings: the mechanism's name with its zero, a length, so many bytes.
fn initial_response(body: &[u8]) -> PgWireResult<&[u8]> {
    let malformed = || fatal("08P01", "the first message of the authentication is malformed");
    let end = body.iter().position(|byte| *byte == 0).ok_or_else(malformed)?;
    let (name, rest) = (&body[..end], &body[end + 1..]);
    if name != MECHANISM.as_bytes() {
        let name = String::from_utf8_lossy(name);
        return Err(fatal("28000", format!("the client chose {name}, but {MECHANISM} was offered")));
    }
    let (length, data) = rest.split_first_chunk().ok_or_else(malformed)?;
    let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| malformed())?;
    if length == data.len() { Ok(data) } else { Err(malformed()) }
}

fn broken(error: impl std::fmt::Display) -> PgWireError {
    fatal("28000", format!("the authentication failed: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_messages_are_whole_or_refused() {
        let good = [MECHANISM.as_bytes(), b"\0\0\0\0\x04n,,x"].concat();
        assert_eq!(initial_response(&good).unwrap(), b"n,,x");
        let longer = [MECHANISM.as_bytes(), b"\0\0\0\0\x05n,,x"].concat();
        let negative = [MECHANISM.as_bytes(), b"\0\xff\xff\xff\xff"].concat();
        for bad in [&b""[..], b"SCRAM-SHA-256", b"SCRAM-SHA-256\0\0\0", b"PLAIN\0\0\0\0\0", &longer, &negative] {
            assert!(initial_response(bad).is_err(), "{bad:?}");
        }
    }
}
