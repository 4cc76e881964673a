//! What is stored in place of a password: the verifier of SCRAM-SHA-256 (RFC 5802, RFC 7677), written as PostgreSQL writes it,
//! `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey` with the last three in Base64.
//!
//! Whoever reads it can neither learn the password nor come in with it.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

/// How often a password is hashed: what PostgreSQL takes, so that clients do not wait longer than they do there.
const ITERATIONS: u32 = 4096;
const MECHANISM: &str = "SCRAM-SHA-256";

/// See the module.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    /// How often the password is hashed.
    pub iterations: u32,
    /// What is hashed with it.
    pub salt: Vec<u8>,
    /// Hash of the key that proves a client.
    pub stored_key: [u8; 32],
    /// The key that proves the server.
    pub server_key: [u8; 32],
}

impl Verifier {
    /// For a password, with a salt that no other has.
    pub fn new(password: &str, salt: &[u8]) -> Self {
        let (stored_key, server_key) = keys(password, ITERATIONS, salt);
        Self { iterations: ITERATIONS, salt: salt.to_vec(), stored_key, server_key }
    }

    /// One that no password fits and that looks like any other: for names under which there is no user. It is always the same
    /// for one name and one secret, as it would be for a user.
    pub fn unmatched(name: &str, secret: &[u8]) -> Self {
        let digest = |purpose: &str| -> [u8; 32] {
            let parts = [secret, purpose.as_bytes(), name.as_bytes()];
            parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part)).finalize().into()
        };
        Self {
            iterations: ITERATIONS,
            salt: digest("salt")[..16].to_vec(),
            stored_key: digest("stored"),
            server_key: digest("server"),
        }
    }

    /// Reads one as it is written.
    pub fn parse(text: &str) -> Option<Self> {
        let (parameters, keys) = text.strip_prefix(MECHANISM)?.strip_prefix('$')?.split_once('$')?;
        let (iterations, salt) = parameters.split_once(':')?;
        let (stored, server) = keys.split_once(':')?;
        Some(Self {
            iterations: iterations.parse().ok().filter(|iterations| *iterations > 0)?,
            salt: STANDARD.decode(salt).ok().filter(|salt| !salt.is_empty())?,
            stored_key: STANDARD.decode(stored).ok()?.try_into().ok()?,
            server_key: STANDARD.decode(server).ok()?.try_into().ok()?,
        })
    }

    /// Whether this is the password.
    pub fn fits(&self, password: &str) -> bool {
        let (stored_key, _) = keys(password, self.iterations, &self.salt);
        equal(&stored_key, &self.stored_key)
    }

    /// Whether a client's proof shows that it has the password, after an exchange of these messages (RFC 5802, section 3). Gives
    /// the signature by which the server shows that it has the verifier.
    pub fn check(&self, messages: &[u8], proof: &[u8; 32]) -> Option<[u8; 32]> {
        let signature = signed(&self.stored_key, messages);
        let client_key: Vec<u8> = proof.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        let proved = equal(&Sha256::digest(client_key).into(), &self.stored_key);
        proved.then(|| signed(&self.server_key, messages))
    }
}

/// Compares in the same time wherever they differ.
fn equal(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.iter().zip(b).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
}

fn signed(key: &[u8; 32], text: &[u8]) -> [u8; 32] {
    // A key of the hash's own length is always one.
    Hmac::<Sha256>::new_from_slice(key).map_or([0; 32], |hmac| hmac.chain_update(text).finalize().into_bytes().into())
}

/// What is stored of the client's key, and the server's key.
fn keys(password: &str, iterations: u32, salt: &[u8]) -> ([u8; 32], [u8; 32]) {
    // As PostgreSQL: a text that cannot be prepared is taken as it is.
    let prepared = stringprep::saslprep(password).unwrap_or(std::borrow::Cow::Borrowed(password));
    let salted = pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(prepared.as_bytes(), salt, iterations);
    (Sha256::digest(signed(&salted, b"Client Key")).into(), signed(&salted, b"Server Key"))
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [salt, stored, server] = [&self.salt[..], &self.stored_key, &self.server_key].map(|b| STANDARD.encode(b));
        write!(f, "{MECHANISM}${}:{salt}${stored}:{server}", self.iterations)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677, section 3.
    #[test]
    fn keys_are_those_of_the_standard() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = Verifier::new("pencil", &salt);
        let written = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
                       WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        assert_eq!(verifier.to_string(), written);
        assert_eq!(Verifier::parse(written), Some(verifier));
    }

    #[test]
    fn only_the_password_fits() {
        let verifier = Verifier::new("pass\u{ad}wörd", b"salt");
        // Prepared, a soft hyphen is nothing.
        assert!(verifier.fits("passwörd"));
        assert!(!verifier.fits("password") && !verifier.fits("") && !verifier.fits(&verifier.to_string()));
        let nobody = Verifier::unmatched("eve", b"secret");
        assert_eq!(nobody, Verifier::unmatched("eve", b"secret"));
        assert_ne!(nobody, Verifier::unmatched("eva", b"secret"));
        assert!(!nobody.fits("") && !nobody.fits("secret"));
    }

    #[test]
    fn other_texts_are_no_verifiers() {
        for text in
            ["", "md5abc", "SCRAM-SHA-256$", "SCRAM-SHA-256$0:YQ==$YQ==:YQ==", "SCRAM-SHA-256$4096:YQ==$YQ==:YQ=="]
        {
            assert_eq!(Verifier::parse(text), None, "{text}");
        }
    }
}
