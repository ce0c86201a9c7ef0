//! What can go wrong with a lab, and what to do about it.

use std::io;

/// Why a lab could not be built or used.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Namespaces need privileges.
    #[error("a lab needs root, to make network namespaces: run it as root")]
    NotRoot,
    /// The `ip` program is missing.
    #[error("cannot run `ip` (install the package iproute2): {0}")]
    NoIpTool(#[source] io::Error),
    /// The `ip` program refused a command.
    #[error("`ip` in {namespace}: {message} (command: {command})")]
    Ip {
        /// Namespace it ran in.
        namespace: String,
        /// The command it stopped at.
        command: String,
        /// What it said.
        message: String,
    },
    /// A namespace could not be entered.
    #[error("cannot enter the namespace {namespace}: {source}")]
    Enter {
        /// Its name.
        namespace: String,
        /// Why.
        source: io::Error,
    },
    /// A kernel setting could not be written.
    #[error("cannot set {setting} in {namespace}: {source}")]
    Setting {
        /// The file below `/proc/sys/net`.
        setting: String,
        /// Namespace.
        namespace: String,
        /// Why.
        source: io::Error,
    },
    /// No such node, pod or host.
    #[error("the lab has no {kind} `{name}`; it has: {known}")]
    Unknown {
        /// `node`, `pod`, `host` or `link`.
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The description contradicts itself.
    #[error("lab description: {0}")]
    Spec(String),
    /// A child process could not be started.
    #[error("cannot start {program} in {namespace}: {source}")]
    Spawn {
        /// What was started.
        program: String,
        /// Namespace.
        namespace: String,
        /// Why.
        source: io::Error,
    },
    /// Something else the operating system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        source: io::Error,
    },
}

impl LabError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
