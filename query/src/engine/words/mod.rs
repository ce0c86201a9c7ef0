//! Groups by numbers where they would be texts.
//!
//! The engine groups rows by the bytes of their texts, though most columns are dictionaries of few
//! words. This rule gives each word a number, the same in all files, groups by these, and puts the
//! words back when the groups are complete.

mod decode;
mod encode;
mod numbers;

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{ExecutionPlan, Partitioning};

pub(crate) use encode::EncodeExec;
pub(crate) use numbers::AllWords;

use decode::DecodeExec;

/// The rule.
#[derive(Debug)]
pub(super) struct GroupByWords {
    pub(super) words: Arc<AllWords>,
}

impl GroupByWords {
    pub(super) const NAME: &str = "group_by_words";
}

impl PhysicalOptimizerRule for GroupByWords {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if depends_on_hashes(&plan)? {
            return Ok(plan);
        }
        let plan = plan.transform_up(|node| {
            Ok(match self.by_numbers(&node)? {
                Some(by_numbers) => Transformed::yes(by_numbers),
                None => Transformed::no(node),
            })
        })?;
        Ok(plan.data)
    }

    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Whether rows meet those of another plan by the hash of what they are grouped by: numbers have
/// other hashes than their words.
fn depends_on_hashes(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    let mut found = false;
    plan.apply(|node| {
        found = node.name().ends_with("JoinExec") || node.name() == "InterleaveExec";
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

impl GroupByWords {
    /// The same groups by numbers; `None` if the plan is no aggregate in two steps by words.
    fn by_numbers(&self, plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(complete) = of_mode(plan, AggregateMode::FinalPartitioned) else {
            return Ok(None);
        };
        let Some(exchange) = complete.input().downcast_ref::<RepartitionExec>() else {
            return Ok(None);
        };
        let Some(partial) = of_mode(exchange.input(), AggregateMode::Partial) else {
            return Ok(None);
        };
        let group = partial.group_expr();
        let plain = group.is_single() && group.null_expr().is_empty() && !exchange.preserve_order();
        let columns: Vec<Option<usize>> =
            group.expr().iter().map(|(expr, _)| word(expr, partial.input())).collect();
        if !plain || columns.iter().all(Option::is_none) {
            return Ok(None);
        }

        let words = self.words.current();
        let encoded: Vec<usize> = columns.iter().flatten().copied().collect();
        let input = Arc::new(EncodeExec::new(partial.input().clone(), encoded, words.clone()));
        let schema = input.schema();
        let mut number = partial.input().schema().fields().len();
        let by = group.expr().iter().zip(&columns).map(|((expr, name), column)| {
            let mut expr = expr.clone();
            if column.is_some() {
                expr = Arc::new(Column::new(schema.field(number).name(), number));
                number += 1;
            }
            (expr, name.clone())
        });
        let partial = AggregateExec::try_new(
            AggregateMode::Partial,
            PhysicalGroupBy::new_single(by.collect()),
            partial.aggr_expr().to_vec(),
            partial.filter_expr().to_vec(),
            input,
            schema.clone(),
        )?;
        let by = complete.group_expr();
        let threads = exchange.partitioning().partition_count();
        let exchange = RepartitionExec::try_new(
            Arc::new(partial),
            Partitioning::Hash(by.input_exprs(), threads),
        )?;
        let groups = AggregateExec::try_new(
            AggregateMode::FinalPartitioned,
            by.clone(),
            complete.aggr_expr().to_vec(),
            complete.filter_expr().to_vec(),
            Arc::new(exchange),
            schema,
        )?;
        let numbers = columns.iter().enumerate();
        let numbers = numbers.filter(|(_, column)| column.is_some()).map(|(place, _)| place);
        let decoded = DecodeExec::new(Arc::new(groups), numbers.collect(), plan.schema(), words);
        Ok(Some(Arc::new(decoded)))
    }
}

/// The plan, if it is an aggregate of that step, of all groups.
fn of_mode(plan: &Arc<dyn ExecutionPlan>, mode: AggregateMode) -> Option<&AggregateExec> {
    let aggregate = plan.downcast_ref::<AggregateExec>()?;
    (*aggregate.mode() == mode && aggregate.limit_options().is_none()).then_some(aggregate)
}

/// The place of a column of words.
fn word(expr: &Arc<dyn PhysicalExpr>, input: &Arc<dyn ExecutionPlan>) -> Option<usize> {
    let place = expr.downcast_ref::<Column>()?.index();
    let schema = input.schema();
    (is_words(schema.fields().get(place)?.data_type())).then_some(place)
}

/// Whether it is the type that tables have for texts.
fn is_words(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(keys, values) => {
            **keys == DataType::Int32 && **values == DataType::Utf8
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
