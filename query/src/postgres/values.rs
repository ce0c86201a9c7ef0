//! Rows as clients of Postgres get them, each value as text or in binary.
//!
//! Source: the `*_out` and `*_send` functions of PostgreSQL 15 (`src/backend/utils/adt`).

use std::fmt::Write as _;

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Field, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, Schema, Time64MicrosecondType, TimestampMicrosecondType,
};
use bytes::{BufMut as _, BytesMut};
use jiff::{SignedDuration, Timestamp, civil};

use super::error::Failure;
use super::types::{Formats, Kind};
use crate::output;

/// Days and microseconds from 1970 to 2000, where binary times begin.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_US: i64 = EPOCH_DAYS as i64 * 86_400_000_000;

/// The columns of a batch, ready to be written row by row.
pub(super) struct Rows {
    columns: Vec<Column>,
}

struct Column {
    kind: Kind,
    values: ArrayRef,
    binary: bool,
}

impl Rows {
    pub(super) fn new(batch: &RecordBatch, formats: &Formats) -> Result<Self, Failure> {
        let columns = batch.columns().iter().enumerate().map(|(at, values)| {
            let kind = Kind::of(values.data_type());
            Ok(Column { values: canonical(&kind, values)?, kind, binary: formats.is_binary(at) })
        });
        Ok(Self { columns: columns.collect::<Result<_, Failure>>()? })
    }

    /// Appends a message `DataRow`.
    pub(super) fn write(&self, row: usize, into: &mut BytesMut) -> Result<(), Failure> {
        into.put_u8(b'D');
        let begin = into.len();
        into.put_i32(0);
        into.put_i16(i16::try_from(self.columns.len()).map_err(|_| too_large())?);
        for column in &self.columns {
            column.write(row, into)?;
        }
        set_length(into, begin, 0)
    }
}

impl Column {
    fn write(&self, row: usize, into: &mut BytesMut) -> Result<(), Failure> {
        if self.values.is_null(row) {
            into.put_i32(-1);
            return Ok(());
        }
        let begin = into.len();
        into.put_i32(0);
        if self.binary {
            self.binary(row, into)?;
        } else {
            self.text(row, into)?;
        }
        set_length(into, begin, 4)
    }

    fn text(&self, row: usize, into: &mut BytesMut) -> Result<(), Failure> {
        let values = &self.values;
        let written = match &self.kind {
            Kind::Bool => {
                into.put_u8(if values.as_boolean().value(row) { b't' } else { b'f' });
                Ok(())
            }
            Kind::Int2 => write!(into, "{}", values.as_primitive::<Int16Type>().value(row)),
            Kind::Int4 => write!(into, "{}", values.as_primitive::<Int32Type>().value(row)),
            Kind::Int8 => write!(into, "{}", values.as_primitive::<Int64Type>().value(row)),
            Kind::Float4 => {
                float(into, values.as_primitive::<Float32Type>().value(row).into(), |into| {
                    write!(into, "{}", values.as_primitive::<Float32Type>().value(row))
                })
            }
            Kind::Float8 => float(into, values.as_primitive::<Float64Type>().value(row), |into| {
                write!(into, "{}", values.as_primitive::<Float64Type>().value(row))
            }),
            Kind::Text | Kind::Numeric | Kind::Json => {
                // A text has no zero bytes there.
                into.put_slice(values.as_string::<i32>().value(row).replace('\0', " ").as_bytes());
                Ok(())
            }
            Kind::Bytes => {
                into.put_slice(b"\\x");
                values
                    .as_binary::<i32>()
                    .value(row)
                    .iter()
                    .try_for_each(|byte| write!(into, "{byte:02x}"))
            }
            Kind::Date => {
                let days = values.as_primitive::<Date32Type>().value(row);
                write!(into, "{}", moment(i64::from(days).saturating_mul(86_400_000_000))?.date())
            }
            Kind::Time => {
                let time = values.as_primitive::<Time64MicrosecondType>().value(row);
                let time = civil::Time::midnight().wrapping_add(SignedDuration::from_micros(time));
                write!(into, "{time}")
            }
            Kind::Timestamp { zoned } => {
                let time = moment(values.as_primitive::<TimestampMicrosecondType>().value(row))?;
                let zone = if *zoned { "+00" } else { "" };
                write!(into, "{} {}{zone}", time.date(), time.time())
            }
            Kind::Interval => {
                let value = values.as_primitive::<IntervalMonthDayNanoType>().value(row);
                let us = value.nanoseconds / 1000;
                let (sign, rest) = (if us < 0 { "-" } else { "" }, us.unsigned_abs());
                let (seconds, us) = (rest / 1_000_000, rest % 1_000_000);
                write!(
                    into,
                    "{} mons {} days {sign}{:02}:{:02}:{:02}.{us:06}",
                    value.months,
                    value.days,
                    seconds / 3600,
                    seconds / 60 % 60,
                    seconds % 60
                )
            }
            Kind::List(item) => return list_text(item, &values.as_list::<i32>().value(row), into),
        };
        written.map_err(|_| too_large())
    }

    fn binary(&self, row: usize, into: &mut BytesMut) -> Result<(), Failure> {
        let values = &self.values;
        match &self.kind {
            Kind::Bool => into.put_u8(u8::from(values.as_boolean().value(row))),
            Kind::Int2 => into.put_i16(values.as_primitive::<Int16Type>().value(row)),
            Kind::Int4 => into.put_i32(values.as_primitive::<Int32Type>().value(row)),
            Kind::Int8 => into.put_i64(values.as_primitive::<Int64Type>().value(row)),
            Kind::Float4 => into.put_f32(values.as_primitive::<Float32Type>().value(row)),
            Kind::Float8 => into.put_f64(values.as_primitive::<Float64Type>().value(row)),
            Kind::Numeric => numeric(values.as_string::<i32>().value(row), into)?,
            Kind::Text => {
                into.put_slice(values.as_string::<i32>().value(row).replace('\0', " ").as_bytes());
            }
            Kind::Json => {
                // The version of the format.
                into.put_u8(1);
                into.put_slice(values.as_string::<i32>().value(row).as_bytes());
            }
            Kind::Bytes => into.put_slice(values.as_binary::<i32>().value(row)),
            Kind::Date => {
                let days = values.as_primitive::<Date32Type>().value(row);
                into.put_i32(days.checked_sub(EPOCH_DAYS).ok_or_else(out_of_range)?);
            }
            Kind::Time => into.put_i64(values.as_primitive::<Time64MicrosecondType>().value(row)),
            Kind::Timestamp { .. } => {
                let time = values.as_primitive::<TimestampMicrosecondType>().value(row);
                into.put_i64(time.checked_sub(EPOCH_US).ok_or_else(out_of_range)?);
            }
            Kind::Interval => {
                let value = values.as_primitive::<IntervalMonthDayNanoType>().value(row);
                into.put_i64(value.nanoseconds / 1000);
                into.put_i32(value.days);
                into.put_i32(value.months);
            }
            Kind::List(item) => {
                let items = values.as_list::<i32>().value(row);
                let count = i32::try_from(items.len()).map_err(|_| too_large())?;
                into.put_i32(i32::from(count > 0));
                into.put_i32(i32::from(items.null_count() > 0));
                into.put_u32(item.postgres().oid());
                if count > 0 {
                    into.put_i32(count);
                    into.put_i32(1);
                }
                let column = Column {
                    kind: (**item).clone(),
                    values: canonical(item, &items)?,
                    binary: true,
                };
                for at in 0..items.len() {
                    column.write(at, into)?;
                }
            }
        }
        Ok(())
    }
}

/// `{a,"b c",NULL}`.
fn list_text(item: &Kind, items: &ArrayRef, into: &mut BytesMut) -> Result<(), Failure> {
    let column = Column { kind: item.clone(), values: canonical(item, items)?, binary: false };
    into.put_u8(b'{');
    for at in 0..items.len() {
        if at > 0 {
            into.put_u8(b',');
        }
        if column.values.is_null(at) {
            into.put_slice(b"NULL");
            continue;
        }
        let mut text = BytesMut::new();
        column.text(at, &mut text)?;
        into.put_u8(b'"');
        for byte in text {
            if byte == b'"' || byte == b'\\' {
                into.put_u8(b'\\');
            }
            into.put_u8(byte);
        }
        into.put_u8(b'"');
    }
    into.put_u8(b'}');
    Ok(())
}

/// The values in the type that is written.
fn canonical(kind: &Kind, values: &ArrayRef) -> Result<ArrayRef, Failure> {
    let failed = |error: arrow::error::ArrowError| Failure::new("22000", error.to_string());
    match kind {
        Kind::Json => json(values).map_err(failed),
        Kind::List(_) => match values.data_type() {
            DataType::LargeList(item) => {
                cast(values, &DataType::List(item.clone())).map_err(failed)
            }
            _ => Ok(values.clone()),
        },
        // Which zone a time was told in makes no difference: all are in UTC.
        Kind::Timestamp { .. } => {
            let zone = match values.data_type() {
                DataType::Timestamp(_, zone) => zone.clone(),
                _ => None,
            };
            let unit = arrow::datatypes::TimeUnit::Microsecond;
            let values = cast(values, &DataType::Timestamp(unit, zone)).map_err(failed)?;
            Ok(values)
        }
        _ => cast(values, &kind.canonical()).map_err(failed),
    }
}

/// Each value as a text of JSON.
fn json(values: &ArrayRef) -> Result<ArrayRef, arrow::error::ArrowError> {
    let schema = Schema::new(vec![Field::new("v", values.data_type().clone(), true)]);
    let batch = RecordBatch::try_new(schema.into(), vec![values.clone()])?;
    let lines = output::lines(&batch)?;
    let lines = String::from_utf8_lossy(&lines);
    let texts = lines.lines().enumerate().map(|(row, line)| {
        let value = line.strip_prefix("{\"v\":").and_then(|line| line.strip_suffix('}'));
        value.filter(|_| values.is_valid(row))
    });
    Ok(std::sync::Arc::new(texts.collect::<arrow::array::StringArray>()))
}

/// What a number that is none is called; others as they are.
fn float(
    into: &mut BytesMut,
    value: f64,
    finite: impl FnOnce(&mut BytesMut) -> std::fmt::Result,
) -> std::fmt::Result {
    match value {
        _ if value.is_nan() => into.write_str("NaN"),
        f64::INFINITY => into.write_str("Infinity"),
        f64::NEG_INFINITY => into.write_str("-Infinity"),
        _ => finite(into),
    }
}

fn moment(us: i64) -> Result<civil::DateTime, Failure> {
    let time = Timestamp::from_microsecond(us).map_err(|_| out_of_range())?;
    Ok(time.to_zoned(jiff::tz::TimeZone::UTC).datetime())
}

/// A decimal number in digits of 10,000.
fn numeric(text: &str, into: &mut BytesMut) -> Result<(), Failure> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let padding = (4 - whole.len() % 4) % 4;
    let padded = format!("{}{whole}", "0".repeat(padding));
    let behind = format!("{fraction}{}", "0".repeat((4 - fraction.len() % 4) % 4));
    let groups = |digits: &str| {
        let groups = digits.as_bytes().chunks(4).map(|group| {
            group.iter().fold(0_i16, |sum, digit| sum * 10 + i16::from(digit.wrapping_sub(b'0')))
        });
        groups.collect::<Vec<_>>()
    };
    let mut digits = groups(&padded);
    let mut weight = i16::try_from(digits.len()).map_err(|_| too_large())? - 1;
    digits.extend(groups(&behind));
    let leading = digits.iter().take_while(|digit| **digit == 0).count();
    digits.drain(..leading);
    weight -= i16::try_from(leading).map_err(|_| too_large())?;
    while digits.last() == Some(&0) {
        digits.pop();
    }
    let size = |length: usize| i16::try_from(length).map_err(|_| too_large());
    into.put_i16(size(digits.len())?);
    into.put_i16(if digits.is_empty() { 0 } else { weight });
    into.put_u16(if negative { 0x4000 } else { 0 });
    into.put_i16(size(fraction.len())?);
    digits.into_iter().for_each(|digit| into.put_i16(digit));
    Ok(())
}

/// Writes the length of what is behind `begin`, less so many bytes of its own.
fn set_length(into: &mut BytesMut, begin: usize, less: usize) -> Result<(), Failure> {
    let length = i32::try_from(into.len() - begin - less).map_err(|_| too_large())?;
    into[begin..begin + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

fn too_large() -> Failure {
    Failure::new("54000", "a row is larger than the protocol allows: select fewer columns")
}

fn out_of_range() -> Failure {
    Failure::new("22008", "a time is outside of what clients of Postgres know")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        Array, DictionaryArray, Float64Array, Int64Array, ListArray, TimestampNanosecondArray,
        UInt64Array,
    };

    use super::*;

    fn written(values: impl Array + 'static, binary: bool) -> Vec<Option<Vec<u8>>> {
        let values: ArrayRef = Arc::new(values);
        let kind = Kind::of(values.data_type());
        let column = Column { values: canonical(&kind, &values).unwrap(), kind, binary };
        let write = |row| {
            let mut bytes = BytesMut::new();
            column.write(row, &mut bytes).unwrap();
            (bytes[..4] != [0xff; 4]).then(|| bytes[4..].to_vec())
        };
        (0..values.len()).map(write).collect()
    }

    fn texts(values: impl Array + 'static) -> Vec<Option<String>> {
        written(values, false)
            .into_iter()
            .map(|text| text.map(|text| String::from_utf8(text).unwrap()))
            .collect()
    }

    #[test]
    fn values_as_text() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            texts(UInt64Array::from(vec![Some(u64::MAX), None])),
            [some("18446744073709551615"), None]
        );
        let times =
            TimestampNanosecondArray::from(vec![1_767_225_600_123_456_789]).with_timezone("UTC");
        assert_eq!(texts(times), [some("2026-01-01 00:00:00.123456+00")]);
        assert_eq!(
            texts(Float64Array::from(vec![1.5, f64::NAN, f64::INFINITY])),
            [some("1.5"), some("NaN"), some("Infinity")]
        );
        let words: DictionaryArray<Int32Type> = [Some("a\0b"), None].into_iter().collect();
        assert_eq!(texts(words), [some("a b"), None]);
        let list = ListArray::from_iter_primitive::<Int64Type, _, _>([
            Some(vec![Some(1), None]),
            Some(vec![]),
        ]);
        assert_eq!(texts(list), [some("{\"1\",NULL}"), some("{}")]);
    }

    #[test]
    fn values_in_binary() {
        assert_eq!(
            written(Int64Array::from(vec![-2]), true),
            [Some((-2_i64).to_be_bytes().to_vec())]
        );
        let numeric = |text: &str| {
            let mut bytes = BytesMut::new();
            super::numeric(text, &mut bytes).unwrap();
            bytes.chunks(2).map(|pair| i16::from_be_bytes([pair[0], pair[1]])).collect::<Vec<_>>()
        };
        assert_eq!(numeric("0"), [0, 0, 0, 0]);
        assert_eq!(numeric("18446744073709551615"), [5, 4, 0, 0, 1844, 6744, 737, 955, 1615]);
        assert_eq!(numeric("10000"), [1, 1, 0, 0, 1]);
        assert_eq!(numeric("-12.5"), [2, 0, 0x4000, 1, 12, 5000]);
        assert_eq!(numeric("0.0001"), [1, -1, 0, 4, 1]);
        let times = TimestampNanosecondArray::from(vec![946_684_800_000_001_000]);
        assert_eq!(written(times, true), [Some(1_i64.to_be_bytes().to_vec())]);
    }
}
