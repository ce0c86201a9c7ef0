//! A second collector for the same node.

use std::time::Duration;

use super::bed::{Bed, NODE, alone};
use crate::cluster::Options;

const SECONDS: usize = 3;

#[test]
fn a_second_collector_of_a_node_is_refused_and_changes_nothing() {
    alone(|directory| {
        let mut bed = Bed::start(directory, Options::default());
        bed.load(500, 250);
        for _ in 0..SECONDS {
            let output = bed.cluster.run_collector(NODE);
            assert!(!output.status.success());
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(error.contains("runs already"), "{error}");
            std::thread::sleep(Duration::from_millis(500));
        }
        bed.settle_without_loss();
    });
}

/// A copy of the node's state would send other rows under numbers that are taken.
#[test]
fn a_second_collector_with_a_copy_of_the_state_is_refused_and_changes_nothing() {
    alone(|directory| {
        let mut bed = Bed::start(directory, Options::default());
        bed.load(500, 250);
        std::thread::sleep(Duration::from_secs(1));
        let (state, copy) = (bed.cluster.state(NODE), directory.join("copy"));
        let copied = std::process::Command::new("cp").arg("-r").arg(state).arg(&copy).status();
        assert!(copied.unwrap().success());
        let output = bed.cluster.run_collector_with_state(NODE, &copy);
        assert!(!output.status.success());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains("runs already"), "{error}");
        bed.settle_without_loss();
    });
}
