//! The audit log: a line of JSON for each query and for each who was not let in.
//!
//! In: lines, for which a place is kept before the query runs, so a query whose line would find none
//! waits, and is refused if the log stands still. Out: a file that is opened for each handful, so it may be
//! moved away. What cannot be written is counted (`weir_query_audit_lost`) and logged.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use serde::Serialize;
use tokio::sync::mpsc;
use weir_flow::schema::TimestampNs;

use crate::clock;
use crate::error::{QueryError, StartError};
use crate::metrics::{Door, Outcome};

/// Lines that wait.
const CAPACITY: usize = 4_096;
/// Lines of a handful.
const HANDFUL: usize = 256;
/// How long a query waits for a place.
const WAIT: Duration = Duration::from_secs(5);

/// The log, if there is one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Audit {
    lines: Option<mpsc::Sender<Line>>,
    lost: Counter,
}

/// A place for one line.
#[derive(Debug)]
pub(crate) struct Place(mpsc::OwnedPermit<Line>);

/// How a query went.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) time: TimestampNs,
    pub(crate) principal: Arc<str>,
    pub(crate) door: Door,
    pub(crate) text: String,
    pub(crate) outcome: Outcome,
    pub(crate) rows: usize,
    pub(crate) bytes_scanned: Option<u64>,
    pub(crate) elapsed_ms: u64,
    pub(crate) error: Option<String>,
}

impl Audit {
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn new(path: Option<PathBuf>, lost: Counter) -> Result<Self, StartError> {
        let Some(path) = path else { return Ok(Self { lines: None, lost }) };
        append(&path, b"").map_err(|source| StartError::Audit { path: path.clone(), source })?;
        let (sender, receiver) = mpsc::channel(CAPACITY);
        let counter = lost.clone();
        std::thread::Builder::new()
            .name("weir-audit".into())
            .spawn(move || write(&path, receiver, &counter))
            .map_err(|error| StartError::Engine(error.to_string()))?;
        Ok(Self { lines: Some(sender), lost })
    }

    /// Keeps a place for the line of a query.
    pub(crate) async fn place(&self) -> Result<Option<Place>, QueryError> {
        let Some(lines) = self.lines.clone() else { return Ok(None) };
        match tokio::time::timeout(WAIT, lines.reserve_owned()).await {
            Ok(Ok(place)) => Ok(Some(Place(place))),
            _ => Err(QueryError::Unavailable(
                "the audit log cannot be written, and no query runs without it: see the service's log".into(),
            )),
        }
    }

    /// Somebody was not let in.
    pub(crate) fn denied(&self, door: Door, peer: &str, cause: &str) {
        let Some(lines) = &self.lines else { return };
        let line = Line {
            time: clock::now(),
            principal: "".into(),
            door,
            text: format!("from {peer}"),
            outcome: Outcome::Denied,
            rows: 0,
            bytes_scanned: Some(0),
            elapsed_ms: 0,
            error: Some(cause.to_owned()),
        };
        if lines.try_send(line).is_err() {
            self.lost.inc();
        }
    }
}

impl Place {
    pub(crate) fn write(self, line: Line) {
        self.0.send(line);
    }
}

fn write(path: &Path, mut lines: mpsc::Receiver<Line>, lost: &Counter) {
    let mut handful = Vec::new();
    loop {
        let Some(first) = lines.blocking_recv() else { return };
        handful.push(first);
        while handful.len() < HANDFUL
            && let Ok(line) = lines.try_recv()
        {
            handful.push(line);
        }
        let mut text = Vec::new();
        for line in &handful {
            if serde_json::to_writer(&mut text, line).is_err() {
                lost.inc();
            }
            text.push(b'\n');
        }
        if let Err(error) = append(path, &text) {
            lost.inc_by(handful.len() as u64);
            tracing::error!(%error, path = %path.display(), lines = handful.len(), "lines of the audit log are lost");
        }
        handful.clear();
    }
}

fn append(path: &Path, text: &[u8]) -> std::io::Result<()> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)?.write_all(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_written_and_what_cannot_be_is_counted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let lost = Counter::default();
        let audit = Audit::new(Some(path.clone()), lost.clone()).unwrap();
        audit.denied(Door::Sql, "192.0.2.1:9", "the token is not known");
        let text = until(|| std::fs::read_to_string(&path).ok().filter(|text| !text.is_empty()));
        let line: serde_json::Value = serde_json::from_str(&text.await).unwrap();
        assert_eq!((&line["door"], &line["outcome"]), (&"sql".into(), &"denied".into()));
        // A directory in its place cannot be appended to.
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        audit.denied(Door::Sql, "192.0.2.1:9", "again");
        until(|| (lost.get() == 1).then_some(())).await;
        assert!(Audit::new(Some(path), Counter::default()).is_err());
    }

    async fn until<T>(mut found: impl FnMut() -> Option<T>) -> T {
        for _ in 0..500 {
            if let Some(found) = found() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it did not come");
    }
}
