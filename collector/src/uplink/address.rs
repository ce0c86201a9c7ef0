//! Where the relay is, and how to reach it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint, Uri};

/// A relay's ingest door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelayAddress {
    /// `http://HOST:PORT`.
    Http(Uri),
    /// `unix:///PATH`, for a collector in another network namespace than the relay.
    Unix(PathBuf),
}

/// Text that is not a relay's address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a relay's address: {cause}; use http://HOST:PORT or unix:///PATH")]
pub struct RelayAddressError {
    text: String,
    cause: &'static str,
}

impl FromStr for RelayAddress {
    type Err = RelayAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |cause| RelayAddressError { text: text.to_owned(), cause };
        if let Some(path) = text.strip_prefix("unix://") {
            let path = PathBuf::from(path);
            return if path.is_absolute() {
                Ok(Self::Unix(path))
            } else {
                Err(wrong("the path is not absolute"))
            };
        }
        let uri: Uri = text.parse().map_err(|_| wrong("it is not a URL"))?;
        match (uri.scheme_str(), uri.host(), uri.port_u16()) {
            (Some("http"), Some(_), Some(_)) => Ok(Self::Http(uri)),
            (Some("http"), Some(_), None) => Err(wrong("the port is missing")),
            (Some("http"), None, _) => Err(wrong("the host is missing")),
            _ => Err(wrong("the scheme is neither http nor unix")),
        }
    }
}

impl fmt::Display for RelayAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(uri) => write!(f, "{uri}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

impl RelayAddress {
    /// Connects.
    pub(crate) async fn connect(&self) -> Result<Channel, tonic::transport::Error> {
        match self {
            Self::Http(uri) => endpoint(uri.clone()).connect().await,
            Self::Unix(path) => {
                let path = path.clone();
                // The URI is only a name here: the connector knows the way.
                endpoint(Uri::from_static("http://relay.invalid"))
                    .connect_with_connector(tower::service_fn(move |_: Uri| {
                        let path = path.clone();
                        async { Ok::<_, std::io::Error>(TokioIo::new(unix(path).await?)) }
                    }))
                    .await
            }
        }
    }
}

async fn unix(path: PathBuf) -> std::io::Result<tokio::net::UnixStream> {
    tokio::net::UnixStream::connect(path).await
}

fn endpoint(uri: Uri) -> Endpoint {
    Endpoint::from(uri)
        .connect_timeout(Duration::from_secs(5))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip() {
        for text in ["http://127.0.0.1:4246/", "http://[::1]:4246/", "unix:///run/weir/relay.sock"]
        {
            assert_eq!(text.parse::<RelayAddress>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |text: &str, cause: &str| {
            let error = text.parse::<RelayAddress>().unwrap_err().to_string();
            assert!(error.contains(cause) && error.contains("unix:///PATH"), "{error}");
        };
        check("unix://relay.sock", "not absolute");
        check("127.0.0.1:4246", "");
        check("http://relay", "port is missing");
        check("https://relay:4246", "scheme");
        check("http:// relay", "not a URL");
        check("", "not a URL");
    }
}
