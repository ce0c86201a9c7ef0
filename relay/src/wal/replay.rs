//! From the log to what is hot, when a relay starts.

use arrow_flight::FlightData;
use weir_flow::wire::LossEntry;

use super::folder::Folder;
use super::log::{Log, Replayed};
use super::record::{Arrived, DAMAGED, Entry, Notes};
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
            Replayed::Entry(Entry::Notes(notes)) => {
                into.hot.unexplained(notes.damaged());
                notes.losses
            }
            Replayed::Entry(Entry::Stream { arrived, messages }) => {
                match into.read(position, arrived, &messages) {
                    Ok(Hotness::Rows) => return,
                    Ok(Hotness::None) => {}
                    Err(cause) => missing.lost(position, &cause, into.hot),
                }
                Vec::new()
            }
            Replayed::Known => Vec::new(),
            Replayed::Absent => {
                missing.absent(position);
                Vec::new()
            }
            Replayed::Lost(cause) => {
                missing.lost(position, &cause, into.hot);
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
        let mut decoder = Decoder::of_log();
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

    fn lost(&mut self, position: u64, cause: &str, hot: &mut Hot) {
        tracing::error!(position, cause, "a record of the write-ahead log is lost");
        self.lost += 1;
        hot.unexplained(1);
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
            reason: DAMAGED.into(),
        };
        let losses = [loss].into_iter().filter(|loss| loss.count > 0).collect();
        Notes { losses, positions: self.positions }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::buffer::Buffer;
    use weir_flow::manifest::Manifest;
    use weir_flow::schema::sent_schema;
    use weir_flow::wire::HotTicket;

    use super::*;
    use crate::decode::RawMessage;
    use crate::hot::Limits;
    use crate::tests::client::{encode, id};
    use crate::wal::Record;
    use crate::wal::disk::Disk;

    /// A relay of an earlier version wrote the log: what its batches have not is null.
    #[test]
    fn batches_of_other_columns_are_read() {
        let rows = crate::tests::rows(0..3);
        let without: Vec<usize> = (0..rows.num_columns())
            .filter(|index| rows.schema().field(*index).name() != "rtt_ns")
            .collect();
        let older = rows.project(&without).unwrap();
        let messages = encode(&[(id(1), older)]);
        let mut strict = Decoder::default();
        assert!(messages.iter().any(|message| strict.read(message).is_err()));
        let metadata = Buffer::from(messages.last().unwrap().app_metadata.as_ref());
        let raw = messages.iter().map(|message| RawMessage {
            header: Buffer::from(message.data_header.as_ref()),
            body: Buffer::from(message.data_body.as_ref()),
        });
        let record = Record::flows(1, Arrived::default(), &metadata, &raw.collect::<Vec<_>>());
        let disk = Disk::default();
        let identity = Identity { name: "r".into(), epoch: 7 };
        let salt = identity.salt();
        let mut log =
            Log::open(disk.clone(), salt, Fsync::Batch, SEGMENT_BYTES, 0, |_, _| {}).unwrap();
        log.append(&[record]).unwrap();
        drop(log);
        let limits = Limits {
            flush_rows: 100,
            flush_bytes: 1 << 20,
            flush_interval_ns: 1,
            hot_max_bytes: 1 << 20,
            wal_max_bytes: 1 << 30,
            recent_bytes: 0,
        };
        let mut hot = Hot::new(7, "r".into(), limits, Arc::new(Manifest::default()));
        let (mut objects, metrics) = (Objects::restore(0, Vec::new()), Metrics::default());
        let mut into = Restored { hot: &mut hot, objects: &mut objects, metrics: &metrics };
        replay(disk, &identity, Fsync::Batch, &mut into, 1).unwrap();
        let view = hot.view(&HotTicket { relay_epoch: 7, after: 0 });
        let [(1, batch)] = &view.batches[..] else { panic!("{:?}", view.batches) };
        assert_eq!((batch.schema(), batch.num_rows()), (sent_schema(), 3));
        assert_eq!(batch.column_by_name("rtt_ns").unwrap().null_count(), 3);
        assert_eq!((metrics.damaged_batches.get(), hot.is_writing()), (0, false));
    }
}
