//! Leaves out files that a filter on `time`, `end_time` or `verdict` excludes, by what the manifest says.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, StringArray, TimestampNanosecondArray};
use arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, utils::conjunction};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use weir_flow::manifest::{DataFile, Verdicts};
use weir_flow::values::Verdict;

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
    // A filter that says nothing of what is known keeps every file.
    let builder = PruningPredicateBuilder::new().with_file_schema(schema.clone());
    let Some(predicate) = builder.build(filter) else { return Ok(files) };
    let kept = predicate.prune(&Known(&files))?;
    Ok(files.into_iter().zip(kept).filter_map(|(file, kept)| kept.then_some(file)).collect())
}

/// The manifest knows of each file its least `time` and its greatest `end_time`; both bound both
/// columns, as no row ends before it begins. It also knows which files have allows only.
struct Known<'a>(&'a [&'a DataFile]);

impl Known<'_> {
    fn of(&self, column: &Column, time: fn(&DataFile) -> i64) -> Option<ArrayRef> {
        match column.name() {
            "time" | "end_time" => {
                let times = self.0.iter().map(|file| time(file));
                let times = TimestampNanosecondArray::from_iter_values(times);
                Some(Arc::new(times.with_timezone("UTC")))
            }
            // Denies are of more than one verdict.
            "verdict" => {
                let only = |file: &&DataFile| {
                    (file.verdicts == Verdicts::Allow).then_some(Verdict::Allow.as_str())
                };
                Some(Arc::new(self.0.iter().map(only).collect::<StringArray>()))
            }
            _ => None,
        }
    }
}

impl PruningStatistics for Known<'_> {
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

#[cfg(test)]
mod tests {
    use datafusion::prelude::{SessionContext, col, lit};
    use weir_flow::schema::stored_schema;

    use super::*;

    #[test]
    fn files_are_left_out_by_time_and_verdict() {
        let file = |name: &str, verdicts, times: (i64, i64)| DataFile {
            path: name.into(),
            verdicts,
            min_time_ns: times.0,
            max_time_ns: times.1,
            ..DataFile::default()
        };
        let files = [
            file("any", Verdicts::Any, (0, 100)),
            file("allow", Verdicts::Allow, (0, 100)),
            file("deny", Verdicts::Deny, (0, 100)),
            file("later allow", Verdicts::Allow, (200, 300)),
            file("later deny", Verdicts::Deny, (200, 300)),
        ];
        let schema = stored_schema();
        let state = SessionContext::new().state();
        let verdict = || col("verdict");
        let time = |ns: i64| lit(ScalarValue::TimestampNanosecond(Some(ns), Some("UTC".into())));
        let kept = |filters: &[Expr]| -> Vec<&str> {
            let kept = prune(&state, &schema, filters, files.iter()).unwrap();
            kept.into_iter().map(|file| file.path.as_str()).collect()
        };
        assert_eq!(kept(&[]).len(), 5);
        assert_eq!(kept(&[verdict().eq(lit("deny"))]), ["any", "deny", "later deny"]);
        assert_eq!(kept(&[verdict().not_eq(lit("allow"))]), ["any", "deny", "later deny"]);
        let either = verdict().in_list(vec![lit("deny"), lit("audit")], false);
        assert_eq!(kept(&[either]), ["any", "deny", "later deny"]);
        assert_eq!(kept(&[verdict().eq(lit("allow"))]).len(), 5);
        assert_eq!(kept(&[col("reason").eq(lit("x"))]).len(), 5);
        let late = col("time").gt_eq(time(150));
        assert_eq!(kept(std::slice::from_ref(&late)), ["later allow", "later deny"]);
        assert_eq!(kept(&[late, verdict().eq(lit("deny"))]), ["later deny"]);
        let either = verdict().eq(lit("deny")).or(col("end_time").gt(time(299)));
        assert_eq!(kept(&[either]), ["any", "deny", "later allow", "later deny"]);
    }
}
