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
        // The message's type, then its length.
        if let Some(mut length) = source.get(1..5) {
            let length = length.get_u32() as usize;
            if length > LONGEST {
                return Err(fatal("54000", format!("a message of {length} bytes is too long: {LONGEST} are allowed")));
            }
        }
        self.0.decode(source)
    }
}

impl Encoder<PgWireBackendMessage> for Bounded {
    type Error = std::io::Error;

    fn encode(&mut self, message: PgWireBackendMessage, target: &mut BytesMut) -> Result<(), Self::Error> {
        self.0.encode(message, target)
    }
}
