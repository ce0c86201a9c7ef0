//! `GET /openapi.json`: what the HTTP door answers to what. A file has the calls; what rows look like comes
//! from the tables of columns.

use std::sync::LazyLock;

use arrow::datatypes::DataType;
use axum::Json;
use serde_json::{Map, Value, json};
use weir_flow::Column;
use weir_flow::schema::tables;

/// The tables whose rows have a name there.
const ROWS: [(&str, &str); 4] = [
    ("flows", "FlowRow"),
    ("loss", "LossRow"),
    ("policies", "PolicyRow"),
    ("endpoints", "EndpointRow"),
];

/// The document.
static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let mut document: Value = serde_json::from_str(include_str!("openapi.json"))
        .expect("the file is a part of the program, and a test reads it");
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    for (table, name) in ROWS {
        let columns = tables().into_iter().find(|known| known.name == table);
        let columns = columns.map(|known| known.columns).unwrap_or_default();
        document["components"]["schemas"][name] = row(columns);
    }
    document
});

pub(super) async fn show() -> Json<Value> {
    Json(DOCUMENT.clone())
}

/// `GET /api/v1/flows, POST /api/v1/sql` and so on.
pub(super) fn calls() -> String {
    let paths = DOCUMENT["paths"].as_object().into_iter().flatten();
    let calls = paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().into_iter().flat_map(Map::keys);
        methods.map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    calls.collect::<Vec<_>>().join(", ")
}

/// A row as JSON.
fn row(columns: &[Column]) -> Value {
    let mut properties = Map::new();
    for column in columns {
        let mut schema = value(&column.data_type);
        if column.nullable {
            schema["type"] = json!([schema["type"], "null"]);
        }
        schema["description"] = column.doc.into();
        properties.insert(column.name.into(), schema);
    }
    let required: Vec<&String> = properties.keys().collect();
    json!({
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": false,
    })
}

fn value(data_type: &DataType) -> Value {
    match data_type {
        DataType::Timestamp(..) => json!({"type": "string", "format": "date-time"}),
        DataType::UInt8 | DataType::UInt16 | DataType::UInt64 => {
            json!({"type": "integer", "minimum": 0})
        }
        DataType::Map(..) => json!({"type": "object", "additionalProperties": {"type": "string"}}),
        DataType::List(item) if matches!(item.data_type(), DataType::Struct(_)) => {
            json!({"type": "array", "items": {"$ref": "#/components/schemas/PolicyRule"}})
        }
        DataType::List(_) => json!({"type": "array", "items": {"type": "string"}}),
        _ => json!({"type": "string"}),
    }
}

#[cfg(test)]
mod tests;
