//! `text_of`, `integer_of` and their siblings: conversions that give null where there is nothing to
//! convert to; `time_bucket('5m', time)`.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray as _, BooleanArray, Float64Array, Int64Array, StringArray,
    TimestampNanosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit, TimestampNanosecondType};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use jiff::tz::TimeZone;

use super::scalar::{constant, invalid, map_first};
use super::units::{duration_ns, time_text, time_text_in, timestamp_ns};

/// What a value is converted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    Text,
    Integer,
    Float,
    Boolean,
    /// A time in UTC.
    Time,
    /// Nanoseconds.
    Duration,
}

impl Target {
    pub(crate) const ALL: [Self; 6] =
        [Self::Text, Self::Integer, Self::Float, Self::Boolean, Self::Time, Self::Duration];

    const fn function_name(self) -> &'static str {
        match self {
            Self::Text => "text_of",
            Self::Integer => "integer_of",
            Self::Float => "float_of",
            Self::Boolean => "boolean_of",
            Self::Time => "time_of",
            Self::Duration => "duration_ns_of",
        }
    }

    fn data_type(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Integer | Self::Duration => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Boolean => DataType::Boolean,
            Self::Time => utc(),
        }
    }

    fn of_texts(self, texts: &StringArray) -> ArrayRef {
        let texts = texts.iter();
        match self {
            Self::Text => Arc::new(texts.collect::<StringArray>()),
            Self::Integer => Arc::new(texts.map(|text| integer(text?)).collect::<Int64Array>()),
            Self::Float => {
                let float = |text: Option<&str>| {
                    text?.trim().parse::<f64>().ok().filter(|number| number.is_finite())
                };
                Arc::new(texts.map(float).collect::<Float64Array>())
            }
            Self::Boolean => Arc::new(texts.map(|text| boolean(text?)).collect::<BooleanArray>()),
            Self::Time => {
                let times = texts.map(|text| timestamp_ns(text?));
                Arc::new(times.collect::<TimestampNanosecondArray>().with_timezone("UTC"))
            }
            Self::Duration => {
                Arc::new(texts.map(|text| duration_ns(text?)).collect::<Int64Array>())
            }
        }
    }
}

fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

fn integer(text: &str) -> Option<i64> {
    let text = text.trim();
    text.parse().ok().or_else(|| {
        let number = text.parse::<f64>().ok()?.trunc();
        // Beyond that the engine's own conversion would not say the same number.
        (number.abs() < 9_007_199_254_740_992.0).then(|| format!("{number:.0}").parse().ok())?
    })
}

/// A truth, in any case of its letters.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// A conversion as a function of a value; `text_of` may be given a time zone.
pub(crate) fn function(target: Target) -> ScalarUDF {
    let signature = Signature::variadic_any(Volatility::Immutable);
    ScalarUDF::new_from_impl(Convert { target, signature })
}

/// A time zone by its IANA name, or what is wrong with it.
pub(crate) fn zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| {
        format!("{name:?} is no time zone: write it like \"UTC\" or \"America/New_York\"")
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Convert {
    target: Target,
    signature: Signature,
}

impl ScalarUDFImpl for Convert {
    fn name(&self) -> &str {
        self.target.function_name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.target.data_type())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let zone = match (self.target, args.args.len()) {
            (_, 1) => None,
            (Target::Text, 2) => Some(zone(constant(self.name(), &args, 1)?).map_err(invalid)?),
            _ => return Err(invalid(format!("{}() takes one value", self.name()))),
        };
        map_first(&args, |array| {
            if self.target == Target::Time && matches!(array.data_type(), DataType::Timestamp(..)) {
                return Ok(cast(array, &utc())?);
            }
            Ok(self.target.of_texts(&texts(array, zone.as_ref())?))
        })
    }
}

/// Values as texts; times in a zone, or in UTC.
pub(super) fn texts(array: &ArrayRef, zone: Option<&TimeZone>) -> Result<StringArray> {
    if !matches!(array.data_type(), DataType::Timestamp(..)) {
        return Ok(cast(array, &DataType::Utf8)?.as_string::<i32>().clone());
    }
    let times = cast(array, &utc())?;
    let times = times.as_primitive::<TimestampNanosecondType>();
    let text = |time| match zone {
        None => time_text(time),
        Some(zone) => time_text_in(time, zone),
    };
    Ok(times.iter().map(|time| time.map(text)).collect())
}

/// The begin of the bucket of that width in which a time is; buckets begin at 1970.
pub(crate) fn time_bucket() -> ScalarUDF {
    ScalarUDF::new_from_impl(TimeBucket { signature: Signature::any(2, Volatility::Immutable) })
}

/// The width of buckets, nanoseconds.
pub(crate) fn bucket_ns(text: &str) -> Option<i64> {
    let days = || text.strip_suffix('d')?.parse::<i64>().ok()?.checked_mul(86_400_000_000_000);
    duration_ns(text).or_else(days).filter(|width| *width > 0)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TimeBucket {
    signature: Signature,
}

impl ScalarUDFImpl for TimeBucket {
    fn name(&self) -> &'static str {
        "time_bucket"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(utc())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let text = constant(self.name(), &args, 0)?;
        let width = bucket_ns(text).ok_or_else(|| {
            invalid(format!("{text:?} is no width: write it like '30s', '5m', '1h' or '1d'"))
        })?;
        let time = args.args.get(1).ok_or_else(|| invalid("time_bucket() takes a time"))?;
        let times = cast(&time.to_array(args.number_rows)?, &utc())?;
        let times = times.as_primitive::<TimestampNanosecondType>();
        let begin = |time: i64| time.saturating_sub(time.rem_euclid(width));
        let begins: TimestampNanosecondArray = times.iter().map(|time| time.map(begin)).collect();
        Ok(ColumnarValue::Array(Arc::new(begins.with_timezone("UTC"))))
    }
}
