//! Writes answers as JSON, lines of JSON, CSV, an Arrow stream or Parquet, batch by batch.

mod csv;
mod encode;
mod json;
mod parquet_file;
#[cfg(test)]
mod tests;

use std::time::Duration;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;

pub(crate) use encode::encode;
pub(crate) use json::{lines, type_name};

use crate::catalog::completeness::Completeness;
use crate::engine::Place;
use crate::error::QueryError;

/// Key of the completeness in the metadata of an Arrow stream's schema.
pub(crate) const COMPLETENESS: &str = "weir.completeness";

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// One object with the columns, the rows and how it went.
    #[default]
    Json,
    /// One object a row and line.
    NdJson,
    /// A header line, then one line a row.
    Csv,
    /// The Arrow IPC stream format.
    Arrow,
    /// A Parquet file.
    Parquet,
}

impl Format {
    pub(crate) const ALL: [Self; 5] =
        [Self::Json, Self::NdJson, Self::Csv, Self::Arrow, Self::Parquet];

    /// The name in requests.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::NdJson => "ndjson",
            Self::Csv => "csv",
            Self::Arrow => "arrow",
            Self::Parquet => "parquet",
        }
    }

    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::NdJson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// By the name in a request.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The first format that an `Accept` header names; JSON if it names none.
    pub(crate) fn from_accept(accept: &str) -> Self {
        accept
            .split(',')
            .filter_map(|range| {
                let media = range.split(';').next().unwrap_or_default().trim();
                Self::ALL
                    .into_iter()
                    .find(|format| format.content_type().split(';').next() == Some(media))
            })
            .next()
            .unwrap_or_default()
    }
}

/// How an answer ended.
#[derive(Debug)]
pub(crate) struct Summary<'a> {
    pub(crate) rows: usize,
    pub(crate) elapsed: Duration,
    pub(crate) truncated: bool,
    pub(crate) bytes_scanned: Option<u64>,
    pub(crate) limit: usize,
    /// Of a page that is not the last.
    pub(crate) next_page: Option<&'a str>,
    pub(crate) warnings: &'a [String],
    /// Of answers over flows.
    pub(crate) completeness: Option<&'a Completeness>,
    /// Where it ran, if not all queries run here.
    pub(crate) place: Option<&'a Place>,
    /// What broke it off after rows were sent.
    pub(crate) error: Option<&'a QueryError>,
}

/// Writes one answer.
pub(crate) enum Encoder {
    Json(json::Json),
    NdJson,
    Csv(csv::Csv),
    Arrow(Box<StreamWriter<Vec<u8>>>),
    Parquet(Box<parquet_file::ParquetFile>),
}

impl Encoder {
    /// `completeness` goes into the schema's metadata where the format has such.
    pub(crate) fn new(
        format: Format,
        schema: &SchemaRef,
        completeness: Option<&Completeness>,
    ) -> Result<Self, ArrowError> {
        Ok(match format {
            Format::Json => Self::Json(json::Json::new(schema)),
            Format::NdJson => Self::NdJson,
            Format::Csv => Self::Csv(csv::Csv::new(schema)),
            Format::Arrow => {
                let schema = with_completeness(schema, completeness);
                Self::Arrow(Box::new(StreamWriter::try_new(Vec::new(), &schema)?))
            }
            Format::Parquet => {
                let schema = with_completeness(schema, completeness);
                Self::Parquet(Box::new(parquet_file::ParquetFile::new(&schema)?))
            }
        })
    }

    /// What stands before the first row.
    pub(crate) fn begin(&mut self) -> Result<Bytes, ArrowError> {
        match self {
            Self::Json(json) => Ok(json.begin()),
            Self::NdJson => Ok(Bytes::new()),
            Self::Csv(csv) => csv.begin(),
            Self::Arrow(writer) => Ok(drain(writer)),
            Self::Parquet(parquet) => Ok(parquet.written()),
        }
    }

    /// Rows.
    pub(crate) fn rows(&mut self, batch: &RecordBatch) -> Result<Bytes, ArrowError> {
        match self {
            Self::Json(json) => json.rows(batch),
            Self::NdJson => json::lines(batch),
            Self::Csv(csv) => csv.rows(batch),
            Self::Arrow(writer) => {
                writer.write(batch)?;
                Ok(drain(writer))
            }
            Self::Parquet(parquet) => {
                parquet.rows(batch)?;
                Ok(parquet.written())
            }
        }
    }

    /// What stands behind the last row. CSV, Arrow and Parquet have no place for a summary;
    /// theirs is in the response's headers.
    pub(crate) fn end(&mut self, summary: &Summary<'_>) -> Result<Bytes, ArrowError> {
        match self {
            Self::Json(json) => Ok(json.end(summary)),
            Self::NdJson => Ok(json::last_line(summary)),
            Self::Csv(_) => Ok(Bytes::new()),
            Self::Arrow(writer) => {
                writer.finish()?;
                Ok(drain(writer))
            }
            Self::Parquet(parquet) => {
                parquet.finish()?;
                Ok(parquet.written())
            }
        }
    }

    /// Whether [`end`](Self::end) tells the reader of an error. Otherwise the connection has to
    /// break, lest a part be taken for the whole.
    pub(crate) fn tells_errors(&self) -> bool {
        matches!(self, Self::Json(_) | Self::NdJson)
    }
}

/// A schema that says in its metadata whether the answer is all of it.
fn with_completeness(schema: &SchemaRef, completeness: Option<&Completeness>) -> Schema {
    let mut schema = Schema::clone(schema);
    if let Some(completeness) = completeness {
        schema.metadata.insert(COMPLETENESS.into(), completeness.to_ascii());
    }
    schema
}

fn drain(writer: &mut StreamWriter<Vec<u8>>) -> Bytes {
    std::mem::take(writer.get_mut()).into()
}
