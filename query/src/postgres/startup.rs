//! From a connection's first byte until its client is let in. It is short on purpose: whoever has not
//! shown who it is gets few bytes and little time ([`super`] bounds both).

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use pgwire::messages::Message as _;
use pgwire::messages::startup::{
    Authentication, BackendKeyData, NegotiateProtocolVersion, ParameterStatus, SecretKey,
};
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::cancel::{Key, Keys};
use super::error::Failure;
use super::frame::{self, First, MAX_STARTUP_BYTES, Message};
use super::settings;
use crate::access::{Credentials, Principal, certificate_name};
use crate::http::App;
use crate::metrics::Door;
use crate::serve::{Connection, Secured};

/// Requests for encryption before the startup message.
const MAX_REQUESTS: usize = 4;

/// A client that was let in.
pub(super) struct Admitted {
    pub(super) reader: BufReader<tokio::io::ReadHalf<Connection>>,
    pub(super) writer: tokio::io::WriteHalf<Connection>,
    pub(super) principal: Arc<Principal>,
    pub(super) key: Key,
}

/// What came of a connection.
pub(super) enum Outcome {
    /// It only wanted to end a query, or went away.
    Done,
    Admitted(Box<Admitted>),
    /// It gets this error, if it can still read it.
    Refused(Failure, Connection),
}

/// Lets a client in. `full` says that there is no place for another.
pub(super) async fn admit(
    app: &App,
    tls: Option<&Secured>,
    keys: &Arc<Keys>,
    stream: TcpStream,
    peer: SocketAddr,
    full: bool,
) -> Outcome {
    let mut connection = Connection::Plain(stream);
    let mut certificate = None;
    for _ in 0..MAX_REQUESTS {
        let first = match frame::first(&mut connection).await {
            Ok(Some(first)) => first,
            Ok(None) => return Outcome::Done,
            Err(failure) => return Outcome::Refused(failure, connection),
        };
        let answer: &[u8] = match (first, tls) {
            (First::Cancel { process, secret }, _) => {
                keys.cancel(process, secret);
                return Outcome::Done;
            }
            (First::Ssl, Some(tls)) => {
                let Connection::Plain(mut stream) = connection else { return Outcome::Done };
                if stream.write_all(b"S").await.is_err() {
                    return Outcome::Done;
                }
                let Ok(stream) = tls.acceptor().accept(stream).await else { return Outcome::Done };
                let shown = stream.get_ref().1.peer_certificates();
                certificate = shown.and_then(|shown| certificate_name(shown.first()?));
                connection = Connection::Tls(Box::new(stream));
                continue;
            }
            (First::Ssl | First::Gss, _) => b"N",
            (First::Startup { minor, unknown }, _) => {
                let secure = matches!(connection, Connection::Tls(_));
                let mut out = BytesMut::new();
                let principal = if full {
                    Err(Failure::fatal("53300", "too many connections: try again later"))
                } else {
                    let who = Asked { app, peer, secure, certificate: certificate.as_deref() };
                    who.principal(&mut connection, tls.is_some()).await
                };
                let principal = match principal {
                    Ok(principal) => principal,
                    Err(failure) => return Outcome::Refused(failure, connection),
                };
                let Some(key) = keys.issue() else {
                    let failure = Failure::fatal("XX000", "there is no randomness for a key");
                    return Outcome::Refused(failure, connection);
                };
                if minor > 0 || !unknown.is_empty() {
                    let negotiated = NegotiateProtocolVersion::new(0, unknown);
                    let _ = negotiated.encode(&mut out);
                }
                welcome(app, &principal, &key, &mut out);
                if connection.write_all(&out).await.is_err() {
                    return Outcome::Done;
                }
                let (reader, writer) = tokio::io::split(connection);
                let reader = BufReader::new(reader);
                return Outcome::Admitted(Box::new(Admitted { reader, writer, principal, key }));
            }
        };
        if connection.write_all(answer).await.is_err() {
            return Outcome::Done;
        }
    }
    Outcome::Refused(Failure::protocol("too many requests for encryption"), connection)
}

/// Who asks to come in.
struct Asked<'a> {
    app: &'a App,
    peer: SocketAddr,
    secure: bool,
    certificate: Option<&'a str>,
}

impl Asked<'_> {
    async fn principal(
        &self,
        connection: &mut Connection,
        tls: bool,
    ) -> Result<Arc<Principal>, Failure> {
        let near = self.secure || self.peer.ip().to_canonical().is_loopback();
        if tls && !near {
            return Err(Failure::fatal(
                "28000",
                "this service wants TLS: connect with sslmode=require",
            ));
        }
        if !self.app.access.is_on() || self.certificate.is_some() {
            return self.admitted(None).await;
        }
        if !near {
            return Err(Failure::fatal(
                "28000",
                "a password in plain text is taken from this machine only: set `tls` for the query service",
            ));
        }
        let mut out = BytesMut::new();
        Authentication::CleartextPassword.encode(&mut out).map_err(defect)?;
        connection.write_all(&out).await?;
        match frame::next(connection, MAX_STARTUP_BYTES).await? {
            Some(Message::Password(secret)) => {
                self.admitted(Some(&secret).filter(|secret| !secret.is_empty())).await
            }
            Some(_) => Err(Failure::protocol("a password was expected")),
            None => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
        }
    }

    async fn admitted(&self, secret: Option<&String>) -> Result<Arc<Principal>, Failure> {
        let secret = secret.map(String::as_str);
        let shown = Credentials { secret, certificate: self.certificate };
        self.app.access.admit(shown).await.map_err(|denied| {
            self.app.audit.denied(Door::Postgres, &self.peer.to_string(), &denied.to_string());
            Failure::fatal("28P01", denied.to_string())
        })
    }
}

/// The messages before the first that says that we are ready.
fn welcome(app: &App, principal: &Principal, key: &Key, out: &mut BytesMut) {
    // Encoding fails only for messages larger than any of these.
    let _ = Authentication::Ok.encode(out);
    for (name, value) in settings::all(&principal.name, app.engine.limits().timeout) {
        if settings::is_reported(name) {
            let _ = ParameterStatus::new(name.to_owned(), value).encode(out);
        }
    }
    let _ = BackendKeyData::new(key.process, SecretKey::I32(key.secret)).encode(out);
}

pub(super) fn defect(error: impl std::fmt::Display) -> Failure {
    Failure::new("XX000", error.to_string())
}
