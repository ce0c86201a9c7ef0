//! Trying again to reach a relay: ever more seldom, and saying once what is wrong.

use std::error::Error;
use std::time::Duration;

use super::RelayAddress;

const FIRST: Duration = Duration::from_millis(100);
const LAST: Duration = Duration::from_secs(5);

/// How long to wait for the next attempt.
#[derive(Debug)]
pub(crate) struct Retry<'a> {
    relay: &'a RelayAddress,
    /// What is being sent, for the log.
    what: &'static str,
    next: Duration,
    reported: String,
}

impl<'a> Retry<'a> {
    /// No attempt made yet.
    pub(crate) fn new(relay: &'a RelayAddress, what: &'static str) -> Self {
        Self { relay, what, next: FIRST, reported: String::new() }
    }

    /// The relay answered: what fails from now on is another failure.
    pub(crate) fn reached(&mut self) {
        self.next = FIRST;
        self.reported.clear();
    }

    /// Waits after an attempt that failed; logs why, unless that was said already.
    pub(crate) async fn wait(&mut self, error: &(dyn Error + Sync)) {
        let problem = error.to_string();
        if problem != self.reported {
            tracing::warn!(relay = %self.relay, "{}: {problem}; trying again", self.what);
            self.reported = problem;
        }
        tokio::time::sleep(self.next()).await;
    }

    fn next(&mut self) -> Duration {
        let next = self.next;
        self.next = (next * 2).min(LAST);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_become_seldom_until_one_succeeds() {
        let relay: RelayAddress = "unix:///run/relay.sock".parse().unwrap();
        let mut retry = Retry::new(&relay, "rows");
        let waits: Vec<u128> = (0..8).map(|_| retry.next().as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        retry.reached();
        assert_eq!(retry.next(), FIRST);
    }
}
