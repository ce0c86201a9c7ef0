//! Leaves out files that a filter on `time` or `end_time` excludes, by what the manifest says.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, TimestampNanosecondArray};
use arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, utils::conjunction};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use weir_flow::manifest::DataFile;

/// The files that may hold rows for which all filters are true.
pub(super) fn prune<'a>(
    session: &dyn Session,
    schema: &SchemaRef,
    filters: &[Expr],
    files: impl Iterator<Item = &'a DataFile>,
) -> Result<Vec<&'a DataFile>> {
    let files: Vec<&DataFile> = files.collect();
    let Some(filter) = conjunction(filters.iter().cloned()) else { return Ok(files) };
    let columns = DFSchema::try_from(schema.clone())?;
    let filter = session.create_physical_expr(filter, &columns)?;
    // A filter that says nothing of the times keeps every file.
    let builder = PruningPredicateBuilder::new().with_file_schema(schema.clone());
    let Some(predicate) = builder.build(filter) else { return Ok(files) };
    let kept = predicate.prune(&Times(&files))?;
    Ok(files.into_iter().zip(kept).filter_map(|(file, kept)| kept.then_some(file)).collect())
}

/// The manifest knows of each file its least `time` and its greatest `end_time`; both bound both
/// columns, as no row ends before it begins.
struct Times<'a>(&'a [&'a DataFile]);

impl Times<'_> {
    fn of(&self, column: &Column, time: impl Fn(&DataFile) -> i64) -> Option<ArrayRef> {
        if !matches!(column.name(), "time" | "end_time") {
            return None;
        }
        let times =
            TimestampNanosecondArray::from_iter_values(self.0.iter().map(|file| time(file)));
        Some(Arc::new(times.with_timezone("UTC")))
    }
}

impl PruningStatistics for Times<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.of(column, |file| file.min_time_ns)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.of(column, |file| file.max_time_ns)
    }

    fn num_containers(&self) -> usize {
        self.0.len()
    }

    fn null_counts(&self, _: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        None
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
