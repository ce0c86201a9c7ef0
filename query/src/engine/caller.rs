//! Who asks what, and through which door.

use std::sync::Arc;

use crate::access::Principal;
use crate::flight_sql::Number;
use crate::metrics::Door;

/// One question.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) principal: Arc<Principal>,
    pub(crate) door: Door,
    /// The question as it came, for lists of running queries and the audit log.
    pub(crate) text: String,
    /// By what whoever was given a ticket for it may end it.
    pub(crate) ticket: Option<Number>,
}

impl Caller {
    pub(crate) fn new(principal: Arc<Principal>, door: Door, text: impl Into<String>) -> Self {
        Self { principal, door, text: text.into(), ticket: None }
    }
}
