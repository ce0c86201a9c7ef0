//! Two pods on a node, and what is measured between them.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use weir_collector::kernel::bench::network::{self, Attached, Door};
use weir_lab::traffic::bulk;
use weir_lab::traffic::datagrams::{self, Sent};
use weir_lab::traffic::server::Server;
use weir_lab::{Lab, LabSpec};

use super::Setup;
use super::nftables::Rules;

const NODE: &str = "n1";
const CLIENT: (&str, Ipv4Addr) = ("x/client", Ipv4Addr::new(10, 244, 1, 11));
const SERVER: (&str, Ipv4Addr) = ("x/server", Ipv4Addr::new(10, 244, 1, 12));
const OPEN: u16 = 8_080;
const SHUT: u16 = 8_081;
/// Of the isolated pod's policy, or of the set of nftables.
const ENTRIES: u32 = 20_000;
/// Each the source of one new connection: fewer than tables of connections have room for.
const PORTS: RangeInclusive<u16> = 1_024..=61_023;
const PATIENCE: Duration = Duration::from_secs(10);
/// How long packets may be on their way after they were sent.
const SETTLE: Duration = Duration::from_millis(20);

/// What one setup reached.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    /// Packets of one answered UDP flow that arrived, a second.
    pub(super) established: f64,
    /// Over one TCP connection, Gbit/s.
    pub(super) bulk: f64,
    /// First packets of UDP flows that arrived, a second.
    pub(super) new: f64,
    /// Denied packets sent, a second; 0 if nothing denies.
    pub(super) denied: f64,
}

/// The pods, and who listens in them.
pub(super) struct Bed {
    /// These end before their namespaces.
    _receiver: datagrams::Receiver,
    _sink: Server,
    lab: Lab,
}

/// What is in the way, until it is dropped.
enum InTheWay {
    Nothing,
    Programs { _attached: Box<Attached> },
    Rules { _rules: Rules },
}

impl Bed {
    pub(super) fn new() -> anyhow::Result<Self> {
        let node: IpAddr = Ipv4Addr::new(192, 168, 77, 1).into();
        let spec = LabSpec::default()
            .node(NODE, &[node])
            .pod(NODE, CLIENT.0, &[CLIENT.1.into()])
            .pod(NODE, SERVER.0, &[SERVER.1.into()]);
        let lab = Lab::create(&spec)?;
        let server = lab.pod(SERVER.0)?;
        let receiver = datagrams::receive(server, (SERVER.1, OPEN).into())?;
        let sink = bulk::sink(server, (SERVER.1, OPEN).into())?;
        Ok(Self { _receiver: receiver, _sink: sink, lab })
    }

    /// Measures everything once, unless it is told to stop.
    pub(super) fn measure(
        &self,
        setup: Setup,
        period: Duration,
        stop: &AtomicBool,
    ) -> anyhow::Result<Figures> {
        let _in_the_way = self.put(setup)?;
        let go_on = || {
            ensure!(!stop.load(Ordering::Relaxed), "stopped by a signal");
            Ok(())
        };
        let mut figures = Figures::default();

        go_on()?;
        let to = (SERVER.1, OPEN).into();
        let (sent, arrived) = self.send(|| datagrams::send_answered(to, period))?;
        ensure!(arrived > 0, "no packet of an established flow arrived of {}", sent.packets);
        figures.established = arrived as f64 / sent.elapsed.as_secs_f64();

        go_on()?;
        let client = self.lab.pod(CLIENT.0)?;
        let (bytes, elapsed) = client
            .enter(|| bulk::send_for(to, period, PATIENCE))?
            .context("the TCP connection failed")?;
        figures.bulk = bytes as f64 * 8.0 / 1e9 / elapsed.as_secs_f64();

        go_on()?;
        let from_each =
            |port| datagrams::send_from_each(CLIENT.1, PORTS, SocketAddrV4::new(SERVER.1, port));
        let (sent, arrived) = self.send(|| from_each(OPEN))?;
        ensure!(arrived > 0, "no new flow arrived of {}", sent.packets);
        figures.new = arrived as f64 / sent.elapsed.as_secs_f64();

        go_on()?;
        if setup.denies() {
            let (sent, arrived) = self.send(|| from_each(SHUT))?;
            ensure!(arrived == 0, "{arrived} packets arrived of {} to deny", sent.packets);
            figures.denied = sent.packets as f64 / sent.elapsed.as_secs_f64();
        }
        Ok(figures)
    }

    fn put(&self, setup: Setup) -> anyhow::Result<InTheWay> {
        let node = self.lab.node(NODE)?;
        let door = |(pod, address): (&str, Ipv4Addr)| -> anyhow::Result<Door> {
            let ifindex = node.link(self.lab.pod_link(pod)?)?.index;
            Ok(Door { ifindex, address })
        };
        let (client, server) = (door(CLIENT)?, door(SERVER)?);
        Ok(match setup {
            Setup::Nothing => InTheWay::Nothing,
            Setup::Empty => {
                let attached = node.enter(|| network::empty([client, server]))??;
                InTheWay::Programs { _attached: Box::new(attached) }
            }
            Setup::Weir => {
                let attached =
                    node.enter(|| network::enforcing(client, server, &[OPEN], ENTRIES))??;
                InTheWay::Programs { _attached: Box::new(attached) }
            }
            Setup::Nftables => {
                let rules = Rules::new(node, CLIENT.1, SERVER.1, &[OPEN], ENTRIES)?;
                InTheWay::Rules { _rules: rules }
            }
        })
    }

    /// Sends from the client. Returns how many packets came to the server's interface, too.
    fn send(
        &self,
        send: impl FnOnce() -> std::io::Result<Sent> + Send,
    ) -> anyhow::Result<(Sent, u64)> {
        let server = self.lab.pod(SERVER.0)?;
        let before = server.link("eth0")?.received_packets;
        let sent = self.lab.pod(CLIENT.0)?.enter(send)?.context("sending failed")?;
        std::thread::sleep(SETTLE);
        let arrived = server.link("eth0")?.received_packets - before;
        Ok((sent, arrived))
    }
}
