//! Queries over many flows, next to others that hold the very same rows: with nothing in memory,
//! again and again, and many dashboards at once. All have to give the same answers.

mod answers;
mod beside;
mod spec;
mod table;
mod weir;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::Args;

use super::generated::Generated;
use super::relay::Relay;
use answers::{Engine, difference};
use beside::{Beside, Script};
use spec::{Dialect, Spec, Values};
use weir::{Running, Tricks, Weir};

/// What dashboards show.
const DASHBOARD_NS: i64 = 900 * 1_000_000_000;

#[derive(Debug, Args)]
pub(crate) struct Queries {
    /// Rows to ask about.
    #[arg(long, default_value_t = 20_000_000)]
    rows: usize,
    /// Rows a second in the flows' own time.
    #[arg(long, default_value_t = 10_000)]
    rate: usize,
    /// Times that each query is asked when everything is warm.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Dashboards that are opened side by side.
    #[arg(long, default_value_t = 50)]
    dashboards: usize,
    /// A Python script that asks others the same: `benches/queries.py`.
    #[arg(long, value_name = "FILE")]
    beside: Option<PathBuf>,
    /// The Python that runs it.
    #[arg(long, default_value = "python3", value_name = "PROGRAM")]
    python: PathBuf,
    /// Where rows are kept meanwhile, a few GB [default: the system's folder of temporary files].
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl Queries {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let parent = self.directory.clone().unwrap_or_else(std::env::temp_dir);
        let directory = parent.join(format!("weir-bench-{}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        let outcome = self.measure(&directory).await;
        let _ = std::fs::remove_dir_all(&directory);
        outcome
    }

    async fn measure(&self, directory: &Path) -> anyhow::Result<()> {
        drop_page_cache()?;
        let generated = Generated::of_the_last_hour(self.rows, self.rate)?;
        let spec = Spec::read()?;

        let relay = Relay::start(directory).await?;
        let feed = relay.feed("bench")?;
        for batch in generated.batches() {
            feed.push(batch).await?;
        }
        feed.finish().await?;
        let (_, store) = relay.stop().await?;
        store.compact().await?;
        ensure!(store.stored()?.rows == self.rows as u64, "not all rows are stored");

        let relay = Relay::start(directory).await?;
        let weir = Weir {
            directory: directory.to_owned(),
            store: directory.join("store"),
            relay: format!("http://{}", relay.service.door("ingest")?),
        };
        let running = weir.start().await?;
        let values = values(&running).await?;
        let boards = self.boards(&running, generated).await?;
        running.stop().await?;

        let queries = spec.queries(Dialect::Weir, &values);
        let panels = |dialect| -> Vec<Vec<String>> {
            boards.iter().map(|values| spec.panels(dialect, values)).collect()
        };
        let mut cold = Vec::new();
        for sql in &queries {
            cold.push(weir.cold(sql).await?);
        }
        let running = weir.start().await?;
        let (mut plain, mut unkept, mut warm) = (Vec::new(), Vec::new(), Vec::new());
        let unkept_only = Tricks { kept: false, ..Tricks::ALL };
        let none = Tricks { roll_ups: false, kept: false };
        for sql in &queries {
            plain.push(running.warm(sql, self.rounds, none).await?);
            unkept.push(running.warm(sql, self.rounds, unkept_only).await?);
            warm.push(running.warm(sql, self.rounds, Tricks::ALL).await?);
        }
        let answered = running.boards(&panels(Dialect::Weir)).await?;
        running.stop().await?;
        relay.stop().await?;
        let weir = Engine { name: "Weir".into(), cold, warm, boards: answered };

        let mut others = Vec::new();
        if let Some(file) = &self.beside {
            let script = Script { python: self.python.clone(), file: file.clone() };
            for dialect in [Dialect::DuckDb, Dialect::ClickHouse] {
                let directory = beside::directory(directory, dialect);
                let other = Beside { script: &script, dialect, directory: directory.clone() };
                let queries = spec.queries(dialect, &values);
                let measured = tokio::task::block_in_place(|| {
                    other.measure(generated.batches(), &queries, &panels(dialect), self.rounds)
                })?;
                std::fs::remove_dir_all(&directory)?;
                others.push(measured);
            }
        }

        println!("### {} flows, asked\n", self.rows);
        for (name, value) in &values.0 {
            println!("{name}: {value}");
        }
        let table = table::Queries {
            queries: &spec.queries,
            weir: &weir,
            unkept: &unkept,
            plain: &plain,
            others: &others,
        };
        println!("\n{table}");
        println!("### {} dashboards of {} panels at once\n", boards.len(), spec.dashboard.len());
        let engines = std::iter::once(&weir).chain(&others).collect();
        println!("{}", table::Dashboards { engines });
        let same = [&weir.cold, &unkept, &plain].map(|asked| ("Weir", &asked[..]));
        let of_others = others.iter().flat_map(|other| {
            [&other.warm, &other.cold].map(|asked| (other.name.as_str(), &asked[..]))
        });
        for (name, asked) in same.into_iter().chain(of_others) {
            for ((query, expected), got) in spec.queries.iter().zip(&weir.warm).zip(asked) {
                if let Some(difference) = difference(&expected.rows, &got.rows) {
                    anyhow::bail!("{name} answers {:?} otherwise: {difference}", query.name);
                }
            }
        }
        for other in &others {
            for (ours, theirs) in weir.boards.rows.iter().zip(&other.boards.rows) {
                for ((panel, ours), theirs) in spec.dashboard.iter().zip(ours).zip(theirs) {
                    if let Some(difference) = difference(ours, theirs) {
                        let name = &other.name;
                        anyhow::bail!("{name} answers {:?} otherwise: {difference}", panel.name);
                    }
                }
            }
        }
        Ok(())
    }

    /// What each dashboard is about: the namespaces in turn, and the last minutes.
    async fn boards(&self, running: &Running, generated: Generated) -> anyhow::Result<Vec<Values>> {
        let sql = "SELECT DISTINCT destination_namespace FROM flows \
                   WHERE destination_kind = 'pod' ORDER BY destination_namespace";
        let (_, rows) = running.ask(sql, Tricks::ALL).await?;
        let namespaces: Vec<String> = rows.into_iter().flatten().flatten().collect();
        ensure!(!namespaces.is_empty(), "no flow has a pod as destination");
        let from_ns = generated.end_ns() - DASHBOARD_NS;
        let values = namespaces.into_iter().cycle().take(self.dashboards).map(|namespace| {
            Values(vec![("namespace", namespace), ("from_ns", from_ns.to_string())])
        });
        Ok(values.collect())
    }
}

/// Needles: what few rows have.
async fn values(running: &Running) -> anyhow::Result<Values> {
    let one = async |sql: &str| -> anyhow::Result<Vec<Option<String>>> {
        let (_, mut rows) = running.ask(sql, Tricks::ALL).await?;
        rows.pop().with_context(|| format!("nothing answers {sql}"))
    };
    let of_pod = one("SELECT source_pod, destination_port FROM flows \
         WHERE source_pod IS NOT NULL AND destination_port IS NOT NULL \
         GROUP BY source_pod, destination_port HAVING count(*) BETWEEN 100 AND 1000 \
         ORDER BY count(*), source_pod, destination_port LIMIT 1")
    .await?;
    let address = one("SELECT destination_ip FROM flows WHERE destination_kind = 'world' \
         GROUP BY destination_ip ORDER BY count(*), destination_ip LIMIT 1")
    .await?;
    let [Some(pod), Some(port)] = of_pod.as_slice() else { anyhow::bail!("a pod has no name") };
    let [Some(address)] = address.as_slice() else { anyhow::bail!("an address has no name") };
    // Pods of a workload are told apart by what comes after the last dash.
    let prefix = pod.rsplit_once('-').map_or(pod.as_str(), |(prefix, _)| prefix);
    Ok(Values(vec![
        ("prefix", format!("{prefix}-")),
        ("port", port.clone()),
        ("address", address.clone()),
    ]))
}

/// So that what is asked next comes from the disk.
fn drop_page_cache() -> anyhow::Result<()> {
    rustix::fs::sync();
    std::fs::write("/proc/sys/vm/drop_caches", "3")
        .context("cannot empty the page cache: run as root")
}
