//! A node and its pods as network namespaces that go with their threads.

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

type Job = Box<dyn FnOnce() + Send>;

/// Runs `test` on a thread in a fresh network namespace that forwards.
pub(crate) fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = thread::spawn(|| {
        enter_new();
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Mounts a BPF file system that only this thread, and those that it starts, can see.
pub(crate) fn private_bpf_file_system(at: &str) {
    let at = std::ffi::CString::new(at).unwrap();
    let none = std::ptr::null();
    // SAFETY: moves only this thread; strings that end with a zero.
    unsafe {
        assert_eq!(libc::unshare(libc::CLONE_NEWNS), 0);
        let private = libc::MS_REC | libc::MS_PRIVATE;
        assert_eq!(libc::mount(c"none".as_ptr(), c"/".as_ptr(), none, private, none.cast()), 0);
        let kind = c"bpf".as_ptr();
        assert_eq!(libc::mount(kind, at.as_ptr(), kind, 0, none.cast()), 0);
    }
}

/// A pod's namespace, entered by giving its thread something to do.
pub(crate) struct Namespace(mpsc::Sender<Job>);

impl Namespace {
    /// Joined to the calling thread's namespace by a veth pair and a host route, as many network
    /// plug-ins do it.
    pub(crate) fn pod(name: &str, address: Ipv4Addr) -> Self {
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
        let thread = told.recv().unwrap();
        let last = address.octets()[3];
        let (host_link, pod_link) =
            (format!("02:00:00:00:01:{last:02x}"), format!("02:00:00:00:02:{last:02x}"));
        ip(&format!(
            "link add {name} address {host_link} type veth \
             peer name eth0 address {pod_link} netns {thread}"
        ));
        ip(&format!("link set {name} up"));
        ip(&format!("route add {address}/32 dev {name}"));
        // Fixed, so that nothing but the test's own packets are on the wire.
        ip(&format!("neigh replace {address} lladdr {pod_link} dev {name}"));
        let pod = Self(jobs);
        pod.run(move || {
            ip(&format!("address add {address}/32 dev eth0"));
            ip("link set eth0 up");
            ip("route add 169.254.1.1/32 dev eth0");
            ip("route add default via 169.254.1.1 dev eth0");
            ip(&format!("neigh replace 169.254.1.1 lladdr {host_link} dev eth0"));
        });
        pod
    }

    /// Starts something in the pod.
    pub(crate) fn spawn<R: Send + 'static>(
        &self,
        job: impl FnOnce() -> R + Send + 'static,
    ) -> mpsc::Receiver<R> {
        let (tell, told) = mpsc::channel();
        self.0.send(Box::new(move || drop(tell.send(job())))).unwrap();
        told
    }

    /// Runs something in the pod and waits for it.
    pub(crate) fn run<R: Send + 'static>(&self, job: impl FnOnce() -> R + Send + 'static) -> R {
        self.spawn(job).recv().expect("the job in the pod does not panic")
    }
}

/// Packets that an interface of this thread's namespace has sent.
pub(crate) fn sent(interface: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let line = text.lines().find_map(|line| line.trim().strip_prefix(&format!("{interface}:")));
    line.unwrap().split_whitespace().nth(9).unwrap().parse().unwrap()
}

/// Takes every capability from this thread.
pub(crate) fn give_up_capabilities() {
    // Version 3, this thread; two words each of effective, permitted and inheritable ones.
    let header: [u32; 2] = [0x2008_0522, 0];
    let none = [0u32; 6];
    // SAFETY: header and data have the layout of version 3.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    assert_eq!(result, 0);
}

/// `ip` with these arguments, in the calling thread's namespace.
fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .expect("ip (of iproute2) is installed");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {error}");
}

fn enter_new() {
    // SAFETY: moves only this thread.
    let moved = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(moved, 0, "these tests make network namespaces: run them as root");
    for scope in ["all", "default"] {
        // Without IPv6 in the kernel there is nothing to turn off.
        let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "1");
    }
    ip("link set lo up");
}
