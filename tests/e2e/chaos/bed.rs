//! A node under a known load, and the count of what became of it.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serde_json::Value;
use weir_lab::LabSpec;

use super::load::{Aim, Sender, open_ports};
use crate::cluster::{Cluster, Options};
use crate::counters::counted;
use crate::restart::private_bpf_file_system;
use crate::weir::{Service, wait_for};

pub(crate) const NODE: &str = "node-1";
/// What is open, and who dials it.
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 95, 1, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 95, 1, 2);
/// What is shut, and who dials it.
const CLOSED: Ipv4Addr = Ipv4Addr::new(10, 95, 1, 3);
const CALLER: Ipv4Addr = Ipv4Addr::new(10, 95, 1, 4);

const POLICY: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
    metadata: {namespace: default, name: closed}\n\
    spec: {podSelector: {matchLabels: {app: closed}}}\n";

/// Runs a test on a thread of its own, which alone sees what it pins and mounts.
pub(crate) fn alone(test: impl FnOnce(&Path) + Send + 'static) {
    let run = move || {
        private_bpf_file_system();
        let directory = tempfile::tempdir().unwrap();
        test(directory.path());
    };
    if let Err(panic) = std::thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}

/// Verdicts by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdicts {
    pub(crate) allow: u64,
    pub(crate) deny: u64,
}

/// What rows and ledger say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// `sum(count)` of table `flows`.
    pub(crate) rows: Verdicts,
    /// `sum(count)` of table `loss`, of unit `verdicts`.
    pub(crate) lost: Verdicts,
    /// What else is in the ledger: stage, verdict, unit, count, reason.
    pub(crate) other: Vec<String>,
}

impl Account {
    /// Rows and ledger together.
    pub(crate) fn sum(&self) -> Verdicts {
        Verdicts { allow: self.rows.allow + self.lost.allow, deny: self.rows.deny + self.lost.deny }
    }
}

/// The node with its processes.
pub(crate) struct Bed {
    pub(crate) cluster: Cluster,
    _open: Vec<UdpSocket>,
    over: Arc<AtomicBool>,
    senders: Vec<JoinHandle<u64>>,
}

impl Bed {
    /// Starts everything; the policy is in force.
    pub(crate) fn start(directory: &Path, options: Options) -> Self {
        let spec = LabSpec::default()
            .node(NODE, &["192.168.95.1".parse().unwrap()])
            .pod(NODE, "default/server", &[SERVER.into()])
            .pod(NODE, "default/client", &[CLIENT.into()])
            .pod(NODE, "default/closed", &[CLOSED.into()])
            .pod(NODE, "default/caller", &[CALLER.into()]);
        let options = Options { pinned: true, ..options };
        let cluster = Cluster::launch(directory, &spec, options);
        cluster.write_manifest("closed.yaml", POLICY);
        cluster.wait_until_policies(1);
        let open = open_ports(cluster.pod("default/server"), SERVER);
        Self { cluster, _open: open, over: Arc::default(), senders: Vec::new() }
    }

    /// Who sends to that aim.
    pub(crate) fn sender(&self, aim: Aim) -> Sender {
        let (pod, from, to) = match aim {
            Aim::Open => ("default/client", CLIENT, SERVER),
            Aim::Shut | Aim::ShutAndNew => ("default/caller", CALLER, CLOSED),
        };
        Sender::new(self.cluster.pod(pod), from, to, aim)
    }

    /// Begins a load of so many connections and denied attempts a second.
    pub(crate) fn load(&mut self, connections: u64, attempts: u64) {
        for (aim, rate) in [(Aim::Open, connections), (Aim::Shut, attempts)] {
            self.senders.push(self.sender(aim).steadily(rate, self.over.clone()));
        }
    }

    /// Ends the load.
    pub(crate) fn end_load(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for sender in self.senders.drain(..) {
            assert!(sender.join().unwrap() > 0);
        }
    }

    /// Verdicts that there must be: every packet that left its pod was judged there, and those that
    /// came to a pod there, too.
    pub(crate) fn generated(&self) -> Verdicts {
        let sent = |pod: &str| counted(self.cluster.pod(pod), "eth0").sent_packets;
        let (client, caller) = (sent("default/client"), sent("default/caller"));
        Verdicts { allow: 2 * client + caller, deny: caller }
    }

    /// Waits until rows and ledger are what was generated, stops the collector, kills the relay, and
    /// counts once more what the next one knows. Nothing may be there twice.
    pub(crate) fn settle(&mut self) -> Account {
        self.end_load();
        let generated = self.generated();
        assert!(generated.deny > 0, "{generated:?}");
        let mut last = None;
        let account = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for("rows and ledger to be what was generated", || {
                last = Some(account(&self.cluster.query));
                let account = last.clone()?.ok()?;
                (account.sum() == generated).then_some(account)
            })
        }));
        let account =
            account.unwrap_or_else(|_| panic!("generated: {generated:?}, and there is: {last:?}"));
        self.cluster.stop_collectors();
        self.cluster.kill_relay();
        self.cluster.start_relay();
        let again = wait_for("an answer", || self::account(&self.cluster.query).ok());
        println!("{generated:?}: {again:?}");
        assert_eq!(again, account, "stored is what was there before");
        let twice = "select count(*) as n from (select source_pod, source_port, destination_port \
                     from flows where direction = 'egress' \
                     group by source_pod, source_port, destination_port having sum(count) > 1)";
        assert_eq!(self.cluster.query.number(twice), 0, "connections are there once");
        again
    }

    /// The same, and nothing is lost.
    pub(crate) fn settle_without_loss(&mut self) {
        let account = self.settle();
        let lost = (account.lost, account.other);
        assert_eq!(lost, (Verdicts::default(), Vec::new()), "nothing is lost");
    }

    /// Files of flows in the store.
    pub(crate) fn stored_files(&self) -> u64 {
        let (status, body) = self.cluster.query.request("GET", "/api/v1/status", None);
        assert_eq!(status, 200, "{body}");
        let status: Value = serde_json::from_str(&body).unwrap();
        status["relay"]["status"]["stored_files"].as_u64().unwrap()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        // Also when the test fails on the way.
        self.over.store(true, Ordering::Relaxed);
    }
}

/// What rows and ledger say now; what is in the way of an answer.
pub(crate) fn account(query: &Service) -> Result<Account, String> {
    let flows = query.try_sql("select verdict, sum(count) as n from flows group by verdict")?;
    let lost = query.try_sql(
        "select stage, verdict, unit, reason, sum(count) as n from loss \
         group by stage, verdict, unit, reason order by stage, verdict, unit, reason",
    )?;
    let mut account = Account::default();
    for row in &flows {
        add(&mut account.rows, row);
    }
    for row in &lost {
        let is_told = row["unit"] == "verdicts" && matches!(text(row, "verdict"), "allow" | "deny");
        if is_told {
            add(&mut account.lost, row);
        } else {
            account.other.push(row.to_string());
        }
    }
    Ok(account)
}

fn add(verdicts: &mut Verdicts, row: &Value) {
    let count = row["n"].as_u64().unwrap();
    match text(row, "verdict") {
        "allow" => verdicts.allow += count,
        "deny" => verdicts.deny += count,
        other => panic!("nothing is to be {other}"),
    }
}

fn text<'a>(row: &'a Value, column: &str) -> &'a str {
    row[column].as_str().unwrap()
}
