//! Rows of `flows` on their way: as collectors send them and relays keep them until they are in files.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::stored_schema;

/// The stored columns with every list and map dictionary-encoded, as text is. A batch has few
/// different ones, and a pod's labels weigh more than all else in a row.
pub fn sent_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let sent = |field: &Arc<Field>| match field.data_type() {
            nested if nested.is_nested() => {
                let keyed =
                    DataType::Dictionary(Box::new(DataType::Int32), Box::new(nested.clone()));
                Arc::new(Field::new(field.name(), keyed, field.is_nullable()))
            }
            _ => field.clone(),
        };
        Arc::new(Schema::new(stored_schema().fields().iter().map(sent).collect::<Vec<_>>()))
    });
    SCHEMA.clone()
}

#[cfg(test)]
mod tests {
    use crate::Flow;
    use crate::schema::{FIXUPS, SCHEMA_VERSION, conform};
    use crate::synthetic::{Synthetic, SyntheticOptions};

    use super::*;

    #[test]
    fn sent_rows_are_read_and_become_stored_ones() {
        let mut synthetic = Synthetic::new(&SyntheticOptions::default());
        let sent = synthetic.batch(1000, 1_700_000_000_000_000_000, 1_000_000_000);
        assert_eq!(sent.schema(), sent_schema());
        let stored = conform(&sent, &stored_schema(), SCHEMA_VERSION, FIXUPS).unwrap();
        assert_eq!(stored.schema(), stored_schema());
        assert_eq!(Flow::read(&sent).unwrap(), Flow::read(&stored).unwrap());
    }
}
