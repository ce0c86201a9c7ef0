//! Policies change ten times a second for a minute under 5,000 new connections a second: every
//! verdict is that of a policy in force at its time, and carries that policy's name.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with, sockopt};
use weir_lab::LabSpec;

use crate::cluster::{Cluster, address};

const PORT: u16 = 9000;
const CHANGES: usize = 600;
const CHANGE_EVERY: Duration = Duration::from_millis(100);
/// Connections begun in each turn of the client.
const BURST: usize = 10;
const BURST_EVERY: Duration = Duration::from_millis(2);
/// How long a connection has before the client resets it. No SYN is sent twice in that time.
const LIFE: Duration = Duration::from_millis(200);

/// Even turns allow the client, odd ones do not; each turn's policy has a name of its own.
fn policy(turn: usize) -> String {
    let ingress = if turn.is_multiple_of(2) {
        "[{from: [{podSelector: {matchLabels: {app: client}}}]}]"
    } else {
        "[]"
    };
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata: {{namespace: default, name: turn-{turn:03}}}\n\
         spec: {{podSelector: {{matchLabels: {{app: server}}}}, ingress: {ingress}}}\n"
    )
}

/// Begins a connection without waiting for it.
fn begin(to: &SocketAddr) -> io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        Some(ipproto::TCP),
    )?;
    // Closing resets it, so that its port is free at once.
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    match connect(&socket, to) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

/// Begins connections until told to stop; returns how many.
fn dial(to: SocketAddr, over: &AtomicBool) -> usize {
    let mut begun = 0;
    let mut open = VecDeque::new();
    let mut next = Instant::now();
    while !over.load(Ordering::Relaxed) {
        for _ in 0..BURST {
            open.push_back((Instant::now(), begin(&to).unwrap()));
            begun += 1;
        }
        while open.front().is_some_and(|(since, _): &(Instant, OwnedFd)| since.elapsed() > LIFE) {
            open.pop_front();
        }
        next += BURST_EVERY;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    begun
}

fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

/// What the rows of one revision say.
#[derive(Debug)]
struct Seen {
    turn: usize,
    first_ns: u64,
    last_ns: u64,
}

#[test]
fn every_verdict_is_of_a_policy_in_force_and_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let spec = LabSpec::default()
        .node("node-1", &["192.168.91.1".parse().unwrap()])
        .pod("node-1", "default/client", &["10.91.1.1".parse().unwrap()])
        .pod("node-1", "default/server", &["10.91.1.2".parse().unwrap()]);
    let mut cluster = Cluster::start(directory.path(), &spec);
    cluster.write_manifest("policy.yaml", &policy(0));
    cluster.wait_until_policies(1);

    let to = SocketAddr::new(address(&spec, "default/server"), PORT);
    let over = AtomicBool::new(false);
    let server = cluster.pod("default/server").clone();
    let client = cluster.pod("default/client").clone();
    let mut written_ns = vec![0];
    let begun = std::thread::scope(|scope| {
        let listener = server.enter(|| TcpListener::bind(to).unwrap()).unwrap();
        // More than what comes within the longest pause of the accepting thread.
        rustix::net::listen(&listener, 4096).unwrap();
        listener.set_nonblocking(true).unwrap();
        scope.spawn({
            let over = &over;
            move || {
                while !over.load(Ordering::Relaxed) {
                    if listener.accept().is_err() {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                }
            }
        });
        let dialling = scope.spawn(|| client.enter(|| dial(to, &over)).unwrap());
        let mut next = Instant::now();
        for turn in 1..=CHANGES {
            next += CHANGE_EVERY;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            written_ns.push(now_ns());
            cluster.write_manifest("policy.yaml", &policy(turn));
        }
        std::thread::sleep(CHANGE_EVERY);
        over.store(true, Ordering::Relaxed);
        dialling.join().unwrap()
    });
    cluster.stop_collectors();

    let rows = cluster.query.sql(
        "select policy_revision, verdict, policy, reason, sum(count) as n, \
         cast(min(time) as bigint) as first_ns, cast(max(time) as bigint) as last_ns \
         from flows where direction = 'ingress' and destination_pod = 'server' and count > 0 \
         group by policy_revision, verdict, policy, reason order by policy_revision",
    );
    let mut seen: BTreeMap<u64, Seen> = BTreeMap::new();
    let (mut allowed, mut denied) = (0, 0);
    for row in &rows {
        let number = |name: &str| row[name].as_u64().unwrap();
        let name = row["policy"].as_str().unwrap();
        let turn: usize = name.strip_prefix("default/turn-").unwrap().parse().unwrap();
        let allows = turn.is_multiple_of(2);
        assert_eq!(row["verdict"], if allows { "allow" } else { "deny" }, "{row}");
        assert_eq!(row["reason"], if allows { "policy" } else { "default_deny" }, "{row}");
        *(if allows { &mut allowed } else { &mut denied }) += number("n");
        let this = Seen { turn, first_ns: number("first_ns"), last_ns: number("last_ns") };
        // Nothing is in force before it was written.
        assert!(this.first_ns >= written_ns[turn], "{row}: written at {}", written_ns[turn]);
        let known = seen.insert(number("policy_revision"), this);
        assert!(known.is_none(), "two policies in one revision: {row} and {known:?}");
    }
    // A pod's change of policy is one step, so the times of one revision end where those of the
    // next begin. Two processors may be on either side of that step for as long as a packet takes,
    // so the revision after the next is what none may outlast.
    let by_revision: Vec<&Seen> = seen.values().collect();
    assert!(by_revision.is_sorted_by_key(|seen| seen.turn), "{seen:?}");
    for (before, after) in by_revision.iter().zip(by_revision.iter().skip(2)) {
        assert!(before.last_ns <= after.first_ns, "{before:?} outlasts {after:?}");
    }
    assert_eq!(allowed + denied, begun as u64, "{allowed} allowed and {denied} denied");
    // Most changes were met by traffic, or nothing was tested.
    assert!(seen.len() > CHANGES / 3 && allowed > 0 && denied > 0, "{} of {CHANGES}", seen.len());
    println!(
        "{begun} connections under {} revisions: {allowed} allowed, {denied} denied",
        seen.len()
    );
}
