//! The rules that are compared: a set of as many elements as Weir has entries.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use weir_lab::Place;

const TABLE: &str = "inet weir_bench";
const MISSING: &str = "cannot run `nft`, whose rules are compared: install the package nftables";

/// Rules in a namespace. Dropping it removes them.
pub(super) struct Rules(Place);

/// Whether there is an `nft`.
pub(super) fn require() -> anyhow::Result<()> {
    let output = nft().arg("--version").stdin(Stdio::null()).output().context(MISSING)?;
    anyhow::ensure!(output.status.success(), MISSING);
    Ok(())
}

impl Rules {
    /// Established connections pass; new ones if the set has them, as it has `client` with these
    /// ports, over TCP and UDP.
    pub(super) fn new(
        node: &Place,
        client: Ipv4Addr,
        server: Ipv4Addr,
        ports: &[u16],
        entries: u32,
    ) -> anyhow::Result<Self> {
        let mut elements = Vec::new();
        for &port in ports {
            let to = SocketAddrV4::new(server, port);
            elements.extend(["tcp", "udp"].map(|protocol| element(client, protocol, to)));
        }
        for index in 0..entries.saturating_sub(elements.len() as u32) {
            let from = Ipv4Addr::from(0x0a80_0000 + index / 100);
            let to = SocketAddrV4::new(server, 1 + (index % 100) as u16);
            elements.push(element(from, "udp", to));
        }
        let mut rules = String::new();
        writeln!(
            rules,
            "table {TABLE} {{
               set allowed {{
                 type ipv4_addr . ipv4_addr . inet_proto . inet_service
                 elements = {{ {} }}
               }}
               chain forward {{
                 type filter hook forward priority 0; policy drop;
                 ct state established,related accept
                 ip saddr . ip daddr . meta l4proto . th dport @allowed accept
               }}
             }}",
            elements.join(", ")
        )?;
        let this = Self(node.clone());
        this.load(&rules)?;
        Ok(this)
    }

    fn load(&self, rules: &str) -> anyhow::Result<()> {
        self.0.enter(|| {
            let mut child = nft()
                .args(["-f", "-"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .context(MISSING)?;
            if let Some(mut stdin) = child.stdin.take() {
                // One that stopped early says why.
                let _ = stdin.write_all(rules.as_bytes());
            }
            let output = child.wait_with_output()?;
            if !output.status.success() {
                let message = String::from_utf8_lossy(&output.stderr);
                let message: String = message.chars().take(500).collect();
                bail!("`nft` refuses the rules: {message}");
            }
            Ok(())
        })?
    }
}

impl Drop for Rules {
    fn drop(&mut self) {
        // None were loaded, or they go with the namespace.
        let _ = self.load(&format!("delete table {TABLE}\n"));
    }
}

fn element(from: Ipv4Addr, protocol: &str, to: SocketAddrV4) -> String {
    format!("{from} . {} . {protocol} . {}", to.ip(), to.port())
}

/// Debian keeps it where not every root shell looks.
fn nft() -> Command {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    let mut program = Command::new("nft");
    program.env("PATH", path);
    program
}
