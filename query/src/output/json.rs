//! JSON: numbers as numbers, times as RFC 3339 with nanoseconds in UTC, lists and maps as such.

use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::writer::{JsonArray, JsonFormat, LineDelimited, WriterBuilder};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use serde_json::json;
use weir_flow::schema::sql_type;

use super::Summary;
use crate::engine::Place;
use crate::http::error::ApiError;

/// How times in UTC are written.
pub(super) const UTC_TIME: &str = "%Y-%m-%dT%H:%M:%S%.9fZ";
/// How times of no known zone are written.
pub(super) const TIME: &str = "%Y-%m-%dT%H:%M:%S%.9f";

/// One object: columns, rows, and how it went.
pub(crate) struct Json {
    columns: serde_json::Value,
    empty: bool,
}

impl Json {
    pub(super) fn new(schema: &SchemaRef) -> Self {
        let columns = schema
            .fields()
            .iter()
            .map(|field| json!({"name": field.name(), "type": type_name(field.data_type())}))
            .collect();
        Self { columns, empty: true }
    }

    pub(super) fn begin(&self) -> Bytes {
        format!("{{\"columns\":{},\"rows\":[", self.columns).into()
    }

    pub(super) fn rows(&mut self, batch: &RecordBatch) -> Result<Bytes, ArrowError> {
        let mut text = write::<JsonArray>(batch)?;
        // Rows of many batches stand in one array: `[a,b]` becomes `\na,b` or `,\na,b`.
        if text.last() == Some(&b']') {
            text.pop();
        }
        let begin: &[u8] = if self.empty { b"\n" } else { b",\n" };
        text.splice(..1, begin.iter().copied());
        self.empty = false;
        Ok(text.into())
    }

    pub(super) fn end(&self, summary: &Summary<'_>) -> Bytes {
        let mut tail = json!({
            "row_count": summary.rows,
            "elapsed_ms": milliseconds(summary),
            "bytes_scanned": summary.bytes_scanned,
            "truncated": summary.truncated,
            "warnings": warnings(summary),
            "completeness": summary.completeness,
        });
        if let Some(next) = summary.next_page {
            tail["next_page_token"] = next.into();
        }
        match summary.place {
            Some(Place::Elsewhere) => tail["distributed"] = true.into(),
            Some(Place::Here(why)) => {
                tail["distributed"] = false.into();
                if let Some(why) = why {
                    tail["not_distributed_because"] = json!(why);
                }
            }
            None => {}
        }
        if let Some(error) = summary.error {
            tail["error"] = ApiError::from(error.clone()).object();
        }
        let tail = tail.to_string();
        format!("\n],{}\n", tail.trim_start_matches('{')).into()
    }
}

/// One object a row and line.
pub(crate) fn lines(batch: &RecordBatch) -> Result<Bytes, ArrowError> {
    Ok(write::<LineDelimited>(batch)?.into())
}

/// A last line only where the rows before it are not all.
pub(super) fn last_line(summary: &Summary<'_>) -> Bytes {
    let mut line = serde_json::Map::new();
    if let Some(error) = summary.error {
        line.insert("error".into(), ApiError::from(error.clone()).object());
    }
    if summary.truncated {
        line.insert("truncated".into(), true.into());
        line.insert("warnings".into(), json!(warnings(summary)));
    }
    if let Some(completeness) = summary.completeness.filter(|told| !told.complete) {
        line.insert("completeness".into(), json!(completeness));
    }
    if line.is_empty() {
        return Bytes::new();
    }
    format!("{}\n", serde_json::Value::Object(line)).into()
}

/// The rows, nulls included.
pub(super) fn write<F: JsonFormat>(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut writer = WriterBuilder::new()
        .with_explicit_nulls(true)
        .with_timestamp_tz_format(UTC_TIME.into())
        .with_timestamp_format(TIME.into())
        .build::<_, F>(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    Ok(writer.into_inner())
}

/// The type as SQL users know it.
pub(crate) fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 => "text".into(),
        DataType::Dictionary(_, values) => type_name(values),
        DataType::Null => "null".into(),
        DataType::Boolean => "boolean".into(),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            data_type.to_string().to_lowercase()
        }
        DataType::Timestamp(_, None) => "timestamp".into(),
        DataType::Date32 | DataType::Date64 => "date".into(),
        DataType::Time32(_) | DataType::Time64(_) => "time".into(),
        DataType::Interval(_) | DataType::Duration(_) => "interval".into(),
        other => match sql_type(other) {
            "other" => other.to_string().to_lowercase(),
            known if matches!(other, DataType::List(_)) && known == "list of text" => {
                list_name(other)
            }
            known => known.into(),
        },
    }
}

fn list_name(data_type: &DataType) -> String {
    match data_type {
        DataType::List(item) => format!("list of {}", type_name(item.data_type())),
        other => type_name(other),
    }
}

fn warnings(summary: &Summary<'_>) -> Vec<String> {
    let mut warnings = summary.warnings.to_vec();
    if summary.truncated {
        warnings.push(format!(
            "only the first {} rows are here: ask for fewer, or raise the limit `max_rows` of the \
             query service",
            summary.limit
        ));
    }
    warnings
}

fn milliseconds(summary: &Summary<'_>) -> f64 {
    (summary.elapsed.as_secs_f64() * 1e6).round() / 1e3
}
