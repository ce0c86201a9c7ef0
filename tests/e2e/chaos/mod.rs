//! What may go wrong goes wrong, under a load whose every packet is known. Afterwards rows and
//! ledger together are what was generated, by verdict, and nothing is there twice.
//!
//! `WEIR_SEED=N` repeats a run's random moments. `WEIR_CHAOS=full` makes short runs as long as they
//! are meant to be: outages of a minute instead of some seconds.

mod bed;
mod burst;
mod clock;
mod cloud;
mod disk;
mod duplicate;
mod kills;
mod load;
mod outage;
mod torn;

/// Whether runs are to be as long as they are meant to be.
fn is_full() -> bool {
    std::env::var("WEIR_CHAOS").is_ok_and(|value| value == "full")
}
