//! A mirror of the relay's hot batches. Each query brings it up to date first, so a row is found
//! from the moment the relay acknowledged it; only what is new travels.
//!
//! Bounded by `hot_bytes`; beyond it the refresh fails and says so.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{ArrayRef, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use tokio::sync::Mutex;
use weir_flow::schema::loss::loss_schema;
use weir_flow::schema::objects::object_schema;
use weir_flow::schema::stored_schema;
use weir_flow::wire::{self, HotTicket, LossTicket, ObjectsTicket};

use super::relay::{HotAnswer, HotBatch, RelayClient, RelayError};

/// The hot batches at one moment, and the manifest that they complete.
#[derive(Clone, Debug)]
pub(crate) struct HotView {
    /// The relay's life that positions belong to.
    pub(crate) epoch: u64,
    /// Position of the oldest hot batch.
    pub(crate) first: u64,
    /// Position of the newest; below `first` when nothing is hot.
    pub(crate) last: u64,
    pub(crate) manifest_version: u64,
    /// With the position of each.
    pub(crate) batches: Vec<(u64, RecordBatch)>,
}

impl HotView {
    /// The batches behind a position.
    pub(crate) fn after(&self, position: u64) -> Vec<RecordBatch> {
        let newer = self.batches.iter().filter(|(at, _)| *at > position);
        newer.map(|(_, batch)| batch.clone()).collect()
    }
}

/// The mirror.
#[derive(Debug)]
pub(crate) struct Hot {
    relay: RelayClient,
    limit: usize,
    /// Of the batches.
    schema: SchemaRef,
    /// Asks for them.
    ticket: fn(HotTicket) -> Bytes,
    mirror: Mutex<Mirror>,
}

#[derive(Debug, Default)]
struct Mirror {
    epoch: u64,
    manifest_version: u64,
    /// First and last position, from the header.
    range: (u64, u64),
    bytes: usize,
    batches: VecDeque<HotBatch>,
}

impl Hot {
    /// The hot rows of `flows`.
    pub(crate) fn flows(relay: RelayClient, limit: usize) -> Self {
        let ticket = |ticket| wire::encode(&ticket);
        Self { relay, limit, schema: stored_schema(), ticket, mirror: Mutex::default() }
    }

    /// The hot versions of objects.
    pub(crate) fn objects(relay: RelayClient, limit: usize) -> Self {
        let ticket = |objects| wire::encode(&ObjectsTicket { objects });
        Self { relay, limit, schema: object_schema(), ticket, mirror: Mutex::default() }
    }

    /// The hot rows of the ledger.
    pub(crate) fn loss(relay: RelayClient, limit: usize) -> Self {
        let ticket = |loss| wire::encode(&LossTicket { loss });
        Self { relay, limit, schema: loss_schema(), ticket, mirror: Mutex::default() }
    }

    /// Brings the mirror up to date and returns it.
    pub(crate) async fn refresh(&self) -> Result<HotView, RelayError> {
        let mut mirror = self.mirror.lock().await;
        // The mirror changes only when a whole answer is there: a query that is cancelled in
        // between leaves it as it was.
        let answer = self.ask(&mirror).await?;
        if let Err(cause) = mirror.apply(answer, &self.schema) {
            *mirror = Mirror::default();
            let answer = self.ask(&mirror).await?;
            tracing::warn!(cause, "hot rows fetched anew");
            mirror.apply(answer, &self.schema).map_err(|cause| {
                *mirror = Mirror::default();
                self.relay.protocol(cause)
            })?;
        }
        if mirror.bytes > self.limit {
            *mirror = Mirror::default();
            let address = self.relay.address().to_owned();
            return Err(RelayError::TooLarge { address, limit: self.limit });
        }
        Ok(HotView {
            epoch: mirror.epoch,
            first: mirror.range.0,
            last: mirror.range.1,
            manifest_version: mirror.manifest_version,
            batches: mirror.batches.iter().map(|hot| (hot.position, hot.batch.clone())).collect(),
        })
    }

    async fn ask(&self, mirror: &Mirror) -> Result<HotAnswer, RelayError> {
        self.relay.hot((self.ticket)(mirror.ticket()), self.limit).await
    }
}

impl Mirror {
    fn ticket(&self) -> HotTicket {
        let after = self.batches.back().map_or(0, |hot| hot.position);
        HotTicket { relay_epoch: self.epoch, after }
    }

    /// Takes over an answer; afterwards exactly the positions of its header are here.
    fn apply(&mut self, answer: HotAnswer, schema: &SchemaRef) -> Result<(), String> {
        let header = answer.header;
        if header.relay_epoch != self.epoch {
            *self = Self { epoch: header.relay_epoch, ..Self::default() };
        }
        self.manifest_version = header.manifest_version;
        self.range = (header.first, header.last);
        let empty = header.last < header.first;
        while let Some(oldest) = self.batches.front()
            && (empty || oldest.position < header.first)
        {
            self.bytes -= oldest.wire_bytes;
            self.batches.pop_front();
        }
        for mut hot in answer.batches {
            if empty || hot.position < header.first || hot.position > header.last {
                return Err(format!("batch {} is outside the header's range", hot.position));
            }
            hot.batch = conform(&hot.batch, schema)?;
            self.bytes += hot.wire_bytes;
            self.batches.push_back(hot);
        }
        let expected = header.first..=header.last;
        // A large batch may come in several messages, all at one position.
        let mut held: Vec<u64> = self.batches.iter().map(|hot| hot.position).collect();
        held.dedup();
        if held.into_iter().eq(expected.clone()) {
            Ok(())
        } else {
            Err(format!("positions {expected:?} are not complete"))
        }
    }
}

/// The batch with the columns of this version: found by name, cast where the type differs, null
/// where a column is missing that may be null.
pub(crate) fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, String> {
    if batch.schema_ref() == schema {
        return Ok(batch.clone());
    }
    let columns = schema
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
            Some(column) => cast(column, field.data_type())
                .map_err(|error| format!("column {}: {error}", field.name())),
            None if field.is_nullable() => Ok(new_null_array(field.data_type(), batch.num_rows())),
            None => Err(format!("column {} is missing", field.name())),
        })
        .collect::<Result<Vec<ArrayRef>, String>>()?;
    RecordBatch::try_new(schema.clone(), columns).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use weir_flow::FlowBuilder;
    use weir_flow::wire::HotHeader;

    use super::*;

    fn answer(epoch: u64, manifest_version: u64, range: (u64, u64), sent: &[u64]) -> HotAnswer {
        HotAnswer {
            header: HotHeader {
                relay_epoch: epoch,
                manifest_version,
                first: range.0,
                last: range.1,
            },
            batches: sent
                .iter()
                .map(|&position| HotBatch {
                    position,
                    wire_bytes: 10,
                    batch: FlowBuilder::default().finish(),
                })
                .collect(),
        }
    }

    fn positions(mirror: &Mirror) -> Vec<u64> {
        mirror.batches.iter().map(|hot| hot.position).collect()
    }

    #[test]
    fn the_mirror_follows_the_relay() {
        let mut mirror = Mirror::default();
        mirror.apply(answer(7, 0, (1, 3), &[1, 2, 3]), &stored_schema()).unwrap();
        assert_eq!(mirror.ticket(), HotTicket { relay_epoch: 7, after: 3 });
        // 1 and 2 were flushed, 4 is new.
        mirror.apply(answer(7, 1, (3, 4), &[4]), &stored_schema()).unwrap();
        assert_eq!((positions(&mirror), mirror.bytes), (vec![3, 4], 20));
        // Everything was flushed.
        mirror.apply(answer(7, 2, (5, 4), &[]), &stored_schema()).unwrap();
        assert_eq!((positions(&mirror), mirror.bytes), (vec![], 0));
        assert_eq!(mirror.manifest_version, 2);
        // The relay began anew.
        mirror.apply(answer(8, 2, (1, 1), &[1]), &stored_schema()).unwrap();
        assert_eq!(mirror.ticket(), HotTicket { relay_epoch: 8, after: 1 });
    }

    #[test]
    fn a_gap_is_noticed() {
        let mut mirror = Mirror::default();
        assert!(mirror.apply(answer(7, 0, (1, 3), &[1, 3]), &stored_schema()).is_err());
        let mut mirror = Mirror::default();
        assert!(mirror.apply(answer(7, 0, (2, 3), &[1, 2, 3]), &stored_schema()).is_err());
    }

    #[test]
    fn older_batches_get_the_columns_of_this_version() {
        let batch = FlowBuilder::default().finish();
        let nullable = batch.schema().index_of("rtt_ns").unwrap();
        let kept: Vec<usize> = (0..batch.num_columns()).filter(|i| *i != nullable).collect();
        let conformed = conform(&batch.project(&kept).unwrap(), &stored_schema()).unwrap();
        assert_eq!(conformed.schema(), stored_schema());
        let error = conform(&batch.project(&[nullable]).unwrap(), &stored_schema()).unwrap_err();
        assert!(error.contains("column time is missing"), "{error}");
    }
}
