use super::*;

#[test]
fn the_loopback_interface_is_there_and_its_addresses_are_left_out() {
    let mut netlink = Netlink::open().unwrap();
    let links = netlink.links().unwrap();
    assert!(links.values().any(|link| link.name == "lo" && link.kind.is_empty()), "{links:?}");
    assert!(netlink.addresses().unwrap().iter().all(|address| !address.is_loopback()));
}

#[test]
fn a_local_address_is_not_right_behind_an_interface() {
    let mut netlink = Netlink::open().unwrap();
    let route = netlink.route("127.0.0.1".parse().unwrap()).unwrap();
    assert!(route.is_none_or(|route| !route.on_link), "{route:?}");
}

#[test]
fn bytes_that_are_no_messages_are_no_messages() {
    let check = |bytes: &[u8]| {
        for message in message::messages(bytes) {
            let _ = (message.end(), message::link(&message), message::address(&message));
            let _ = (message::neighbour(&message), message::forwarding_entry(&message));
            let _ = message::route(&message, "10.0.0.1".parse().unwrap());
        }
    };
    check(&[]);
    check(&[0; 15]);
    check(&[0; 64]);
    check(&[255; 64]);
    let mut state = 7u32;
    for length in 0..600u32 {
        let mut bytes: Vec<u8> = (0..length)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        // A plausible header in front makes the rest count.
        if bytes.len() >= 8 {
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            bytes[4..6].copy_from_slice(&[16u16, 20, 24, 28][length as usize % 4].to_ne_bytes());
        }
        check(&bytes);
    }
}
