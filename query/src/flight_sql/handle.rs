//! What a client hands back to get rows: the statement itself with its values. Nothing is kept here for
//! it, so there is nothing to fill up, to grow old, or to be guessed: whoever shows a handle is asked who
//! it is, and the statement passes the guard then.

use std::io::Cursor;

use arrow::array::{Array as _, RecordBatch};
use arrow::datatypes::DataType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use datafusion::common::ScalarValue;
use tonic::Status;

use crate::engine::SqlRequest;
use crate::guard::MAX_SQL_BYTES;
use crate::guard::parameters::{MAX_PARAMETERS, Parameter};

const MAGIC: &[u8] = b"weir1";

/// A statement, and a row of values for `$1`, `$2` and so on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Handle {
    pub(super) sql: String,
    pub(super) values: Option<RecordBatch>,
}

impl Handle {
    pub(super) fn write(&self) -> Result<Bytes, Status> {
        let defect = |error: &dyn std::fmt::Display| Status::internal(error.to_string());
        let length = u32::try_from(self.sql.len()).map_err(|error| defect(&error))?;
        let mut bytes = [MAGIC, &length.to_be_bytes(), self.sql.as_bytes()].concat();
        if let Some(values) = &self.values {
            let mut writer = StreamWriter::try_new(&mut bytes, &values.schema())
                .map_err(|error| defect(&error))?;
            writer.write(values).map_err(|error| defect(&error))?;
            writer.finish().map_err(|error| defect(&error))?;
        }
        Ok(bytes.into())
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, Status> {
        let wrong = || Status::invalid_argument("this is no handle of ours");
        let (length, rest) = bytes
            .strip_prefix(MAGIC)
            .and_then(|rest| rest.split_first_chunk())
            .ok_or_else(wrong)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| wrong())?;
        if length > MAX_SQL_BYTES {
            return Err(wrong());
        }
        let (sql, values) = rest.split_at_checked(length).ok_or_else(wrong)?;
        let sql = std::str::from_utf8(sql).map_err(|_| wrong())?.to_owned();
        let values = if values.is_empty() {
            None
        } else {
            let reader = StreamReader::try_new(Cursor::new(values), None).map_err(|_| wrong())?;
            Some(one_row(reader.map(|batch| batch.map_err(|_| wrong())))?)
        };
        Ok(Self { sql, values })
    }

    pub(super) fn request(&self) -> Result<SqlRequest, Status> {
        let parameters = match &self.values {
            None => vec![],
            Some(values) => values
                .columns()
                .iter()
                .map(|column| {
                    let value = ScalarValue::try_from_array(column, 0)
                        .map_err(|error| Status::invalid_argument(error.to_string()))?;
                    // Texts become what their place asks for, as times do.
                    Ok(match column.data_type() {
                        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                            Parameter::Text(value.try_as_str().flatten().map(str::to_owned))
                        }
                        _ if column.is_null(0) => Parameter::Text(None),
                        _ => Parameter::Typed(value),
                    })
                })
                .collect::<Result<_, Status>>()?,
        };
        Ok(SqlRequest { parameters, ..SqlRequest::new(self.sql.clone()) })
    }
}

/// The only row of what came.
pub(super) fn one_row(
    batches: impl Iterator<Item = Result<RecordBatch, Status>>,
) -> Result<RecordBatch, Status> {
    let mut found = None;
    // Batches without rows are nothing, but not without end.
    for batch in batches.take(16) {
        let batch = batch?;
        if batch.num_rows() == 0 {
            continue;
        }
        if batch.num_rows() > 1 || found.is_some() || batch.num_columns() > MAX_PARAMETERS {
            return Err(Status::invalid_argument("send the values of one row"));
        }
        found = Some(batch);
    }
    found.ok_or_else(|| Status::invalid_argument("no values came"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};

    use super::*;

    #[test]
    fn handles_come_back_as_they_went() {
        let values = RecordBatch::try_from_iter([
            ("a", Arc::new(Int64Array::from(vec![7])) as _),
            ("b", Arc::new(StringArray::from(vec![Some("x")])) as _),
        ]);
        let handle = Handle { sql: "select $1, $2".into(), values: Some(values.unwrap()) };
        let bytes = handle.write().unwrap();
        let read = Handle::read(&bytes).unwrap();
        assert_eq!(read, handle);
        let parameters = read.request().unwrap().parameters;
        assert_eq!(parameters[0], Parameter::Typed(ScalarValue::Int64(Some(7))));
        assert_eq!(parameters[1], Parameter::Text(Some("x".into())));
        for end in 0..bytes.len() - 1 {
            // Whatever is missing, it is an error or a shorter statement, never more than that.
            let _ = Handle::read(&bytes[..end]);
        }
        for wrong in [&b""[..], b"weir1", b"weir1\xff\xff\xff\xffselect", b"select 1"] {
            assert!(Handle::read(wrong).is_err());
        }
    }
}
