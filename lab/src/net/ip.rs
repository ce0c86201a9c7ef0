//! The `ip` program, many commands a call.

use std::env;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use crate::LabError;

/// Runs commands in order, inside `namespace` (`None`: commands that touch only the list of
/// namespaces). Stops at the first that fails and names it.
pub(crate) fn ip_batch(namespace: Option<&str>, commands: &[String]) -> Result<(), LabError> {
    if commands.is_empty() {
        return Ok(());
    }
    let mut program = ip();
    if let Some(namespace) = namespace {
        program.args(["-n", namespace]);
    }
    let mut child = program
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(LabError::NoIpTool)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that stopped early does not read to the end; its message says why.
        let _ = stdin.write_all((commands.join("\n") + "\n").as_bytes());
    }
    let output = child.wait_with_output().map_err(LabError::NoIpTool)?;
    if output.status.success() {
        return Ok(());
    }
    Err(failure(namespace, commands, &output))
}

/// The answer of one command as JSON.
pub(crate) fn ip_json(namespace: &str, arguments: &[&str]) -> Result<serde_json::Value, LabError> {
    let output = ip()
        .args(["-n", namespace, "-j"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(LabError::NoIpTool)?;
    let command = [arguments.join(" ")];
    if !output.status.success() {
        return Err(failure(Some(namespace), &command, &output));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| LabError::Ip {
        namespace: namespace.to_owned(),
        command: command[0].clone(),
        message: format!("its answer is not JSON: {error}"),
    })
}

/// Debian keeps it where not every root shell looks.
fn ip() -> Command {
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    let mut program = Command::new("ip");
    program.env("PATH", path);
    program
}

fn failure(namespace: Option<&str>, commands: &[String], output: &Output) -> LabError {
    let text = String::from_utf8_lossy(&output.stderr);
    // "Command failed -:3" counts lines from one.
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Command failed -:")?.trim().parse::<usize>().ok())
        .unwrap_or(1);
    let message: Vec<&str> =
        text.lines().filter(|line| !line.starts_with("Command failed")).collect();
    LabError::Ip {
        namespace: namespace.unwrap_or("no namespace").to_owned(),
        command: commands.get(line.saturating_sub(1)).cloned().unwrap_or_default(),
        message: message.join("; "),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn a_failure_names_the_command() {
        let output = Output {
            status: std::process::ExitStatus::from_raw(256),
            stdout: Vec::new(),
            stderr: b"RTNETLINK answers: File exists\nCommand failed -:2\n".to_vec(),
        };
        let error = failure(Some("n"), &["one".to_owned(), "two".to_owned()], &output);
        assert_eq!(error.to_string(), "`ip` in n: RTNETLINK answers: File exists (command: two)");
    }
}
