//! `weir demo`: the founding tutorial on a lab cluster, with the real parts.

mod cluster;
mod stage;
mod story;
mod synthetic;
mod traffic;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use weir_lab::Lab;
use weir_service::logs::{self, LogFormat};
use weir_service::settings::Period;

use self::cluster::Cluster;
use self::stage::{Collectors, Doors, Stage};
use self::story::Story;

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Address of HTTP.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    http: SocketAddr,
    /// Address of gRPC.
    #[arg(long, default_value = "127.0.0.1:4245", value_name = "ADDRESS")]
    grpc: SocketAddr,
    /// Address of the Postgres wire.
    #[arg(long, default_value = "127.0.0.1:5433", value_name = "ADDRESS")]
    postgres: SocketAddr,
    /// Address of the relay's Flight service.
    #[arg(long, default_value = "127.0.0.1:4246", value_name = "ADDRESS")]
    ingest: SocketAddr,
    /// Where manifests, store and logs lie; without it, a temporary directory that goes at the end.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Written as JSON once every door serves, with their addresses.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// End by itself after this time, for example 60s.
    #[arg(long, value_name = "TIME")]
    exit_after: Option<Period>,
    /// Generated flows instead of a lab: needs neither root nor eBPF.
    #[arg(long)]
    synthetic: bool,
}

/// This program as it was called, for commands to copy.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "weir".to_owned())
}

/// What the web UI says of the demo.
const NOTICE: &str =
    "Demo: the pods are network namespaces of this machine, and their traffic is made for you.";
const SYNTHETIC_NOTICE: &str = "Demo: the flows are made up.";

impl Demo {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        logs::init("warn", LogFormat::Text).map_err(anyhow::Error::from_boxed)?;
        if !self.synthetic && !rustix::process::geteuid().is_root() {
            bail!(
                "the demo makes network namespaces and loads eBPF programs, which needs root: \
                 run it with sudo, or see generated flows with `weir demo --synthetic`"
            );
        }
        let directory = stage::Directory::prepare(self.data_dir.clone())?;
        let notice = if self.synthetic { SYNTHETIC_NOTICE } else { NOTICE };
        let stage = Stage::open(self.doors(), directory.path(), notice).await?;
        let outcome = if self.synthetic {
            self.synthetic(stage).await
        } else {
            self.real(stage, &directory).await
        };
        directory.remove();
        outcome.map(|()| ExitCode::SUCCESS)
    }

    fn doors(&self) -> Doors {
        let Self { http, grpc, postgres, ingest, .. } = *self;
        Doors { http, grpc, postgres, ingest }
    }

    /// The tutorial, then traffic until the end.
    async fn real(&self, mut stage: Stage, directory: &stage::Directory) -> anyhow::Result<()> {
        let cluster = Cluster::read()?;
        cluster::write_cluster(&directory.manifests())?;
        println!(
            "Building a cluster of {} nodes and {} pods out of network namespaces …",
            cluster.nodes.len(),
            cluster.pods.len()
        );
        let spec = cluster.lab()?;
        let lab = tokio::task::spawn_blocking(move || {
            let swept = Lab::sweep()?;
            if !swept.is_empty() {
                println!("Removed {} namespaces that a killed demo had left.", swept.len());
            }
            Lab::create(&spec)
        })
        .await??;
        let mut collectors = Collectors::start(&lab, &cluster, directory)?;
        let doors = stage.doors().clone();
        let result = tokio::select! {
            played = self.play(&cluster, &lab, &doors, directory) => played,
            ended = collectors.first_to_end() => Err(ended),
            stopped = stage.wait(self.exit_after.map(|period| period.0)) => stopped,
        };
        println!("\nCleaning up …");
        collectors.stop().await;
        tokio::task::spawn_blocking(move || drop(lab)).await?;
        let stopped = stage.close().await;
        result.and(stopped)
    }

    /// Never ends by itself.
    async fn play(
        &self,
        cluster: &Cluster,
        lab: &Lab,
        doors: &Doors,
        directory: &stage::Directory,
    ) -> anyhow::Result<()> {
        let story = Story::new(cluster, lab, doors, directory)?;
        story.wait_until_enforced().await?;
        self.tell_ready(doors)?;
        story.tell().await?;
        cluster::APPLICATION_POLICIES.apply(&directory.manifests())?;
        let _traffic = traffic::Traffic::start(cluster, lab)?;
        story.say_what_to_try();
        std::future::pending().await
    }

    async fn synthetic(&self, mut stage: Stage) -> anyhow::Result<()> {
        let doors = stage.doors().clone();
        self.tell_ready(&doors)?;
        synthetic::say_what_to_try(&doors);
        let result = tokio::select! {
            fed = synthetic::feed(&doors) => fed,
            stopped = stage.wait(self.exit_after.map(|period| period.0)) => stopped,
        };
        let stopped = stage.close().await;
        result.and(stopped)
    }

    fn tell_ready(&self, doors: &Doors) -> anyhow::Result<()> {
        let Some(path) = &self.ready_file else { return Ok(()) };
        weir_service::ready::write(path, doors)
            .with_context(|| format!("cannot write the ready file {}", path.display()))
    }
}
