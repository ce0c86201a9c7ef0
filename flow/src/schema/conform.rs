//! Rows of files of older versions as rows of this one.

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array};
use arrow::compute::{cast, take};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

use super::kind::{Kind, Text};

/// What stands in a column of a table that files of older versions do not have. Columns that may be
/// null need no entry: there they are null.
#[derive(Clone, Copy, Debug)]
pub struct Fixup {
    /// Its name.
    pub column: &'static str,
    /// The version that brought it.
    pub since: u32,
    /// What it says in rows of older files.
    pub text: &'static str,
}

/// Newest first. Version 1 is the first there is.
pub const FIXUPS: &[Fixup] = &[];

/// The batch with the columns of `schema`: found by name, cast where their type is another, null or as
/// the fix-ups say where they are not there. Other columns are left out.
///
/// # Errors
/// A column is missing that `version` should have, or does not cast.
pub fn conform(
    batch: &RecordBatch,
    schema: &SchemaRef,
    version: u32,
    fixups: &[Fixup],
) -> Result<RecordBatch, ArrowError> {
    if batch.schema_ref() == schema {
        return Ok(batch.clone());
    }
    let columns = schema
        .fields()
        .iter()
        .map(|field| {
            let name = field.name();
            if let Some(column) = batch.column_by_name(name) {
                return match column.data_type() == field.data_type() {
                    true => Ok(column.clone()),
                    false => cast(column, field.data_type()),
                };
            }
            let fixup = fixups.iter().find(|fixup| fixup.column == name && version < fixup.since);
            match fixup {
                Some(fixup) => same_text(fixup.text, batch.num_rows()),
                None if field.is_nullable() => {
                    Ok(new_null_array(field.data_type(), batch.num_rows()))
                }
                None => Err(ArrowError::SchemaError(format!(
                    "column {name} is missing, and version {version} of the columns has it"
                ))),
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
}

fn same_text(text: &str, rows: usize) -> Result<ArrayRef, ArrowError> {
    let mut builder = <Text as Kind>::Builder::default();
    Text::append(&mut builder, &text.to_owned());
    let one = Text::finish(&mut builder);
    take(&one, &UInt32Array::from_value(0, rows), None)
}

#[cfg(test)]
mod tests {
    use super::super::edges::{EdgeBuilder, EdgeRow, edge_schema};
    use super::*;

    fn edge() -> EdgeRow {
        EdgeRow {
            time: super::super::TimestampNs(60_000_000_000),
            cluster: "lab".into(),
            direction: "egress".into(),
            verdict: "allow".into(),
            reason: "policy".into(),
            policy: "default/a".into(),
            protocol: "TCP".into(),
            destination_port: Some(80),
            source_kind: "pod".into(),
            source_namespace: Some("a".into()),
            source_workload_kind: None,
            source_workload: None,
            destination_kind: "pod".into(),
            destination_namespace: None,
            destination_workload_kind: None,
            destination_workload: None,
            destination_service: None,
            flow_rows: 1,
            count: 2,
            packets: 3,
            bytes: 4,
            reply_packets: 5,
            reply_bytes: 6,
        }
    }

    fn without(names: &[&str]) -> RecordBatch {
        let mut builder = EdgeBuilder::default();
        builder.append(&edge());
        builder.append(&edge());
        let batch = builder.finish();
        let kept = batch.schema();
        let kept = kept.fields().iter().enumerate();
        let kept = kept.filter(|(_, field)| !names.contains(&field.name().as_str()));
        batch.project(&kept.map(|(index, _)| index).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn columns_of_later_versions_are_made() {
        let old = without(&["source_namespace", "reason"]);
        let fixups = [Fixup { column: "reason", since: 2, text: "unknown" }];
        let new = conform(&old, &edge_schema(), 1, &fixups).unwrap();
        let expected = EdgeRow { source_namespace: None, reason: "unknown".into(), ..edge() };
        assert_eq!(EdgeRow::read(&new).unwrap(), vec![expected.clone(), expected]);
        // A file that says it has the column and does not is damaged.
        let error = conform(&old, &edge_schema(), 2, &fixups).unwrap_err().to_string();
        assert!(error.contains("column reason is missing"), "{error}");
        assert!(conform(&old, &edge_schema(), 1, FIXUPS).is_err());
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        let batch = without(&[]);
        assert_eq!(conform(&batch, &edge_schema(), 1, FIXUPS).unwrap(), batch);
    }
}
