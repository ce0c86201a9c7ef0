//! Filters of addresses, ports and protocols.

use std::net::IpAddr;

use datafusion::logical_expr::{Expr, bitwise_and, col, lit};

use super::FilterError;
use super::end::End;
use crate::functions::network::{ip_in_net, network};
use crate::hubble::proto::flow::{IpVersion, TcpFlags};

/// An address, or a network.
pub(super) fn address(end: End, text: &str) -> Result<Expr, FilterError> {
    let column = end.column("ip");
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(column.eq(lit(address.to_string())));
    }
    let network = network(text).map_err(FilterError::new)?;
    Ok(inside(column, &network.to_string()))
}

pub(super) fn port(column: &str, text: &str) -> Result<Expr, FilterError> {
    let port = text.parse::<u16>().map_err(|_| {
        FilterError::new(format!("{text:?} is no port: use a number from 0 to 65535"))
    })?;
    Ok(col(column).eq(lit(port)))
}

pub(super) fn protocol(text: &str) -> Result<Expr, FilterError> {
    let words: &[&str] = match text.to_ascii_lowercase().as_str() {
        "tcp" => &["TCP"],
        "udp" => &["UDP"],
        "sctp" => &["SCTP"],
        "icmp" => &["ICMP", "ICMPv6"],
        "icmpv4" => &["ICMP"],
        "icmpv6" => &["ICMPv6"],
        "vrrp" => &["112"],
        "igmp" => &["2"],
        "dns" | "http" | "kafka" => {
            return Err(FilterError::new(format!(
                "protocol {text:?} is not possible: Weir sees addresses and ports, not what an application sends"
            )));
        }
        _ => {
            return Err(FilterError::new(format!(
                "there is no protocol {text:?}: use tcp, udp, sctp, icmp, icmpv4, icmpv6, vrrp or igmp"
            )));
        }
    };
    Ok(col("protocol").in_list(words.iter().map(|word| lit(*word)).collect(), false))
}

pub(super) fn version(number: i32) -> Result<Expr, FilterError> {
    let source = End::SOURCE.column("ip");
    let (four, six) = (inside(source.clone(), "0.0.0.0/0"), inside(source, "::/0"));
    match IpVersion::try_from(number) {
        Ok(IpVersion::IpNotUsed) => Ok(four.or(six).is_not_true()),
        Ok(IpVersion::IPv4) => Ok(four),
        Ok(IpVersion::IPv6) => Ok(six),
        Err(_) => Err(FilterError::new(format!("there is no ip_version {number}"))),
    }
}

/// All flags that are asked for were seen; without one, whether it is TCP.
pub(super) fn tcp_flags(wanted: &TcpFlags) -> Expr {
    // Only eight are recorded.
    if wanted.ns {
        return lit(false);
    }
    let mask = mask(wanted);
    match mask {
        0 => col("tcp_flags").is_not_null(),
        _ => bitwise_and(col("tcp_flags"), lit(mask)).eq(lit(mask)),
    }
}

/// The bits of RFC 9293.
fn mask(flags: &TcpFlags) -> u8 {
    let bits =
        [flags.fin, flags.syn, flags.rst, flags.psh, flags.ack, flags.urg, flags.ece, flags.cwr];
    bits.iter().enumerate().fold(0, |mask, (bit, set)| mask | u8::from(*set) << bit)
}

fn inside(column: Expr, network: &str) -> Expr {
    ip_in_net().call(vec![column, lit(network)])
}
