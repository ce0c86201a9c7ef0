//! The answer to a query, as it comes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::record::Record;
use crate::catalog::completeness::Completeness;
use crate::error::QueryError;
use crate::live::Positions;

/// What the task of a query says: the head, batches, and how it ended.
#[derive(Debug)]
pub(super) enum Message {
    Head(Box<Head>),
    Batch(RecordBatch),
    End(End),
    Failed(QueryError),
}

/// What is known before the first row.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) schema: SchemaRef,
    pub(super) warnings: Vec<String>,
    pub(super) completeness: Option<Completeness>,
    pub(super) positions: Option<Positions>,
    pub(super) next_page: Option<String>,
    pub(super) place: Option<Place>,
}

/// Where a query of a service that can send queries elsewhere ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In this process; why, if it reads files and could not run elsewhere.
    Here(Option<String>),
    Elsewhere,
}

/// Ends a task with the interest in it.
#[derive(Debug)]
pub(crate) struct AbortOnDrop(pub(super) AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// When a query came, when its turn came, and how long it may run from then on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    arrived: Instant,
    began: Instant,
    timeout: Duration,
}

impl Clock {
    /// The query's turn has come.
    pub(super) fn start(arrived: Instant, timeout: Duration) -> Self {
        Self { arrived, began: Instant::now(), timeout }
    }
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Rows.
    Batch(RecordBatch),
    /// There is no more.
    End(End),
}

/// How a query ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    /// Whether rows were cut off, since the limit allows no more.
    pub(crate) truncated: bool,
    /// What was read of files; `None` if nobody knows.
    pub(crate) bytes_scanned: Option<u64>,
}

/// A running query. Dropping it ends the query.
#[derive(Debug)]
pub(crate) struct Answer {
    schema: SchemaRef,
    warnings: Vec<String>,
    completeness: Option<Completeness>,
    positions: Option<Positions>,
    next_page: Option<String>,
    place: Option<Place>,
    limit: usize,
    clock: Clock,
    messages: mpsc::Receiver<Message>,
    _task: AbortOnDrop,
    record: Record,
}

impl Answer {
    /// Waits for the head.
    pub(super) async fn begin(
        mut messages: mpsc::Receiver<Message>,
        task: AbortOnDrop,
        clock: Clock,
        limit: usize,
        mut record: Record,
    ) -> Result<Self, QueryError> {
        let first = receive(&mut messages, clock, &record).await;
        match first.inspect_err(|error| record.failed(error))? {
            Message::Head(head) => Ok(Self {
                schema: distinct_names(&head.schema),
                warnings: head.warnings,
                completeness: head.completeness,
                positions: head.positions,
                next_page: head.next_page,
                place: head.place,
                limit,
                clock,
                messages,
                _task: task,
                record,
            }),
            Message::Failed(error) => {
                record.failed(&error);
                Err(error)
            }
            Message::Batch(_) | Message::End(_) => {
                Err(QueryError::Internal("an answer began without its head".into()))
            }
        }
    }

    /// The columns; no two have the same name.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// What the reader must know about the rows.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether the flows that it was made of are all there were; `None` if it was made of none.
    pub(crate) fn completeness(&self) -> Option<&Completeness> {
        self.completeness.as_ref()
    }

    /// How far the flows go that it was made of: whoever follows from there misses none.
    /// `None` if none were read.
    pub(crate) fn positions(&self) -> Option<&Positions> {
        self.positions.as_ref()
    }

    /// What to ask with for the rows that come behind these, if the answer is a page and there are more.
    pub(crate) fn next_page(&self) -> Option<&str> {
        self.next_page.as_deref()
    }

    /// Where it ran; `None`: all queries run here.
    pub(crate) fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// Most rows of this answer.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// When the query came.
    pub(crate) fn started(&self) -> Instant {
        self.clock.arrived
    }

    /// The next rows, or the end. Not to be called after the end or an error.
    pub(crate) async fn next(&mut self) -> Result<Next, QueryError> {
        let next = receive(&mut self.messages, self.clock, &self.record).await;
        match next.inspect_err(|error| self.record.failed(error))? {
            Message::Batch(batch) => {
                self.record.rows(batch.num_rows());
                let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
                let columns = batch.columns().to_vec();
                RecordBatch::try_new_with_options(self.schema.clone(), columns, &rows)
                    .map(Next::Batch)
                    .map_err(|error| QueryError::Internal(error.to_string()))
            }
            Message::End(end) => {
                self.record.answered(end.bytes_scanned);
                Ok(Next::End(end))
            }
            Message::Failed(error) => {
                self.record.failed(&error);
                Err(error)
            }
            Message::Head(_) => Err(QueryError::Internal("a second head".into())),
        }
    }
}

async fn receive(
    messages: &mut mpsc::Receiver<Message>,
    clock: Clock,
    record: &Record,
) -> Result<Message, QueryError> {
    let left = clock.timeout.saturating_sub(clock.began.elapsed());
    let next = async {
        tokio::select! {
            message = messages.recv() => Ok(message),
            () = record.entry.killed.cancelled() => Err(record.entry.error()),
        }
    };
    match tokio::time::timeout(left, next).await {
        Ok(Err(killed)) => Err(killed),
        Ok(Ok(Some(message))) => Ok(message),
        // Whoever ends without a word has panicked.
        Ok(Ok(None)) => Err(QueryError::Internal(
            "the query broke off; this is a defect, please report it with the query".into(),
        )),
        Err(_) => Err(QueryError::TimedOut(clock.timeout.as_secs())),
    }
}

/// Joins may give two columns the same name; the second becomes `name_2`.
fn distinct_names(schema: &SchemaRef) -> SchemaRef {
    let mut taken: HashMap<String, usize> = HashMap::new();
    for field in schema.fields() {
        taken.insert(field.name().clone(), 0);
    }
    let mut fields = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let mut name = field.name().clone();
        let mut seen = taken.get(&name).copied().unwrap_or(0) + 1;
        taken.insert(name.clone(), seen);
        if seen > 1 {
            while taken.contains_key(&name) {
                name = format!("{}_{seen}", field.name());
                seen += 1;
            }
            taken.insert(name.clone(), 1);
        }
        fields.push(Field::clone(field).with_name(name));
    }
    Arc::new(Schema::new(fields))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;

    #[test]
    fn columns_of_the_same_name_are_told_apart() {
        let names = |names: &[&str]| {
            let fields: Vec<_> =
                names.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect();
            let schema = distinct_names(&Arc::new(Schema::new(fields)));
            schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(&["a", "b"]), ["a", "b"]);
        assert_eq!(names(&["a", "a", "a"]), ["a", "a_2", "a_3"]);
        assert_eq!(names(&["a", "a_2", "a"]), ["a", "a_2", "a_3"]);
    }
}
