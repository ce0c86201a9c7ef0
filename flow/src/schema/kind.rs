//! The kinds of column: for each its Rust value, its Arrow type, how to build and how to read it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::array::{
    Array, ArrayRef, AsArray, ListBuilder, MapBuilder, MapFieldNames, StringBuilder,
    StringDictionaryBuilder, StructBuilder, TimestampNanosecondBuilder, UInt8Builder,
    UInt16Builder, UInt32Builder, UInt64Builder,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Field, Fields, Int32Type, TimeUnit, TimestampNanosecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;
use serde::{Serialize, Serializer};

use crate::values::PolicyRule;

/// A pod's labels.
pub type LabelMap = BTreeMap<String, String>;

/// What a column of one kind is in Rust and in Arrow.
pub trait Kind {
    /// The field's type in `Flow`.
    type Value;
    /// Collects values.
    type Builder: Default;
    /// Whether the column may be null.
    const NULLABLE: bool;
    /// The Arrow type.
    fn data_type() -> DataType;
    /// Adds a value.
    fn append(builder: &mut Self::Builder, value: &Self::Value);
    /// The values as an array; the builder is empty again.
    fn finish(builder: &mut Self::Builder) -> ArrayRef;
    /// The value of a row; the array is of [`data_type`](Self::data_type).
    fn read(array: &ArrayRef, row: usize) -> Self::Value;
}

/// Finds a column and casts it to the kind's type.
pub(super) fn column_of<K: Kind>(batch: &RecordBatch, name: &str) -> Result<ArrayRef, ArrowError> {
    let array = batch
        .column_by_name(name)
        .ok_or_else(|| ArrowError::SchemaError(format!("column {name} is missing")))?;
    if array.data_type() == &K::data_type() {
        Ok(array.clone())
    } else {
        cast(array, &K::data_type())
    }
}

/// Nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimestampNs(pub i64);

impl fmt::Display for TimestampNs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(timestamp) => write!(f, "{timestamp:.9}"),
            Err(_) => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for TimestampNs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Kind for TimestampNs {
    type Value = TimestampNs;
    type Builder = TimestampNanosecondBuilder;
    const NULLABLE: bool = false;

    fn data_type() -> DataType {
        DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
    }

    fn append(builder: &mut Self::Builder, value: &Self::Value) {
        builder.append_value(value.0);
    }

    fn finish(builder: &mut Self::Builder) -> ArrayRef {
        Arc::new(builder.finish().with_timezone("UTC"))
    }

    fn read(array: &ArrayRef, row: usize) -> Self::Value {
        TimestampNs(array.as_primitive::<TimestampNanosecondType>().value(row))
    }
}

/// Nanoseconds since 1970-01-01T00:00:00Z, or null.
#[derive(Debug)]
pub struct TimestampNsOrNull;

impl Kind for TimestampNsOrNull {
    type Value = Option<TimestampNs>;
    type Builder = TimestampNanosecondBuilder;
    const NULLABLE: bool = true;

    fn data_type() -> DataType {
        TimestampNs::data_type()
    }

    fn append(builder: &mut Self::Builder, value: &Self::Value) {
        builder.append_option(value.map(|time| time.0));
    }

    fn finish(builder: &mut Self::Builder) -> ArrayRef {
        TimestampNs::finish(builder)
    }

    fn read(array: &ArrayRef, row: usize) -> Self::Value {
        array.is_valid(row).then(|| TimestampNs::read(array, row))
    }
}

/// Text, dictionary-encoded.
#[derive(Debug)]
pub struct Text;

impl Kind for Text {
    type Value = String;
    type Builder = StringDictionaryBuilder<Int32Type>;
    const NULLABLE: bool = false;

    fn data_type() -> DataType {
        DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
    }

    fn append(builder: &mut Self::Builder, value: &Self::Value) {
        builder.append_value(value);
    }

    fn finish(builder: &mut Self::Builder) -> ArrayRef {
        Arc::new(builder.finish())
    }

    fn read(array: &ArrayRef, row: usize) -> Self::Value {
        TextOrNull::read(array, row).unwrap_or_default()
    }
}

/// Text or null, dictionary-encoded.
#[derive(Debug)]
pub struct TextOrNull;

impl Kind for TextOrNull {
    type Value = Option<String>;
    type Builder = StringDictionaryBuilder<Int32Type>;
    const NULLABLE: bool = true;

    fn data_type() -> DataType {
        Text::data_type()
    }

    fn append(builder: &mut Self::Builder, value: &Self::Value) {
        builder.append_option(value.as_ref());
    }

    fn finish(builder: &mut Self::Builder) -> ArrayRef {
        Arc::new(builder.finish())
    }

    fn read(array: &ArrayRef, row: usize) -> Self::Value {
        let dictionary = array.as_dictionary::<Int32Type>();
        let key = dictionary.key(row)?;
        Some(dictionary.values().as_string::<i32>().value(key).to_owned())
    }
}

/// Defines a kind for a primitive type, required or nullable.
macro_rules! primitive {
    ($name:ident, $doc:literal, $value:ty, $builder:ty, $arrow:ty, required) => {
        primitive!(@define $name, $doc, $value, $builder, $arrow, false);

        impl Kind for $name {
            type Value = $value;
            primitive!(@common $builder, $arrow, false);

            fn append(builder: &mut Self::Builder, value: &Self::Value) {
                builder.append_value(*value);
            }

            fn read(array: &ArrayRef, row: usize) -> Self::Value {
                array.as_primitive::<$arrow>().value(row)
            }
        }
    };
    ($name:ident, $doc:literal, $value:ty, $builder:ty, $arrow:ty, nullable) => {
        primitive!(@define $name, $doc, $value, $builder, $arrow, true);

        impl Kind for $name {
            type Value = Option<$value>;
            primitive!(@common $builder, $arrow, true);

            fn append(builder: &mut Self::Builder, value: &Self::Value) {
                builder.append_option(*value);
            }

            fn read(array: &ArrayRef, row: usize) -> Self::Value {
                array.is_valid(row).then(|| array.as_primitive::<$arrow>().value(row))
            }
        }
    };
    (@define $name:ident, $doc:literal, $value:ty, $builder:ty, $arrow:ty, $nullable:literal) => {
        #[doc = $doc]
        #[derive(Debug)]
        pub struct $name;
    };
    (@common $builder:ty, $arrow:ty, $nullable:literal) => {
        type Builder = $builder;
        const NULLABLE: bool = $nullable;

        fn data_type() -> DataType {
            <$arrow as arrow::datatypes::ArrowPrimitiveType>::DATA_TYPE
        }

        fn finish(builder: &mut Self::Builder) -> ArrayRef {
            Arc::new(builder.finish())
        }
    };
}

primitive!(UInt8OrNull, "An 8-bit number or null.", u8, UInt8Builder, UInt8Type, nullable);
primitive!(UInt16OrNull, "A 16-bit number or null.", u16, UInt16Builder, UInt16Type, nullable);
primitive!(UInt64, "A 64-bit number.", u64, UInt64Builder, UInt64Type, required);
primitive!(UInt64OrNull, "A 64-bit number or null.", u64, UInt64Builder, UInt64Type, nullable);

/// A map of text to text, empty where nothing is known.
#[derive(Debug)]
pub struct Labels;

/// Builds maps with the field names that Parquet prescribes.
#[derive(Debug)]
pub struct LabelsBuilder(MapBuilder<StringBuilder, StringBuilder>);

impl Default for LabelsBuilder {
    fn default() -> Self {
        let names =
            MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
        Self(
            MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
                .with_values_field(Field::new("value", DataType::Utf8, true)),
        )
    }
}

impl Kind for Labels {
    type Value = LabelMap;
    type Builder = LabelsBuilder;
    const NULLABLE: bool = false;

    fn data_type() -> DataType {
        let entry = Fields::from(vec![
            Field::new("key", DataType::Utf8, false),
            Field::new("value", DataType::Utf8, true),
        ]);
        DataType::Map(Arc::new(Field::new("key_value", DataType::Struct(entry), false)), false)
    }

    fn append(builder: &mut Self::Builder, value: &Self::Value) {
        for (key, label) in value {
            builder.0.keys().append_value(key);
            builder.0.values().append_value(label);
        }
        builder.0.append(true).expect("keys and values are appended in pairs");
    }

    fn finish(builder: &mut Self::Builder) -> ArrayRef {
        Arc::new(builder.0.finish())
    }

    fn read(array: &ArrayRef, row: usize) -> Self::Value {
        let entries = array.as_map().value(row);
        let keys = entries.column(0).as_string::<i32>().clone();
        let values = entries.column(1).as_string::<i32>().clone();
        (0..entries.len())
            .map(|entry| (keys.value(entry).to_owned(), values.value(entry).to_owned()))
            .collect()
    }
}

/// A list of texts, empty where nothing is known.
#[derive(Debug)]
pub struct Names;

impl Kind for Names {
    type Value = Vec<String>;
    type Builder = NamesBuilder;
    const NULLABLE: bool = false;

    fn data_type() -> DataType {
        DataType::List(names_item())
    }

    fn append(builder: &mut Self::Builder, value: &Self::Value) {
        for name in value {
            builder.0.values().append_value(name);
        }
        builder.0.append(true);
    }

    fn finish(builder: &mut Self::Builder) -> ArrayRef {
        Arc::new(builder.0.finish())
    }

    fn read(array: &ArrayRef, row: usize) -> Self::Value {
        let names = array.as_list::<i32>().value(row);
        names.as_string::<i32>().iter().flatten().map(str::to_owned).collect()
    }
}

/// Builds lists whose item field is [`names_item`].
#[derive(Debug)]
pub struct NamesBuilder(ListBuilder<StringBuilder>);

impl Default for NamesBuilder {
    fn default() -> Self {
        Self(ListBuilder::new(StringBuilder::new()).with_field(names_item()))
    }
}

fn names_item() -> Arc<Field> {
    Arc::new(Field::new("element", DataType::Utf8, false))
}

/// A list of the rules that decided.
#[derive(Debug)]
pub struct Policies;

impl Kind for Policies {
    type Value = Vec<PolicyRule>;
    type Builder = PoliciesBuilder;
    const NULLABLE: bool = false;

    fn data_type() -> DataType {
        DataType::List(policies_item())
    }

    fn append(builder: &mut Self::Builder, value: &Self::Value) {
        let rules = builder.0.values();
        for policy in value {
            for (index, text) in [&policy.kind, &policy.namespace, &policy.name].iter().enumerate()
            {
                rules
                    .field_builder::<StringBuilder>(index)
                    .expect("the first three fields are text")
                    .append_value(text);
            }
            rules
                .field_builder::<UInt32Builder>(3)
                .expect("the fourth field is a number")
                .append_option(policy.rule);
            rules.append(true);
        }
        builder.0.append(true);
    }

    fn finish(builder: &mut Self::Builder) -> ArrayRef {
        Arc::new(builder.0.finish())
    }

    fn read(array: &ArrayRef, row: usize) -> Self::Value {
        let rules = array.as_list::<i32>().value(row);
        let rules = rules.as_struct();
        let text = |column: usize, rule: usize| {
            rules.column(column).as_string::<i32>().value(rule).to_owned()
        };
        let index = rules.column(3).as_primitive::<UInt32Type>();
        (0..rules.len())
            .map(|rule| PolicyRule {
                kind: text(0, rule),
                namespace: text(1, rule),
                name: text(2, rule),
                rule: index.is_valid(rule).then(|| index.value(rule)),
            })
            .collect()
    }
}

/// Builds lists of structs whose item field is [`policies_item`].
#[derive(Debug)]
pub struct PoliciesBuilder(ListBuilder<StructBuilder>);

impl Default for PoliciesBuilder {
    fn default() -> Self {
        Self(
            ListBuilder::new(StructBuilder::from_fields(policies_fields(), 0))
                .with_field(policies_item()),
        )
    }
}

fn policies_item() -> Arc<Field> {
    Arc::new(Field::new("element", DataType::Struct(policies_fields()), false))
}

fn policies_fields() -> Fields {
    Fields::from(vec![
        Field::new("kind", DataType::Utf8, false),
        Field::new("namespace", DataType::Utf8, false),
        Field::new("name", DataType::Utf8, false),
        Field::new("rule", DataType::UInt32, true),
    ])
}
