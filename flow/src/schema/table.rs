//! What a table is, and the macro that makes everything of it.

use arrow::datatypes::{DataType, Field};

use super::objects;

/// One column of a table.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its SQL name.
    pub name: &'static str,
    /// Its Arrow type.
    pub data_type: DataType,
    /// Whether it may be null.
    pub nullable: bool,
    /// Computed from other columns when read, never stored.
    pub derived: bool,
    /// What it means.
    pub doc: &'static str,
}

/// A table that can be queried.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Its SQL name.
    pub name: &'static str,
    /// What a row is.
    pub doc: &'static str,
    /// Its columns, in order.
    pub columns: &'static [Column],
}

/// Every table that can be queried.
pub fn tables() -> [Table; 7] {
    [
        Table {
            name: "flows",
            doc: "One row is what one observation point saw of one connection, or of one kind of denied attempt, \
                  in one interval. Counters are deltas.",
            columns: super::columns(),
        },
        Table {
            name: "connections",
            doc: "A view. One row is one connection, or one kind of denied attempt, with what both ends saw of it and counters counted \
                  once. Rows of two ends are of one connection if addresses and ports are the same and their begins are at most 2 s apart. \
                  Narrow it by `time`: what began before is not read. A connection of this moment may still be on its way from one of its ends.",
            columns: super::connections::connection_columns(),
        },
        Table {
            name: "edges_1m",
            doc: "One row is a part of what one kind of traffic between two workloads did in one minute; the whole is the sum over \
                  rows of equal key. Aggregates over `flows` that it can answer are answered from it by themselves, much faster.",
            columns: super::edges::edge_columns(),
        },
        Table {
            name: "loss",
            doc: "One row is what one stage lost in one interval, of one verdict, for one reason. What was judged is in \
                  `flows` or in here: packets judged = `sum(count)` of `flows` + `sum(count)` of the unit `verdicts`.",
            columns: super::loss::loss_columns(),
        },
        Table {
            name: "policies",
            doc: "One row is one version of one policy, as collectors saw it.",
            columns: objects::policy_columns(),
        },
        Table {
            name: "endpoints",
            doc: "One row is one version of one pod, as collectors saw it.",
            columns: objects::endpoint_columns(),
        },
        Table {
            name: "nodes",
            doc: "One row is one version of one node, as collectors saw it.",
            columns: objects::node_columns(),
        },
    ]
}

/// The Arrow fields of some columns.
pub(super) fn fields(columns: &[Column], keep: impl Fn(&Column) -> bool) -> Vec<Field> {
    columns
        .iter()
        .filter(|column| keep(column))
        .map(|column| Field::new(column.name, column.data_type.clone(), column.nullable))
        .collect()
}

/// Expands a table into the row's struct, the builder, the list of columns and the schema.
macro_rules! table {
    (
        $(#[$row_doc:meta])* row $row:ident;
        $(#[$builder_doc:meta])* builder $builder:ident;
        $(#[$columns_doc:meta])* columns $columns:ident;
        $(#[$schema_doc:meta])* schema $schema:ident;
        stored { $($name:ident: $kind:ident, $doc:literal;)+ }
        derived { $($derived:ident: $derived_kind:ident, $derived_doc:literal;)* }
    ) => {
        $(#[$row_doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $row {
            $(#[doc = $doc] pub $name: <$kind as $crate::schema::Kind>::Value,)+
        }

        $(#[$builder_doc])*
        #[derive(Default)]
        pub struct $builder {
            rows: usize,
            $($name: <$kind as $crate::schema::Kind>::Builder,)+
        }

        impl $builder {
            /// Adds a row.
            pub fn append(&mut self, row: &$row) {
                self.rows += 1;
                $(<$kind as $crate::schema::Kind>::append(&mut self.$name, &row.$name);)+
            }

            /// The rows added so far as a batch; the builder is empty again.
            pub fn finish(&mut self) -> ::arrow::array::RecordBatch {
                self.rows = 0;
                let columns: Vec<::arrow::array::ArrayRef> =
                    vec![$(<$kind as $crate::schema::Kind>::finish(&mut self.$name),)+];
                ::arrow::array::RecordBatch::try_new($schema(), columns)
                    .expect("builders and schema come from one table")
            }

            /// Rows added since the last [`finish`](Self::finish).
            pub fn len(&self) -> usize {
                self.rows
            }

            /// Whether no row was added since the last [`finish`](Self::finish).
            pub fn is_empty(&self) -> bool {
                self.rows == 0
            }
        }

        impl ::std::fmt::Debug for $builder {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.debug_struct(stringify!($builder)).field("rows", &self.rows).finish()
            }
        }

        impl $row {
            /// Reads all rows of a batch. Columns are found by name and cast to the table's types.
            ///
            /// # Errors
            /// A column is missing or has a type that does not cast.
            pub fn read(
                batch: &::arrow::array::RecordBatch,
            ) -> Result<Vec<Self>, ::arrow::error::ArrowError> {
                $(let $name = $crate::schema::kind::column_of::<$kind>(batch, stringify!($name))?;)+
                Ok((0..batch.num_rows())
                    .map(|row| Self {
                        $($name: <$kind as $crate::schema::Kind>::read(&$name, row),)+
                    })
                    .collect())
            }
        }

        $(#[$columns_doc])*
        pub fn $columns() -> &'static [$crate::schema::Column] {
            static COLUMNS: ::std::sync::LazyLock<Vec<$crate::schema::Column>> =
                ::std::sync::LazyLock::new(|| vec![
                    $($crate::schema::Column {
                        name: stringify!($name),
                        data_type: <$kind as $crate::schema::Kind>::data_type(),
                        nullable: <$kind as $crate::schema::Kind>::NULLABLE,
                        derived: false,
                        doc: $doc,
                    },)+
                    $($crate::schema::Column {
                        name: stringify!($derived),
                        data_type: <$derived_kind as $crate::schema::Kind>::data_type(),
                        nullable: <$derived_kind as $crate::schema::Kind>::NULLABLE,
                        derived: true,
                        doc: $derived_doc,
                    },)*
                ]);
            &COLUMNS
        }

        $(#[$schema_doc])*
        pub fn $schema() -> ::arrow::datatypes::SchemaRef {
            static SCHEMA: ::std::sync::LazyLock<::arrow::datatypes::SchemaRef> =
                ::std::sync::LazyLock::new(|| {
                    let fields = $crate::schema::table::fields($columns(), |column| !column.derived);
                    ::std::sync::Arc::new(::arrow::datatypes::Schema::new(fields))
                });
            SCHEMA.clone()
        }
    };
}
