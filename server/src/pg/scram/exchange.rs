//! The messages of an exchange (RFC 5802, sections 5 and 7), without the wire. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use engine::access::password::Verifier;

/// An exchange after the client's first message.
pub struct Exchange {
    verifier: Verifier,
    /// What the client said of channel binding, as it has to repeat it.
    header: String,
    /// The client's first message without that.
    first: String,
    /// Both nonces.
    nonce: String,
    challenge: String,
}

impl Exchange {
    /// Takes the client's first message: `n,,n=name,r=nonce`. The name says nothing: the one of the startup message counts, as in
    /// PostgreSQL. `None` if the message is malformed, or demands what was not offered.
    pub fn begin(verifier: Verifier, message: &str, nonce: &str) -> Option<Self> {
        let (flag, rest) = message.split_once(',')?;
        // `y`: the client could bind the channel if the server did. `p`: it does, unasked.
        if !matches!(flag, "n" | "y") {
            return None;
        }
        let (identity, first) = rest.split_once(',')?;
        if !identity.is_empty() && !identity.starts_with("a=") {
            return None;
        }
        let mut attributes = first.split(',');
        attributes.next()?.strip_prefix("n=")?;
        let theirs = attributes.next()?.strip_prefix("r=").filter(|nonce| is_nonce(nonce))?;
        let nonce = format!("{theirs}{nonce}");
        let challenge = format!("r={nonce},s={},i={}", STANDARD.encode(&verifier.salt), verifier.iterations);
        Some(Self { verifier, header: format!("{flag},{identity},"), first: first.to_owned(), nonce, challenge })
    }

    /// What the client is to prove its password for.
    pub fn challenge(&self) -> &str {
        &self.challenge
    }

    /// Takes the client's last message: `c=header,r=nonces,p=proof`. The answer to it, if the client has proved its password.
    /// `None` if the message is malformed.
    pub fn finish(&self, message: &str) -> Option<Option<String>> {
        let (bare, proof) = message.rsplit_once(",p=")?;
        let mut attributes = bare.split(',');
        let header = STANDARD.decode(attributes.next()?.strip_prefix("c=")?).ok()?;
        let nonce = attributes.next()?.strip_prefix("r=")?;
        let proof: [u8; 32] = STANDARD.decode(proof).ok()?.try_into().ok()?;
        if header != self.header.as_bytes() || nonce != self.nonce {
            return Some(None);
        }
        let messages = format!("{},{},{bare}", self.first, self.challenge);
        let signature = self.verifier.check(messages.as_bytes(), &proof);
        Some(signature.map(|signature| format!("v={}", STANDARD.encode(signature))))
    }
}

/// Printable ASCII without a comma.
fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const LAST: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    /// The example of RFC 7677, section 3.
    fn example(first: &str, password: &str) -> Option<Exchange> {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        Exchange::begin(Verifier::new(password, &salt), first, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0")
    }

    #[test]
    fn the_messages_are_those_of_the_standard() {
        let exchange = example(FIRST, "pencil").unwrap();
        let challenge = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        assert_eq!(exchange.challenge(), challenge);
        let answer = exchange.finish(LAST).unwrap();
        assert_eq!(answer.as_deref(), Some("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
    }

    #[test]
    fn whatever_differs_proves_nothing() {
        assert_eq!(example(FIRST, "pencils").unwrap().finish(LAST), Some(None));
        // Another name, another nonce, another header: the proof is for other messages.
        assert_eq!(example("n,,n=other,r=rOprNGfwEbeRWgbNEkqO", "pencil").unwrap().finish(LAST), Some(None));
        assert_eq!(example("y,,n=user,r=rOprNGfwEbeRWgbNEkqO", "pencil").unwrap().finish(LAST), Some(None));
        let exchange = example(FIRST, "pencil").unwrap();
        assert_eq!(exchange.finish(&LAST.replace("hNlF$k0", "hNlF$k1")), Some(None));
        assert_eq!(exchange.finish(&LAST.replace("dHzb", "dHzc")), Some(None));
    }

    #[test]
    fn malformed_messages_are_refused() {
        for first in
            ["", "n", "n,,", "n,,n=a", "n,,n=a,r=", "n,,r=x,n=a", "p=tls-unique,,n=a,r=x", "n,b,n=a,r=x", "n,,n=a,r=é"]
        {
            assert!(example(first, "pencil").is_none(), "{first}");
        }
        let exchange = example(FIRST, "pencil").unwrap();
        for last in [
            "",
            "c=biws",
            "c=biws,r=x",
            "c=biws,r=x,p=",
            "c=biws,r=x,p=!",
            "c=biws,r=x,p=AAAA",
            "r=x,c=biws,p=AAAA",
            ",p=",
            "c=!,r=x,p=AAAA",
        ] {
            assert_eq!(exchange.finish(last), None, "{last}");
        }
    }
}
