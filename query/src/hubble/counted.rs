//! Flows of the last day by node, kept for a few seconds: clients that watch ask every second, and the sums
//! of a day do not change much meanwhile.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::access::Principal;
use crate::error::QueryError;

/// How long counts are told again.
const KEPT: Duration = Duration::from_secs(3);
/// Most principals whose counts are kept; others are counted for each time.
const MAX_KEPT: usize = 256;

/// The flows of one node.
#[derive(Clone, Copy, Debug)]
pub(super) struct OfNode {
    pub(super) flows: u64,
    /// The earliest of them.
    pub(super) first_ns: i64,
}

/// By the names of nodes.
pub(super) type ByNode = BTreeMap<String, OfNode>;

/// What was counted last.
#[derive(Debug, Default)]
pub(super) struct Counted(Mutex<HashMap<Arc<str>, Kept>>);

#[derive(Debug)]
struct Kept {
    at: Instant,
    /// Grants may change.
    principal: Arc<Principal>,
    nodes: Arc<ByNode>,
}

impl Counted {
    /// What is kept for a principal, or else what is counted now.
    pub(super) async fn get(
        &self,
        principal: &Arc<Principal>,
        count: impl Future<Output = Result<ByNode, QueryError>>,
    ) -> Result<Arc<ByNode>, QueryError> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |kept: &Kept| kept.at.elapsed() < KEPT;
        let known = lock()
            .get(&principal.name)
            .filter(|kept| fresh(kept) && kept.principal == *principal)
            .map(|kept| kept.nodes.clone());
        if let Some(nodes) = known {
            return Ok(nodes);
        }
        let at = Instant::now();
        let nodes = Arc::new(count.await?);
        let mut kept = lock();
        if kept.len() >= MAX_KEPT {
            kept.retain(|_, kept| fresh(kept));
        }
        if kept.len() < MAX_KEPT {
            let new = Kept { at, principal: principal.clone(), nodes: nodes.clone() };
            kept.insert(principal.name.clone(), new);
        }
        Ok(nodes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Namespaces;

    #[tokio::test]
    async fn each_principal_is_counted_for_once_in_a_while() {
        let counted = Counted::default();
        let principal = |name: &str, namespaces| {
            Arc::new(Principal { name: name.into(), namespaces, admin: false })
        };
        let ask = async |principal: &Arc<Principal>, flows| {
            let node = OfNode { flows, first_ns: 0 };
            let count = async { Ok(BTreeMap::from([("n".to_owned(), node)])) };
            counted.get(principal, count).await.unwrap()["n"].flows
        };
        let alice = principal("alice", Namespaces::All);
        assert_eq!((ask(&alice, 1).await, ask(&alice, 2).await), (1, 1));
        assert_eq!(ask(&principal("bob", Namespaces::All), 3).await, 3);
        // The same name with other grants sees others.
        assert_eq!(ask(&principal("alice", Namespaces::Some(vec![])), 4).await, 4);
        let failed = counted
            .get(&principal("carol", Namespaces::All), async {
                Err(QueryError::Invalid("no".into()))
            })
            .await;
        assert!(failed.is_err());
    }
}
