//! The certificate of the doors, and whose certificates they take.

use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::access::TlsSettings;
use crate::error::StartError;

/// What TLS needs. A client may come without a certificate; one that it shows has to be signed by
/// `client_ca`. `protocols` are offered by ALPN (RFC 7301).
///
/// # Errors
/// A file cannot be read, or holds no certificate or key.
pub(crate) fn server_config(
    settings: &TlsSettings,
    client_ca: Option<&Path>,
    protocols: &[&[u8]],
) -> Result<Arc<ServerConfig>, StartError> {
    let certificates = certificates(&settings.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&settings.key)
        .map_err(|error| wrong(&settings.key, &error))?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| StartError::Tls(error.to_string()))?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in self::certificates(path)? {
                roots.add(certificate).map_err(|error| wrong(path, &error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|error| wrong(path, &error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(certificates, key)
        .map_err(|error| wrong(&settings.certificate, &error))?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, StartError> {
    let file = std::fs::File::open(path).map_err(|error| wrong(path, &error))?;
    let found = CertificateDer::pem_reader_iter(BufReader::new(file))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(path, &error))?;
    if found.is_empty() {
        return Err(wrong(path, &"there is no certificate (PEM) in it"));
    }
    Ok(found)
}

fn wrong(path: &Path, cause: &dyn std::fmt::Display) -> StartError {
    StartError::Tls(format!("{}: {cause}", path.display()))
}
