//! Ordered shutdown: the parts of a process stop one after another, in the order in which they
//! were added, each within the deadline. Who is late is named.

use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A process made of named parts.
#[derive(Debug)]
pub struct Parts {
    deadline: Duration,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    name: &'static str,
    token: CancellationToken,
    task: JoinHandle<Result<(), String>>,
}

/// Why a process ended otherwise than asked.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// A part returned an error or ended although nobody asked it to.
    #[error("{name} ended: {cause}")]
    Ended {
        /// The part.
        name: &'static str,
        /// What it said.
        cause: String,
    },
    /// Parts did not stop within the deadline and were aborted.
    #[error("did not stop in time: {}", names.join(", "))]
    Late {
        /// The parts.
        names: Vec<&'static str>,
    },
    /// The signal handlers cannot be installed.
    #[error("cannot listen for signals: {0}")]
    Signals(#[from] std::io::Error),
}

impl Parts {
    /// No parts yet; each will have `deadline` to stop.
    pub fn new(deadline: Duration) -> Self {
        Self { deadline, parts: Vec::new() }
    }

    /// Starts a part. `run` gets the token that tells it to stop. Parts stop in the order in which
    /// they were started, so start sources first and what they feed after them.
    pub fn spawn<F, E>(&mut self, name: &'static str, run: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send,
    {
        let token = CancellationToken::new();
        let future = run(token.clone());
        let task = tokio::spawn(async move { future.await.map_err(|error| format!("{error:#}")) });
        self.parts.push(Part { name, token, task });
    }

    /// Runs until SIGINT or SIGTERM, until `until` completes, or until a part ends; then stops all.
    ///
    /// # Errors
    /// The first part that ended by itself, or the parts that did not stop in time.
    pub async fn run(mut self, until: impl Future<Output = ()>) -> Result<(), PartError> {
        let ended = self.wait(until).await;
        let stopped = self.stop().await;
        ended.and(stopped)
    }

    /// Waits for SIGINT or SIGTERM, for `until`, or for a part that ends by itself.
    ///
    /// # Errors
    /// The part that ended.
    pub async fn wait(&mut self, until: impl Future<Output = ()>) -> Result<(), PartError> {
        tokio::select! {
            signal = terminated() => Ok(signal?),
            () = until => Ok(()),
            ended = first_to_end(&mut self.parts) => Err(ended),
        }
    }

    /// Stops the parts in order.
    ///
    /// # Errors
    /// A part returned an error, or parts did not stop in time.
    pub async fn stop(self) -> Result<(), PartError> {
        let mut result = Ok(());
        let mut late = Vec::new();
        for part in self.parts {
            part.token.cancel();
            if part.task.is_finished() {
                continue;
            }
            let abort = part.task.abort_handle();
            match tokio::time::timeout(self.deadline, part.task).await {
                Ok(Ok(Ok(()))) => tracing::debug!(part = part.name, "stopped"),
                Ok(joined) => {
                    let cause = joined.map_or_else(|error| error.to_string(), cause_of);
                    result = result.and(Err(PartError::Ended { name: part.name, cause }));
                }
                Err(_) => {
                    abort.abort();
                    late.push(part.name);
                }
            }
        }
        if late.is_empty() { result } else { Err(PartError::Late { names: late }) }
    }
}

/// Waits until any part ends; for ever if there are none.
async fn first_to_end(parts: &mut [Part]) -> PartError {
    std::future::poll_fn(|context| {
        for part in parts.iter_mut() {
            if let Poll::Ready(joined) = Pin::new(&mut part.task).poll(context) {
                let cause = joined.map_or_else(|error| error.to_string(), cause_of);
                return Poll::Ready(PartError::Ended { name: part.name, cause });
            }
        }
        Poll::Pending
    })
    .await
}

fn cause_of(result: Result<(), String>) -> String {
    result.err().unwrap_or_else(|| "without a reason".into())
}

async fn terminated() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn parts_stop_in_order() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut parts = Parts::new(Duration::from_secs(5));
        for name in ["source", "sink", "server"] {
            let order = order.clone();
            parts.spawn(name, |token| async move {
                token.cancelled().await;
                order.lock().unwrap().push(name);
                Ok::<(), String>(())
            });
        }
        parts.run(async {}).await.unwrap();
        assert_eq!(*order.lock().unwrap(), ["source", "sink", "server"]);
    }

    #[tokio::test]
    async fn a_part_that_fails_ends_the_process_and_is_named() {
        let mut parts = Parts::new(Duration::from_secs(5));
        parts.spawn("steady", |token| async move {
            token.cancelled().await;
            Ok::<(), String>(())
        });
        parts.spawn("broken", |_| async { Err::<(), _>("no disk") });
        let error = parts.run(std::future::pending()).await.unwrap_err().to_string();
        assert_eq!(error, "broken ended: no disk");
    }

    #[tokio::test]
    async fn a_late_part_is_named_and_the_rest_still_stops() {
        let mut parts = Parts::new(Duration::from_millis(20));
        parts.spawn("stuck", |_| std::future::pending::<Result<(), String>>());
        let (sent, received) = tokio::sync::oneshot::channel();
        parts.spawn("good", |token| async move {
            token.cancelled().await;
            let _ = sent.send(());
            Ok::<(), String>(())
        });
        let error = parts.run(async {}).await.unwrap_err().to_string();
        assert_eq!(error, "did not stop in time: stuck");
        received.await.unwrap();
    }
}
