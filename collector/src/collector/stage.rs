//! A part of the collector on a thread of its own.

use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::CollectorError;

/// A running part.
pub(super) struct Stage {
    name: &'static str,
    thread: JoinHandle<Result<(), CollectorError>>,
    /// Resolves, to an error, when the thread is gone for whatever reason.
    gone: oneshot::Receiver<()>,
}

impl Stage {
    /// Starts a part in the network namespace of this thread.
    pub(super) fn start(
        name: &'static str,
        run: impl FnOnce() -> Result<(), CollectorError> + Send + 'static,
    ) -> Result<Self, CollectorError> {
        let (guard, gone) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _guard = guard;
                run()
            })
            .map_err(|source| CollectorError::System { what: name, source })?;
        Ok(Self { name, thread, gone })
    }

    /// Waits until it is gone.
    pub(super) async fn gone(&mut self) {
        if !self.gone.is_terminated() {
            let _ = (&mut self.gone).await;
        }
    }

    /// Its name and how it ended; waits for it.
    pub(super) async fn finish(mut self) -> (&'static str, Result<(), CollectorError>) {
        self.gone().await;
        // The thread's last act was to drop its guard, so this does not wait.
        let result = match self.thread.join() {
            Ok(result) => result,
            Err(_) => Err(CollectorError::Ended(self.name)),
        };
        (self.name, result)
    }
}
