//! Keys of tables, which drivers ask for: there are none. The answers have their columns and no rows.
//!
//! Source: `FlightSql.proto`, `CommandGetPrimaryKeys` and `CommandGetExportedKeys`.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};

/// The answer about primary keys.
pub(super) fn primary() -> RecordBatch {
    empty(vec![
        Field::new("catalog_name", DataType::Utf8, true),
        Field::new("db_schema_name", DataType::Utf8, true),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("column_name", DataType::Utf8, false),
        Field::new("key_name", DataType::Utf8, true),
        Field::new("key_sequence", DataType::Int32, false),
    ])
}

/// The answer about foreign keys, whichever way they are asked for.
pub(super) fn foreign() -> RecordBatch {
    let of = |table: &str| {
        [
            ("catalog_name", true),
            ("db_schema_name", true),
            ("table_name", false),
            ("column_name", false),
        ]
        .map(|(name, nullable)| Field::new(format!("{table}_{name}"), DataType::Utf8, nullable))
    };
    let mut fields = [of("pk"), of("fk")].concat();
    fields.extend([
        Field::new("key_sequence", DataType::Int32, false),
        Field::new("fk_key_name", DataType::Utf8, true),
        Field::new("pk_key_name", DataType::Utf8, true),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ]);
    empty(fields)
}

fn empty(fields: Vec<Field>) -> RecordBatch {
    RecordBatch::new_empty(Schema::new(fields).into())
}
