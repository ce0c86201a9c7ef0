//! `weir observe`: flows as lines.

use std::convert::Infallible;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::Deserialize;

use crate::client::{Client, Server};
use crate::completeness::Completeness;
use crate::events::Events;
use crate::output::say;

#[derive(Debug, Args)]
pub(crate) struct Observe {
    /// Only flows that match, for example: verdict="deny" destination_namespace="shop".
    /// Words side by side are joined by AND.
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,
    /// Only flows with this verdict.
    #[arg(long, value_name = "VERDICT", value_parser = ["allow", "deny", "audit"])]
    verdict: Option<String>,
    /// Only flows from or to this namespace.
    #[arg(long, short, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Only flows from or to this pod, `name` or `namespace/name`.
    #[arg(long, value_name = "POD")]
    pod: Option<String>,
    /// Only flows to this port.
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Only flows since then: `10m`, `2h`, or a time as 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only flows until then.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// How many of the latest flows.
    #[arg(long, default_value_t = 100, value_name = "N")]
    last: usize,
    /// Go on with new flows until interrupted.
    #[arg(long, short)]
    follow: bool,
    /// How flows are printed; json is one object a line.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    server: Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// How often a stream that broke off is begun again, a second apart.
const RETRIES: usize = 30;

/// Where a stream that broke off goes on.
#[derive(Debug, Default)]
struct Place {
    /// The last `id` that the service told.
    id: String,
    /// Attempts in vain since then.
    failures: usize,
}

/// What the text form shows.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    time: String,
    verdict: String,
    direction: String,
    reason: String,
    policy: String,
    protocol: String,
    source_ip: String,
    source_port: Option<u16>,
    source_namespace: Option<String>,
    source_pod: Option<String>,
    destination_ip: String,
    destination_port: Option<u16>,
    destination_namespace: Option<String>,
    destination_pod: Option<String>,
    count: u64,
    bytes: u64,
    reply_bytes: u64,
    state: String,
}

impl Observe {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let client = Client::new(&self.server)?;
        let filter = self.filter()?;
        for line in self.past(&client, &filter).await?.iter().rev() {
            self.print(line)?;
        }
        if self.follow {
            self.follow(&client, &filter).await?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The latest flows, newest first, as JSON lines.
    async fn past(&self, client: &Client, filter: &str) -> anyhow::Result<Vec<String>> {
        let mut query = vec![
            ("format", "ndjson".to_owned()),
            ("limit", self.last.to_string()),
            ("filter", filter.to_owned()),
        ];
        query.extend(self.since.clone().map(|since| ("since", since)));
        query.extend(self.until.clone().map(|until| ("until", until)));
        if self.last == 0 {
            return Ok(Vec::new());
        }
        let response = client.send(client.get("/api/v1/flows").query(&query)).await?;
        let completeness = Completeness::of(response.headers());
        let body = response.text().await.context("the answer broke off")?;
        let mut lines: Vec<String> = body.lines().map(str::to_owned).collect();
        // The answer's last line tells of what broke it off, where something did.
        if let Some(error) = lines.last().and_then(|line| broken_off(line)) {
            anyhow::bail!("the answer broke off: {error}");
        }
        if let Some(told) = completeness {
            if !told.complete() {
                // The last line says the same.
                lines.pop();
            }
            if !told.complete() || self.output == Output::Text {
                eprintln!("weir: {told}");
            }
        }
        Ok(lines)
    }

    /// New flows as relays acknowledge them. A stream that breaks off goes on where it was.
    async fn follow(&self, client: &Client, filter: &str) -> anyhow::Result<()> {
        let mut place = Place::default();
        loop {
            let Err(error) = self.follow_stream(client, filter, &mut place).await;
            if place.id.is_empty() || place.failures >= RETRIES {
                return Err(error);
            }
            place.failures += 1;
            eprintln!("weir: {error:#}; trying to go on");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Follows until the stream ends.
    async fn follow_stream(
        &self,
        client: &Client,
        filter: &str,
        place: &mut Place,
    ) -> anyhow::Result<Infallible> {
        let parameters = [("filter", filter), ("after", &place.id)];
        let request = client.get("/api/v1/flows/tail").query(&parameters);
        let mut events = Events::new(client.send(request).await?);
        while let Some(event) = events.next().await? {
            match event.kind.as_str() {
                _ if event.data.is_empty() => {}
                "" => self.print(&event.data)?,
                kind => eprintln!("weir: {kind}: {}", event.data),
            }
            if !event.id.is_empty() {
                *place = Place { id: event.id, failures: 0 };
            }
        }
        anyhow::bail!("the query service ended the stream")
    }

    fn filter(&self) -> anyhow::Result<String> {
        let mut parts: Vec<String> = Vec::new();
        if !self.filter.is_empty() {
            parts.push(format!("({})", self.filter.join(" ")));
        }
        if let Some(verdict) = &self.verdict {
            parts.push(format!("verdict={}", quoted(verdict)?));
        }
        if let Some(namespace) = &self.namespace {
            let namespace = quoted(namespace)?;
            parts.push(format!(
                "(source_namespace={namespace} OR destination_namespace={namespace})"
            ));
        }
        if let Some(pod) = &self.pod {
            let side = |side: &str| -> anyhow::Result<String> {
                Ok(match pod.split_once('/') {
                    None => format!("{side}_pod={}", quoted(pod)?),
                    Some((namespace, pod)) => format!(
                        "({side}_namespace={} AND {side}_pod={})",
                        quoted(namespace)?,
                        quoted(pod)?
                    ),
                })
            };
            parts.push(format!("({} OR {})", side("source")?, side("destination")?));
        }
        if let Some(port) = self.port {
            parts.push(format!("destination_port={port}"));
        }
        Ok(parts.join(" AND "))
    }

    fn print(&self, json: &str) -> anyhow::Result<()> {
        match self.output {
            Output::Json => say!("{json}"),
            Output::Text => {
                let line: Line = serde_json::from_str(json).context("an unknown flow")?;
                say!("{line}");
            }
        }
        Ok(())
    }
}

fn broken_off(line: &str) -> Option<String> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    line.get("error")?.get("message")?.as_str().map(str::to_owned)
}

fn quoted(text: &str) -> anyhow::Result<String> {
    anyhow::ensure!(!text.contains(['"', '\\']), "{text:?} cannot be a name");
    Ok(format!("\"{text}\""))
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end =
            |namespace: &Option<String>, pod: &Option<String>, ip: &str| match (namespace, pod) {
                (Some(namespace), Some(pod)) => format!("{namespace}/{pod}"),
                _ => ip.to_owned(),
            };
        let port = |port: Option<u16>| port.map(|port| format!(":{port}")).unwrap_or_default();
        write!(
            f,
            "{} {:5} {:7} {}{} -> {}{} {} {}",
            self.time,
            self.verdict,
            self.direction,
            end(&self.source_namespace, &self.source_pod, &self.source_ip),
            port(self.source_port),
            end(&self.destination_namespace, &self.destination_pod, &self.destination_ip),
            port(self.destination_port),
            self.protocol,
            self.reason,
        )?;
        if !self.policy.is_empty() {
            write!(f, " by {}", self.policy)?;
        }
        write!(
            f,
            " ({}, {} new, {} B out, {} B back)",
            self.state, self.count, self.bytes, self.reply_bytes
        )
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        observe: Observe,
    }

    fn filter(arguments: &[&str]) -> anyhow::Result<String> {
        let arguments = std::iter::once("observe").chain(arguments.iter().copied());
        Arguments::parse_from(arguments).observe.filter()
    }

    #[test]
    fn flags_become_one_filter() {
        assert_eq!(filter(&[]).unwrap(), "");
        assert_eq!(
            filter(&["--verdict", "deny", "--pod", "a/b", "reason=\"policy\"", "count>1"]).unwrap(),
            "(reason=\"policy\" count>1) AND verdict=\"deny\" AND \
             ((source_namespace=\"a\" AND source_pod=\"b\") OR \
             (destination_namespace=\"a\" AND destination_pod=\"b\"))"
        );
        assert!(filter(&["--namespace", "a\" OR x=\""]).is_err());
    }

    #[test]
    fn a_line_names_both_ends_and_the_policy() {
        let line: Line = serde_json::from_str(
            r#"{"time":"T","verdict":"deny","direction":"ingress","reason":"default_deny",
                "policy":"default/p","protocol":"TCP","source_ip":"203.0.113.9","source_port":4,
                "destination_ip":"10.0.0.1","destination_port":6379,
                "destination_namespace":"default","destination_pod":"redis","count":2,
                "bytes":120,"reply_bytes":0,"state":"open"}"#,
        )
        .unwrap();
        assert_eq!(
            line.to_string(),
            "T deny  ingress 203.0.113.9:4 -> default/redis:6379 TCP default_deny by default/p \
             (open, 2 new, 120 B out, 0 B back)"
        );
    }
}
