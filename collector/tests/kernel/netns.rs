//! Network namespaces of a test's own: one as the node, one as the pod.

use std::{
    process::{Command, Stdio},
    sync::mpsc,
    thread,
};

/// Runs `test` on a thread in a fresh network namespace, which goes with the thread and with all
/// that is in it.
pub(crate) fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = thread::spawn(|| {
        enter_new();
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// A second namespace, entered by giving its thread something to do.
pub(crate) struct Pod {
    jobs: mpsc::Sender<Job>,
    thread: libc::pid_t,
}

impl Pod {
    /// Joined to the calling thread's namespace by `host` (10.9.0.1) and `pod` (10.9.0.2). Each
    /// knows the other's link address and neither speaks IPv6, so that nothing but the test's own
    /// packets are on the wire.
    pub(crate) fn new() -> Self {
        let (jobs, todo) = mpsc::channel::<Job>();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            enter_new();
            // SAFETY: cannot fail.
            tell.send(unsafe { libc::gettid() }).unwrap();
            for job in todo {
                job();
            }
        });
        let pod = Self { jobs, thread: told.recv().unwrap() };
        let (host_link, pod_link) = ("02:00:00:00:00:01", "02:00:00:00:00:02");
        let namespace = pod.thread;
        ip(&format!(
            "link add host address {host_link} mtu 9000 type veth \
             peer name pod address {pod_link} mtu 9000 netns {namespace}"
        ));
        ip("address add 10.9.0.1/24 dev host");
        ip("link set host up");
        ip(&format!("neigh replace 10.9.0.2 lladdr {pod_link} dev host"));
        pod.run(move || {
            ip("address add 10.9.0.2/24 dev pod");
            ip("link set pod up");
            ip(&format!("neigh replace 10.9.0.1 lladdr {host_link} dev pod"));
        });
        pod
    }

    /// Runs something in the pod and waits for it.
    pub(crate) fn run<R: Send + 'static>(&self, job: impl FnOnce() -> R + Send + 'static) -> R {
        let (tell, told) = mpsc::channel();
        self.jobs.send(Box::new(move || drop(tell.send(job())))).unwrap();
        told.recv().expect("the job in the pod does not panic")
    }
}

/// `ip` with these arguments, in the calling thread's namespace.
pub(crate) fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .expect("ip (of iproute2) is installed");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {error}");
}

/// An interface's index.
pub(crate) fn ifindex(name: &str) -> u32 {
    let name = std::ffi::CString::new(name).unwrap();
    // SAFETY: ends with a zero.
    unsafe { libc::if_nametoindex(name.as_ptr()) }
}

/// What an interface counted: bytes and packets in, bytes and packets out.
pub(crate) fn counters(name: &str) -> [u64; 4] {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let line = text.lines().find_map(|line| line.trim().strip_prefix(&format!("{name}:"))).unwrap();
    let numbers: Vec<u64> = line.split_whitespace().map(|number| number.parse().unwrap()).collect();
    [numbers[0], numbers[1], numbers[8], numbers[9]]
}

fn enter_new() {
    // SAFETY: moves only this thread.
    let moved = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(moved, 0, "kernel tests make network namespaces: run them as root");
    for scope in ["all", "default"] {
        let file = format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6");
        // Without IPv6 in the kernel there is nothing to turn off.
        let _ = std::fs::write(file, "1");
    }
    ip("link set lo up");
}
