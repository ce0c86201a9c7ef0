//! Real packets through a veth pair: attaching, counting, headers beyond the linear part.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    thread,
    time::Duration,
};

use weir_abi::{
    DIRECTION_EGRESS, PROTOCOL_TCP, PROTOCOL_UDP,
    endpoint::{ISOLATED_EGRESS, ISOLATED_INGRESS},
    event::{REASON_DEFAULT_DENY, VERDICT_DENY},
};
use weir_collector::kernel::{DatapathOptions, KernelMaps};

use crate::{
    fixture::{Fixture, endpoint, options},
    frame::{V4, address, ethernet, udp},
    netns::{Pod, counters, ifindex, in_namespace, ip},
};

const NODE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const POD: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

/// A pod with Weir's programs at its veth.
fn attached(flags: u32) -> (Pod, Fixture) {
    attached_with(&options(), flags)
}

fn attached_with(options: &DatapathOptions, flags: u32) -> (Pod, Fixture) {
    let pod = Pod::new();
    let mut fixture = Fixture::with(options, endpoint(flags));
    fixture.endpoint.address_v4 = address(POD.into());
    let (host, endpoint) = (ifindex("host"), fixture.endpoint);
    fixture.datapath.set_endpoint(host, &endpoint).unwrap();
    fixture.datapath.attach(host).unwrap();
    // Once more changes nothing.
    fixture.datapath.attach(host).unwrap();
    (pod, fixture)
}

/// The pod sends so much to the node and closes. Returns what was reported of it (packets and
/// bytes of the pod, of the node), and how much the pod sent with what it repeated: on a busy
/// machine some acknowledgements come late.
fn transfer(pod: &Pod, fixture: &mut Fixture, bytes: usize) -> ([u64; 4], u64) {
    let listener = TcpListener::bind((NODE, 0)).unwrap();
    let to = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        connection.read_to_end(&mut Vec::new()).unwrap()
    });
    let payload = pod.run(move || {
        let mut stream = TcpStream::connect(to).unwrap();
        stream.write_all(&vec![7; bytes]).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        // Until the other end has closed, too.
        stream.read_to_end(&mut Vec::new()).unwrap();
        bytes_sent(&stream)
    });
    assert_eq!(server.join().unwrap(), bytes);
    let event = fixture.event();
    assert_eq!((event.direction, event.protocol), (DIRECTION_EGRESS, PROTOCOL_TCP));
    let mut sum = [u64::from(event.packets), u64::from(event.bytes), 0, 0];
    for delta in fixture.scan().connections {
        sum[0] += delta.packets;
        sum[1] += delta.bytes;
        sum[2] += delta.reply_packets;
        sum[3] += delta.reply_bytes;
    }
    (sum, payload)
}

/// Payload that a connection has sent, repetitions included.
fn bytes_sent(stream: &TcpStream) -> u64 {
    /// Of `tcpi_bytes_sent` in `struct tcp_info`, which libc's lacks.
    const OFFSET: usize = 200;
    let mut info = [0_u8; 256];
    let mut length = info.len() as libc::socklen_t;
    // SAFETY: the kernel writes no more than `length`.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    u64::from_ne_bytes(info[OFFSET..OFFSET + 8].try_into().unwrap())
}

#[test]
fn a_transfer_is_counted_to_the_packet_as_the_interface_counts_it() {
    in_namespace(|| {
        let (pod, mut fixture) = attached(0);
        // Packets leave as they are on the wire, so that the interface counts what Weir should.
        ip("link set host gso_max_segs 1");
        pod.run(|| ip("link set pod gso_max_segs 1"));
        let before = counters("host");
        let (sum, _) = transfer(&pod, &mut fixture, 3_000_000);
        let after = counters("host");
        let counted: Vec<u64> =
            after.iter().zip(before).map(|(after, before)| after - before).collect();
        assert_eq!(sum, [counted[1], counted[0], counted[3], counted[2]]);
        assert_eq!(fixture.stats().packets, counted[1] + counted[3]);
    });
}

#[test]
fn a_transfer_in_gso_packets_is_counted_as_on_the_wire() {
    in_namespace(|| {
        let (pod, mut fixture) = attached(0);
        let bytes = 3_000_000;
        let ([packets, sent, ..], payload) = transfer(&pod, &mut fixture, bytes);
        assert!(payload >= bytes as u64);
        // Each packet has 66 bytes of headers, and the SYN eight more.
        assert_eq!(sent, packets * 66 + 8 + payload);
        assert!(packets >= bytes as u64 / 8_948, "{packets} packets");
        let seen = fixture.stats().packets;
        assert!(seen < packets, "no GSO packet in {seen}");
    });
}

#[test]
fn a_denied_connection_does_not_happen_until_the_programs_are_taken_off() {
    for classic in [false, true] {
        denied_until_detached(DatapathOptions { classic, ..options() });
    }
}

fn denied_until_detached(options: DatapathOptions) {
    in_namespace(move || {
        let (pod, mut fixture) = attached_with(&options, ISOLATED_INGRESS);
        let (tell, told) = std::sync::mpsc::channel();
        let server = pod.run(move || {
            let listener = TcpListener::bind((POD, 0)).unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            listener
        });
        let to: SocketAddr = told.recv().unwrap();
        let refused = TcpStream::connect_timeout(&to, Duration::from_millis(300));
        assert!(refused.is_err());
        let event = fixture.event();
        assert_eq!((event.verdict, event.reason), (VERDICT_DENY, REASON_DEFAULT_DENY));
        assert_eq!(event.destination_port, to.port());
        fixture.datapath.detach(ifindex("host")).unwrap();
        fixture.datapath.detach(ifindex("host")).unwrap();
        TcpStream::connect_timeout(&to, Duration::from_secs(10)).unwrap();
        drop(server);
    });
}

#[test]
fn packets_that_come_on_several_cpus_at_once_are_all_counted() {
    const EACH: u64 = 30_000;
    in_namespace(|| {
        let (pod, mut fixture) = attached(0);
        let _listener = UdpSocket::bind((NODE, 5_353)).unwrap();
        pod.run(|| {
            let socket = UdpSocket::bind((POD, 40_000)).unwrap();
            socket.connect((NODE, 5_353)).unwrap();
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for _ in 0..EACH {
                            socket.send(&[1; 10]).unwrap();
                        }
                    });
                }
            });
        });
        let event = fixture.event();
        let delta = fixture.scan().connections[0];
        assert_eq!(u64::from(event.packets) + delta.packets, 4 * EACH);
        assert_eq!(u64::from(event.bytes) + delta.bytes, 4 * EACH * 52);
    });
}

#[test]
fn headers_beyond_the_linear_part_are_read() {
    in_namespace(|| {
        let (pod, mut fixture) = attached(ISOLATED_EGRESS);
        // More than a page: a packet socket keeps no more than the link header linear.
        let packet = V4::new(POD, NODE, PROTOCOL_UDP).with(&udp(40_000, 5_353, &[0; 6_000]));
        let mut frame = ethernet(&packet);
        frame[..12].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
        let listener = UdpSocket::bind((NODE, 5_353)).unwrap();
        listener.set_nonblocking(true).unwrap();
        pod.run(move || send_raw("pod", &frame));
        let event = fixture.event();
        assert_eq!((event.source_port, event.destination_port), (40_000, 5_353));
        assert_eq!(event.bytes, 6_000 + 42);
        assert!(listener.recv(&mut [0; 16]).is_err());
    });
}

#[test]
fn the_programs_go_with_the_data_path_and_an_interface_with_its_pod() {
    in_namespace(|| {
        let (pod, mut fixture) = attached(ISOLATED_INGRESS);
        let host = ifindex("host");
        pod.run(|| ip("link delete pod"));
        fixture.datapath.detach(host).unwrap();
        let error = fixture.datapath.attach(host).unwrap_err().to_string();
        assert!(error.contains("no interface"), "{error}");
    });
}

/// Sends a frame as it is.
fn send_raw(interface: &str, frame: &[u8]) {
    // SAFETY: a new descriptor, owned from here on.
    let socket = unsafe {
        let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0);
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd)
    };
    // SAFETY: all zero is a value of it.
    let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    to.sll_family = libc::AF_PACKET as u16;
    to.sll_protocol = 0x0800_u16.to_be();
    to.sll_ifindex = ifindex(interface) as i32;
    // SAFETY: both pointers come with their lengths.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const to).cast(),
            size_of_val(&to) as u32,
        )
    };
    assert_eq!(sent, frame.len() as isize, "{}", std::io::Error::last_os_error());
}
