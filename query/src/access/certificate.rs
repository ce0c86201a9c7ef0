//! The name in a client's certificate, which TLS has checked already.

use x509_certificate::X509Certificate;

/// Subject alternative name, RFC 5280 section 4.2.1.6.
const ALTERNATIVE_NAME: [u8; 3] = [0x55, 0x1d, 0x11];
/// Tags of a DNS name and of a URI among alternative names.
const DNS_NAME: u8 = 0x82;
const URI: u8 = 0x86;

/// Its first URI (as SPIFFE has it), else its first DNS name, else its common name.
pub(crate) fn name(der: &[u8]) -> Option<String> {
    let certificate = X509Certificate::from_der(der).ok()?;
    let alternatives = certificate
        .iter_extensions()
        .find(|extension| extension.id.as_ref() == ALTERNATIVE_NAME)
        .map(|extension| extension.value.to_bytes());
    let names = alternatives.as_deref().and_then(elements).unwrap_or_default();
    let first = |wanted: u8| {
        let found = names.iter().find(|(tag, _)| *tag == wanted)?;
        std::str::from_utf8(found.1).ok().map(str::to_owned)
    };
    first(URI)
        .or_else(|| first(DNS_NAME))
        .or_else(|| certificate.subject_common_name())
        .filter(|name| !name.is_empty())
}

/// The elements of a DER sequence, each with its tag.
fn elements(sequence: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let (0x30, mut rest, []) = element(sequence)? else { return None };
    let mut elements = Vec::new();
    while !rest.is_empty() {
        let (tag, value, behind) = element(rest)?;
        elements.push((tag, value));
        rest = behind;
    }
    Some(elements)
}

/// Tag and value of the first element, and what is behind it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // The number of the bytes that say the length; longer than two no certificate is.
        0x81 | 0x82 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (value, behind) = rest.split_at_checked(length)?;
    Some((tag, value, behind))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn certificate(subject: &str, alternatives: &str) -> Vec<u8> {
        let script = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null \
                      -days 1 -subj \"$0\" ${1:+-addext \"subjectAltName=$1\"} -outform DER";
        let made = Command::new("sh").args(["-c", script, subject, alternatives]).output().unwrap();
        assert!(made.status.success(), "openssl: {made:?}");
        made.stdout
    }

    #[test]
    fn the_best_name_is_taken() {
        let long = format!("DNS:{}.example, URI:spiffe://weir/{}", "a".repeat(60), "b".repeat(200));
        for (subject, alternatives, expected) in [
            ("/CN=alice", "", "alice".to_owned()),
            ("/CN=alice", "DNS:alice.example", "alice.example".to_owned()),
            (
                "/CN=alice",
                "DNS:alice.example, IP:192.0.2.1, URI:spiffe://weir/ns/shop/sa/web",
                "spiffe://weir/ns/shop/sa/web".to_owned(),
            ),
            ("/CN=alice", &long, format!("spiffe://weir/{}", "b".repeat(200))),
        ] {
            let der = certificate(subject, alternatives);
            assert_eq!(name(&der), Some(expected), "{subject} {alternatives}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_name() {
        assert_eq!(name(b"no certificate"), None);
        for broken in [&[0x30, 0x84][..], &[0x30, 5, 1], &[0x30, 2, 0x82, 9], &[0x02, 1, 0]] {
            assert_eq!(elements(broken), None, "{broken:?}");
        }
    }
}
