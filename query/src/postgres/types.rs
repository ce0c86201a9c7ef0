//! Which type of Postgres a column is told as.

use arrow::datatypes::{DataType, IntervalUnit, SchemaRef, TimeUnit};
use pgwire::api::Type;
use pgwire::messages::data::{FieldDescription, RowDescription};

/// How the values of a column are sent. Unsigned numbers are sent as the next larger type that holds all of
/// them, times by the microsecond, and what has no counterpart as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int2,
    Int4,
    Int8,
    Numeric,
    Float4,
    Float8,
    Text,
    Bytes,
    Date,
    Time,
    Timestamp { zoned: bool },
    Interval,
    Json,
    List(Box<Kind>),
}

impl Kind {
    pub(super) fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Dictionary(_, values) => Self::of(values),
            DataType::Boolean => Self::Bool,
            DataType::Int8 | DataType::UInt8 | DataType::Int16 => Self::Int2,
            DataType::UInt16 | DataType::Int32 => Self::Int4,
            DataType::UInt32 | DataType::Int64 => Self::Int8,
            DataType::UInt64
            | DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..) => Self::Numeric,
            DataType::Float16 | DataType::Float32 => Self::Float4,
            DataType::Float64 => Self::Float8,
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => Self::Bytes,
            DataType::Date32 | DataType::Date64 => Self::Date,
            DataType::Time32(_) | DataType::Time64(_) => Self::Time,
            DataType::Timestamp(_, zone) => Self::Timestamp { zoned: zone.is_some() },
            DataType::Interval(_) | DataType::Duration(_) => Self::Interval,
            DataType::List(item) | DataType::LargeList(item) => match Self::of(item.data_type()) {
                Self::Json | Self::List(_) => Self::Json,
                plain => Self::List(Box::new(plain)),
            },
            DataType::Struct(_) | DataType::Map(..) => Self::Json,
            _ => Self::Text,
        }
    }

    /// What the values are cast to before they are written; numbers of `Numeric` as text.
    pub(super) fn canonical(&self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int2 => DataType::Int16,
            Self::Int4 => DataType::Int32,
            Self::Int8 => DataType::Int64,
            Self::Float4 => DataType::Float32,
            Self::Float8 => DataType::Float64,
            Self::Numeric | Self::Text | Self::Json | Self::List(_) => DataType::Utf8,
            Self::Bytes => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp { .. } => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
        }
    }

    pub(super) fn postgres(&self) -> Type {
        match self {
            Self::Bool => Type::BOOL,
            Self::Int2 => Type::INT2,
            Self::Int4 => Type::INT4,
            Self::Int8 => Type::INT8,
            Self::Numeric => Type::NUMERIC,
            Self::Float4 => Type::FLOAT4,
            Self::Float8 => Type::FLOAT8,
            Self::Text => Type::TEXT,
            Self::Bytes => Type::BYTEA,
            Self::Date => Type::DATE,
            Self::Time => Type::TIME,
            Self::Timestamp { zoned: true } => Type::TIMESTAMPTZ,
            Self::Timestamp { zoned: false } => Type::TIMESTAMP,
            Self::Interval => Type::INTERVAL,
            Self::Json => Type::JSONB,
            Self::List(item) => match item.as_ref() {
                Self::Bool => Type::BOOL_ARRAY,
                Self::Int2 => Type::INT2_ARRAY,
                Self::Int4 => Type::INT4_ARRAY,
                Self::Int8 => Type::INT8_ARRAY,
                Self::Numeric => Type::NUMERIC_ARRAY,
                Self::Float4 => Type::FLOAT4_ARRAY,
                Self::Float8 => Type::FLOAT8_ARRAY,
                Self::Bytes => Type::BYTEA_ARRAY,
                Self::Date => Type::DATE_ARRAY,
                Self::Time => Type::TIME_ARRAY,
                Self::Timestamp { zoned: true } => Type::TIMESTAMPTZ_ARRAY,
                Self::Timestamp { zoned: false } => Type::TIMESTAMP_ARRAY,
                Self::Interval => Type::INTERVAL_ARRAY,
                Self::Text | Self::Json | Self::List(_) => Type::TEXT_ARRAY,
            },
        }
    }

    /// Bytes of a value, -1 where they differ (pg_type.typlen).
    fn size(&self) -> i16 {
        match self {
            Self::Bool => 1,
            Self::Int2 => 2,
            Self::Int4 | Self::Float4 | Self::Date => 4,
            Self::Int8 | Self::Float8 | Self::Time | Self::Timestamp { .. } => 8,
            Self::Interval => 16,
            Self::Numeric | Self::Text | Self::Bytes | Self::Json | Self::List(_) => -1,
        }
    }
}

/// A column's type as `information_schema.columns` tells it.
pub(crate) struct SqlType {
    /// As the standard calls it, or Postgres (`data_type`).
    pub(crate) name: &'static str,
    /// As Postgres has it in its catalog (`udt_name`).
    pub(crate) internal: String,
    pub(crate) precision: Option<i32>,
    pub(crate) radix: Option<i32>,
    pub(crate) scale: Option<i32>,
    pub(crate) datetime_precision: Option<i32>,
}

impl SqlType {
    pub(crate) fn of(data_type: &DataType) -> Self {
        let kind = Kind::of(data_type);
        let (precision, radix, scale) = match kind {
            Kind::Int2 => (Some(16), Some(2), Some(0)),
            Kind::Int4 => (Some(32), Some(2), Some(0)),
            Kind::Int8 => (Some(64), Some(2), Some(0)),
            Kind::Float4 => (Some(24), Some(2), None),
            Kind::Float8 => (Some(53), Some(2), None),
            Kind::Numeric => (None, Some(10), None),
            _ => (None, None, None),
        };
        let datetime_precision = match kind {
            Kind::Date => Some(0),
            Kind::Time | Kind::Timestamp { .. } | Kind::Interval => Some(6),
            _ => None,
        };
        let name = match kind {
            Kind::Bool => "boolean",
            Kind::Int2 => "smallint",
            Kind::Int4 => "integer",
            Kind::Int8 => "bigint",
            Kind::Numeric => "numeric",
            Kind::Float4 => "real",
            Kind::Float8 => "double precision",
            Kind::Text => "text",
            Kind::Bytes => "bytea",
            Kind::Date => "date",
            Kind::Time => "time without time zone",
            Kind::Timestamp { zoned: true } => "timestamp with time zone",
            Kind::Timestamp { zoned: false } => "timestamp without time zone",
            Kind::Interval => "interval",
            Kind::Json => "jsonb",
            Kind::List(_) => "ARRAY",
        };
        Self {
            name,
            internal: kind.postgres().name().to_owned(),
            precision,
            radix,
            scale,
            datetime_precision,
        }
    }
}

/// Which columns a client wants in binary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Formats(pub(super) Vec<i16>);

impl Formats {
    /// No format means text, one is for all.
    pub(super) fn is_binary(&self, column: usize) -> bool {
        match self.0.as_slice() {
            [one] => *one == 1,
            formats => formats.get(column) == Some(&1),
        }
    }
}

/// The columns, as they are told before the rows.
pub(super) fn description(schema: &SchemaRef, formats: &Formats) -> RowDescription {
    let fields = schema.fields().iter().enumerate().map(|(at, field)| {
        let kind = Kind::of(field.data_type());
        let name = field.name().replace('\0', " ");
        let format = i16::from(formats.is_binary(at));
        FieldDescription::new(name, 0, 0, kind.postgres().oid(), kind.size(), -1, format)
    });
    RowDescription::new(fields.collect())
}

/// The type of a parameter whose type the client says; `None` if it leaves that open.
pub(super) fn parameter(oid: u32) -> Option<DataType> {
    let data_type = match Type::from_oid(oid)? {
        Type::BOOL => DataType::Boolean,
        Type::INT2 => DataType::Int16,
        Type::INT4 | Type::OID => DataType::Int32,
        Type::INT8 => DataType::Int64,
        Type::FLOAT4 => DataType::Float32,
        Type::FLOAT8 => DataType::Float64,
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME => DataType::Utf8,
        Type::BYTEA => DataType::Binary,
        Type::DATE => DataType::Date32,
        Type::TIMESTAMP => DataType::Timestamp(TimeUnit::Nanosecond, None),
        Type::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
        Type::TEXT_ARRAY | Type::VARCHAR_ARRAY => DataType::new_list(DataType::Utf8, true),
        Type::INT2_ARRAY => DataType::new_list(DataType::Int16, true),
        Type::INT4_ARRAY => DataType::new_list(DataType::Int32, true),
        Type::INT8_ARRAY => DataType::new_list(DataType::Int64, true),
        Type::FLOAT8_ARRAY => DataType::new_list(DataType::Float64, true),
        _ => return None,
    };
    Some(data_type)
}
