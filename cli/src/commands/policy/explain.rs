//! `weir policy explain`: why a connection is allowed or denied, from manifests or from a running
//! Weir.

mod text;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use weir_policy::explain::{Question, explain};

use super::super::block_on;
use super::manifests::Manifests;
use crate::client::{Client, Server};
use crate::output::{print, say};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weir policy explain --from shop/web-0 --to shop/db-0 --port 5432 --manifests deploy/
  weir policy explain --from shop/web-0 --to shop/api --port 80 --manifests cluster.yaml
  weir policy explain --from 192.0.2.7 --to shop/web-0 --port 443 --url http://weir:8080
  weir policy explain --from shop/web-0 --to shop/db-0 --port 5432 --manifests deploy/ \\
      --output diff | patch -p1

A Service is taken apart into the pods behind it. Case files of `weir policy test` may be given as
manifests; their first step counts. Exit code 0 whatever the verdict, 1 if there is no answer.")]
pub(crate) struct Explain {
    /// Who begins: namespace/pod or an address.
    #[arg(long, value_name = "NS/POD|ADDRESS")]
    from: String,
    /// With whom: namespace/pod, an address, or a Service, namespace/name.
    #[arg(long, value_name = "NS/POD|ADDRESS|NS/SERVICE")]
    to: String,
    /// The port that the source dials.
    #[arg(long)]
    port: u16,
    /// tcp, udp or sctp.
    #[arg(long, default_value = "tcp")]
    protocol: String,
    /// Manifest files, or directories of them, instead of a running Weir.
    #[arg(long, value_name = "FILE|DIR", num_args = 1..)]
    manifests: Vec<PathBuf>,
    /// How the answer is printed: for people, as JSON, or only the change that would allow it.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    server: Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
    Diff,
}

impl Explain {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let body = json!({
            "from": self.from,
            "to": self.to,
            "port": self.port,
            "protocol": self.protocol.to_ascii_uppercase(),
        });
        let question: Question =
            serde_json::from_value(body.clone()).context("that cannot be asked")?;
        let answer = if self.manifests.is_empty() {
            block_on(self.ask(&body))?
        } else {
            self.look(&question)?
        };
        match self.output {
            Output::Json => say!("{}", serde_json::to_string_pretty(&answer)?),
            Output::Diff => print(answer["diff"].as_str().unwrap_or_default()),
            Output::Text => {
                print(&text::text(answer).context("an answer of an unknown form")?);
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn look(&self, question: &Question) -> anyhow::Result<Value> {
        let manifests = Manifests::read(&self.manifests)?;
        for refused in &manifests.refused {
            eprintln!("weir: left out: {}", refused.text());
        }
        let explanation = explain(&manifests.cluster, question, &manifests.originals)?;
        Ok(serde_json::to_value(explanation)?)
    }

    async fn ask(&self, body: &Value) -> anyhow::Result<Value> {
        let client = Client::new(&self.server)?;
        let request = client.post("/api/v1/policies/explain").json(body);
        let mut answer: Value =
            client.send(request).await?.json().await.context("the answer is not JSON")?;
        for note in answer["notes"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            eprintln!("weir: note: {note}");
        }
        match answer.get_mut("explanation") {
            Some(explanation) => Ok(explanation.take()),
            None => {
                bail!("the answer has no explanation: is the query service of another version?")
            }
        }
    }
}
