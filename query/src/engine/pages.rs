//! Whole results, handed out page by page.
//!
//! In: results as encoded batches, at most [`MAX_RESULT_BYTES`] each and [`MAX_BYTES`] together, which also
//! count against the memory that the principal's queries may use. Overflow: the principal's own results make
//! room, the one that was read longest ago first; if that is not enough, the new one is refused. A result that nobody
//! reads for [`KEPT`] goes. Both are counted (`weir_query_results_dropped`).

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnv;

use super::answer::{Answer, Next, Place};
use crate::access::Principal;
use crate::catalog::completeness::Completeness;
use crate::error::QueryError;
use crate::metrics::{Dropped, Metrics};

/// Most bytes of one result, encoded.
const MAX_RESULT_BYTES: usize = 64 << 20;
/// Most bytes of all results.
const MAX_BYTES: usize = 256 << 20;
/// Most results of one principal.
const MAX_OWN: usize = 8;
/// How long a result waits for its next reader.
pub(super) const KEPT: Duration = Duration::from_secs(300);

/// A whole result.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(super) principal: Arc<Principal>,
    /// The question, for the list of running queries.
    pub(super) text: String,
    pub(super) schema: SchemaRef,
    pub(super) warnings: Vec<String>,
    pub(super) completeness: Option<Completeness>,
    pub(super) bytes_scanned: Option<u64>,
    pub(super) place: Option<Place>,
    pub(super) began: Instant,
    /// With the number of rows of each.
    batches: Vec<(usize, Bytes)>,
    pub(super) rows: usize,
    bytes: usize,
    read: Mutex<Instant>,
    _memory: MemoryReservation,
}

impl Whole {
    /// Reads an answer to its end.
    pub(super) async fn read(
        mut answer: Answer,
        principal: Arc<Principal>,
        text: String,
        environment: &RuntimeEnv,
    ) -> Result<Self, QueryError> {
        let memory = MemoryConsumer::new("pages").register(&environment.memory_pool);
        let (mut batches, mut rows, mut bytes) = (Vec::new(), 0, 0);
        let bytes_scanned = loop {
            match answer.next().await? {
                Next::Batch(batch) => {
                    let encoded = encode(&batch).map_err(|error| broken(&error))?;
                    bytes += encoded.len();
                    rows += batch.num_rows();
                    if bytes > MAX_RESULT_BYTES {
                        return Err(QueryError::OutOfMemory(format!(
                            "its result has more than the {MAX_RESULT_BYTES} bytes that are kept for pages; without \
                             page_size it is streamed"
                        )));
                    }
                    memory.try_grow(encoded.len())?;
                    batches.push((batch.num_rows(), encoded));
                }
                Next::End(end) => break end.bytes_scanned,
            }
        };
        Ok(Self {
            principal,
            text,
            schema: answer.schema().clone(),
            warnings: answer.warnings().to_vec(),
            completeness: answer.completeness().cloned(),
            bytes_scanned,
            place: answer.place().cloned(),
            began: answer.started(),
            batches,
            rows,
            bytes,
            read: Mutex::new(Instant::now()),
            _memory: memory,
        })
    }

    /// The batches of `size` rows from a row on.
    pub(super) fn rows_from(
        &self,
        row: usize,
        size: usize,
    ) -> impl Iterator<Item = Result<RecordBatch, QueryError>> + Send + use<'_> {
        let end = row.saturating_add(size).min(self.rows);
        let begins = self.batches.iter().scan(0, |begin, (rows, encoded)| {
            let own = *begin;
            *begin += rows;
            Some((own, *rows, encoded))
        });
        let met = begins.filter(move |(begin, rows, _)| *begin < end && begin + rows > row);
        met.map(move |(begin, rows, encoded)| {
            let batch = decode(encoded).map_err(|error| broken(&error))?;
            let from = row.saturating_sub(begin);
            Ok(batch.slice(from, rows.min(end - begin) - from))
        })
    }

    fn last_read(&self) -> Instant {
        *self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touch(&self) {
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// The results that are kept.
#[derive(Debug)]
pub(crate) struct Results {
    /// What tells this process's tokens from others'.
    life: u64,
    kept: Mutex<Kept>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Kept {
    next: u64,
    bytes: usize,
    results: HashMap<u64, Arc<Whole>>,
}

impl Results {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let life = u64::try_from(since.as_nanos()).unwrap_or_default();
        Self { life, kept: Mutex::default(), metrics }
    }

    /// Keeps a result; its number.
    pub(super) fn keep(&self, whole: Arc<Whole>) -> Result<u64, QueryError> {
        let mut kept = self.lock();
        loop {
            let own = kept
                .results
                .iter()
                .filter(|(_, other)| other.principal.name == whole.principal.name);
            let own: Vec<(Instant, u64)> =
                own.map(|(id, other)| (other.last_read(), *id)).collect();
            if own.len() < MAX_OWN && kept.bytes + whole.bytes <= MAX_BYTES {
                break;
            }
            let Some((_, oldest)) = own.iter().min() else {
                return Err(QueryError::OutOfMemory(
                    "the results that others read page by page take all the room there is for these; without page_size \
                     the result is streamed"
                        .into(),
                ));
            };
            kept.remove(*oldest);
            self.metrics.result_dropped(Dropped::MadeRoom);
        }
        kept.next += 1;
        let id = kept.next;
        kept.bytes += whole.bytes;
        kept.results.insert(id, whole);
        Ok(id)
    }

    /// Where a page begins, as a text for clients.
    pub(super) fn token(&self, id: u64, row: usize) -> String {
        format!("{:x}-{id:x}-{row:x}", self.life)
    }

    /// The result and the row that a token names, if it is of this one.
    pub(super) fn find(
        &self,
        token: &str,
        principal: &Principal,
    ) -> Result<(u64, Arc<Whole>, usize), QueryError> {
        let mut parts = token.split('-').map(|part| u64::from_str_radix(part, 16).ok());
        let (Some(Some(life)), Some(Some(id)), Some(Some(row)), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(QueryError::Invalid(
                "page_token is none of this service: send back next_page_token as it came".into(),
            ));
        };
        let kept = self.lock().results.get(&id).cloned();
        // Grants may have changed since.
        let own = kept.filter(|whole| life == self.life && *whole.principal == *principal);
        let whole = own.ok_or_else(|| {
            QueryError::Gone(format!(
                "the result of this page_token is not kept any more: it goes {} minutes after its last page was \
                 read, and when newer ones need its room; run the query again",
                KEPT.as_secs() / 60
            ))
        })?;
        whole.touch();
        Ok((id, whole, usize::try_from(row).unwrap_or(usize::MAX)))
    }

    /// Drops a result when nobody has read it for long; returns when it is gone.
    pub(super) async fn expire(&self, id: u64, kept: Duration) {
        loop {
            let Some(whole) = self.lock().results.get(&id).cloned() else { return };
            let left = kept.saturating_sub(whole.last_read().elapsed());
            drop(whole);
            if left.is_zero() {
                self.lock().remove(id);
                self.metrics.result_dropped(Dropped::Expired);
                return;
            }
            tokio::time::sleep(left).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn remove(&mut self, id: u64) {
        if let Some(whole) = self.results.remove(&id) {
            self.bytes -= whole.bytes;
        }
    }
}

fn encode(batch: &RecordBatch) -> Result<Bytes, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(batch)?;
    writer.into_inner().map(Bytes::from)
}

fn decode(encoded: &Bytes) -> Result<RecordBatch, ArrowError> {
    let mut batches = StreamReader::try_new(Cursor::new(encoded), None)?;
    batches.next().unwrap_or_else(|| Err(ArrowError::IpcError("a batch is missing".into())))
}

fn broken(error: &ArrowError) -> QueryError {
    QueryError::Internal(format!("a result cannot be kept: {error}"))
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray as _, Int64Array};
    use arrow::datatypes::Int64Type;
    use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};

    use super::*;
    use crate::access::Namespaces;

    fn principal(name: &str) -> Arc<Principal> {
        Arc::new(Principal { name: name.into(), namespaces: Namespaces::All, admin: false })
    }

    /// Twelve rows in three batches.
    fn whole(name: &str, bytes: usize) -> Arc<Whole> {
        let batch = |from: i64| {
            let numbers: Int64Array = (from..from + 4).map(Some).collect();
            RecordBatch::try_from_iter([("n", Arc::new(numbers) as _)]).unwrap()
        };
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(1));
        let batches = [0, 4, 8].map(|from| (4, encode(&batch(from)).unwrap())).into();
        Arc::new(Whole {
            principal: principal(name),
            text: String::new(),
            schema: batch(0).schema(),
            warnings: vec![],
            completeness: None,
            bytes_scanned: Some(0),
            place: None,
            began: Instant::now(),
            batches,
            rows: 12,
            bytes,
            read: Mutex::new(Instant::now()),
            _memory: MemoryConsumer::new("test").register(&pool),
        })
    }

    #[test]
    fn a_page_may_begin_and_end_anywhere() {
        let whole = whole("alice", 1);
        let page = |row, size| -> Vec<i64> {
            let batches = whole.rows_from(row, size).map(Result::unwrap);
            let numbers = batches.map(|batch| batch.column(0).as_primitive::<Int64Type>().clone());
            numbers.flat_map(|numbers| numbers.values().to_vec()).collect()
        };
        for row in 0..14 {
            for size in 1..14 {
                let expected: Vec<i64> = (0..12).skip(row).take(size).collect();
                assert_eq!(page(row, size), expected, "{size} from {row} on");
            }
        }
        assert!(page(usize::MAX, usize::MAX).is_empty());
    }

    #[tokio::test]
    async fn results_go_when_nobody_reads_them_or_others_need_the_room() {
        let results = Results::new(Arc::new(Metrics::new()));
        let found = |id, name: &str| results.find(&results.token(id, 3), &principal(name));
        let first = results.keep(whole("alice", 1)).unwrap();
        let (_, _, row) = found(first, "alice").unwrap();
        assert_eq!(row, 3);
        assert!(matches!(found(first, "bob"), Err(QueryError::Gone(_))));
        // One's own make room, others' do not.
        let second = results.keep(whole("alice", MAX_BYTES)).unwrap();
        assert!(found(first, "alice").is_err() && found(second, "alice").is_ok());
        assert!(matches!(results.keep(whole("bob", 1)), Err(QueryError::OutOfMemory(_))));
        results.expire(second, Duration::ZERO).await;
        assert!(found(second, "alice").is_err());
        results.keep(whole("bob", 1)).unwrap();
        for token in ["", "1", "1-2", "1-2-3-4", "x-y-z", "-1-2-3"] {
            assert!(matches!(results.find(token, &principal("bob")), Err(QueryError::Invalid(_))));
        }
    }
}
