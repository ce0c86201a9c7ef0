//! What is exported as log records.

/// A `networking.gke.io/v1alpha1` NetworkLogging. The store keeps every flow, whatever it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NetworkLogging {
    /// Connections that a policy allowed. Delegated: those that one with
    /// [`super::NetworkPolicy::log_allows`] allowed.
    pub allow: LogRule,
    /// Denied connections. Delegated: those of pods in namespaces with
    /// [`super::Namespace::log_denies`].
    pub deny: LogRule,
}

/// Whether one kind of verdicts is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LogRule {
    /// They are.
    pub log: bool,
    /// Only those that an annotation asks for. Never set without `log`.
    pub delegate: bool,
}
