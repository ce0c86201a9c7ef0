//! Names, labels and addresses as the API server accepts them.

use std::net::IpAddr;

use ipnet::IpNet;

/// Names a policy: a DNS subdomain.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let fine = !name.is_empty() && name.len() <= 253 && name.split('.').all(is_dns_word);
    if fine {
        return Ok(());
    }
    Err(format!(
        "{name:?} is not a valid name: use at most 253 of a-z, 0-9, '-' and '.', beginning and \
         ending each part with a letter or digit"
    ))
}

/// Names a namespace: a DNS label.
pub(super) fn check_namespace(name: &str) -> Result<(), String> {
    if is_dns_label(name) {
        return Ok(());
    }
    Err(format!(
        "{name:?} is not a valid namespace: use at most 63 of a-z, 0-9 and '-', beginning and \
         ending with a letter or digit"
    ))
}

/// Key of a label: `[prefix/]name`.
pub(super) fn check_label_key(key: &str) -> Result<(), String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let fine = !name.is_empty()
        && is_label_word(name)
        && prefix.is_none_or(|prefix| check_name(prefix).is_ok());
    if fine {
        return Ok(());
    }
    Err(format!(
        "{key:?} is not a valid label key: write [prefix/]name, the name at most 63 of letters, \
         digits, '-', '_' and '.', beginning and ending with a letter or digit"
    ))
}

/// Value of a label, possibly empty.
pub(super) fn check_label_value(value: &str) -> Result<(), String> {
    if value.is_empty() || is_label_word(value) {
        return Ok(());
    }
    Err(format!(
        "{value:?} is not a valid label value: use at most 63 of letters, digits, '-', '_' and \
         '.', beginning and ending with a letter or digit"
    ))
}

/// Name of a port: an IANA service name.
pub(super) fn check_port_name(name: &str) -> Result<(), String> {
    let fine = (1..=15).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && name.bytes().any(|b| b.is_ascii_lowercase())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--");
    if fine {
        return Ok(());
    }
    let hint = if name.bytes().all(|b| b.is_ascii_digit()) && !name.is_empty() {
        "for a number leave out the quotes"
    } else {
        "use at most 15 of a-z, 0-9 and single '-', with a letter, not beginning or ending with '-'"
    };
    Err(format!("{name:?} is not a valid port name: {hint}"))
}

/// A block of addresses, host bits cleared: objects stored before 1.36 may still have some set.
pub(super) fn block(text: &str) -> Result<IpNet, String> {
    let block: IpNet = text.parse().map_err(|_| {
        format!("{text:?} is not a block of addresses: write it as 10.0.0.0/8 or 2001:db8::/32")
    })?;
    if let IpNet::V6(v6) = block
        && v6.addr().to_ipv4_mapped().is_some()
    {
        return Err(format!("{text:?} is an IPv4-mapped IPv6 block: write the IPv4 block"));
    }
    Ok(block.trunc())
}

/// An address.
pub(super) fn address(text: &str) -> Result<IpAddr, String> {
    text.parse::<IpAddr>()
        .map(|address| address.to_canonical())
        .map_err(|_| format!("{text:?} is not an IP address"))
}

fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && is_dns_word(text)
}

fn is_dns_word(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_label_word(text: &str) -> bool {
    text.len() <= 63
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
        && text.as_bytes().last().is_some_and(u8::is_ascii_alphanumeric)
}
