//! Binding the doors of a cluster. Without certificates they ask nobody who it is, so that they are for
//! this machine unless somebody says otherwise.

use std::net::{Ipv4Addr, SocketAddr};

use ballista_core::utils::{GrpcClientConfig, create_grpc_client_endpoint};
use tokio::net::TcpListener;
use tonic::transport::Endpoint;

use crate::error::DistributedError;
use crate::tls::{Door, Tls};

/// Where the library listens for tasks behind a door with TLS: at the same port, which it tells others,
/// and so at an address of this machine that nobody else uses.
const BEHIND: Ipv4Addr = Ipv4Addr::new(127, 0, 99, 1);

/// A bound door.
pub(crate) struct Bound {
    /// For the library.
    pub(crate) listener: TcpListener,
    /// Where others come in.
    pub(crate) address: SocketAddr,
    /// What stands before it.
    pub(crate) door: Option<Door>,
}

/// Binds a door that the library serves. `open` says that other machines may reach it without TLS.
pub(crate) async fn bind(
    name: &'static str,
    address: SocketAddr,
    open: bool,
    tls: Option<&Tls>,
) -> Result<Bound, DistributedError> {
    let (listener, address) = listen(name, address, open, tls).await?;
    let Some(tls) = tls else { return Ok(Bound { listener, address, door: None }) };
    let behind = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (inner, behind) = listen(name, behind, false, None).await?;
    let door = Door { listener, tls: tls.clone(), behind };
    Ok(Bound { listener: inner, address, door: Some(door) })
}

/// Binds a door that the library binds later, at an address that it is told: where others come in, where the
/// library has to listen, and what stands before it.
pub(crate) async fn bind_later(
    name: &'static str,
    address: SocketAddr,
    open: bool,
    tls: Option<&Tls>,
) -> Result<(SocketAddr, SocketAddr, Option<Door>), DistributedError> {
    if tls.is_some() && address.ip().is_unspecified() {
        return Err(DistributedError::Setting(format!(
            "with `tls` {address} for {name} cannot be used: give one address of this machine"
        )));
    }
    let (listener, address) = listen(name, address, open, tls).await?;
    let Some(tls) = tls else { return Ok((address, address, None)) };
    let behind = SocketAddr::from((BEHIND, address.port()));
    Ok((address, behind, Some(Door { listener, tls: tls.clone(), behind })))
}

async fn listen(
    door: &'static str,
    address: SocketAddr,
    open: bool,
    tls: Option<&Tls>,
) -> Result<(TcpListener, SocketAddr), DistributedError> {
    if !address.ip().is_loopback() && !open && tls.is_none() {
        return Err(DistributedError::Reach(address));
    }
    let failed = |source| DistributedError::Bind { door, address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// The name under which others reach an address: what somebody said, or the address itself.
pub(crate) fn host(said: Option<String>, address: SocketAddr) -> Result<String, DistributedError> {
    match said {
        Some(said) => Ok(said),
        None if address.ip().is_unspecified() => Err(DistributedError::Setting(format!(
            "nobody reaches {address}: say by `host` (--host) under which name others reach this machine"
        ))),
        None => Ok(in_url(address)),
    }
}

/// An address without its port, as URLs have it.
pub(crate) fn in_url(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    }
}

/// Where a scheduler is.
pub(crate) fn scheduler(address: &str, tls: Option<&Tls>) -> Result<Endpoint, DistributedError> {
    let wrong = || DistributedError::Address(address.to_owned());
    let url = format!("http://{address}");
    let endpoint = create_grpc_client_endpoint(url, Some(&GrpcClientConfig::default()));
    let endpoint = endpoint.map_err(|_| wrong())?;
    endpoint.uri().port().ok_or_else(wrong)?;
    match tls {
        Some(tls) => (tls.endpoint)(endpoint).map_err(|_| wrong()),
        None => Ok(endpoint),
    }
}

/// Runs what may stand before a door.
pub(crate) async fn guard(doors: impl IntoIterator<Item = Option<Door>>) {
    futures::future::join_all(doors.into_iter().flatten().map(Door::run)).await;
    std::future::pending::<()>().await;
}
