//! Collectors that are killed, stopped, started twice and uninstalled: the real binary, with its
//! pins in a BPF file system that only the test sees.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use weir_lab::LabSpec;

use crate::cluster::{Cluster, address};
use crate::weir::{binary, wait_for};

const NODE: &str = "node-1.example";
const OPEN: u16 = 9001;
const SHUT: u16 = 9002;
/// How often the collector is killed.
const KILLS: usize = 8;

const POLICY: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
    metadata: {namespace: default, name: one-port}\n\
    spec: {podSelector: {matchLabels: {app: server}}, ingress: [{ports: [{port: 9001}]}]}\n";

/// Mounts a BPF file system that only this thread, and those that it starts, can see.
pub(crate) fn private_bpf_file_system() {
    // SAFETY: moves only this thread; strings that end with a zero.
    unsafe {
        assert_eq!(libc::unshare(libc::CLONE_NEWNS), 0);
        let none = std::ptr::null();
        let private = libc::MS_REC | libc::MS_PRIVATE;
        assert_eq!(libc::mount(c"none".as_ptr(), c"/".as_ptr(), none, private, none.cast()), 0);
        let (kind, at) = (c"bpf".as_ptr(), c"/sys/fs/bpf".as_ptr());
        assert_eq!(libc::mount(kind, at, kind, 0, none.cast()), 0);
    }
}

/// Bytes there and back over one connection until told to stop; returns how many.
fn talk(to: SocketAddr, over: &AtomicBool) -> u64 {
    let mut connection = TcpStream::connect(to).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut count = 0;
    while !over.load(Ordering::Relaxed) {
        let mut byte = [0];
        connection.write_all(b"x").unwrap();
        connection.read_exact(&mut byte).unwrap();
        count += 1;
        std::thread::sleep(Duration::from_millis(2));
    }
    count
}

/// Tries until told to stop; counts what got through.
fn dial(to: SocketAddr, over: &AtomicBool, through: &AtomicU64) -> u64 {
    let mut attempts = 0;
    while !over.load(Ordering::Relaxed) {
        attempts += 1;
        match TcpStream::connect_timeout(&to, Duration::from_millis(50)) {
            Ok(_) => drop(through.fetch_add(1, Ordering::Relaxed)),
            Err(error) => assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}"),
        }
    }
    attempts
}

fn serve(listener: TcpListener) {
    std::thread::spawn(move || {
        while let Ok((mut connection, _)) = listener.accept() {
            std::thread::spawn(move || {
                let mut byte = [0];
                while connection.read_exact(&mut byte).is_ok() {
                    if connection.write_all(&byte).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

fn uninstall(cluster: &Cluster, state: &Path) -> Output {
    let mut command = Command::new(binary());
    command
        .args(["collector", "--uninstall", "--node", NODE, "--state"])
        .arg(state)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut process = cluster.node(NODE).spawn(command).unwrap();
    let status = wait_for("the uninstallation", || process.try_wait().unwrap());
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    process.child().stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
    process.child().stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
    Output { status, stdout, stderr }
}

#[test]
fn enforcement_and_connections_outlive_collectors() {
    std::thread::spawn(outlive).join().unwrap();
}

fn outlive() {
    private_bpf_file_system();
    let directory = tempfile::tempdir().unwrap();
    let spec = LabSpec::default()
        .node(NODE, &["192.168.94.1".parse().unwrap()])
        .pod(NODE, "default/client", &["10.94.1.1".parse().unwrap()])
        .pod(NODE, "default/server", &["10.94.1.2".parse().unwrap()]);
    let mut cluster = Cluster::start_pinned(directory.path(), &spec);
    cluster.write_manifest("policy.yaml", POLICY);
    cluster.wait_until_policies(1);
    let server = cluster.pod("default/server").clone();
    let client = cluster.pod("default/client").clone();
    let to = |port| SocketAddr::new(address(&spec, "default/server"), port);
    for port in [OPEN, SHUT] {
        server.enter(|| serve(TcpListener::bind(to(port)).unwrap())).unwrap();
    }
    let pins = Path::new("/sys/fs/bpf/weir/node-1_2eexample");
    let state = cluster.state(NODE);

    let (over, through) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let talking = scope.spawn(|| client.enter(|| talk(to(OPEN), &over)).unwrap());
        let dialling = scope.spawn(|| client.enter(|| dial(to(SHUT), &over, &through)).unwrap());
        for kill in 0..KILLS {
            // At another moment of its life each time, being started included.
            std::thread::sleep(Duration::from_millis(37 * kill as u64 * kill as u64));
            cluster.kill_collectors();
            assert!(pins.exists());
            cluster.start_collector(NODE);
        }
        cluster.kill_collectors();
        cluster.restart_collector(NODE);

        // A second one is told so, and changes nothing.
        let output = cluster.run_collector(NODE);
        assert!(!output.status.success());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains("runs already"), "{error}");
        let output = uninstall(&cluster, &state);
        assert!(!output.status.success(), "not while it runs");

        // Told to stop, it leaves everything in force.
        cluster.stop_collectors();
        std::thread::sleep(Duration::from_millis(300));
        over.store(true, Ordering::Relaxed);
        assert!(talking.join().unwrap() > 50);
        assert!(dialling.join().unwrap() > 20);
    });
    assert_eq!(through.load(Ordering::Relaxed), 0, "what is denied stays denied");

    cluster.restart_collector(NODE);
    cluster.kill_collectors();
    let output = uninstall(&cluster, &state);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("2 interfaces"), "{said} {output:?}");
    assert!(!pins.exists() && !state.exists());
    let to = to(SHUT);
    client.enter(|| drop(TcpStream::connect(to).unwrap())).unwrap();
    let output = uninstall(&cluster, &state);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("nothing was installed"), "{said}");
}
