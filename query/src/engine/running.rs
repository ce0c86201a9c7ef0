//! The queries that run now: who asked what, and how to end one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde::Serialize;
use tokio_util::sync::CancellationToken;
use weir_flow::schema::TimestampNs;

use super::caller::Caller;
use crate::access::Principal;
use crate::error::QueryError;
use crate::flight_sql::Number;
use crate::metrics::Door;

/// Longest text that a list shows.
const MAX_TEXT_CHARACTERS: usize = 1_000;

/// All queries that run.
#[derive(Debug, Default)]
pub(crate) struct Running {
    next: AtomicU64,
    queries: Mutex<BTreeMap<u64, Arc<Entry>>>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(super) id: u64,
    pub(super) caller: Caller,
    pub(super) began: TimestampNs,
    pub(super) rows: AtomicUsize,
    pub(super) killed: CancellationToken,
    pub(super) killed_by: OnceLock<Arc<str>>,
}

/// One of them, to be shown.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    id: u64,
    principal: Arc<str>,
    door: Door,
    text: String,
    began: TimestampNs,
    rows: usize,
}

impl Running {
    /// From now on a query runs.
    pub(super) fn add(&self, caller: Caller, began: TimestampNs) -> Arc<Entry> {
        let entry = Arc::new(Entry {
            id: self.next.fetch_add(1, Ordering::Relaxed) + 1,
            caller,
            began,
            rows: AtomicUsize::new(0),
            killed: CancellationToken::new(),
            killed_by: OnceLock::new(),
        });
        self.lock().insert(entry.id, entry.clone());
        entry
    }

    /// It ended.
    pub(super) fn remove(&self, entry: &Entry) {
        self.lock().remove(&entry.id);
    }

    /// What somebody may see: its own queries, or all if it is an admin. The oldest first.
    pub(crate) fn seen_by(&self, principal: &Principal) -> Vec<Shown> {
        self.lock().values().filter(|entry| entry.is_open_to(principal)).map(Entry::show).collect()
    }

    /// Ends a query; false if there is none that this one may end.
    pub(crate) fn kill(&self, id: u64, principal: &Principal) -> bool {
        let entry = self.lock().get(&id).cloned();
        entry.is_some_and(|entry| entry.kill(principal))
    }

    /// The same for what runs for a ticket.
    pub(crate) fn kill_ticket(&self, ticket: &Number, principal: &Principal) -> bool {
        let of_it = |entry: &&Arc<Entry>| entry.caller.ticket.as_ref() == Some(ticket);
        let entries: Vec<_> = self.lock().values().filter(of_it).cloned().collect();
        entries.iter().filter(|entry| entry.kill(principal)).count() > 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Arc<Entry>>> {
        self.queries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Why it ended.
    pub(super) fn error(&self) -> QueryError {
        let by = self.killed_by.get().map_or("somebody", |by| by.as_ref());
        QueryError::Killed(by.to_owned())
    }

    /// Whether this one may end it, which it then does.
    fn kill(&self, principal: &Principal) -> bool {
        if !self.is_open_to(principal) {
            return false;
        }
        // The first who ends it is the one it tells of.
        let _ = self.killed_by.set(principal.name.clone());
        self.killed.cancel();
        true
    }

    fn is_open_to(&self, principal: &Principal) -> bool {
        principal.admin || principal.name == self.caller.principal.name
    }

    fn show(self: &Arc<Self>) -> Shown {
        Shown {
            id: self.id,
            principal: self.caller.principal.name.clone(),
            door: self.caller.door,
            text: self.caller.text.chars().take(MAX_TEXT_CHARACTERS).collect(),
            began: self.began,
            rows: self.rows.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Namespaces;

    fn principal(name: &str, admin: bool) -> Arc<Principal> {
        Arc::new(Principal { name: name.into(), namespaces: Namespaces::Some(vec![]), admin })
    }

    #[test]
    fn one_sees_and_ends_only_its_own_queries_unless_it_is_an_admin() {
        let running = Running::default();
        let (alice, bob) = (principal("alice", false), principal("bob", false));
        let root = principal("root", true);
        let of = |who: &Arc<Principal>| Caller::new(who.clone(), Door::Sql, "select 1");
        let first = running.add(of(&alice), TimestampNs(1));
        let second = running.add(of(&bob), TimestampNs(2));
        assert_eq!(running.seen_by(&alice).len(), 1);
        assert_eq!(running.seen_by(&root).len(), 2);
        assert!(!running.kill(second.id, &alice));
        assert!(!second.killed.is_cancelled());
        assert!(running.kill(second.id, &root));
        assert!(running.kill(first.id, &alice));
        assert_eq!(second.killed_by.get().map(AsRef::as_ref), Some("root"));
        running.remove(&first);
        assert!(!running.kill(first.id, &alice));
    }
}
