//! The benchmark runs, and the ways that should be cheap are not the dear ones.

use weir_collector::kernel::{Datapath, Program, bench};

use crate::fixture::options;

/// A sixteenth of what the verifiers of Linux 5.2 and later go through before they give up: room
/// for older ones, which see fewer states as the same.
const INSTRUCTIONS: u32 = 60_000;

#[test]
fn the_programs_are_small_enough_for_older_verifiers() {
    let mut datapath = Datapath::load(&options()).unwrap();
    for program in [Program::FromPod, Program::ToPod] {
        let Some(verified) = datapath.verified_instructions(program).unwrap() else { return };
        println!("{program:?}: {verified} instructions verified");
        assert!(verified < INSTRUCTIONS, "{program:?}: {verified}");
    }
}

#[test]
fn the_benchmark_measures_every_way() {
    let report = bench::run().unwrap();
    println!("{report}");
    assert_eq!(report.0.len(), 11);
    for cost in &report.0 {
        assert!(cost.least_ns > 0.0 && cost.least_ns <= cost.median_ns, "{cost:?}");
    }
}
