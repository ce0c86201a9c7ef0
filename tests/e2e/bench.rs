//! `weir bench` measures what it says, and leaves nothing.

use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::weir::{binary, run, wait_for};

/// The namespaces of labs that this process made.
fn namespaces_of(pid: u32) -> usize {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return 0 };
    let pid = pid.to_string();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name.split('-').nth(1) == Some(&pid)).count()
}

#[test]
fn packets_are_measured_with_everything_in_their_way() {
    let output = run(&["bench", "network", "--rounds=1", "--period-ms=20"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for setup in ["nothing", "empty program", "Weir", "nftables"] {
        let row = text.lines().find(|line| line.starts_with(&format!("| {setup} |")));
        let cells: Vec<&str> = row.expect(setup).split('|').map(str::trim).collect();
        let denies = matches!(setup, "Weir" | "nftables");
        assert_eq!(cells.len(), 10, "{row:?}");
        for cell in &cells[2..if denies { 9 } else { 8 }] {
            assert!(cell.parse::<f64>().unwrap() > 0.0, "{row:?}");
        }
    }
}

#[test]
fn a_measurement_that_is_told_to_end_leaves_nothing() {
    let mut child = Command::new(binary())
        .args(["bench", "network", "--rounds=100"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let id = child.id();
    wait_for("namespaces", || (namespaces_of(id) >= 4).then_some(()));
    std::thread::sleep(Duration::from_millis(300));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let status = wait_for("its end", || child.try_wait().unwrap());
    assert!(!status.success());
    assert_eq!(namespaces_of(id), 0);
}

/// The cells of a table's row that begins with that.
fn cells<'a>(text: &'a str, begin: &str) -> Vec<&'a str> {
    let row = text.lines().find(|line| line.starts_with(begin));
    row.unwrap_or_else(|| panic!("{begin}: {text}")).split('|').map(str::trim).collect()
}

fn output_of(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn rows_are_brought_in_fast_and_steadily() {
    let arguments = "bench ingest --rows=5000 --steady-seconds=1 --steady-rate=500 --collectors=5";
    let text = output_of(&arguments.split(' ').collect::<Vec<_>>());
    let through = cells(&text, "| 5000 |");
    assert!(through[2].parse::<f64>().unwrap() > 0.0, "{text}");
    let weir = cells(&text, "| Weir |");
    assert!(weir[4].parse::<f64>().unwrap() > 1.0, "bytes a row: {text}");
    // Batches of ten rows, each with a time until it was acknowledged.
    let steady = text.lines().rev().find(|line| line.contains("| 10 |")).expect(&text);
    let p99 = steady.split('|').nth(4).unwrap().trim();
    assert!(p99.parse::<f64>().unwrap() > 0.0, "{text}");
}

#[test]
fn a_burst_is_accounted_for() {
    let text = output_of(&["bench", "burst", "--denies=50", "--rate=500", "--seconds=1"]);
    for name in ["| burst |", "| flood |"] {
        let cells = cells(&text, name);
        assert_eq!((cells[6], cells[7]), ("0", "0"), "{text}");
    }
    assert_eq!(cells(&text, "| burst |")[3], "100", "{text}");
}

#[test]
fn memory_is_measured_before_and_while_flows_live() {
    let text =
        output_of(&["bench", "memory", "--pods=400", "--flows=200", "--seconds=6", "--settle=1"]);
    assert!(text.contains("400 pods, 11 of them local and enforced, 40 NetworkPolicies"), "{text}");
    for flows in ["| 0 |", "| 200 |"] {
        let cells = cells(&text, flows);
        let mib: Vec<f64> = cells[2..5].iter().map(|cell| cell.parse().unwrap()).collect();
        assert!(0.0 < mib[1] && mib[1] < mib[0] && mib[0] <= mib[2], "{text}");
    }
}

#[test]
fn every_denied_packet_comes_to_whoever_follows() {
    let text = output_of(&["bench", "follow", "--seconds=1", "--slow-seconds=3"]);
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| ") && !line.contains("flows/s"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    assert_eq!(rows.len(), 3, "{text}");
    for row in rows {
        let times: Vec<f64> = row[4..7].iter().map(|cell| cell.parse().unwrap()).collect();
        assert!(row[3].parse::<u64>().unwrap() > 0, "{text}");
        assert!(0.0 < times[0] && times[0] <= times[1] && times[1] <= times[2], "{text}");
    }
}
