//! What is held back is reported once, in time, and with the time that it covers.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use proptest::prelude::*;
use rustc_hash::FxHashMap;
use weir_abi::conntrack::{FIN_FORWARD, FIN_REPLY, HANDSHAKE};
use weir_abi::{DIRECTION_EGRESS, PROTOCOL_TCP};

use super::*;

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_000 * SECOND;

type Shared<K, V> = Arc<Mutex<FxHashMap<K, V>>>;

struct Fake<K, V>(Shared<K, V>);

impl<K, V> Fake<K, V>
where
    K: Copy + Eq + std::hash::Hash + Send,
    V: Copy + Send,
{
    fn with<T>(&self, run: impl FnOnce(&mut FxHashMap<K, V>) -> T) -> T {
        run(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<K, V> Entries<K, V> for Fake<K, V>
where
    K: Copy + Eq + std::hash::Hash + Send,
    V: Copy + Send,
{
    fn id(&self) -> Result<u32, KernelError> {
        Ok(1)
    }

    fn for_each(&self, visit: &mut dyn FnMut(&K, &V)) -> Result<(), KernelError> {
        self.with(|map| map.iter().for_each(|(key, value)| visit(key, value)));
        Ok(())
    }

    fn get(&self, key: &K) -> Result<Option<V>, KernelError> {
        Ok(self.with(|map| map.get(key).copied()))
    }

    fn take(&self, key: &K) -> Result<Option<V>, KernelError> {
        Ok(self.with(|map| map.remove(key)))
    }

    fn insert_new(&self, key: &K, value: &V) -> Result<bool, KernelError> {
        Ok(self.with(|map| map.insert(*key, *value).is_none()))
    }
}

/// One pod's tables, and a clock in seconds.
struct Stand {
    scanner: TableScanner,
    connections: Fake<ConnectionKey, Connection>,
    denies: Fake<DenyKey, Deny>,
    /// An event has told of the first attempt.
    told: bool,
    now_ns: u64,
}

impl Stand {
    fn new() -> Self {
        let (connections, denies) = (Shared::default(), Shared::default());
        let scanner = TableScanner::new(
            Fake(Arc::clone(&connections)),
            Fake(Shared::default()),
            Fake(Arc::clone(&denies)),
            Arc::default(),
        );
        let (connections, denies) = (Fake(connections), Fake(denies));
        Self { scanner, connections, denies, told: false, now_ns: START }
    }

    fn pass(&mut self, seconds: u64) {
        self.now_ns += seconds * SECOND;
    }

    /// The first packet of a connection, or another one.
    fn packet(&mut self, port: u16, flags: u32) {
        let now_ns = self.now_ns;
        // SAFETY: the structs have no invalid bit pattern.
        let (mut key, new): (ConnectionKey, Connection) = unsafe { std::mem::zeroed() };
        (key.endpoint, key.remote_port, key.protocol) = (endpoint(port), port, PROTOCOL_TCP);
        self.connections.with(|map| {
            let entry = map.entry(key).or_insert(Connection {
                first_ns: now_ns,
                direction: DIRECTION_EGRESS,
                flags: HANDSHAKE,
                ..new
            });
            entry.packets += 1;
            entry.last_ns = now_ns;
            entry.flags |= flags;
        });
    }

    /// An attempt that is denied: the first of its kind makes an event and no entry.
    fn deny(&mut self) {
        if !std::mem::replace(&mut self.told, true) {
            return;
        }
        let now_ns = self.now_ns;
        // SAFETY: the structs have no invalid bit pattern.
        let (key, new): (DenyKey, Deny) = unsafe { std::mem::zeroed() };
        self.denies.with(|map| {
            let entry = map.entry(key).or_insert(Deny { first_ns: now_ns, ..new });
            entry.count += 1;
            entry.packets += 1;
            entry.last_ns = now_ns;
        });
    }

    /// A scan with what is over taken out.
    fn scan(&mut self, hold_seconds: u64) -> Scan {
        self.scan_by(&Hold::all(hold_seconds * SECOND))
    }

    fn scan_by(&mut self, hold: &Hold) -> Scan {
        let mut scan = Scan::default();
        let now_ns = self.now_ns;
        self.scanner.scan_from(now_ns, now_ns, hold, &Stats::default(), &mut scan).unwrap();
        self.scanner.remove_over().unwrap();
        scan
    }
}

fn endpoint(port: u16) -> u32 {
    u32::from(port % 2)
}

fn since(delta: &ConnectionDelta) -> u64 {
    (delta.since_ns - START) / SECOND
}

#[test]
fn a_connection_that_begins_and_ends_within_the_interval_is_one_row() {
    let mut stand = Stand::new();
    stand.packet(1, 0);
    stand.pass(3);
    assert!(stand.scan(30).connections.is_empty());
    stand.packet(1, FIN_FORWARD | FIN_REPLY);
    for _ in 0..4 {
        stand.pass(5);
        assert!(stand.scan(30).connections.is_empty());
    }
    // 20 s after both ends have closed it is over.
    stand.pass(5);
    let scan = stand.scan(30);
    let [delta] = &scan.connections[..] else { panic!("{scan:?}") };
    assert_eq!((delta.count, delta.packets, since(delta)), (1, 2, 0));
    assert_eq!(delta.state, ConnectionState::Closed);
    stand.pass(5);
    assert!(stand.scan(30).connections.is_empty());
    assert_eq!(stand.connections.with(|map| map.len()), 0);
}

#[test]
fn a_long_connection_is_one_row_an_interval() {
    let mut stand = Stand::new();
    let mut rows = Vec::new();
    for second in 0..100 {
        if second % 5 == 0 {
            rows.extend(stand.scan(28).connections.iter().map(|d| (since(d), d.count, d.packets)));
        }
        stand.packet(1, 0);
        stand.pass(1);
    }
    assert_eq!(rows, [(0, 1, 30), (30, 0, 30), (60, 0, 30)]);
}

/// A connection of long silence is not the worse for it: the interval begins with its news.
#[test]
fn the_interval_begins_with_the_first_unreported_packet() {
    let mut stand = Stand::new();
    stand.packet(1, 0);
    stand.scan(0);
    for _ in 0..20 {
        stand.pass(5);
        assert!(stand.scan(28).connections.is_empty());
    }
    stand.packet(1, 0);
    for seconds in [5, 10, 15, 20, 25] {
        stand.pass(5);
        assert!(stand.scan(28).connections.is_empty(), "after {seconds} s");
    }
    stand.pass(5);
    let scan = stand.scan(28);
    let [delta] = &scan.connections[..] else { panic!("{scan:?}") };
    assert_eq!((since(delta), delta.packets), (100, 1));
}

#[test]
fn a_shorter_interval_reports_at_the_next_scan_what_was_held_back() {
    let mut stand = Stand::new();
    stand.packet(1, 0);
    stand.packet(2, 0);
    // Silent for so long that nobody would look at them again.
    for _ in 0..6 {
        stand.pass(5);
        assert!(stand.scan(900).connections.is_empty());
    }
    let mut hold = Hold::all(900 * SECOND);
    hold.set(endpoint(1), 0);
    let scan = stand.scan_by(&hold);
    let [delta] = &scan.connections[..] else { panic!("{scan:?}") };
    assert_eq!((delta.key.remote_port, delta.count, since(delta)), (1, 1, 0));
    let scan = stand.scan(0);
    let [delta] = &scan.connections[..] else { panic!("{scan:?}") };
    assert_eq!((delta.key.remote_port, delta.count, since(delta)), (2, 1, 0));
}

#[test]
fn denies_are_folded_by_the_interval_and_told_at_once_only_after_it() {
    let mut stand = Stand::new();
    let mut rows = Vec::new();
    // One every 50 s for 10 minutes.
    for second in 0..600 {
        if second % 50 == 0 {
            stand.deny();
        }
        if second % 5 == 4 {
            rows.extend(stand.scan(297).denies.iter().map(|delta| delta.count));
        }
        stand.pass(1);
    }
    // The first one was told of by its event. Kinds that are silent for less than the interval stay.
    assert_eq!(rows, [6]);
    rows.extend(stand.scan(0).denies.iter().map(|delta| delta.count));
    assert_eq!(rows, [6, 5]);
    stand.pass(31);
    stand.scan(0);
    assert_eq!(stand.denies.with(|map| map.len()), 0);
}

#[test]
fn another_scanner_goes_on_with_what_was_held_back() {
    let mut stand = Stand::new();
    stand.packet(1, 0);
    stand.pass(5);
    stand.scan(0);
    stand.pass(5);
    stand.packet(1, 0);
    stand.packet(3, 0);
    stand.pass(5);
    stand.scan(900);
    stand.pass(60);
    let mark = stand.scan(900).mark;
    let totals = stand.scanner.totals();
    // Of the one that was never reported nothing is remembered: its entry says all.
    assert_eq!(totals.connections.len(), 1);
    let scanner = TableScanner::new(
        Fake(Arc::clone(&stand.connections.0)),
        Fake(Shared::default()),
        Fake(Arc::clone(&stand.denies.0)),
        Arc::default(),
    );
    stand.scanner = scanner;
    stand.scanner.resume(totals, &mark).unwrap();
    stand.pass(5);
    let mut rows: Vec<_> = stand
        .scan(0)
        .connections
        .iter()
        .map(|delta| (delta.key.remote_port, delta.count, delta.packets, since(delta)))
        .collect();
    rows.sort_unstable();
    assert_eq!(rows, [(1, 0, 1, 5), (3, 1, 1, 10)]);
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Packet(u16),
    Close(u16),
    Deny,
    Pass(u64),
    /// With so many seconds for each endpoint.
    Scan(u64, u64),
}

fn act() -> impl Strategy<Value = Act> {
    let interval = || prop::sample::select(vec![0u64, 0, 28, 57, 297]);
    prop_oneof![
        6 => (0..6u16).prop_map(Act::Packet),
        1 => (0..6u16).prop_map(Act::Close),
        2 => Just(Act::Deny),
        4 => (1..20u64).prop_map(Act::Pass),
        1 => Just(Act::Pass(70)),
        6 => (interval(), interval()).prop_map(|(one, other)| Act::Scan(one, other)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// Whatever intervals follow each other: each packet is in one row, and within its time.
    #[test]
    fn sums_are_exact_over_all_switches(acts in prop::collection::vec(act(), 0..120)) {
        let mut stand = Stand::new();
        // Packets and when they came, by port, oldest first, that no row had yet.
        let mut waiting: BTreeMap<u16, Vec<u64>> = BTreeMap::new();
        let (mut begun, mut counted, mut denied, mut folded) = (0, 0, 0, 0);
        let every = [Act::Pass(1), Act::Scan(0, 0)];
        for act in acts.iter().chain(&every) {
            match *act {
                Act::Packet(port) | Act::Close(port) => {
                    let is_new = |map: &mut FxHashMap<ConnectionKey, Connection>| {
                        !map.keys().any(|key| key.remote_port == port)
                    };
                    begun += u64::from(stand.connections.with(is_new));
                    let flags = matches!(act, Act::Close(_)).then_some(FIN_FORWARD | FIN_REPLY);
                    stand.packet(port, flags.unwrap_or(0));
                    waiting.entry(port).or_default().push(stand.now_ns);
                }
                Act::Deny => {
                    folded += u64::from(!stand.told);
                    stand.deny();
                    denied += 1;
                }
                Act::Pass(seconds) => stand.pass(seconds),
                Act::Scan(one, other) => {
                    let mut hold = Hold::all(other * SECOND);
                    hold.set(1, one * SECOND);
                    let scan = stand.scan_by(&hold);
                    for delta in &scan.connections {
                        counted += delta.count;
                        let packets = waiting.get_mut(&delta.key.remote_port).unwrap();
                        prop_assert_eq!(packets.len() as u64, delta.packets);
                        prop_assert!(packets.iter().all(|at| delta.since_ns <= *at));
                        prop_assert_eq!(packets.last(), Some(&delta.value.last_ns));
                        packets.clear();
                    }
                    // Nothing is held back for longer than it may.
                    for (port, packets) in &waiting {
                        let may = [other, one][usize::from(endpoint(*port) == 1)] * SECOND;
                        let due = packets.first().is_some_and(|at| stand.now_ns - at >= may);
                        prop_assert!(!due, "{port}: {packets:?} at {}", stand.now_ns);
                    }
                    folded += scan.denies.iter().map(|delta| delta.count).sum::<u64>();
                }
            }
        }
        prop_assert!(waiting.values().all(Vec::is_empty));
        prop_assert_eq!((counted, folded), (begun, denied));
    }
}
