//! ICMP and ICMPv6 echo.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::time::timeout;

use super::Observed;
use super::socket::Packets;

const ECHO_REQUEST_V4: u8 = 8;
const ECHO_REPLY_V4: u8 = 0;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;
const REPEAT: Duration = Duration::from_millis(300);

/// Does not return while nothing is answered. The kernel fills in identifier and checksum, and
/// gives this socket the replies of that identifier only.
pub(super) async fn echo(fd: OwnedFd, destination: IpAddr) -> io::Result<Observed> {
    let socket = Packets::new(fd)?;
    socket.connect(destination)?;
    let (request, reply) = if destination.is_ipv4() {
        (ECHO_REQUEST_V4, ECHO_REPLY_V4)
    } else {
        (ECHO_REQUEST_V6, ECHO_REPLY_V6)
    };
    let mut buffer = [0; 256];
    for sequence in 0_u16.. {
        let [high, low] = sequence.to_be_bytes();
        socket.send(&[request, 0, 0, 0, 0, 0, high, low, b'w', b'e', b'i', b'r']).await?;
        if let Ok(received) = timeout(REPEAT, socket.receive(&mut buffer)).await
            && received?.0 >= 8
            && buffer[0] == reply
        {
            return Ok(Observed::Answered);
        }
    }
    Ok(Observed::Silent)
}
