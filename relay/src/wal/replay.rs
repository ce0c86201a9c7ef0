//! From the log to what is hot, when a relay starts.

use arrow_flight::FlightData;
use weir_flow::wire::LossEntry;

use super::folder::Folder;
use super::log::{Log, Replayed};
use super::record::{Arrived, Entry, Notes};
use super::{Identity, SEGMENT_BYTES};
use crate::config::Fsync;
use crate::decode::{Decoder, Message};
use crate::hot::Hot;
use crate::metrics::Metrics;
use crate::objects::Objects;

/// What the log is read into.
pub(crate) struct Restored<'a> {
    /// As the manifest has it.
    pub(crate) hot: &'a mut Hot,
    /// As files have them.
    pub(crate) objects: &'a mut Objects,
    pub(crate) metrics: &'a Metrics,
}

/// Opens the log; what it holds and the manifest does not is hot again. What it should hold and does
/// not is counted, and noted in the log as its next record.
///
/// # Errors
/// The folder cannot be read.
pub(crate) fn replay<F: Folder>(
    folder: F,
    identity: &Identity,
    fsync: Fsync,
    into: &mut Restored<'_>,
    now_ns: u64,
) -> std::io::Result<Log<F>> {
    let mut missing = Missing::default();
    let flushed = into.hot.flushed_position();
    let each = |position, replayed| {
        let losses = match replayed {
            Replayed::Entry(Entry::Notes(notes)) => notes.losses,
            Replayed::Entry(Entry::Stream { arrived, messages }) => {
                match into.read(position, arrived, &messages) {
                    Ok(Hotness::Rows) => return,
                    Ok(Hotness::None) => {}
                    Err(cause) => missing.lost(position, &cause),
                }
                Vec::new()
            }
            Replayed::Known => Vec::new(),
            Replayed::Absent => {
                missing.absent(position);
                Vec::new()
            }
            Replayed::Lost(cause) => {
                missing.lost(position, &cause);
                Vec::new()
            }
        };
        into.hot.restore_empty(position, &losses, now_ns);
    };
    let log = Log::open(folder, identity.salt(), fsync, SEGMENT_BYTES, flushed, each)?;
    into.hot.restored(log.last(), log.bytes());
    if !missing.positions.is_empty() {
        into.metrics.damaged_batches.inc_by(missing.lost);
        into.hot.note(&missing.notes(now_ns), now_ns);
    }
    Ok(log)
}

/// Whether a record made rows of `flows` hot.
enum Hotness {
    Rows,
    None,
}

impl Restored<'_> {
    fn read(
        &mut self,
        position: u64,
        arrived: Arrived,
        messages: &[FlightData],
    ) -> Result<Hotness, String> {
        let mut decoder = Decoder::default();
        let mut last = Message::Preparation;
        for message in messages {
            last = decoder.read(message).map_err(|error| error.to_string())?;
        }
        self.metrics.replayed_batches.inc();
        match last {
            Message::Batch(received) => {
                self.hot.restore(position, &received, arrived);
                Ok(Hotness::Rows)
            }
            Message::Objects { versions, .. } => {
                let taken = self.objects.take(versions, arrived.at_ns);
                taken.map_err(|refusal| format!("its objects are refused: {refusal:?}"))?;
                Ok(Hotness::None)
            }
            Message::Preparation | Message::Heartbeat(_) => Err("it holds no batch".into()),
        }
    }
}

/// Positions without a record.
#[derive(Default)]
struct Missing {
    positions: Vec<(u64, u64)>,
    lost: u64,
}

impl Missing {
    fn absent(&mut self, position: u64) {
        match self.positions.last_mut() {
            Some((_, to)) if *to + 1 == position => *to = position,
            _ => self.positions.push((position, position)),
        }
    }

    fn lost(&mut self, position: u64, cause: &str) {
        tracing::error!(position, cause, "a record of the write-ahead log is lost");
        self.lost += 1;
        self.absent(position);
    }

    fn notes(self, now_ns: u64) -> Notes {
        let now_ns = i64::try_from(now_ns).unwrap_or(i64::MAX);
        let loss = LossEntry {
            from_ns: now_ns,
            to_ns: now_ns,
            stage: "relay".into(),
            verdict: String::new(),
            unit: "batches".into(),
            count: self.lost,
            reason: "write-ahead log damaged".into(),
        };
        let losses = [loss].into_iter().filter(|loss| loss.count > 0).collect();
        Notes { losses, positions: self.positions }
    }
}
