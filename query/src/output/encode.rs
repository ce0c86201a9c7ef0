//! Turns a running query into the chunks of a response body.

use bytes::Bytes;
use futures::{Stream, stream};

use super::{Encoder, Format, Summary};
use crate::engine::{Answer, End, Next};
use crate::error::QueryError;

/// The body. Dropping it ends the query.
pub(crate) fn encode(
    answer: Answer,
    format: Format,
) -> Result<impl Stream<Item = Result<Bytes, QueryError>> + Send + 'static, QueryError> {
    let encoder = Encoder::new(format, answer.schema(), answer.completeness())
        .map_err(|error| internal(&error))?;
    let writing = Writing { answer, encoder, rows: 0, place: Place::Begin };
    Ok(stream::try_unfold(writing, async |mut writing| {
        let chunk = writing.chunk().await?;
        Ok(chunk.map(|chunk| (chunk, writing)))
    }))
}

struct Writing {
    answer: Answer,
    encoder: Encoder,
    rows: usize,
    place: Place,
}

#[derive(Clone, Copy)]
enum Place {
    Begin,
    Rows,
    End,
}

impl Writing {
    async fn chunk(&mut self) -> Result<Option<Bytes>, QueryError> {
        match self.place {
            Place::Begin => {
                self.place = Place::Rows;
                self.encoder.begin().map(Some).map_err(|error| internal(&error))
            }
            Place::Rows => match self.rows().await {
                Ok(chunk) => Ok(Some(chunk)),
                Err(error) => self.broken(&error).map(Some),
            },
            Place::End => Ok(None),
        }
    }

    async fn rows(&mut self) -> Result<Bytes, QueryError> {
        let chunk = match self.answer.next().await? {
            Next::Batch(batch) => {
                self.rows += batch.num_rows();
                self.encoder.rows(&batch)
            }
            Next::End(end) => {
                self.place = Place::End;
                self.end(end, None)
            }
        };
        chunk.map_err(|error| internal(&error))
    }

    /// The error as the end of the answer, or as the end of the connection.
    fn broken(&mut self, error: &QueryError) -> Result<Bytes, QueryError> {
        self.place = Place::End;
        tracing::warn!(%error, rows = self.rows, "an answer broke off");
        if !self.encoder.tells_errors() {
            return Err(error.clone());
        }
        self.end(End { truncated: false, bytes_scanned: None }, Some(error))
            .map_err(|error| internal(&error))
    }

    fn end(
        &mut self,
        end: End,
        error: Option<&QueryError>,
    ) -> Result<Bytes, arrow::error::ArrowError> {
        let summary = Summary {
            rows: self.rows,
            elapsed: self.answer.started().elapsed(),
            truncated: end.truncated,
            bytes_scanned: end.bytes_scanned,
            limit: self.answer.limit(),
            next_page: self.answer.next_page(),
            warnings: self.answer.warnings(),
            completeness: self.answer.completeness(),
            place: self.answer.place(),
            error,
        };
        self.encoder.end(&summary)
    }
}

fn internal(error: &dyn std::fmt::Display) -> QueryError {
    QueryError::Internal(format!("the answer cannot be written: {error}"))
}
