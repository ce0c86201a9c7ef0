//! The certificate of the doors, and whose certificates they take.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::access::TlsSettings;
use crate::error::StartError;
use crate::reload::Reloaded;

/// What TLS needs, as the files are now.
#[derive(Debug)]
pub(crate) struct Tls(ServerConfig);

/// TLS of a door.
#[derive(Clone, Debug)]
pub(crate) struct Secured {
    tls: Arc<Reloaded<Tls>>,
    /// Offered by ALPN (RFC 7301).
    protocols: &'static [&'static [u8]],
}

impl Tls {
    /// Made anew when a file changes. A client may come without a certificate; one that it shows has to be signed
    /// by `client_ca`.
    ///
    /// # Errors
    /// A file cannot be read, or holds no certificate or key; or the key is not the certificate's.
    pub(crate) fn open(
        settings: TlsSettings,
        client_ca: Option<PathBuf>,
    ) -> Result<Arc<Reloaded<Self>>, StartError> {
        let mut files = vec![settings.certificate.clone(), settings.key.clone()];
        files.extend(client_ca.clone());
        let make = move || read(&settings, client_ca.as_deref()).map(Self);
        Reloaded::new("the certificates of the doors", files, make).map(Arc::new)
    }
}

impl Secured {
    pub(crate) fn new(tls: Arc<Reloaded<Tls>>, protocols: &'static [&'static [u8]]) -> Self {
        Self { tls, protocols }
    }

    /// For the next connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let mut config = self.tls.now().0.clone();
        config.alpn_protocols = self.protocols.iter().map(|protocol| protocol.to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

fn read(settings: &TlsSettings, client_ca: Option<&Path>) -> Result<ServerConfig, StartError> {
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
    builder
        .with_single_cert(certificates, key)
        .map_err(|error| wrong(&settings.certificate, &error))
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
