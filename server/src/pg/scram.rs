//! SCRAM-SHA-256: a client proves that it has the password without sending it (PostgreSQL 16, "SASL Authentication"; RFC 7677).

mod exchange;

use engine::access::password::Verifier;
use futures::{SinkExt, StreamExt};
use pgwire::api::{ClientInfo, PgWireConnectionState};
use pgwire::error::PgWireResult;
use pgwire::messages::startup::{Authentication, PasswordMessageFamily};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};

use self::exchange::Exchange;
use super::codec::Newcomer;
use super::error::fatal;

const MECHANISM: &str = "SCRAM-SHA-256";

/// Lets a client prove that it has the password. `nonce`: printable text that nobody can foretell. `None`: it has gone away.
///
/// # Errors
/// If the client does not keep to the protocol.
pub async fn prove(client: &mut Newcomer, verifier: Verifier, nonce: &str) -> PgWireResult<Option<bool>> {
    let malformed = || fatal("08P01", "a message of the authentication is malformed");
    client.set_state(PgWireConnectionState::AuthenticationInProgress);
    send(client, Authentication::SASL(vec![MECHANISM.to_owned()])).await?;

    let Some(message) = password_message(client).await? else { return Ok(None) };
    let (mechanism, first) = initial_response(&message).ok_or_else(malformed)?;
    if mechanism != MECHANISM {
        return Err(fatal("28000", format!("the client chose {mechanism}, but {MECHANISM} was offered")));
    }
    let exchange = Exchange::begin(verifier, first, nonce).ok_or_else(malformed)?;
    send(client, Authentication::SASLContinue(exchange.challenge().to_owned().into())).await?;

    let Some(message) = password_message(client).await? else { return Ok(None) };
    let last = std::str::from_utf8(&message).map_err(|_| malformed())?;
    let proved = exchange.finish(last).ok_or_else(malformed)?;
    match proved {
        Some(signature) => send(client, Authentication::SASLFinal(signature.into())).await.map(|()| Some(true)),
        None => Ok(Some(false)),
    }
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
fn initial_response(body: &[u8]) -> Option<(&str, &str)> {
    let end = body.iter().position(|byte| *byte == 0)?;
    let (name, rest) = (&body[..end], &body[end + 1..]);
    let (length, data) = rest.split_first_chunk()?;
    let length = usize::try_from(i32::from_be_bytes(*length)).ok()?;
    (length == data.len()).then_some((std::str::from_utf8(name).ok()?, std::str::from_utf8(data).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_messages_are_whole_or_refused() {
        assert_eq!(initial_response(b"SCRAM-SHA-256\0\0\0\0\x04n,,x"), Some((MECHANISM, "n,,x")));
        let bad: [&[u8]; 6] =
            [b"", b"SCRAM", b"S\0\0\0\0", b"S\0\0\0\0\x05n,,x", b"S\0\xff\xff\xff\xff", b"\xff\0\0\0\0\0"];
        for bad in bad {
            assert_eq!(initial_response(bad), None, "{bad:?}");
        }
    }
}
