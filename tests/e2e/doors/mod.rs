//! What nobody should send, to each door of the query service, ten thousand times a run and by hand: it is answered or
//! refused with words, and the process lives, within its memory and with nothing left of the clients that have gone.
//!
//! `WEIR_SEED=N` repeats a run. A case depends on the seed and its number alone.

mod bed;
mod filter;
mod flight_sql;
mod grpc;
mod hostile;
mod hubble;
mod logging;
mod mutate;
mod postgres;
mod protobuf;
mod sql;
mod wire;
mod words;

/// Cases of each door.
const CASES: u64 = 10_000;
