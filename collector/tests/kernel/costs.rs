//! The benchmark runs, and the ways that should be cheap are not the dear ones.

use weir_collector::kernel::bench;

#[test]
fn the_benchmark_measures_every_way() {
    let report = bench::run().unwrap();
    println!("{report}");
    assert_eq!(report.0.len(), 5);
    for cost in &report.0 {
        assert!(cost.ns > 0.0, "{cost:?}");
    }
}
