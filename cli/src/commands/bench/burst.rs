//! More verdicts than anybody can take, and what became of each.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use clap::Args;
use serde_json::Value;

use super::node::{CLOSED, Node, Others, SERVER};

/// Where connections are from; after so many the next port is dialled.
const SOURCES: u64 = 60_000;
const FIRST_SOURCE: u16 = 1_024;
const OPEN: std::ops::Range<u16> = 9_000..9_200;
/// Of so many packets one is denied.
const DENIED_ONE_OF: u64 = 20;
/// Denied attempts go to so many ports: as many kinds.
const KINDS: u64 = 65_535;
/// Packets between two looks at the clock.
const TURN: u64 = 64;
/// Until everything that was judged is told of.
const PATIENCE: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(crate) struct Burst {
    /// Denied attempts back to back, each the first of its kind.
    #[arg(long, default_value_t = KINDS)]
    denies: u64,
    /// Then verdicts a second, two or more for each packet.
    #[arg(long, default_value_t = 200_000)]
    rate: u64,
    /// For so many seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// Counts by verdict.
type Verdicts = BTreeMap<String, u64>;

impl Burst {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        println!("### A burst, and a flood\n");
        println!(
            "| | verdicts/s | judged | in rows | in the ledger | denies lost | unaccounted for |"
        );
        println!("|---|--:|--:|--:|--:|--:|--:|");
        let mut ledgers = Vec::new();
        let mut wrong = Vec::new();
        for (name, flood) in [("burst", false), ("flood", true)] {
            let node = Node::start(&Others::default()).await?;
            let _open = node.open(OPEN)?;
            let begun = Instant::now();
            if flood {
                self.flood(&node)?;
            } else {
                self.burst(&node)?;
            }
            let elapsed = begun.elapsed();
            let judged = judged(&node)?;
            let account = Account::settle(&node, &judged).await?;
            let (judged, rows) = (total(&judged), total(&account.rows));
            let lost = total(&account.lost);
            let denies_lost = account.lost.get("deny").copied().unwrap_or(0);
            let unaccounted = i128::from(judged) - i128::from(rows) - i128::from(lost);
            println!(
                "| {name} | {:.0} | {judged} | {rows} | {lost} | {denies_lost} | {unaccounted} |",
                judged as f64 / elapsed.as_secs_f64(),
            );
            if denies_lost > 0 {
                wrong.push(format!("{name}: {denies_lost} denies were lost"));
            }
            if unaccounted != 0 {
                wrong.push(format!("{name}: {unaccounted} verdicts are unaccounted for"));
            }
            ledgers.push((name, account.ledger));
        }
        println!("\n| | stage | verdict | unit | why | count |");
        println!("|---|---|---|---|---|--:|");
        for (name, ledger) in &ledgers {
            for row in ledger {
                let text = |column: &str| row[column].as_str().unwrap_or_default();
                println!(
                    "| {name} | {} | {} | {} | {} | {} |",
                    text("stage"),
                    text("verdict"),
                    text("unit"),
                    text("reason"),
                    row["n"]
                );
            }
        }
        if !wrong.is_empty() {
            bail!("{}", wrong.join("; "));
        }
        Ok(())
    }

    fn burst(&self, node: &Node) -> anyhow::Result<()> {
        let shut = node.sender(CLOSED)?;
        for number in 0..self.denies {
            shut.send(FIRST_SOURCE, SocketAddrV4::new(CLOSED, kind(number)))?;
        }
        Ok(())
    }

    fn flood(&self, node: &Node) -> anyhow::Result<()> {
        let (open, shut) = (node.sender(SERVER)?, node.sender(CLOSED)?);
        let begun = Instant::now();
        let (packets, period) = (self.rate / 2 * self.seconds, Duration::from_secs(self.seconds));
        let mut sent = 0;
        while sent < packets {
            // What the machine cannot send in time is not sent at all.
            let elapsed = begun.elapsed();
            if elapsed >= period {
                break;
            }
            let due = (elapsed.as_secs_f64() * self.rate as f64 / 2.0) as u64;
            if sent >= due {
                std::thread::sleep(Duration::from_micros(500));
                continue;
            }
            for _ in 0..TURN {
                if sent % DENIED_ONE_OF == 0 {
                    let number = sent / DENIED_ONE_OF;
                    shut.send(source(number), SocketAddrV4::new(CLOSED, kind(number)))?;
                } else {
                    let ports = u64::from(OPEN.end - OPEN.start);
                    let port = OPEN.start + (sent / SOURCES % ports) as u16;
                    open.send(source(sent), SocketAddrV4::new(SERVER, port))?;
                }
                sent += 1;
            }
        }
        Ok(())
    }
}

fn source(number: u64) -> u16 {
    FIRST_SOURCE + (number % SOURCES) as u16
}

fn kind(number: u64) -> u16 {
    1 + (number % KINDS) as u16
}

fn total(verdicts: &Verdicts) -> u64 {
    verdicts.values().sum()
}

/// What the programs have judged: each packet where it left its pod, and those that came to a pod
/// there, too.
fn judged(node: &Node) -> anyhow::Result<Verdicts> {
    let [client, caller] = node.sent()?;
    let all = [("allow", 2 * client + caller), ("deny", caller)];
    Ok(all.map(|(verdict, count)| (verdict.to_owned(), count)).into())
}

/// What rows and ledger say.
#[derive(Debug, Default)]
struct Account {
    rows: Verdicts,
    /// Of unit `verdicts`.
    lost: Verdicts,
    ledger: Vec<Value>,
}

impl Account {
    /// Waits until it comes to what was judged, or for as long as anybody would.
    async fn settle(node: &Node, judged: &Verdicts) -> anyhow::Result<Self> {
        let begun = Instant::now();
        loop {
            let account = Self::read(node).await?;
            let told = |verdict: &String| {
                let count = |of: &Verdicts| of.get(verdict).copied().unwrap_or(0);
                count(&account.rows) + count(&account.lost)
            };
            if judged.iter().all(|(verdict, count)| told(verdict) >= *count) {
                return Ok(account);
            }
            if begun.elapsed() > PATIENCE {
                return Ok(account);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn read(node: &Node) -> anyhow::Result<Self> {
        let mut account = Self::default();
        let statement = "select verdict, sum(count) as n from flows group by verdict";
        add(&mut account.rows, &node.sql(statement).await?)?;
        account.ledger = node
            .sql(
                "select stage, verdict, unit, reason, sum(count) as n from loss \
                 group by stage, verdict, unit, reason order by stage, verdict, unit, reason",
            )
            .await?;
        let verdicts: Vec<Value> =
            account.ledger.iter().filter(|row| row["unit"] == "verdicts").cloned().collect();
        add(&mut account.lost, &verdicts)?;
        Ok(account)
    }
}

fn add(verdicts: &mut Verdicts, rows: &[Value]) -> anyhow::Result<()> {
    for row in rows {
        let (verdict, count) = (row["verdict"].as_str(), row["n"].as_u64());
        ensure!(verdict.is_some() && count.is_some(), "not a count of a verdict: {row}");
        *verdicts.entry(verdict.unwrap_or_default().to_owned()).or_default() += count.unwrap_or(0);
    }
    Ok(())
}
