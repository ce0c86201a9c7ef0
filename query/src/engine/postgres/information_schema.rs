//! `information_schema` of the SQL standard (ISO/IEC 9075-11) as Postgres has it: what tools that draw tables and
//! columns ask. There are no views, keys or constraints.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, StringArray, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::catalog::{MemTable, MemorySchemaProvider, SchemaProvider};
use datafusion::error::Result;

use super::{PG_CATALOG, SCHEMA};
use crate::postgres::types::SqlType;

/// The schema's name.
pub(in crate::engine) const INFORMATION_SCHEMA: &str = "information_schema";

/// Views without a row, and their columns.
const EMPTY: [(&str, &str); 4] = [
    (
        "views",
        "table_catalog table_schema table_name view_definition check_option is_updatable is_insertable_into \
         is_trigger_updatable is_trigger_deletable is_trigger_insertable_into",
    ),
    (
        "table_constraints",
        "constraint_catalog constraint_schema constraint_name table_catalog table_schema table_name \
         constraint_type is_deferrable initially_deferred enforced nulls_distinct",
    ),
    (
        "key_column_usage",
        "constraint_catalog constraint_schema constraint_name table_catalog table_schema table_name column_name \
         ordinal_position position_in_unique_constraint",
    ),
    (
        "referential_constraints",
        "constraint_catalog constraint_schema constraint_name unique_constraint_catalog \
         unique_constraint_schema unique_constraint_name match_option update_rule delete_rule",
    ),
];

/// The schema for a catalog with these tables.
pub(super) fn of(catalog: &str, tables: &[(String, SchemaRef)]) -> Result<Arc<dyn SchemaProvider>> {
    let schema = MemorySchemaProvider::new();
    for (name, view) in [
        ("schemata", schemata(catalog)),
        ("tables", tables_of(catalog, tables)),
        ("columns", columns_of(catalog, tables)),
    ] {
        schema.register_table(name.to_owned(), view.table()?)?;
    }
    for (name, columns) in EMPTY {
        let columns = columns.split_whitespace();
        let view = columns.fold(View::of(0), |view, column| view.nulls(&[column]));
        schema.register_table(name.to_owned(), view.table()?)?;
    }
    Ok(Arc::new(schema))
}

fn schemata(catalog: &str) -> View {
    let names = [SCHEMA, PG_CATALOG, INFORMATION_SCHEMA];
    View::of(names.len())
        .same("catalog_name", catalog)
        .texts("schema_name", names)
        .same("schema_owner", "weir")
        .nulls(&["default_character_set_catalog", "default_character_set_schema"])
        .nulls(&["default_character_set_name", "sql_path"])
}

fn tables_of(catalog: &str, tables: &[(String, SchemaRef)]) -> View {
    View::of(tables.len())
        .same("table_catalog", catalog)
        .same("table_schema", SCHEMA)
        .texts("table_name", tables.iter().map(|(name, _)| name.as_str()))
        .same("table_type", "BASE TABLE")
        .nulls(&["self_referencing_column_name", "reference_generation"])
        .nulls(&["user_defined_type_catalog", "user_defined_type_schema", "user_defined_type_name"])
        .same("is_insertable_into", "NO")
        .same("is_typed", "NO")
        .nulls(&["commit_action"])
}

/// One row a column of a table.
struct Row<'a> {
    table: &'a str,
    field: &'a Field,
    /// From 1.
    place: i32,
    sql_type: SqlType,
}

fn columns_of(catalog: &str, tables: &[(String, SchemaRef)]) -> View {
    let rows = tables.iter().flat_map(|(table, schema)| {
        schema.fields().iter().zip(1..).map(move |(field, place)| Row {
            table,
            field,
            place,
            sql_type: SqlType::of(field.data_type()),
        })
    });
    let rows: Vec<Row<'_>> = rows.collect();
    let is_nullable = |row: &Row<'_>| if row.field.is_nullable() { "YES" } else { "NO" };
    View::of(rows.len())
        .same("table_catalog", catalog)
        .same("table_schema", SCHEMA)
        .texts("table_name", rows.iter().map(|row| row.table))
        .texts("column_name", rows.iter().map(|row| row.field.name().as_str()))
        .numbers("ordinal_position", rows.iter().map(|row| Some(row.place)))
        .nulls(&["column_default"])
        .texts("is_nullable", rows.iter().map(is_nullable))
        .texts("data_type", rows.iter().map(|row| row.sql_type.name))
        .nulls(&["character_maximum_length", "character_octet_length"])
        .numbers("numeric_precision", rows.iter().map(|row| row.sql_type.precision))
        .numbers("numeric_precision_radix", rows.iter().map(|row| row.sql_type.radix))
        .numbers("numeric_scale", rows.iter().map(|row| row.sql_type.scale))
        .numbers("datetime_precision", rows.iter().map(|row| row.sql_type.datetime_precision))
        .nulls(&["interval_type", "interval_precision", "character_set_catalog"])
        .nulls(&["character_set_schema", "character_set_name", "collation_catalog"])
        .nulls(&["collation_schema", "collation_name", "domain_catalog", "domain_schema"])
        .nulls(&["domain_name"])
        .same("udt_catalog", catalog)
        .same("udt_schema", PG_CATALOG)
        .texts("udt_name", rows.iter().map(|row| &row.sql_type.internal))
        .nulls(&["scope_catalog", "scope_schema", "scope_name", "maximum_cardinality"])
        .texts("dtd_identifier", rows.iter().map(|row| row.place.to_string()))
        .same("is_self_referencing", "NO")
        .same("is_identity", "NO")
        .nulls(&["identity_generation", "identity_start", "identity_increment"])
        .nulls(&["identity_maximum", "identity_minimum"])
        .same("identity_cycle", "NO")
        .same("is_generated", "NEVER")
        .nulls(&["generation_expression"])
        .same("is_updatable", "NO")
}

/// A view as it is put together.
struct View {
    rows: usize,
    columns: Vec<(Field, ArrayRef)>,
}

impl View {
    fn of(rows: usize) -> Self {
        Self { rows, columns: Vec::new() }
    }

    fn column(mut self, name: &str, values: ArrayRef) -> Self {
        self.columns.push((Field::new(name, values.data_type().clone(), true), values));
        self
    }

    fn texts<T: AsRef<str>>(self, name: &str, values: impl IntoIterator<Item = T>) -> Self {
        self.column(name, Arc::new(StringArray::from_iter_values(values)))
    }

    fn same(self, name: &str, value: &str) -> Self {
        let rows = self.rows;
        self.texts(name, std::iter::repeat_n(value, rows))
    }

    fn numbers(self, name: &str, values: impl IntoIterator<Item = Option<i32>>) -> Self {
        self.column(name, Arc::new(Int32Array::from_iter(values)))
    }

    fn nulls(self, names: &[&str]) -> Self {
        let rows = self.rows;
        let add =
            |view: Self, name: &&str| view.column(name, new_null_array(&DataType::Utf8, rows));
        names.iter().fold(self, add)
    }

    fn table(self) -> Result<Arc<MemTable>> {
        let (fields, values): (Vec<Field>, Vec<ArrayRef>) = self.columns.into_iter().unzip();
        let schema = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new(schema.clone(), values)?;
        Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
    }
}
