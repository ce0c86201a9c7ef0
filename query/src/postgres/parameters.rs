//! Values that a client binds, as the engine takes them.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int16Array, Int32Array, Int64Array, StringArray,
};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::common::utils::SingleRowListArrayBuilder;
use pgwire::api::Type;

use super::error::Failure;
use super::frame::Bind;
use super::types::{Formats, parameter};
use crate::guard::parameters::{MAX_PARAMETERS, Parameter, list};

/// Microseconds from 1970 to 2000, where binary times begin.
const EPOCH_US: i64 = 946_684_800_000_000;

/// The values of a message; `types` are those that the client said of the statement.
pub(super) fn parameters(bind: &Bind, types: &[u32]) -> Result<Vec<Parameter>, Failure> {
    if bind.values.len() > MAX_PARAMETERS {
        return Err(Failure::new("54000", format!("more than {MAX_PARAMETERS} parameters")));
    }
    let formats = Formats(bind.formats.clone());
    let values = bind.values.iter().enumerate().map(|(at, value)| {
        let oid = types.get(at).copied().unwrap_or(0);
        let value = value.as_deref();
        let wrong = || {
            let name = Type::from_oid(oid)
                .map_or_else(|| oid.to_string(), |known| known.name().to_owned());
            Failure::new("22P02", format!("parameter ${} is no {name}", at + 1))
        };
        if formats.is_binary(at) {
            binary(oid, value).ok_or_else(wrong)
        } else {
            text(oid, value).ok_or_else(wrong)
        }
    });
    values.collect()
}

fn text(oid: u32, value: Option<&[u8]>) -> Option<Parameter> {
    let text = value.map(std::str::from_utf8).transpose().ok()?.map(str::to_owned);
    let Some(data_type) = parameter(oid) else { return Some(Parameter::Text(text)) };
    let Some(text) = text else {
        return ScalarValue::try_from(&data_type).ok().map(Parameter::Typed);
    };
    let value = match &data_type {
        DataType::Boolean => ScalarValue::Boolean(Some(match text.as_str() {
            "t" | "true" | "1" | "on" | "yes" => true,
            "f" | "false" | "0" | "off" | "no" => false,
            _ => return None,
        })),
        DataType::Binary => return None,
        DataType::List(item) => {
            let items = list(&text)?;
            let items: ArrayRef = Arc::new(items.into_iter().collect::<StringArray>());
            one_row(arrow::compute::cast(&items, item.data_type()).ok()?)
        }
        data_type => ScalarValue::Utf8(Some(text)).cast_to(data_type).ok()?,
    };
    Some(Parameter::Typed(value))
}

fn binary(oid: u32, value: Option<&[u8]>) -> Option<Parameter> {
    let Some(bytes) = value else { return text(oid, None) };
    let kind = Type::from_oid(oid)?;
    let value = match kind {
        Type::BOOL => ScalarValue::Boolean(Some(*bytes.first()? != 0)),
        Type::INT2 => ScalarValue::Int16(Some(i16::from_be_bytes(bytes.try_into().ok()?))),
        Type::INT4 | Type::OID => {
            ScalarValue::Int32(Some(i32::from_be_bytes(bytes.try_into().ok()?)))
        }
        Type::INT8 => ScalarValue::Int64(Some(i64::from_be_bytes(bytes.try_into().ok()?))),
        Type::FLOAT4 => ScalarValue::Float32(Some(f32::from_be_bytes(bytes.try_into().ok()?))),
        Type::FLOAT8 => ScalarValue::Float64(Some(f64::from_be_bytes(bytes.try_into().ok()?))),
        Type::BYTEA => ScalarValue::Binary(Some(bytes.to_vec())),
        Type::DATE => {
            let days = i32::from_be_bytes(bytes.try_into().ok()?);
            ScalarValue::Date32(Some(days.checked_add(10_957)?))
        }
        Type::TIMESTAMP | Type::TIMESTAMPTZ => {
            let us = i64::from_be_bytes(bytes.try_into().ok()?).checked_add(EPOCH_US)?;
            let zone = (kind == Type::TIMESTAMPTZ).then(|| "UTC".into());
            ScalarValue::TimestampNanosecond(Some(us.checked_mul(1000)?), zone)
        }
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN => {
            let text = std::str::from_utf8(bytes).ok()?;
            return Some(if kind == Type::UNKNOWN {
                Parameter::Text(Some(text.to_owned()))
            } else {
                Parameter::Typed(ScalarValue::Utf8(Some(text.to_owned())))
            });
        }
        Type::TEXT_ARRAY
        | Type::VARCHAR_ARRAY
        | Type::INT2_ARRAY
        | Type::INT4_ARRAY
        | Type::INT8_ARRAY
        | Type::FLOAT8_ARRAY
        | Type::BOOL_ARRAY => one_row(array(bytes)?),
        _ => return None,
    };
    Some(Parameter::Typed(value))
}

fn one_row(items: ArrayRef) -> ScalarValue {
    SingleRowListArrayBuilder::new(items).build_list_scalar()
}

/// An array of one dimension, as `array_recv` has it.
fn array(bytes: &[u8]) -> Option<ArrayRef> {
    let number = |at: usize| Some(i32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (dimensions, item) = (number(0)?, Type::from_oid(number(8)?.cast_unsigned())?);
    let count = match dimensions {
        0 => 0,
        1 => usize::try_from(number(12)?).ok()?,
        _ => return None,
    };
    let mut rest = bytes.get(20..).unwrap_or_default();
    // Each item has at least its length.
    let mut items = Vec::with_capacity(count.min(rest.len() / 4));
    for _ in 0..count {
        let (length, behind) = rest.split_at_checked(4)?;
        let length = i32::from_be_bytes(length.try_into().ok()?);
        let Ok(length) = usize::try_from(length) else {
            items.push(None);
            rest = behind;
            continue;
        };
        let (value, behind) = behind.split_at_checked(length)?;
        items.push(Some(value));
        rest = behind;
    }
    let all = |sized: usize| items.iter().flatten().all(|item| item.len() == sized);
    macro_rules! numbers {
        ($array:ident, $type:ty) => {{
            if !all(size_of::<$type>()) {
                return None;
            }
            let values =
                items.iter().map(|item| Some(<$type>::from_be_bytes((*item)?.try_into().ok()?)));
            Arc::new(values.collect::<$array>()) as ArrayRef
        }};
    }
    Some(match item {
        Type::INT2 => numbers!(Int16Array, i16),
        Type::INT4 => numbers!(Int32Array, i32),
        Type::INT8 => numbers!(Int64Array, i64),
        Type::FLOAT8 => numbers!(Float64Array, f64),
        Type::BOOL if all(1) => Arc::new(
            items.iter().map(|item| item.map(|item| item[0] != 0)).collect::<BooleanArray>(),
        ),
        Type::TEXT | Type::VARCHAR => {
            let texts = items.iter().map(|item| item.map(std::str::from_utf8).transpose());
            Arc::new(texts.collect::<Result<StringArray, _>>().ok()?)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read() {
        let mut bytes = Vec::new();
        for number in [1, 0, 23, 2, 1, 4, 7, -1_i32] {
            bytes.extend(number.to_be_bytes());
        }
        assert_eq!(array(&bytes).unwrap().as_ref(), &Int32Array::from(vec![Some(7), None]));
        assert!(array(&bytes[..bytes.len() - 1]).is_none());
        bytes[12..16].copy_from_slice(&i32::MAX.to_be_bytes());
        assert!(array(&bytes).is_none());
    }

    #[test]
    fn what_is_no_number_is_refused() {
        let bind = |value: &[u8], format| Bind {
            values: vec![Some(value.to_vec())],
            formats: vec![format],
            ..Bind::default()
        };
        assert_eq!(
            parameters(&bind(b"443", 0), &[23]).unwrap(),
            [Parameter::Typed(ScalarValue::Int32(Some(443)))]
        );
        assert_eq!(
            parameters(&bind(b"443", 0), &[0]).unwrap(),
            [Parameter::Text(Some("443".into()))]
        );
        for (value, format, oid) in
            [(&b"x"[..], 0, 23), (b"\0", 1, 23), (b"\xff", 0, 25), (b"", 1, 16), (b"ab", 1, 869)]
        {
            assert!(parameters(&bind(value, format), &[oid]).is_err(), "{value:?} {oid}");
        }
    }
}
