//! Certificates of a cluster: every process shows one and takes only those that the cluster's authority
//! signed. The library speaks plain text; a door with TLS stands before its listeners, which are bound to
//! this machine then, and its clients are told to use TLS.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ballista_core::extension::EndpointOverrideFn;
use serde::{Deserialize, Serialize};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::error::DistributedError;

/// How long the beginning of a connection may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How often an idle connection is checked.
const ALIVE: Duration = Duration::from_secs(20);
/// Connections of one door at the same time; more wait.
const CONNECTIONS: usize = 1_024;
/// How long after accepting failed it is tried again.
const AGAIN: Duration = Duration::from_millis(100);

/// A process's certificate, its key, and whom it trusts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterTls {
    /// The certificate and those between it and its root, PEM. It has to name the host under which others
    /// reach the process.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Certificates (PEM) that sign those of all processes of the cluster, and of nobody else.
    pub ca: PathBuf,
}

/// The same, read.
#[derive(Clone)]
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    /// Makes an endpoint of the library one with TLS.
    pub(crate) endpoint: EndpointOverrideFn,
}

impl Tls {
    pub(crate) fn load(settings: &ClusterTls) -> Result<Self, DistributedError> {
        Ok(Self { acceptor: acceptor(settings)?, endpoint: endpoint(settings)? })
    }
}

fn acceptor(settings: &ClusterTls) -> Result<TlsAcceptor, DistributedError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&settings.ca)? {
        roots.add(certificate).map_err(|error| wrong(&settings.ca, &error))?;
    }
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| wrong(&settings.ca, &error))?;
    let key = PrivateKeyDer::from_pem_file(&settings.key)
        .map_err(|error| wrong(&settings.key, &error))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&settings.certificate, &error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(&settings.certificate)?, key)
        .map_err(|error| wrong(&settings.certificate, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn endpoint(settings: &ClusterTls) -> Result<EndpointOverrideFn, DistributedError> {
    let read = |path: &Path| std::fs::read(path).map_err(|error| wrong(path, &error));
    let identity = Identity::from_pem(read(&settings.certificate)?, read(&settings.key)?);
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read(&settings.ca)?))
        .identity(identity);
    Ok(Arc::new(move |plain: Endpoint| {
        let url = plain.uri().to_string().replacen("http://", "https://", 1);
        let endpoint = Endpoint::from_shared(url)?
            .connect_timeout(HANDSHAKE)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(ALIVE)
            .keep_alive_while_idle(true);
        Ok(endpoint.tls_config(tls.clone())?)
    }))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, DistributedError> {
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(path, &error))?;
    if found.is_empty() {
        return Err(wrong(path, &"there is no certificate (PEM) in it"));
    }
    Ok(found)
}

fn wrong(path: &Path, cause: &dyn std::fmt::Display) -> DistributedError {
    DistributedError::Tls { path: path.to_path_buf(), cause: cause.to_string() }
}

/// Takes connections with TLS and hands on what is in them.
pub(crate) struct Door {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Tls,
    /// Where the library listens.
    pub(crate) behind: SocketAddr,
}

impl Door {
    /// Never returns. Connections end with the future.
    pub(crate) async fn run(self) {
        let Self { listener, tls, behind } = self;
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            // The semaphore is never closed.
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let (stream, from) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be taken");
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
            };
            let acceptor = tls.acceptor.clone();
            connections.spawn(async move {
                let _place = place;
                if let Err(error) = hand_on(stream, &acceptor, behind).await {
                    tracing::debug!(%from, %error, "a connection ended");
                }
            });
        }
    }
}

async fn hand_on(stream: TcpStream, acceptor: &TlsAcceptor, behind: SocketAddr) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut outside = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await??;
    let mut inside = TcpStream::connect(behind).await?;
    inside.set_nodelay(true)?;
    copy_bidirectional(&mut outside, &mut inside).await?;
    Ok(())
}
