//! What outlives a collector: rings, tables, the disk and the relay. Each effect on them may be the
//! last of a life.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::{UInt16Type, UInt64Type};
use arrow_flight::FlightData;
use rustc_hash::{FxHashMap, FxHashSet};
use weir_abi::conntrack::{
    ClosedKey, Connection, ConnectionKey, Deny, DenyKey, EVENT_SUBMITTED, HANDSHAKE,
};
use weir_abi::event::{REASON_DEFAULT_DENY, VERDICT_ALLOW, VERDICT_DENY, VerdictEvent};
use weir_abi::{DIRECTION_EGRESS, PROTOCOL_TCP};
use weir_flow::wire::{self, BatchId, LossEntry};
use weir_relay::{Decoder, Message, ReceivedBatch};

pub(super) use crate::journal::fake::Killed;
use crate::journal::fake::{FakeFiles, Fate};
use crate::journal::{BatchNumber, Files, Maps};
use crate::kernel::{
    Entries, FakeRing, KernelError, MonotonicClock, Plain as _, Removals, RingMemory, RingReader,
    Stats, TableScanner,
};

/// Sums by destination port.
pub(super) type Sums = BTreeMap<u16, Sum>;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) count: u64,
    packets: u64,
    bytes: u64,
    reply_packets: u64,
    reply_bytes: u64,
}

#[derive(Clone)]
pub(super) struct World {
    state: Arc<Mutex<State>>,
    files: Arc<FakeFiles>,
    removals: Arc<Removals>,
}

#[derive(Default)]
struct State {
    /// Effects until the life ends.
    left: Option<u64>,
    random: u64,
    now_ns: u64,
    conntrack: FxHashMap<ConnectionKey, Connection>,
    closed: FxHashMap<ClosedKey, Connection>,
    denies: FxHashMap<DenyKey, Deny>,
    /// Kinds of denies of which an event has told.
    kinds: FxHashSet<DenyKey>,
    stats: Stats,
    counted: Sums,
    /// Of denies, then of the rest.
    rings: Vec<Arc<FakeRing>>,
    /// How often the machine has failed.
    boot: u8,
    disk_full: bool,
    /// Allowed connections make no event.
    quiet: bool,
    relay: FxHashMap<u64, u64>,
    batches: Vec<RecordBatch>,
    losses: Vec<LossEntry>,
}

impl State {
    fn dice(&mut self, sides: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.random >> 33) % sides
    }

    /// True: this effect is the last one, and does not happen.
    fn ends(&mut self) -> bool {
        match &mut self.left {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let state = State {
            random: seed,
            now_ns: MonotonicClock::now_ns(),
            rings: rings(),
            ..State::default()
        };
        let state = Arc::new(Mutex::new(state));
        let files = Arc::new(FakeFiles::default());
        let fates = state.clone();
        files.set_fates(Some(Box::new(move |bytes| {
            let mut state = fates.lock().unwrap_or_else(PoisonError::into_inner);
            if state.ends() {
                Fate::Ends(state.dice(bytes as u64 + 1) as usize)
            } else if state.disk_full && bytes > 1 {
                Fate::Fails(ErrorKind::StorageFull, state.dice(bytes as u64) as usize)
            } else {
                Fate::Happens
            }
        })));
        Self { state, files, removals: Arc::default() }
    }

    /// The machine loses power: what the kernel had is gone, and what was not synced.
    pub(super) fn lose_power(&mut self) {
        let mut state = self.lock();
        state.boot += 1;
        state.rings = rings();
        state.stats = Stats::default();
        (state.conntrack, state.closed, state.denies) = Default::default();
        state.kinds = FxHashSet::default();
        drop(state);
        self.removals = Arc::default();
        let state = self.state.clone();
        self.files.fail(|sides| state.lock().unwrap().dice(sides as u64) as usize);
    }

    /// Something on disk is not as it was written. False: there is nothing.
    pub(super) fn damage(&self, prefix: &str) -> bool {
        let state = self.state.clone();
        self.files.damage(prefix, |sides| state.lock().unwrap().dice(sides as u64) as usize)
    }

    pub(super) fn maps(&self) -> Maps {
        Maps { boot: [self.lock().boot; 16], ids: [1; 5] }
    }

    pub(super) fn files(&self) -> Arc<dyn Files> {
        self.files.clone()
    }

    pub(super) fn set_capacity(&self, bytes: Option<usize>) {
        self.files.set_capacity(bytes);
    }

    /// An entry gives way to another: whatever it counted and nobody reported is lost.
    pub(super) fn evict(&self, port: u16) {
        let mut state = self.lock();
        state.conntrack.remove(&connection_key(port));
        state.denies.remove(&deny_key(100 + port));
    }

    /// Events whose room was given back.
    pub(super) fn released(&self) -> u64 {
        let len = (8 + size_of::<VerdictEvent>() as u64).next_multiple_of(8);
        self.lock().rings.iter().map(|ring| ring.released() / len).sum()
    }

    /// Verdicts that the ledger was told of.
    pub(super) fn lost(&self) -> u64 {
        let state = self.lock();
        let verdicts = state.losses.iter().filter(|entry| entry.unit == "verdicts");
        verdicts.map(|entry| entry.count).sum()
    }

    pub(super) fn losses(&self) -> Vec<LossEntry> {
        self.lock().losses.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called before each effect of the collector.
    fn effect(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        if state.ends() {
            drop(state);
            std::panic::resume_unwind(Box::new(Killed));
        }
        state
    }

    pub(super) fn kill_after(&self, effects: u64) {
        self.lock().left = Some(effects);
    }

    pub(super) fn live_on(&self) {
        self.lock().left = None;
    }

    pub(super) fn set_disk_full(&self, full: bool) {
        self.lock().disk_full = full;
    }

    pub(super) fn set_quiet(&self, quiet: bool) {
        self.lock().quiet = quiet;
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.lock().now_ns
    }

    pub(super) fn pass(&self, seconds: u64) {
        self.lock().now_ns += seconds * 1_000_000_000;
    }

    pub(super) fn stats(&self) -> Stats {
        self.lock().stats
    }

    pub(super) fn evicted(&self) -> (u64, u64) {
        use std::sync::atomic::Ordering::Relaxed;
        (self.removals.evicted.load(Relaxed), self.removals.denies_evicted.load(Relaxed))
    }

    /// A first packet of a connection. There may be one of the same key.
    pub(super) fn connect(&self, port: u16) {
        let state = &mut *self.lock();
        let key = connection_key(port);
        state.now_ns += 1;
        if let Some(old) = state.conntrack.get(&key) {
            let closed = ClosedKey { connection: key, first_ns: old.first_ns };
            state.closed.insert(closed, *old);
        }
        let event = event(state.now_ns, port, VERDICT_ALLOW);
        let submitted = !state.quiet && state.rings[1].write(event.bytes());
        state.stats.allowed += 1;
        *if submitted {
            &mut state.stats.allow_submitted
        } else if state.quiet {
            &mut state.stats.allow_unannounced
        } else {
            &mut state.stats.allow_failed
        } += 1;
        // SAFETY: the struct has no invalid bit pattern.
        let mut connection: Connection = unsafe { std::mem::zeroed() };
        (connection.first_ns, connection.last_ns) = (state.now_ns, state.now_ns);
        (connection.packets, connection.bytes) = (1, 74);
        (connection.event_packets, connection.event_bytes) = (1, 74);
        connection.direction = DIRECTION_EGRESS;
        connection.flags = if submitted { EVENT_SUBMITTED } else { 0 };
        state.conntrack.insert(key, connection);
        state.stats.conntrack_inserted += 1;
        let sum = state.counted.entry(port).or_default();
        *sum =
            Sum { count: sum.count + 1, packets: sum.packets + 1, bytes: sum.bytes + 74, ..*sum };
    }

    /// Another packet of a connection, if there is one and it is not over.
    pub(super) fn packet(&self, port: u16, reply: bool) {
        let state = &mut *self.lock();
        let key = connection_key(port);
        let Some(connection) = state.conntrack.get_mut(&key) else { return };
        if state.now_ns - connection.last_ns > connection.timeout_ns(key.protocol) {
            return;
        }
        connection.last_ns = state.now_ns;
        connection.flags |= if state.random & 1 == 0 { HANDSHAKE } else { 0 };
        let sum = state.counted.entry(port).or_default();
        if reply {
            connection.reply_packets += 1;
            connection.reply_bytes += 1_500;
            sum.reply_packets += 1;
            sum.reply_bytes += 1_500;
        } else {
            connection.packets += 1;
            connection.bytes += 66;
            sum.packets += 1;
            sum.bytes += 66;
        }
    }

    pub(super) fn deny(&self, port: u16) {
        let state = &mut *self.lock();
        let key = deny_key(port);
        state.now_ns += 1;
        state.stats.denied += 1;
        let sum = state.counted.entry(port).or_default();
        *sum =
            Sum { count: sum.count + 1, packets: sum.packets + 1, bytes: sum.bytes + 74, ..*sum };
        if let Some(deny) = state.denies.get_mut(&key) {
            fold(deny, state.now_ns);
            state.stats.deny_folded += 1;
            return;
        }
        let is_new = state.kinds.insert(key);
        if is_new && state.rings[0].write(event(state.now_ns, port, VERDICT_DENY).bytes()) {
            state.stats.deny_submitted += 1;
            return;
        }
        *if is_new { &mut state.stats.deny_failed } else { &mut state.stats.deny_folded } += 1;
        // SAFETY: the struct has no invalid bit pattern.
        let mut deny: Deny = unsafe { std::mem::zeroed() };
        fold(&mut deny, state.now_ns);
        deny.first_ns = state.now_ns;
        state.denies.insert(key, deny);
        state.stats.deny_inserted += 1;
    }

    pub(super) fn counted(&self) -> Sums {
        self.lock().counted.clone()
    }

    /// Verdicts in rows that the relay has.
    pub(super) fn reported_count(&self) -> u64 {
        self.reported().values().map(|sum| sum.count).sum()
    }

    /// What the relay has.
    pub(super) fn reported(&self) -> Sums {
        let mut sums = Sums::new();
        for batch in &self.lock().batches {
            let column = |name: &str| batch.column_by_name(name).unwrap().clone();
            let number = |name: &str, row| column(name).as_primitive::<UInt64Type>().value(row);
            let ports = column("destination_port");
            for row in 0..batch.num_rows() {
                let port = ports.as_primitive::<UInt16Type>().value(row);
                let sum = sums.entry(port).or_default();
                sum.count += number("count", row);
                sum.packets += number("packets", row);
                sum.bytes += number("bytes", row);
                sum.reply_packets += number("reply_packets", row);
                sum.reply_bytes += number("reply_bytes", row);
            }
        }
        sums
    }

    pub(super) fn relay_has(&self, asked: BatchNumber) -> BatchNumber {
        let sequence = self.effect().relay.get(&asked.epoch).copied().unwrap_or(0);
        BatchNumber { sequence, ..asked }
    }

    pub(super) fn relay_takes(
        &self,
        number: BatchNumber,
        messages: &[FlightData],
        losses: &[LossEntry],
    ) {
        let mut state = self.effect();
        let last = state.relay.entry(number.epoch).or_default();
        if number.sequence <= *last {
            return;
        }
        assert_eq!(number.sequence, *last + 1, "no number is missing");
        *last = number.sequence;
        state.losses.extend_from_slice(losses);
        if messages.is_empty() {
            return;
        }
        let mut decoder = Decoder::default();
        decoder.read(&crate::uplink::schema()).unwrap();
        let (epoch, sequence) = (number.epoch, number.sequence);
        let id =
            BatchId { collector: "lab/n1".into(), epoch, sequence, status: None, losses: vec![] };
        let mut messages = messages.to_vec();
        messages.last_mut().unwrap().app_metadata = wire::encode(&id);
        for message in &messages {
            if let Message::Batch(ReceivedBatch { batch, .. }) = decoder.read(message).unwrap() {
                state.batches.push(batch);
            }
        }
    }

    pub(super) fn reader(&self) -> RingReader {
        let ring = |ring: &Arc<FakeRing>| Ring { world: self.clone(), ring: ring.clone() };
        let rings = self.lock().rings.clone();
        RingReader::over(Arc::new(ring(&rings[0])), Arc::new(ring(&rings[1])))
    }

    pub(super) fn scanner(&self) -> TableScanner {
        let conntrack = Table { world: self.clone(), of: |state| &mut state.conntrack, bump: None };
        let closed = Table { world: self.clone(), of: |state| &mut state.closed, bump: None };
        let bump = |state: &mut State, key: &DenyKey, deny: &mut Deny| {
            fold(deny, state.now_ns);
            state.stats.deny_folded += 1;
            state.stats.denied += 1;
            let sum = state.counted.entry(key.destination_port).or_default();
            sum.count += 1;
            sum.packets += 1;
            sum.bytes += 74;
        };
        let denies = Table { world: self.clone(), of: |state| &mut state.denies, bump: Some(bump) };
        TableScanner::new(conntrack, closed, denies, self.removals.clone())
    }
}

fn rings() -> Vec<Arc<FakeRing>> {
    (0..2).map(|_| Arc::new(FakeRing::new(512))).collect()
}

fn fold(deny: &mut Deny, now_ns: u64) {
    deny.count += 1;
    deny.packets += 1;
    deny.bytes += 74;
    deny.last_ns = now_ns;
}

fn connection_key(port: u16) -> ConnectionKey {
    // SAFETY: the struct has no invalid bit pattern.
    let mut key: ConnectionKey = unsafe { std::mem::zeroed() };
    (key.endpoint, key.remote_port, key.protocol) = (7 + u32::from(port % 2), port, PROTOCOL_TCP);
    key
}

fn deny_key(port: u16) -> DenyKey {
    // SAFETY: the struct has no invalid bit pattern.
    let mut key: DenyKey = unsafe { std::mem::zeroed() };
    (key.endpoint, key.destination_port, key.protocol) = (7, port, PROTOCOL_TCP);
    key.direction = DIRECTION_EGRESS;
    key
}

fn event(time_ns: u64, port: u16, verdict: u8) -> VerdictEvent {
    // SAFETY: the struct has no invalid bit pattern.
    let mut event: VerdictEvent = unsafe { std::mem::zeroed() };
    (event.time_ns, event.destination_port, event.verdict) = (time_ns, port, verdict);
    (event.packets, event.bytes, event.endpoint) = (1, 74, 7);
    (event.protocol, event.direction) = (PROTOCOL_TCP, DIRECTION_EGRESS);
    event.reason = if verdict == VERDICT_DENY { REASON_DEFAULT_DENY } else { 0 };
    event
}

struct Ring {
    world: World,
    ring: Arc<FakeRing>,
}

impl RingMemory for Ring {
    fn released(&self) -> u64 {
        self.ring.released()
    }

    fn release(&self, position: u64) {
        let _state = self.world.effect();
        self.ring.release(position);
    }

    fn written(&self) -> u64 {
        self.ring.written()
    }

    fn header(&self, position: u64) -> u32 {
        self.ring.header(position)
    }

    fn copy(&self, position: u64, into: &mut [u8]) {
        self.ring.copy(position, into);
    }

    fn size(&self) -> u64 {
        self.ring.size()
    }

    fn id(&self) -> io::Result<u32> {
        self.ring.id()
    }
}

struct Table<K, V> {
    world: World,
    of: fn(&mut State) -> &mut FxHashMap<K, V>,
    /// Counts something in an entry, as a packet does at any moment.
    bump: Option<fn(&mut State, &K, &mut V)>,
}

impl<K: Copy + Eq + Hash, V: Copy + PartialEq> Entries<K, V> for Table<K, V> {
    fn id(&self) -> Result<u32, KernelError> {
        Ok(1)
    }

    fn for_each(&self, visit: &mut dyn FnMut(&K, &V)) -> Result<(), KernelError> {
        (self.of)(&mut self.world.effect()).iter().for_each(|(key, value)| visit(key, value));
        Ok(())
    }

    fn get(&self, key: &K) -> Result<Option<V>, KernelError> {
        Ok((self.of)(&mut self.world.effect()).get(key).copied())
    }

    fn take(&self, key: &K) -> Result<Option<V>, KernelError> {
        let mut state = self.world.effect();
        let mut taken = (self.of)(&mut state).remove(key);
        if let (Some(value), Some(bump)) = (&mut taken, self.bump)
            && state.dice(3) == 0
        {
            // A packet came since it was last looked at. It will be put back, which is no effect of
            // its own: what is killed in between loses this very packet.
            bump(&mut state, key, value);
        }
        Ok(taken)
    }

    fn insert_new(&self, key: &K, value: &V) -> Result<bool, KernelError> {
        let mut state = self.world.lock();
        let table = (self.of)(&mut state);
        let there = table.contains_key(key);
        if !there {
            table.insert(*key, *value);
        }
        Ok(!there)
    }
}
