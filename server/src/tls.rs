//! Certificates: from PEM files to what encrypts connections.

use std::path::Path;
use std::sync::Arc;

use pgwire::tokio::TlsAcceptor;
use pgwire::tokio::tokio_rustls::rustls::ServerConfig;
use pgwire::tokio::tokio_rustls::rustls::crypto::ring;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::failure::Failure;

/// The name (ALPN) of the protocol for clients that begin with TLS at once (PostgreSQL 17, `sslnegotiation=direct`).
pub const POSTGRESQL: &[u8] = b"postgresql";
/// The name (ALPN) of HTTP as it is spoken here.
pub const HTTP: &[u8] = b"http/1.1";

/// Reads a certificate with those that vouch for it, and its key, to speak a protocol of this name.
///
/// # Errors
/// If a file cannot be read or holds something else, or if the key is not the certificate's.
pub fn acceptor(certificate: &Path, key: &Path, protocol: &[u8]) -> Result<TlsAcceptor, Failure> {
    let wrong = |what: &str, file: &Path, why: &dyn std::fmt::Display| {
        Failure::refused(format!("cannot read the {what} {}: {why}", file.display()))
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|why| wrong("certificate", certificate, &why))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|why| wrong("key", key, &why))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|why| Failure::refused(format!("TLS is not possible: {why}")))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|why| wrong("certificate", certificate, &why))?;
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
