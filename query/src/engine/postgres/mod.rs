//! What a session has more where clients of Postgres ask: `pg_catalog`, `information_schema`, and the
//! functions that questions about them use.
//!
//! Numbers of tables have to stay what they are from one statement to the next, so the catalog is made
//! once. It knows names and columns only, and those are the same for everybody.

mod current_setting;
mod information_schema;

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList,
    MemorySchemaProvider, SchemaProvider,
};
use datafusion::common::ScalarValue;
use datafusion::datasource::empty::EmptyTable;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use datafusion::prelude::SessionContext;
use datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_pg_catalog::setup_pg_catalog;

use crate::error::QueryError;
use information_schema::INFORMATION_SCHEMA;

/// The version of Postgres whose catalogs and messages clients find here.
pub(crate) const SERVER_VERSION: &str = "15.12";
/// The schema of its catalogs.
const PG_CATALOG: &str = "pg_catalog";
/// The schema of the tables.
const SCHEMA: &str = "public";

/// A session for clients of Postgres.
#[derive(Debug)]
pub(super) struct PostgresSession {
    pub(super) state: SessionState,
    /// Further schemas, by their names.
    pub(super) schemas: [(&'static str, Arc<dyn SchemaProvider>); 2],
}

impl PostgresSession {
    /// From a session that all share, and a query's tables.
    pub(super) async fn new(
        state: &SessionState,
        tables: &dyn SchemaProvider,
    ) -> Result<Self, QueryError> {
        let schema = MemorySchemaProvider::new();
        let mut names = tables.table_names();
        names.sort_unstable();
        let mut columns = Vec::new();
        for name in names {
            let Some(table) = tables.table(&name).await? else { continue };
            columns.push((name.clone(), table.schema()));
            schema.register_table(name, Arc::new(EmptyTable::new(table.schema())))?;
        }
        let options = &state.config_options().catalog;
        let name = options.default_catalog.clone();
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema(&options.default_schema, Arc::new(schema))?;
        let catalogs = MemoryCatalogProviderList::new();
        catalogs.register_catalog(name.clone(), Arc::new(catalog));
        let mut state = SessionStateBuilder::new_from_existing(state.clone()).build();
        state.register_catalog_list(Arc::new(catalogs));
        let context = SessionContext::new_with_state(state);
        setup_pg_catalog(&context, &name, EmptyContextProvider).map_err(|error| *error)?;
        for (name, arguments, value) in constants() {
            context.register_udf(constant(name, arguments, value));
        }
        context.register_udf(current_setting::function());
        let missing = || QueryError::Internal("the catalog of Postgres is not there".into());
        let catalog = context.catalog(&name).and_then(|catalog| catalog.schema(PG_CATALOG));
        let schemas = [
            (PG_CATALOG, catalog.ok_or_else(missing)?),
            (INFORMATION_SCHEMA, information_schema::of(&name, &columns)?),
        ];
        Ok(Self { state: context.state(), schemas })
    }
}

/// Functions that say whether an object is found without its schema. All are.
const VISIBLE: [&str; 11] = [
    "pg_collation_is_visible",
    "pg_conversion_is_visible",
    "pg_function_is_visible",
    "pg_opclass_is_visible",
    "pg_operator_is_visible",
    "pg_opfamily_is_visible",
    "pg_statistics_obj_is_visible",
    "pg_ts_config_is_visible",
    "pg_ts_dict_is_visible",
    "pg_ts_parser_is_visible",
    "pg_type_is_visible",
];

/// What questions of psql ask for and is the same for all.
fn constants() -> Vec<(&'static str, Vec<DataType>, ScalarValue)> {
    use DataType::{Int32, Int64, Utf8};
    let none = ScalarValue::Utf8(None);
    let visible = VISIBLE.map(|name| (name, vec![Int32], ScalarValue::Boolean(Some(true))));
    let others = [
        ("version", vec![], ScalarValue::Utf8(Some(version()))),
        ("col_description", vec![Int32, Int32], none.clone()),
        ("obj_description", vec![Int32, Utf8], none.clone()),
        ("shobj_description", vec![Int32, Utf8], none.clone()),
        ("pg_get_viewdef", vec![Int32], none.clone()),
        ("pg_get_function_result", vec![Int32], none.clone()),
        ("pg_get_function_arguments", vec![Int32], none.clone()),
        ("pg_get_function_sqlbody", vec![Int32], none.clone()),
        ("pg_tablespace_location", vec![Int32], none.clone()),
        ("pg_size_pretty", vec![Int64], none),
        ("pg_table_size", vec![Int32], ScalarValue::Int64(None)),
        ("pg_database_size", vec![Utf8], ScalarValue::Int64(None)),
    ];
    others.into_iter().chain(visible).collect()
}

/// A function that always says the same.
fn constant(name: &str, arguments: Vec<DataType>, value: ScalarValue) -> ScalarUDF {
    let data_type = value.data_type();
    let says = Arc::new(move |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(value.clone())));
    create_udf(name, arguments, data_type, Volatility::Immutable, says)
}

/// What `version()` says; clients look for the number behind the first word.
fn version() -> String {
    format!("PostgreSQL {SERVER_VERSION} (Weir {})", env!("CARGO_PKG_VERSION"))
}
