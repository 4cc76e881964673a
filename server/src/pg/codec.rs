//! Messages of the protocol on the socket, with a bound on how long one may be.

use bytes::{Buf, BytesMut};
use pgwire::error::PgWireError;
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use pgwire::tokio::server::{MaybeTls, PgWireMessageServerCodec};
use tokio_util::codec::{Decoder, Encoder, Framed, FramedParts};

use super::error::fatal;

/// The longest message that a client may send, in bytes. A longer one could not be kept in memory for many clients at once;
/// COPY sends any number of rows in messages of any size.
const LONGEST: usize = 64 << 20;

/// A client after it has introduced itself.
pub type Client = Framed<MaybeTls, Bounded>;

/// While a client introduces itself: `pgwire` bounds what it may send then.
pub type Newcomer = Framed<MaybeTls, PgWireMessageServerCodec<()>>;

/// The codec of `pgwire` with a bound.
#[derive(Debug)]
pub struct Bounded(PgWireMessageServerCodec<()>);

/// Goes on with a client that has introduced itself.
pub fn admit(newcomer: Newcomer) -> Client {
    let old = newcomer.into_parts();
    let mut parts = FramedParts::new::<PgWireBackendMessage>(old.io, Bounded(old.codec));
    parts.read_buf = old.read_buf;
    parts.write_buf = old.write_buf;
    Framed::from_parts(parts)
}

impl Decoder for Bounded {
    type Item = PgWireFrontendMessage;
    type Error = PgWireError;

    fn decode(&mut self, source: &mut BytesMut) -> Result<Option<Self::Item>, Self::Error> {
        // The message's type, then its length, which counts itself.
        let Some(mut length) = source.get(1..HEAD) else { return Ok(None) };
        let length = length.get_u32() as usize;
        if length > LONGEST {
            return Err(fatal("54000", format!("a message of {length} bytes is too long: {LONGEST} are allowed")));
        }
        if length + 1 < HEAD {
            return Err(fatal("08P01", "a message is shorter than its own length"));
        }
        if source.len() < length + 1 {
            return Ok(None);
        }
        // `pgwire` reads on behind the end of a message that says less than it should, and panics at the end of all bytes.
        let mut message = source.split_to(length + 1);
        if !is_whole(message[0], &message[HEAD..]) {
            return Err(fatal("08P01", "a message is not of the form that the protocol gives it"));
        }
        match self.0.decode(&mut message)? {
            Some(decoded) => Ok(Some(decoded)),
            None => Err(fatal("08P01", "a message is not of the form that the protocol gives it")),
        }
    }
}

/// Bytes of a message's type and length.
const HEAD: usize = 5;

/// Whether a message's body has what its type says it has (PostgreSQL 16, "Message Formats").
fn is_whole(kind: u8, body: &[u8]) -> bool {
    let mut body = Body(body);
    let whole = match kind {
        b'Q' | b'f' => body.string(),
        b'P' => body.string() && body.string() && body.array(|body| body.skip(4)),
        b'B' => {
            body.string()
                && body.string()
                && body.array(|body| body.skip(2))
                && body.array(Body::value)
                && body.array(|body| body.skip(2))
        }
        b'D' | b'C' => body.skip(1) && body.string(),
        b'E' => body.string() && body.skip(4),
        // COPY's rows and what follows a type that has no body, or that is unknown, is nobody's concern here.
        _ => return true,
    };
    whole && body.0.is_empty()
}

/// What is left of a message's body.
struct Body<'a>(&'a [u8]);

impl Body<'_> {
    fn skip(&mut self, count: usize) -> bool {
        let rest = self.0.get(count..);
        self.0 = rest.unwrap_or_default();
        rest.is_some()
    }

    /// A text with its zero.
    fn string(&mut self) -> bool {
        match self.0.iter().position(|byte| *byte == 0) {
            Some(end) => self.skip(end + 1),
            None => false,
        }
    }

    /// A number of elements, then these.
    fn array(&mut self, mut element: impl FnMut(&mut Self) -> bool) -> bool {
        let Some(count) = self.0.first_chunk().map(|bytes| u16::from_be_bytes(*bytes)) else { return false };
        self.skip(2) && (0..count).all(|_| element(self))
    }

    /// A value's length and bytes; -1 is NULL.
    fn value(&mut self) -> bool {
        let Some(length) = self.0.first_chunk().map(|bytes| i32::from_be_bytes(*bytes)) else { return false };
        self.skip(4) && (length == -1 || usize::try_from(length).is_ok_and(|length| self.skip(length)))
    }
}

impl Encoder<PgWireBackendMessage> for Bounded {
    type Error = std::io::Error;

    fn encode(&mut self, message: PgWireBackendMessage, target: &mut BytesMut) -> Result<(), Self::Error> {
        self.0.encode(message, target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_whole_or_refused() {
        for (kind, body, whole) in [
            (b'Q', &b"SELECT 1\0"[..], true),
            (b'Q', b"SELECT 1", false),
            (b'Q', b"SELECT 1\0x", false),
            (b'P', b"s\0SELECT 1\0\0\0", true),
            (b'P', b"s\0SELECT 1\0", false),
            (b'P', b"s\0SELECT 1\0\0\x01\0\0", false),
            (b'B', b"\0s\0\0\0\0\x02\xff\xff\xff\xff\0\0\0\x017\0\0", true),
            (b'B', b"\0s\0\0\0\0\x01\0\0\0\x097\0\0", false),
            (b'B', b"\0s\0\0\0\0\x01\xff\xff\xff\xfe\0\0", false),
            (b'D', b"Ss\0", true),
            (b'D', b"", false),
            (b'E', b"\0\0\0\0\0", true),
            (b'E', b"\0\0", false),
            (b'S', b"", true),
        ] {
            assert_eq!(is_whole(kind, body), whole, "{} {body:?}", char::from(kind));
        }
    }
}
