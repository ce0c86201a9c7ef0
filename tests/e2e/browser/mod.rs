//! The web UI in Debian's Chromium, against the real processes. What the browser does and has to see is in
//! `ui/tests`.

mod hostile;

use std::path::Path;
use std::process::Command;

use crate::demo;
use crate::weir::Service;

/// Runs a file of `ui/tests` with the addresses and secrets that it is told.
fn look(file: &str, environment: &[(&str, &str)]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let pictures = root.join("bin/pictures");
    let output = Command::new(root.join("scripts/ui"))
        .args(["run", "browser", "--", &format!("tests/{file}")])
        .envs(environment.iter().copied())
        .env("WEIR_PICTURES", pictures)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{file}:\n{text}");
    assert!(
        text.contains("\n# fail 0") && !text.contains("\n# pass 0"),
        "{file} ran nothing:\n{text}"
    );
}

fn address(service: &Service) -> String {
    format!("http://{}", service.door("http"))
}

#[test]
fn a_developer_finds_out_why_the_rogue_was_denied() {
    let directory = tempfile::tempdir().unwrap();
    let demo = demo::start(directory.path(), "browser");
    look("demo.test.mjs", &[("WEIR_URL", &address(&demo))]);
}

#[test]
fn hostile_names_are_text_and_foreign_rows_do_not_appear() {
    let bed = hostile::Bed::start();
    look(
        "hostile.test.mjs",
        &[
            ("WEIR_URL", &address(&bed.query)),
            ("WEIR_TOKEN", hostile::ROOT),
            ("WEIR_GUEST_TOKEN", hostile::GUEST),
            ("WEIR_GUEST_NAMESPACE", hostile::SEEN),
        ],
    );
}
