//! The maps. Sizes are what the collector gets if it asks for nothing else when loading.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    macros::map,
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf},
};
use weir_abi::{
    Address,
    conntrack::{ClosedKey, Connection, ConnectionKey, Deny, DenyKey},
    endpoint::{EndpointSlot, Epoch, SLOTS},
    policy::{CidrV4, CidrV6, PolicyKey, PolicyValue},
};

use crate::{
    fragment::{FragmentKey, FragmentValue},
    kinds,
    scene::Work,
    stats::Counters,
};

#[map]
pub static ENDPOINTS: Array<EndpointSlot> = Array::with_max_entries(SLOTS, BPF_F_MMAPABLE);

#[map]
pub static EPOCH: Array<Epoch> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
pub static IDENTITIES: HashMap<Address, u32> =
    HashMap::with_max_entries(131_072, BPF_F_NO_PREALLOC);

#[map]
pub static CIDRS_V4: LpmTrie<CidrV4, u32> = LpmTrie::with_max_entries(65_536, 0);

#[map]
pub static CIDRS_V6: LpmTrie<CidrV6, u32> = LpmTrie::with_max_entries(65_536, 0);

#[map]
pub static POLICY: HashMap<PolicyKey, PolicyValue> =
    HashMap::with_max_entries(524_288, BPF_F_NO_PREALLOC);

#[map]
pub static CONNTRACK: LruHashMap<ConnectionKey, Connection> =
    LruHashMap::with_max_entries(262_144, 0);

#[map]
pub static CLOSED: LruHashMap<ClosedKey, Connection> = LruHashMap::with_max_entries(16_384, 0);

#[map]
pub static DENIES: LruHashMap<DenyKey, Deny> = LruHashMap::with_max_entries(16_384, 0);

/// Mapped nowhere; such arrays begin with a page, and so no set lies in two cache lines.
#[map]
pub static KINDS: Array<kinds::Set> = Array::with_max_entries(kinds::SETS, BPF_F_MMAPABLE);

#[map]
pub static FRAGMENTS: LruHashMap<FragmentKey, FragmentValue> =
    LruHashMap::with_max_entries(8_192, 0);

#[map]
pub static VERDICTS: RingBuf = RingBuf::with_byte_size(8 << 20, 0);

/// Room for 65,536 kinds of denies and more, whether anybody reads meanwhile or not.
#[map]
pub static DENY_VERDICTS: RingBuf = RingBuf::with_byte_size(8 << 20, 0);

#[map]
pub static STATS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

#[map]
pub static WORK: PerCpuArray<Work> = PerCpuArray::with_max_entries(1, 0);
