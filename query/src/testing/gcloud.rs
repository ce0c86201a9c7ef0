//! Google's own command line, as a person runs it.

use std::path::Path;

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) succeeded: bool,
    /// Standard output.
    pub(crate) printed: String,
    /// Standard error.
    pub(crate) complaint: String,
}

/// A shell command that calls `gcloud`, whose settings lie in a directory of the test's own, with further settings
/// (`CLOUDSDK_…`) of its environment.
pub(crate) async fn gcloud(directory: &Path, settings: &[(&str, String)], command: &str) -> Ran {
    let mut shell = gcloud_shell(directory, settings);
    let output = shell.args(["-c", command]).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran {
        succeeded: output.status.success(),
        printed: text(output.stdout),
        complaint: text(output.stderr),
    }
}

/// A shell in which `gcloud` is to be called.
pub(crate) fn gcloud_shell(
    directory: &Path,
    settings: &[(&str, String)],
) -> tokio::process::Command {
    let there = std::process::Command::new("gcloud").arg("--version").output();
    assert!(there.is_ok(), "there is no gcloud: please install Google's package google-cloud-cli");
    let mut shell = tokio::process::Command::new("bash");
    shell
        .env("CLOUDSDK_CONFIG", directory)
        // They would win over what gcloud is told to trust.
        .env_remove("REQUESTS_CA_BUNDLE")
        .env_remove("CURL_CA_BUNDLE")
        .env("CLOUDSDK_CORE_DISABLE_USAGE_REPORTING", "true")
        .env("CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK", "true")
        // Into a pipe it would hold back what it has to say.
        .env("PYTHONUNBUFFERED", "1")
        .envs(settings.iter().cloned())
        .current_dir(directory)
        .kill_on_drop(true);
    shell
}
