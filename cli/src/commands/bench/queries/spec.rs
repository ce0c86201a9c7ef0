//! What is asked, in the words of each engine: `benches/queries.json`.

use serde::Deserialize;

/// The queries and the panels of a dashboard.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spec {
    pub(super) queries: Vec<Query>,
    pub(super) dashboard: Vec<Query>,
}

/// One query.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    pub(super) name: String,
    /// What it asks, for the reader of the table.
    #[serde(default)]
    pub(super) title: String,
    weir: String,
    /// Where the words are others than ours.
    duckdb: Option<String>,
    clickhouse: Option<String>,
}

/// Whose words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Weir,
    DuckDb,
    ClickHouse,
}

/// What stands in the places `{name}` of a query.
#[derive(Clone, Debug)]
pub(super) struct Values(pub(super) Vec<(&'static str, String)>);

impl Spec {
    pub(super) fn read() -> anyhow::Result<Self> {
        Ok(serde_json::from_str(include_str!("../../../../../benches/queries.json"))?)
    }

    /// The queries with their values.
    pub(super) fn queries(&self, dialect: Dialect, values: &Values) -> Vec<String> {
        self.queries.iter().map(|query| query.sql(dialect, values)).collect()
    }

    /// The panels of one dashboard.
    pub(super) fn panels(&self, dialect: Dialect, values: &Values) -> Vec<String> {
        self.dashboard.iter().map(|query| query.sql(dialect, values)).collect()
    }
}

impl Query {
    fn sql(&self, dialect: Dialect, values: &Values) -> String {
        let own = match dialect {
            Dialect::Weir => None,
            Dialect::DuckDb => self.duckdb.as_ref(),
            Dialect::ClickHouse => self.clickhouse.as_ref(),
        };
        let sql = own.unwrap_or(&self.weir).clone();
        values.0.iter().fold(sql, |sql, (name, value)| sql.replace(&format!("{{{name}}}"), value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_has_a_value() {
        let spec = Spec::read().unwrap();
        assert_eq!(spec.queries.len(), 8);
        let values = ["prefix", "port", "address", "from_ns", "namespace"];
        let values = Values(values.map(|name| (name, "1".to_owned())).to_vec());
        for dialect in [Dialect::Weir, Dialect::DuckDb, Dialect::ClickHouse] {
            for sql in [spec.queries(dialect, &values), spec.panels(dialect, &values)].concat() {
                assert!(!sql.contains(['{', '}']), "{sql}");
            }
        }
    }
}
