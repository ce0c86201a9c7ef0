use std::path::{Path, PathBuf};

use super::*;

/// Runs every case of a folder; `None` if there is no such folder.
fn run_folder(folder: &Path) -> Option<(usize, usize)> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .ok()?
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    let (mut probes, mut faults) = (0, Vec::new());
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        let case = Case::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for result in simulate(&case, SimulateOptions { loopback: true }) {
            probes += 1;
            let probe = &case.steps[result.step].probes[result.probe];
            let place = format!("{} step {}: {probe}", file.display(), result.step);
            for wrong in result.wrong {
                faults.push(format!("{place}: expected {}: {}", probe.expect, wrong.explanation));
            }
            faults.extend(result.misattributed.iter().map(|fault| format!("{place}: {fault}")));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    Some((files.len(), probes))
}

#[test]
fn public_conformance_cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/netpol-cases/k8s-e2e");
    match run_folder(&folder) {
        Some((files, probes)) => {
            println!("{files} conformance cases, {probes} probes");
            assert!(files >= 48 && probes >= 711);
        }
        None => println!("skipped: {} is absent", folder.display()),
    }
}
