//! The Postgres wire: psql, psycopg, Grafana and others ask as they ask Postgres.
//!
//! In: connections, at most [`MAX_CONNECTIONS`] that are let in and [`MAX_STARTING`] that are about to be; one
//! more is told so, or closed if it cannot even be told. Out: rows, as the client takes them. Each
//! statement goes through the engine, and so through the guard; nothing is planned here.

mod cancel;
mod channel;
mod error;
mod frame;
mod parameters;
mod portal;
mod session;
pub(crate) mod settings;
mod startup;
mod statement;
#[cfg(test)]
mod tests;
pub(crate) mod types;
mod values;

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use pgwire::messages::Message as _;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::App;
use crate::serve::{Secured, accept};
use cancel::Keys;
use error::Failure;
use session::Session;
use startup::Outcome;

/// Clients at the same time.
const MAX_CONNECTIONS: usize = 128;
/// Connections whose clients are not let in yet.
const MAX_STARTING: usize = 64;
/// From a connection's first byte until its client is let in.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(10);
/// For an error that ends a connection.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves until told to stop, and until sessions that ran a query then have ended.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Secured>,
    app: Arc<App>,
    shutdown: CancellationToken,
) {
    let keys = Arc::<Keys>::default();
    let (clients, starting) =
        (Arc::new(Semaphore::new(MAX_CONNECTIONS)), Arc::new(Semaphore::new(MAX_STARTING)));
    let tasks = TaskTracker::new();
    loop {
        let (stream, peer) = tokio::select! {
            accepted = accept(&listener) => accepted,
            () = shutdown.cancelled() => break,
        };
        let Ok(begins) = starting.clone().try_acquire_owned() else {
            tracing::debug!(%peer, "too many connections begin at once: one is closed");
            continue;
        };
        let place = clients.clone().try_acquire_owned().ok();
        let (app, tls, keys, shutdown) = (app.clone(), tls.clone(), keys.clone(), shutdown.clone());
        tasks.spawn(async move {
            let admitted = startup::admit(&app, tls.as_ref(), &keys, stream, peer, place.is_none());
            let outcome = tokio::time::timeout(STARTUP_TIMEOUT, admitted).await;
            drop(begins);
            match outcome {
                Ok(Outcome::Admitted(admitted)) => {
                    Session::new(app, *admitted, shutdown).serve().await;
                }
                Ok(Outcome::Refused(failure, mut connection)) => {
                    farewell(&mut connection, failure).await;
                }
                Ok(Outcome::Done) => {}
                Err(_) => tracing::debug!(%peer, "a client took too long to say who it is"),
            }
            drop(place);
        });
    }
    tasks.close();
    tasks.wait().await;
}

/// Tells why a connection ends, if the client still reads.
async fn farewell(stream: &mut (impl AsyncWrite + Unpin), failure: Failure) {
    let (code, message, position) = match failure {
        Failure::Told { code, message, position, .. } => (code, message, position),
        Failure::Gone(error) => {
            tracing::debug!(%error, "a client has gone");
            return;
        }
    };
    let mut out = BytesMut::new();
    if Failure::response(code, &message, position, true).encode(&mut out).is_ok() {
        let told = async {
            stream.write_all(&out).await?;
            stream.shutdown().await
        };
        // The client may have gone.
        let _ = tokio::time::timeout(FAREWELL_TIMEOUT, told).await;
    }
}
