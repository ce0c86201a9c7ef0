//! Packet sockets: frames as they are, out of an interface and into one.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// Bytes of `struct virtio_net_hdr`, which tells the kernel how to cut a frame into segments.
const VNET_HEADER: usize = 10;
/// `PACKET_OUTGOING` of `<linux/if_packet.h>`.
const OUTGOING: u8 = 4;
/// What a socket may hold until it is read.
const BUFFER_BYTES: libc::c_int = 64 << 20;

/// A socket on one interface of the namespace it was made in.
pub(crate) struct Raw {
    socket: OwnedFd,
    to: libc::sockaddr_ll,
}

impl Raw {
    /// Sends and receives everything.
    pub(crate) fn open(interface: &str) -> Self {
        let protocol = (libc::ETH_P_ALL as u16).to_be();
        // SAFETY: a new descriptor, owned from here on.
        let socket = unsafe {
            let flags = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
            let fd = libc::socket(libc::AF_PACKET, flags, i32::from(protocol));
            assert!(fd >= 0, "{}", io::Error::last_os_error());
            OwnedFd::from_raw_fd(fd)
        };
        let name = std::ffi::CString::new(interface).unwrap();
        // SAFETY: all zero is a value of it.
        let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_protocol = protocol;
        // SAFETY: ends with a zero.
        to.sll_ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) } as i32;
        assert_ne!(to.sll_ifindex, 0, "no interface {interface}");
        // SAFETY: the address comes with its length.
        let bound = unsafe {
            libc::bind(socket.as_raw_fd(), (&raw const to).cast(), size_of_val(&to) as u32)
        };
        assert_eq!(bound, 0, "{}", io::Error::last_os_error());
        let raw = Self { socket, to };
        raw.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, BUFFER_BYTES);
        raw
    }

    /// Sends a frame. False: it is one that the kernel does not let out.
    pub(crate) fn send(&self, frame: &[u8]) -> bool {
        let mut to = self.to;
        to.sll_protocol = u16::from_ne_bytes([frame[12], frame[13]]);
        loop {
            // SAFETY: both pointers come with their lengths.
            let sent = unsafe {
                libc::sendto(
                    self.socket.as_raw_fd(),
                    frame.as_ptr().cast(),
                    frame.len(),
                    0,
                    (&raw const to).cast(),
                    size_of_val(&to) as u32,
                )
            };
            if sent >= 0 {
                return true;
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINVAL | libc::EMSGSIZE) => return false,
                // A program on the interface has dropped it.
                Some(libc::ENOBUFS) => return true,
                Some(libc::EAGAIN) => std::thread::yield_now(),
                _ => panic!("{error}"),
            }
        }
    }

    /// Sends a TCP/IPv4 frame that stands for segments of so many bytes.
    pub(crate) fn send_segments(&self, frame: &[u8], segment: u16) {
        /// `PACKET_VNET_HDR` of `<linux/if_packet.h>`.
        const PACKET_VNET_HDR: libc::c_int = 15;
        self.set(libc::SOL_PACKET, PACKET_VNET_HDR, 1);
        let mut with_header = Vec::with_capacity(VNET_HEADER + frame.len());
        // The checksum is to be computed; TCP over IPv4.
        with_header.extend([1, 1]);
        for field in [54, segment, 34, 16] {
            with_header.extend(field.to_ne_bytes());
        }
        with_header.extend(frame);
        // SAFETY: both pointers come with their lengths.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                with_header.as_ptr().cast(),
                with_header.len(),
                0,
                (&raw const self.to).cast(),
                size_of_val(&self.to) as u32,
            )
        };
        assert_eq!(sent, with_header.len() as isize, "{}", io::Error::last_os_error());
        self.set(libc::SOL_PACKET, PACKET_VNET_HDR, 0);
    }

    /// Takes what has come in, until nothing has for `quiet`.
    pub(crate) fn receive(&self, quiet: Duration, mut frame: impl FnMut(&[u8])) {
        let mut buffer = vec![0; 1 << 17];
        let mut last = Instant::now();
        while last.elapsed() < quiet {
            // SAFETY: all zero is a value of it.
            let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
            let mut length = size_of_val(&from) as u32;
            // SAFETY: both pointers come with their lengths.
            let got = unsafe {
                libc::recvfrom(
                    self.socket.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    0,
                    (&raw mut from).cast(),
                    &raw mut length,
                )
            };
            if got < 0 {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            last = Instant::now();
            if from.sll_pkttype != OUTGOING {
                frame(&buffer[..got as usize]);
            }
        }
        assert_eq!(self.dropped(), 0, "the socket had no room");
    }

    /// Frames for which there was no room, since the last call.
    fn dropped(&self) -> u32 {
        /// `PACKET_STATISTICS` of `<linux/if_packet.h>`.
        const PACKET_STATISTICS: libc::c_int = 6;
        let mut statistics = [0_u32; 2];
        let mut length = size_of_val(&statistics) as u32;
        // SAFETY: the kernel writes no more than `length`.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                PACKET_STATISTICS,
                statistics.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
        statistics[1]
    }

    fn set(&self, level: libc::c_int, option: libc::c_int, value: libc::c_int) {
        // SAFETY: the value comes with its length.
        let result = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                level,
                option,
                (&raw const value).cast(),
                size_of_val(&value) as u32,
            )
        };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
    }
}
