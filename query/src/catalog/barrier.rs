//! Leaves out the rows that a principal does not see, before anything else looks at them.
//!
//! A condition of a query that is evaluated on a hidden row could tell of it, by failing. And one that files are left
//! out for could tell of it by what is read and how long that takes: the statistics and bloom filters of a file are of
//! all its rows. So hidden rows are dropped below an operator that lets no condition through, and only conditions on
//! time that cannot fail are evaluated with the principal's own. When there are flows is no secret.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, internal_err};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, Operator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::filter::FilterExecBuilder;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

use super::ENDS;
use super::scan::Columns;
use crate::access::Principal;

/// A scan of flows or of their roll-ups with the rows that the principal sees.
pub(super) fn seen(
    session: &dyn Session,
    principal: &Principal,
    columns: &Columns<'_>,
    filters: &[Expr],
    limit: Option<usize>,
    scan: impl FnOnce(&Columns<'_>, Option<usize>) -> Result<Arc<dyn ExecutionPlan>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(condition) = principal.namespaces.condition(&ENDS) else {
        return scan(columns, limit);
    };
    let harmless = filters.iter().filter(|filter| is_of_time(filter) && cannot_fail(filter));
    let harmless = harmless.cloned().map(unqualified).collect::<Result<Vec<_>>>()?;
    let Some(condition) = conjunction(std::iter::once(condition).chain(harmless)) else {
        return internal_err!("no condition is left of one");
    };
    let schema = &columns.schema;
    let wanted: Vec<usize> = match columns.projection {
        Some(projection) => projection.clone(),
        None => (0..schema.fields().len()).collect(),
    };
    let mut read: BTreeSet<usize> = wanted.iter().copied().collect();
    for column in condition.column_refs() {
        read.insert(schema.index_of(&column.name)?);
    }
    let read: Vec<usize> = read.into_iter().collect();
    // Rows that are dropped do not count.
    let input = scan(&Columns { schema: schema.clone(), projection: Some(&read) }, None)?;
    let names = DFSchema::try_from(input.schema())?;
    let condition = session.create_physical_expr(condition, &names)?;
    let places =
        wanted.iter().filter_map(|column| read.binary_search(column).ok()).collect::<Vec<_>>();
    let filter =
        FilterExecBuilder::new(condition, input).apply_projection(Some(places))?.build()?;
    Ok(Arc::new(BarrierExec::new(Arc::new(filter))))
}

/// Whether a plan is what hidden rows are left out below.
pub(crate) fn is(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<BarrierExec>()
}

/// Conditions that look at nothing but times.
fn is_of_time(filter: &Expr) -> bool {
    filter.column_refs().iter().all(|column| matches!(column.name.as_str(), "time" | "end_time"))
}

/// Comparisons of columns and literals, joined by AND, OR and NOT: whatever the row, they have an
/// answer.
fn cannot_fail(filter: &Expr) -> bool {
    let plain = |expr: &Expr| matches!(expr, Expr::Column(_) | Expr::Literal(..));
    match filter {
        Expr::BinaryExpr(binary) => match binary.op {
            Operator::And | Operator::Or => cannot_fail(&binary.left) && cannot_fail(&binary.right),
            Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq => plain(&binary.left) && plain(&binary.right),
            _ => false,
        },
        Expr::Not(inner) => cannot_fail(inner),
        Expr::IsNull(inner) | Expr::IsNotNull(inner) => plain(inner),
        Expr::Between(between) => {
            plain(&between.expr) && plain(&between.low) && plain(&between.high)
        }
        Expr::InList(list) => plain(&list.expr) && list.list.iter().all(plain),
        Expr::Like(like) => plain(&like.expr) && matches!(*like.pattern, Expr::Literal(..)),
        _ => false,
    }
}

/// An expression without the names of tables.
pub(super) fn unqualified(filter: Expr) -> Result<Expr> {
    let unqualified = filter.transform(|expr| {
        Ok(match expr {
            Expr::Column(column) if column.relation.is_some() => {
                Transformed::yes(Expr::Column(Column::from_name(column.name)))
            }
            other => Transformed::no(other),
        })
    })?;
    Ok(unqualified.data)
}

/// Hands on rows, and no condition the other way.
#[derive(Debug)]
pub(crate) struct BarrierExec {
    input: Arc<dyn ExecutionPlan>,
}

impl BarrierExec {
    pub(crate) fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        Self { input }
    }
}

impl DisplayAs for BarrierExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BarrierExec")
    }
}

impl ExecutionPlan for BarrierExec {
    fn name(&self) -> &'static str {
        "BarrierExec"
    }

    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.pop()) {
            (Some(input), None) => Ok(Arc::new(Self { input })),
            _ => internal_err!("BarrierExec has one child"),
        }
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{col, lit};

    use super::*;

    #[test]
    fn only_plain_comparisons_cannot_fail() {
        let plain = [
            col("a").eq(lit(1)),
            col("a").lt(lit(1)).or(col("b").is_null()).and(!col("b").eq(col("a"))),
            col("a").in_list(vec![lit(1), lit(2)], true),
            col("a").between(lit(1), lit(2)),
            col("a").like(lit("x%")),
        ];
        for expr in plain {
            assert!(cannot_fail(&expr), "{expr}");
        }
        let others = [
            (lit(1) / col("a")).eq(lit(1)),
            datafusion::logical_expr::cast(col("a"), arrow::datatypes::DataType::Int8).eq(lit(1)),
            col("a").in_list(vec![lit(1) / col("b")], false),
            col("a").eq(lit(1)).and((lit(1) / col("b")).gt(lit(1))),
        ];
        for expr in others {
            assert!(!cannot_fail(&expr), "{expr}");
        }
    }
}
