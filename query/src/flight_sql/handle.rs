//! What a client hands back to get rows: the statement itself with its values. Nothing is kept here for
//! it, so there is nothing to fill up, to grow old, or to be guessed: whoever shows a handle is asked who
//! it is, and the statement passes the guard then.

use arrow::array::{Array as _, RecordBatch};
use arrow::datatypes::DataType;
use bytes::Bytes;
use datafusion::common::ScalarValue;
use tokio_rustls::rustls::crypto::ring;
use tonic::Status;

use super::values;
use crate::engine::SqlRequest;
use crate::guard::MAX_SQL_BYTES;
use crate::guard::parameters::Parameter;

const MAGIC: &[u8] = b"weir2";
/// Bytes of what a ticket is known by.
const NUMBER_BYTES: usize = 16;

/// By what a query is known to those who want to end it.
pub(crate) type Number = [u8; NUMBER_BYTES];

/// A statement, and a row of values for `$1`, `$2` and so on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Handle {
    pub(super) sql: String,
    pub(super) values: Option<RecordBatch>,
    /// Of a ticket: another one for each that is given out.
    pub(super) number: Option<Number>,
}

impl Handle {
    pub(super) fn new(sql: String) -> Self {
        Self { sql, values: None, number: None }
    }

    /// The same with a number of its own.
    pub(super) fn numbered(self) -> Result<Self, Status> {
        let mut number = [0; NUMBER_BYTES];
        ring::default_provider()
            .secure_random
            .fill(&mut number)
            .map_err(|_| Status::internal("there is no randomness for a ticket"))?;
        Ok(Self { number: Some(number), ..self })
    }

    pub(super) fn write(&self) -> Result<Bytes, Status> {
        let length = u32::try_from(self.sql.len())
            .map_err(|_| Status::invalid_argument("the SQL is too long"))?;
        let number = self.number.unwrap_or_default();
        let mut bytes = [MAGIC, &number, &length.to_be_bytes(), self.sql.as_bytes()].concat();
        if let Some(values) = &self.values {
            values::write(values.clone(), &mut bytes)?;
        }
        Ok(bytes.into())
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, Status> {
        let wrong = || Status::invalid_argument("this is no handle of ours: ask for one anew");
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(wrong)?;
        let (number, rest) = rest.split_first_chunk::<NUMBER_BYTES>().ok_or_else(wrong)?;
        let (length, rest) = rest.split_first_chunk().ok_or_else(wrong)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| wrong())?;
        if length > MAX_SQL_BYTES {
            return Err(wrong());
        }
        let (sql, values) = rest.split_at_checked(length).ok_or_else(wrong)?;
        let sql = std::str::from_utf8(sql).map_err(|_| wrong())?.to_owned();
        let values = if values.is_empty() { None } else { Some(values::read_back(values)?) };
        let number = Some(*number).filter(|number| *number != [0; NUMBER_BYTES]);
        Ok(Self { sql, values, number })
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
        let values = Some(values.unwrap());
        let handle = Handle { values, ..Handle::new("select $1, $2".into()) }.numbered().unwrap();
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
        let length = [MAGIC, &[0; 16], b"\xff\xff\xff\xffselect"].concat();
        for wrong in [&b""[..], MAGIC, &length, b"select 1"] {
            assert!(Handle::read(wrong).is_err());
        }
    }
}
