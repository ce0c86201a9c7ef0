//! Programs from Python packages, which `scripts/setup test` installs.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What a program prints.
pub(crate) fn run(program: &str, input: &str) -> String {
    let mut child = command(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Python, with the packages that tests need, and a program for it.
pub(crate) fn command(program: &str) -> Command {
    let python = cache().join("python/bin/python");
    assert!(python.exists(), "there is no {}: run scripts/setup test", python.display());
    let mut command = Command::new(python);
    command.args(["-c", program]);
    command
}

/// Where `scripts/setup` puts what it installs.
pub(crate) fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/weir");
    std::env::var_os("WEIR_CACHE").map_or_else(home, PathBuf::from)
}
