//! The thread that writes the log.
//!
//! In: what is taken, from the relay's state; how far rows are stored. Out: what is on disk is hot, and
//! whoever waits for its acknowledgement is told. All that was taken while one group was written is the
//! next group, so that one sync serves every collector. A disk that fails is tried again until it
//! works: nothing is acknowledged meanwhile, and collectors wait. Told to stop, it writes what is
//! taken and ends; if the disk fails then, what is not on disk was not acknowledged.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::folder::Folder;
use super::log::Log;
use super::record::Record;
use crate::config::Fsync;
use crate::relay::Shared;

/// Bytes of a group: what is in flight at a time.
const GROUP_BYTES: usize = 32 << 20;
/// With [`Fsync::Interval`], the time that a power failure takes.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Wakes the writer.
#[derive(Clone, Debug)]
pub(crate) struct Bell(SyncSender<()>);

impl Bell {
    /// A bell and its other end.
    pub(crate) fn new() -> (Self, Receiver<()>) {
        let (ring, rung) = sync_channel(1);
        (Self(ring), rung)
    }

    /// There is something to do. Rung already is rung.
    pub(crate) fn ring(&self) {
        match self.0.try_send(()) {
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }
}

/// The thread, for the time it runs.
#[derive(Debug)]
pub(crate) struct Writer {
    stop: Arc<AtomicBool>,
    bell: Bell,
    thread: Option<JoinHandle<()>>,
    ended: CancellationToken,
}

impl Writer {
    /// Starts it.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub(crate) fn start<F: Folder + 'static>(
        log: Log<F>,
        fsync: Fsync,
        shared: Arc<Shared>,
        rung: Receiver<()>,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let bell = shared.bell.clone();
        let ended = CancellationToken::new();
        let guard = ended.clone().drop_guard();
        let (released, is_failing) = (0, false);
        let mut work = Work { log, fsync, shared, rung, stop: stop.clone(), released, is_failing };
        let thread = std::thread::Builder::new().name("wal".into()).spawn(move || {
            work.run();
            drop(guard);
        })?;
        Ok(Self { stop, bell, thread: Some(thread), ended })
    }

    /// Returns when it ended, which it does not do by itself.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

impl Drop for Writer {
    /// Returns when what was taken is on disk, or cannot be written now.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.bell.ring();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Work<F> {
    log: Log<F>,
    fsync: Fsync,
    shared: Arc<Shared>,
    rung: Receiver<()>,
    stop: Arc<AtomicBool>,
    released: u64,
    is_failing: bool,
}

impl<F: Folder> Work<F> {
    fn run(&mut self) {
        let mut synced = Instant::now();
        loop {
            self.release();
            if self.fsync == Fsync::Interval && synced.elapsed() >= SYNC_INTERVAL {
                let result = self.log.sync();
                self.learn(&result);
                synced = Instant::now();
            }
            let group = self.shared.hot().group(GROUP_BYTES);
            if !group.is_empty() {
                if !self.write(&group) {
                    return;
                }
                continue;
            }
            if self.stop.load(Ordering::Acquire) {
                let result = self.log.sync();
                self.learn(&result);
                return;
            }
            match self.rung.recv_timeout(SYNC_INTERVAL) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// False: it was told to stop meanwhile.
    fn write(&mut self, group: &[Record]) -> bool {
        let began = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let appended = self.log.append(group);
            self.learn(&appended);
            if appended.is_ok() {
                break;
            }
            if self.stop.load(Ordering::Acquire) {
                return false;
            }
            let _ = self.rung.recv_timeout(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
            self.release();
        }
        self.shared.metrics.wal_commits.inc();
        self.shared.metrics.wal_commit_seconds.observe(began.elapsed().as_secs_f64());
        self.measure();
        self.shared.written(self.log.last(), self.log.bytes());
        true
    }

    fn release(&mut self) {
        let flushed = self.shared.hot().flushed_position();
        if flushed > self.released {
            self.released = flushed;
            self.log.release(flushed);
            self.shared.hot().released(self.log.bytes());
            self.shared.room.notify_waiters();
            self.measure();
        }
    }

    fn measure(&self) {
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.shared.metrics.wal_bytes.set(gauge(self.log.bytes()));
        self.shared.metrics.wal_segments.set(gauge(self.log.segments() as u64));
    }

    /// What became of an attempt is in the status.
    fn learn(&mut self, result: &io::Result<()>) {
        match result {
            Ok(()) if !self.is_failing => {}
            Ok(()) => {
                tracing::info!("the write-ahead log is written again");
                self.is_failing = false;
                self.shared.hot().wal_problem(None);
            }
            Err(error) => {
                tracing::error!(%error, "cannot write the write-ahead log: trying again");
                self.is_failing = true;
                self.shared.metrics.wal_failures.inc();
                let problem = format!(
                    "the write-ahead log cannot be written: {error}; collectors wait until it can"
                );
                self.shared.hot().wal_problem(Some(problem));
            }
        }
    }
}
