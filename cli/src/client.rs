//! The query service's HTTP API, as the command line uses it.

use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use reqwest::{RequestBuilder, Response};
use serde::Deserialize;

/// Where the query service is.
#[derive(Clone, Debug, Args)]
pub(crate) struct Server {
    /// Address of the query service.
    #[arg(long, env = "WEIR_URL", default_value = "http://127.0.0.1:8080", value_name = "URL")]
    url: String,
}

impl Server {
    /// The service at a known address.
    pub(crate) fn at(address: std::net::SocketAddr) -> Self {
        Self { url: format!("http://{address}") }
    }
}

/// A client of one query service.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorDetail,
}

#[derive(Deserialize)]
struct ErrorDetail {
    message: String,
}

impl Client {
    pub(crate) fn new(server: &Server) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .no_proxy()
            .build()
            .context("cannot set up the HTTP client")?;
        Ok(Self { http, base: server.url.trim_end_matches('/').to_owned() })
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(format!("{}{path}", self.base))
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.base))
    }

    /// Sends a request; an error answer becomes an error with the service's own message.
    pub(crate) async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let response = request.send().await.with_context(|| {
            format!("no answer from {}: is the query service running? (--url)", self.base)
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.text().await.unwrap_or_default();
        match serde_json::from_str::<ErrorBody>(&body) {
            Ok(answer) => bail!("{}", answer.error.message),
            Err(_) => bail!("{} answered {status}", self.base),
        }
    }
}
