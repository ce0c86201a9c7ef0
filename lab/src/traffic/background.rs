//! Something done again and again inside a place.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::{LabError, Place};

/// A running repetition. Dropping it ends it after the turn it is in.
#[derive(Debug)]
pub struct Background {
    /// Nothing is ever sent: the end of the channel is the word.
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Calls `turn` at once and then with `pause` between two turns, on a thread inside the place.
pub fn repeat(
    place: &Place,
    pause: Duration,
    mut turn: impl FnMut() + Send + 'static,
) -> Result<Background, LabError> {
    let (stop, stopped) = sync_channel(0);
    let thread = place.thread(move || {
        loop {
            turn();
            if stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    })?;
    Ok(Background { stop: Some(stop), thread: Some(thread) })
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A turn's panic was reported when it happened.
            let _ = thread.join();
        }
    }
}
