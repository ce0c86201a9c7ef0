//! What stands between an aggregate and the scan of `flows`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan};

use crate::catalog::computed::AllColumns;
use crate::catalog::moment::Moment;

/// A scan of all `flows` with conditions and projections above it.
pub(super) struct Base {
    pub(super) moment: Arc<Moment>,
    /// Over stored columns.
    pub(super) conditions: Vec<Expr>,
    /// What each column above is, over stored columns.
    columns: HashMap<Column, Expr>,
}

impl Base {
    /// `None` if anything else stands there, or if the query wants no roll-ups.
    pub(super) fn of(plan: &LogicalPlan) -> Option<Self> {
        match plan {
            LogicalPlan::TableScan(scan) => {
                let provider = source_as_provider(&scan.source).ok()?;
                let moment = provider.downcast_ref::<AllColumns>()?.stored().moment_of_all()?;
                if scan.fetch.is_some() || !moment.may_use_roll_ups() {
                    return None;
                }
                let columns = scan.projected_schema.columns().into_iter();
                let columns = columns.map(|column| {
                    let stored = Expr::Column(Column::from_name(column.name.clone()));
                    (column, stored)
                });
                let mut base =
                    Self { moment: moment.clone(), conditions: vec![], columns: columns.collect() };
                // They may name columns that the scan does not hand on.
                for condition in &scan.filters {
                    let stored = condition.clone().transform(|expr| {
                        Ok(match expr {
                            Expr::Column(column) => {
                                Transformed::yes(Expr::Column(Column::from_name(column.name)))
                            }
                            other => Transformed::no(other),
                        })
                    });
                    base.add(&stored.ok()?.data)?;
                }
                Some(base)
            }
            LogicalPlan::Filter(filter) => {
                let mut base = Self::of(&filter.input)?;
                let condition = base.over_flows(&filter.predicate)?;
                base.add(&condition)?;
                Some(base)
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let mut base = Self::of(&alias.input)?;
                let below = alias.input.schema().columns();
                let above = alias.schema.columns();
                let renamed = above.into_iter().zip(below).map(|(above, below)| {
                    let expr = base.columns.get(&below)?.clone();
                    Some((above, expr))
                });
                base.columns = renamed.collect::<Option<_>>()?;
                Some(base)
            }
            LogicalPlan::Projection(projection) => {
                let mut base = Self::of(&projection.input)?;
                let made = projection.schema.columns().into_iter().zip(&projection.expr);
                let made = made.map(|(column, expr)| Some((column, base.over_flows(expr)?)));
                base.columns = made.collect::<Option<_>>()?;
                Some(base)
            }
            _ => None,
        }
    }

    /// The expression over stored columns; `None` if it is about anything else, or differs from
    /// time to time.
    pub(super) fn over_flows(&self, expr: &Expr) -> Option<Expr> {
        let mut known = !expr.is_volatile();
        let replaced = expr.clone().unalias_nested().data.transform_up(|expr| {
            Ok(match &expr {
                Expr::Column(column) => match self.columns.get(column) {
                    Some(stored) => Transformed::yes(stored.clone()),
                    None => {
                        known = false;
                        Transformed::no(expr)
                    }
                },
                Expr::ScalarSubquery(_)
                | Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::GroupingSet(_)
                | Expr::ScalarVariable(..)
                | Expr::Placeholder(_) => {
                    known = false;
                    Transformed::no(expr)
                }
                _ => Transformed::no(expr),
            })
        });
        known.then_some(replaced.ok()?.data)
    }

    fn add(&mut self, condition: &Expr) -> Option<()> {
        for part in split_conjunction(condition) {
            if part.is_volatile() {
                return None;
            }
            if !self.conditions.contains(part) {
                self.conditions.push(part.clone());
            }
        }
        Some(())
    }
}

/// The columns that an expression over stored columns names.
pub(super) fn columns_of(expr: &Expr) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    // The closure never fails.
    let _ = expr.apply(|expr| {
        if let Expr::Column(column) = expr {
            names.insert(column.name.as_str());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    names
}
