//! The planner's rule that answers aggregates over `flows` from `edges_1m`.
//!
//! It runs after the engine's own rules, when an aggregate stands right above the scan and the
//! conditions between them. If groups, aggregates and conditions are about columns that the roll-up
//! has, and about time by whole minutes, the scan is replaced by a union of
//! * the roll-ups of files, for minutes that lie in the asked time as a whole;
//! * the rows themselves of what has no roll-up;
//! * the rows of files with a roll-up in minutes that are asked in part, at both ends of the time.
//!
//! All from the query's one snapshot, so the answer is the same with and without the rule.

mod answerable;
mod base;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::functions_aggregate::expr_fn::sum;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::{
    Aggregate, Expr, LogicalPlan, LogicalPlanBuilder, cast, col, lit, utils::conjunction,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::edges::{FLOW_ROWS, MINUTE_NS, RollUps, SUMS, is_key};
use super::moment::Moment;
use super::range::TimeRange;
use super::table::{Flows, Part};
use super::{EDGES, FLOWS};
use crate::engine::time;
use answerable::{is_answerable, time_range};
use base::{Base, columns_of};

/// The rule.
#[derive(Debug)]
pub(crate) struct UseRollUps;

impl OptimizerRule for UseRollUps {
    fn name(&self) -> &'static str {
        "use_roll_ups"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Aggregate(aggregate) = &plan else { return Ok(Transformed::no(plan)) };
        let Some(question) = Question::of(aggregate) else { return Ok(Transformed::no(plan)) };
        question.plan(aggregate).map(Transformed::yes)
    }
}

/// An aggregate that the roll-up answers, over the columns of `flows`.
struct Question {
    moment: Arc<Moment>,
    groups: Vec<Expr>,
    aggregates: Vec<Asked>,
    /// Conditions that are the same for a row and for its edge.
    conditions: Vec<Expr>,
    /// The others: of time alone.
    range: TimeRange,
}

/// One aggregate.
enum Asked {
    /// Of the same columns of the roll-up.
    Same(Expr),
    /// The number of rows for which the condition holds.
    Rows(Option<Expr>),
}

impl Question {
    fn of(aggregate: &Aggregate) -> Option<Self> {
        let base = Base::of(&aggregate.input)?;
        let over_flows = |exprs: &[Expr]| -> Option<Vec<Expr>> {
            exprs.iter().map(|expr| base.over_flows(expr)).collect()
        };
        let groups = over_flows(&aggregate.group_expr)?;
        if !groups.iter().all(is_answerable) {
            return None;
        }
        let aggregates = over_flows(&aggregate.aggr_expr)?;
        let aggregates: Vec<Asked> = aggregates.into_iter().map(asked).collect::<Option<_>>()?;
        let (mut conditions, mut range) = (Vec::new(), TimeRange::ALL);
        for condition in base.conditions {
            match time_range(&condition) {
                Some(bounds) => range = range.and(bounds),
                None if is_answerable(&condition) => conditions.push(condition),
                None => return None,
            }
        }
        // Manifests know how many rows there are.
        let only_rows = |asked: &Asked| matches!(asked, Asked::Rows(None));
        if groups.is_empty()
            && conditions.is_empty()
            && range == TimeRange::ALL
            && aggregates.iter().all(only_rows)
        {
            return None;
        }
        let question = Self { moment: base.moment, groups, aggregates, conditions, range };
        let (first_ns, end_ns) = question.whole_minutes();
        (first_ns < end_ns && !question.columns().is_empty()).then_some(question)
    }

    /// The whole minutes in the range: from the first on, until before the other.
    fn whole_minutes(&self) -> (i64, i64) {
        let TimeRange { from_ns, until_ns } = self.range;
        let floor = |time_ns: i64| time_ns.div_euclid(MINUTE_NS).saturating_mul(MINUTE_NS);
        let first_ns = match from_ns {
            i64::MIN => i64::MIN,
            from_ns => floor(from_ns.saturating_add(MINUTE_NS - 1)),
        };
        let end_ns = match until_ns {
            i64::MAX => i64::MAX,
            until_ns => floor(until_ns.saturating_add(1)),
        };
        (first_ns, end_ns)
    }

    fn plan(&self, aggregate: &Aggregate) -> Result<LogicalPlan> {
        let (first_ns, end_ns) = self.whole_minutes();
        let columns = self.columns();
        let edges = LogicalPlanBuilder::scan(
            EDGES,
            provider_as_source(RollUps::new(self.moment.clone())),
            None,
        )?;
        let whole = between(first_ns, end_ns.saturating_sub(1));
        let whole = self.filtered(edges, whole)?;
        let mut plan = whole.project(columns.iter().map(|name| col(*name).alias(*name)))?;
        let rows = |part: Part, time: Option<Expr>| -> Result<LogicalPlan> {
            let flows = provider_as_source(Flows::part(self.moment.clone(), part));
            let flows = self.filtered(LogicalPlanBuilder::scan(FLOWS, flows, None)?, time)?;
            let columns = columns.iter().map(|name| match *name {
                FLOW_ROWS => lit(1_u64).alias(FLOW_ROWS),
                name => col(name).alias(name),
            });
            flows.project(columns)?.build()
        };
        let TimeRange { from_ns, until_ns } = self.range;
        plan = plan.union(rows(Part::WithoutRollUp, between(from_ns, until_ns))?)?;
        let ends = [(from_ns, first_ns.saturating_sub(1)), (end_ns, until_ns)];
        let ends = ends.into_iter().filter(|(from_ns, until_ns)| from_ns <= until_ns);
        // An open end has no part of a minute.
        let ends = ends.filter(|(from_ns, until_ns)| {
            *from_ns != i64::MIN && *from_ns != i64::MAX && *until_ns != i64::MAX
        });
        if let Some(ends) = ends.filter_map(|(from, until)| between(from, until)).reduce(Expr::or) {
            plan = plan.union(rows(Part::WithRollUp, Some(ends))?)?;
        }

        let names = (0..self.aggregates.len()).map(|index| format!("aggregate_{index}"));
        let aggregates = self.aggregates.iter().zip(names);
        let aggregates = aggregates.map(|(asked, name)| match asked {
            Asked::Same(expr) => expr.clone().alias(name),
            Asked::Rows(condition) => sum_if(condition.clone()).alias(name),
        });
        let answer =
            Aggregate::try_new(Arc::new(plan.build()?), self.groups.clone(), aggregates.collect())?;
        self.under_the_names_of(aggregate, answer)
    }

    /// Every column that is needed of the union.
    fn columns(&self) -> BTreeSet<&str> {
        let asked = self.aggregates.iter().flat_map(|asked| match asked {
            Asked::Same(expr) => columns_of(expr),
            Asked::Rows(condition) => condition.iter().flat_map(columns_of).collect(),
        });
        let rows = self.aggregates.iter().any(|asked| matches!(asked, Asked::Rows(_)));
        let columns = self.groups.iter().flat_map(columns_of).chain(asked);
        columns.chain(rows.then_some(FLOW_ROWS)).collect()
    }

    fn filtered(&self, scan: LogicalPlanBuilder, time: Option<Expr>) -> Result<LogicalPlanBuilder> {
        match conjunction(self.conditions.iter().cloned().chain(time)) {
            Some(condition) => scan.filter(condition),
            None => Ok(scan),
        }
    }

    /// The answer with the columns of the aggregate that it stands for.
    fn under_the_names_of(&self, aggregate: &Aggregate, answer: Aggregate) -> Result<LogicalPlan> {
        let made: Vec<Expr> = answer.schema.columns().into_iter().map(Expr::Column).collect();
        let wanted = aggregate.schema.iter();
        let columns: Vec<Expr> = made
            .into_iter()
            .zip(wanted)
            .enumerate()
            .map(|(index, (made, (qualifier, field)))| {
                let asked = index.checked_sub(self.groups.len());
                let is_rows = asked
                    .and_then(|index| self.aggregates.get(index))
                    .is_some_and(|asked| matches!(asked, Asked::Rows(_)));
                let value = if is_rows {
                    coalesce(vec![cast(made, DataType::Int64), lit(0_i64)])
                } else {
                    made
                };
                value.alias_qualified(qualifier.cloned(), field.name())
            })
            .collect();
        LogicalPlanBuilder::from(LogicalPlan::Aggregate(answer)).project(columns)?.build()
    }
}

/// A condition on `time`, both ends included; `None` if there is nothing to ask.
fn between(from_ns: i64, until_ns: i64) -> Option<Expr> {
    let from = (from_ns != i64::MIN).then(|| col("time").gt_eq(time(from_ns)));
    let until = (until_ns < i64::MAX - 1).then(|| col("time").lt_eq(time(until_ns)));
    conjunction(from.into_iter().chain(until))
}

fn sum_if(condition: Option<Expr>) -> Expr {
    match (sum(col(FLOW_ROWS)), condition) {
        (Expr::AggregateFunction(mut function), Some(condition)) => {
            function.params.filter = Some(Box::new(condition));
            Expr::AggregateFunction(function)
        }
        (sum, _) => sum,
    }
}

/// What is asked of the roll-up instead; `None` if it cannot say.
fn asked(aggregate: Expr) -> Option<Asked> {
    let Expr::AggregateFunction(function) = aggregate.unalias() else { return None };
    let AggregateFunction { func, params } = function;
    let AggregateFunctionParams { args, distinct, filter, order_by, null_treatment } = &params;
    if !order_by.is_empty() || null_treatment.is_some() {
        return None;
    }
    if !filter.as_deref().is_none_or(is_answerable) {
        return None;
    }
    let [argument] = args.as_slice() else { return None };
    let is_sum = |name: &str| SUMS.contains(&name);
    let column = match argument {
        Expr::Column(column) => Some(column.name.as_str()),
        _ => None,
    };
    let same = match (func.name(), *distinct) {
        ("sum", false) => column.is_some_and(is_sum),
        ("min" | "max", _) | ("count", true) => is_answerable(argument),
        ("count", false) => {
            let filter = filter.as_deref().cloned();
            return match (argument, column) {
                (Expr::Literal(value, _), _) if !value.is_null() => Some(Asked::Rows(filter)),
                // None of these is ever null.
                (_, Some(name)) if is_sum(name) || matches!(name, "time" | "end_time") => {
                    Some(Asked::Rows(filter))
                }
                (_, Some(name)) if is_key(name) => {
                    let known = argument.clone().is_not_null();
                    Some(Asked::Rows(conjunction(filter.into_iter().chain([known]))))
                }
                _ => None,
            };
        }
        _ => false,
    };
    let function = AggregateFunction { func, params };
    same.then_some(Asked::Same(Expr::AggregateFunction(function)))
}

#[cfg(test)]
pub(crate) mod tests;
