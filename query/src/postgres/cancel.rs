//! Keys by which another connection of a client may end its query.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_rustls::rustls::crypto::ring;
use tokio_util::sync::CancellationToken;

/// All connections that have a key.
#[derive(Debug, Default)]
pub(super) struct Keys {
    next: AtomicI32,
    known: Mutex<HashMap<i32, (i32, Arc<Cancel>)>>,
}

/// Ends the query of one connection.
#[derive(Debug, Default)]
pub(super) struct Cancel(Mutex<CancellationToken>);

/// A connection's key; it is forgotten when this is dropped.
#[derive(Debug)]
pub(super) struct Key {
    keys: Arc<Keys>,
    pub(super) process: i32,
    pub(super) secret: i32,
    pub(super) cancel: Arc<Cancel>,
}

impl Keys {
    /// A key for a new connection; `None` if there is no randomness for its secret.
    pub(super) fn issue(self: &Arc<Self>) -> Option<Key> {
        let mut secret = [0; 4];
        ring::default_provider().secure_random.fill(&mut secret).ok()?;
        let (secret, cancel) = (i32::from_be_bytes(secret), Arc::<Cancel>::default());
        let process = self.next.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        self.lock().insert(process, (secret, cancel.clone()));
        Some(Key { keys: self.clone(), process, secret, cancel })
    }

    /// Ends what the connection with this key runs. Nobody learns whether there was one.
    pub(super) fn cancel(&self, process: i32, secret: i32) {
        let found = self.lock().get(&process).cloned();
        if let Some((known, cancel)) = found
            && known == secret
        {
            cancel.lock().cancel();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<i32, (i32, Arc<Cancel>)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cancel {
    /// A query begins: what was asked before does not count for it.
    pub(super) fn begin(&self) -> CancellationToken {
        let token = CancellationToken::new();
        *self.lock() = token.clone();
        token
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, CancellationToken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.keys.lock().remove(&self.process);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_secret_ends_the_query_that_runs() {
        let keys = Arc::new(Keys::default());
        let key = keys.issue().unwrap();
        let first = key.cancel.begin();
        keys.cancel(key.process, key.secret.wrapping_add(1));
        assert!(!first.is_cancelled());
        keys.cancel(key.process, key.secret);
        assert!(first.is_cancelled());
        assert!(!key.cancel.begin().is_cancelled());
        drop(key);
        assert!(keys.lock().is_empty());
    }
}
