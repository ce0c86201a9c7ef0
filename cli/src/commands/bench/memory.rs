//! What a collector holds: many pods, policies and live flows.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use clap::Args;
use weir_policy::model::{Labels, Pod, Workload};

use super::node::{NODE, Node, Others, SERVER};

const PODS_EACH_NAMESPACE: u32 = 20;
const NODES: u32 = 40;
const OPEN: std::ops::Range<u16> = 9_000..9_001;
const FIRST_SOURCE: u16 = 1_024;
/// Each flow has a packet that often.
const ROUND: Duration = Duration::from_secs(5);
/// Packets between two pauses, so that their verdicts do not come all at once.
const GROUP: usize = 160;

#[derive(Debug, Args)]
pub(crate) struct Memory {
    /// Of the cluster; the four that talk are besides.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(..=50_000))]
    pods: u32,
    /// Flows that live all the time.
    #[arg(long, default_value_t = 16_000, value_parser = clap::value_parser!(u16).range(1..60_000))]
    flows: u16,
    /// How long they are watched.
    #[arg(long, default_value_t = 40)]
    seconds: u64,
    /// Seconds until what a start takes is given back.
    #[arg(long, default_value_t = 15)]
    settle: u64,
}

impl Memory {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let others = others(self.pods);
        let local = others.pods.iter().filter(|pod| pod.node.as_deref() == Some(NODE)).count();
        let node = Node::start(&others).await?;
        drop(others);
        let _open = node.open(OPEN)?;
        let usage = node.collector_usage()?;
        tokio::time::sleep(Duration::from_secs(self.settle)).await;
        let idle = usage.resident()?;
        let sender = node.sender(SERVER)?;
        let begun = Instant::now();
        let cpu = usage.cpu_time()?;
        let sources: Vec<u16> = (FIRST_SOURCE..FIRST_SOURCE + self.flows).collect();
        let pause = ROUND / (sources.len() / GROUP + 1) as u32;
        while begun.elapsed() < Duration::from_secs(self.seconds) {
            for group in sources.chunks(GROUP) {
                for source in group {
                    sender.send(*source, SocketAddrV4::new(SERVER, OPEN.start))?;
                }
                tokio::time::sleep(pause).await;
            }
        }
        let (busy, cpu) = (usage.resident()?, usage.cpu_time()? - cpu);
        let cores = cpu.as_secs_f64() / begun.elapsed().as_secs_f64();
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        println!("### Memory of a collector\n");
        println!(
            "{} pods, {local} of them local and enforced, {} NetworkPolicies. Each flow has two \
             entries, one at either pod.\n",
            self.pods,
            self.pods / PODS_EACH_NAMESPACE * 2
        );
        println!("| live flows | resident, MiB | of that without a file | at most | cores |");
        println!("|--:|--:|--:|--:|--:|");
        for (flows, resident, cores) in [(0, idle, None), (self.flows, busy, Some(cores))] {
            println!(
                "| {flows} | {:.1} | {:.1} | {:.1} | {} |",
                mib(resident.now),
                mib(resident.anonymous),
                mib(resident.most),
                cores.map_or_else(String::new, |cores| format!("{cores:.2}")),
            );
        }
        Ok(())
    }
}

/// As many pods as a large cluster has, with the labels they have there, and two policies in each
/// namespace.
fn others(pods: u32) -> Others {
    let pod = |number: u32| {
        let (namespace, index) = (number / PODS_EACH_NAMESPACE, number % PODS_EACH_NAMESPACE);
        let app = ["web", "api", "worker", "db"][index as usize % 4];
        let label = |key: &str, value: String| (key.to_owned(), value);
        let node = (number + namespace) % NODES;
        Pod {
            namespace: format!("namespace-{namespace}"),
            name: format!("{app}-7d4b9c6f5d-{index:05}"),
            labels: Labels::from([
                label("app", app.to_owned()),
                label("app.kubernetes.io/name", app.to_owned()),
                label("app.kubernetes.io/part-of", format!("shop-{}", namespace % 50)),
                label("pod-template-hash", format!("7d4b9c{namespace:x}")),
            ]),
            addresses: vec![Ipv4Addr::from(0x0a00_0001 + number).into()],
            node: Some(if node == 0 { NODE.to_owned() } else { format!("node-{node}") }),
            workload: Some(Workload { kind: "Deployment".into(), name: app.into() }),
            ..Pod::default()
        }
    };
    let mut policies = String::new();
    for namespace in 0..pods / PODS_EACH_NAMESPACE {
        // Cannot fail on a String.
        let _ = write!(
            policies,
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
             metadata: {{namespace: namespace-{namespace}, name: within}}\n\
             spec: {{podSelector: {{}}, ingress: [{{from: [{{podSelector: {{}}}}]}}]}}\n\
             ---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
             metadata: {{namespace: namespace-{namespace}, name: database}}\n\
             spec: {{podSelector: {{matchLabels: {{app: db}}}}, ingress: [{{from: \
             [{{podSelector: {{matchLabels: {{app: api}}}}}}], ports: [{{port: 5432}}]}}]}}\n"
        );
    }
    Others { pods: (0..pods).map(pod).collect(), policies }
}
