//! What outlives a process: pinned programs, links and maps, in a BPF file system of the test's
//! own, which goes with the test's thread.

use std::{
    io::ErrorKind,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use weir_abi::endpoint::{Endpoint, ISOLATED_EGRESS, ISOLATED_INGRESS};
use weir_collector::kernel::{Datapath, DatapathOptions, KernelMaps, uninstall};

use crate::{
    fixture::{endpoint, options},
    netns::{Pod, ifindex, in_namespace},
};

/// Mounts a BPF file system that only this thread, and those that it starts, can see.
fn pins() -> PathBuf {
    // SAFETY: moves only this thread.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0);
    let private = libc::MS_REC | libc::MS_PRIVATE;
    let none = std::ptr::null();
    // SAFETY: strings that end with a zero.
    unsafe {
        assert_eq!(libc::mount(c"none".as_ptr(), c"/".as_ptr(), none, private, none.cast()), 0);
        let (kind, at) = (c"bpf".as_ptr(), c"/mnt".as_ptr());
        assert_eq!(libc::mount(kind, at, kind, 0, none.cast()), 0);
    }
    PathBuf::from("/mnt/weir/n1")
}

fn load(options: &DatapathOptions, pins: &Path) -> Datapath {
    Datapath::load_pinned(options, pins).unwrap_or_else(|error| panic!("{error}"))
}

/// The pod of [`Pod`], isolated both ways.
fn isolated() -> Endpoint {
    let mut endpoint = endpoint(ISOLATED_INGRESS | ISOLATED_EGRESS);
    endpoint.address_v4 = crate::frame::address("10.9.0.2".parse().unwrap());
    endpoint
}

/// Whether the pod gets through, on a machine that may be busy.
fn reaches(pod: &Pod) -> bool {
    connects(pod, Duration::from_secs(5))
}

fn is_cut(pod: &Pod) -> bool {
    !connects(pod, Duration::from_millis(300))
}

fn connects(pod: &Pod, within: Duration) -> bool {
    let listener = TcpListener::bind("10.9.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    pod.run(move || match TcpStream::connect_timeout(&to, within) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
            false
        }
    })
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn outlives(options: DatapathOptions) {
    in_namespace(move || {
        let pins = pins();
        let pod = Pod::new();
        let host = ifindex("host");
        assert!(reaches(&pod));

        let mut first = load(&options, &pins);
        assert!(!first.adopted());
        first.set_endpoint(host, &isolated()).unwrap();
        first.attach(host).unwrap();
        first.commit().unwrap();
        assert!(is_cut(&pod));
        let counted = first.stats().unwrap();
        drop(first);
        assert!(is_cut(&pod), "enforced by nobody's programs");

        let mut second = load(&options, &pins);
        assert!(second.adopted());
        second.take_over().unwrap();
        assert!(second.stats().unwrap().denied > counted.denied, "the same counters");
        assert_eq!(second.contents().unwrap().endpoints, [(host, isolated())]);
        assert_eq!(second.attached().unwrap(), [host]);
        second.commit().unwrap();
        assert!(is_cut(&pod));
        second.remove_endpoint(host).unwrap();
        assert!(reaches(&pod), "it is the second one's programs, with the maps of the first");
        second.set_endpoint(host, &isolated()).unwrap();
        drop(second);

        // Other sizes: new maps, and the programs change over when told to.
        let larger = DatapathOptions { connections: 2 * options.connections, ..options.clone() };
        let third = load(&larger, &pins);
        assert!(!third.adopted());
        assert!(third.contents().unwrap().endpoints.is_empty());
        assert!(is_cut(&pod), "the old ones are in force");
        drop(third);
        assert!(is_cut(&pod), "one that is killed before it is done changes nothing");
        let mut third = load(&larger, &pins);
        third.set_endpoint(host, &endpoint(0)).unwrap();
        third.attach(host).unwrap();
        third.commit().unwrap();
        let mut open = isolated();
        open.enforced.flags = 0;
        third.set_endpoint(host, &open).unwrap();
        assert!(reaches(&pod), "the new ones are in force");
        let sets = names(&pins).into_iter().filter(|name| name.starts_with('v')).count();
        assert_eq!(sets, 1, "the old maps are gone");
        third.set_endpoint(host, &isolated()).unwrap();
        drop(third);
        assert!(is_cut(&pod));

        let removed = uninstall(&pins).unwrap();
        assert_eq!((removed.interfaces, removed.generations.len()), (1, 1));
        assert!(reaches(&pod));
        assert!(!pins.exists());
        assert_eq!(uninstall(&pins).unwrap().interfaces, 0);
    });
}

#[test]
fn links_outlive_the_process_and_are_taken_over() {
    outlives(options());
}

#[test]
fn classic_filters_outlive_the_process_and_are_replaced_not_stacked() {
    outlives(DatapathOptions { classic: true, ..options() });
}

#[test]
fn links_of_interfaces_that_are_gone_are_removed() {
    in_namespace(|| {
        let pins = pins();
        let pod = Pod::new();
        let host = ifindex("host");
        let mut first = load(&options(), &pins);
        first.attach(host).unwrap();
        first.commit().unwrap();
        drop(first);
        crate::netns::ip("link delete host");
        drop(pod);
        let second = load(&options(), &pins);
        assert!(second.attached().unwrap().is_empty());
    });
}

#[test]
fn blocks_and_identities_are_read_back() {
    in_namespace(|| {
        let pins = pins();
        let mut first = load(&options(), &pins);
        let address = crate::frame::address("10.0.0.9".parse().unwrap());
        let v4 =
            |last| weir_abi::policy::CidrV4 { subject: 1, direction: 0, address: [10, 0, 0, last] };
        let v6 = |last| {
            let mut address = [0; 16];
            address[15] = last;
            weir_abi::policy::CidrV6 { subject: 2, direction: 1, address }
        };
        let many_v4: Vec<_> = (0..200).map(|last| (96, v4(last), u32::from(last) + 1)).collect();
        let many_v6: Vec<_> = (0..200).map(|last| (192, v6(last), u32::from(last) + 1)).collect();
        first.insert_cidrs_v4(&many_v4).unwrap();
        first.insert_cidrs_v6(&many_v6).unwrap();
        first.insert_identities(&[(address, 16)]).unwrap();
        first.commit().unwrap();
        drop(first);
        let mut found = load(&options(), &pins).contents().unwrap();
        found.cidrs_v4.sort_by_key(|(_, _, peer)| *peer);
        found.cidrs_v6.sort_by_key(|(_, _, peer)| *peer);
        assert_eq!(found.cidrs_v4, many_v4);
        assert_eq!(found.cidrs_v6, many_v6);
        assert_eq!(found.identities, [(address, 16)]);
        assert!(found.policies.is_empty() && found.endpoints.is_empty());
    });
}

#[test]
fn another_file_system_is_refused_with_advice() {
    let error = Datapath::load_pinned(&options(), Path::new("/tmp/weir-pins")).err().unwrap();
    assert!(error.to_string().contains("--pins none"), "{error}");
}
