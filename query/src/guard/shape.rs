//! Bounds the shape of a parsed statement: how deep expressions nest, and how large the plan grows
//! when each subquery that has a name is put where the name is used.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, ObjectName, Query, Statement, Visit as _, Visitor};

use crate::error::QueryError;

/// Deepest expression.
const MAX_DEPTH: usize = 100;
/// Most tables that a plan reads, subqueries counted as often as they are used.
const MAX_RELATIONS: u64 = 200;

/// Refuses statements that are too deep or grow too large.
pub(super) fn check(statement: &Statement) -> Result<(), QueryError> {
    let mut walk = Walk::default();
    if statement.visit(&mut walk).is_break() {
        return Err(QueryError::Invalid(format!(
            "an expression of the SQL is more than {MAX_DEPTH} levels deep: use IN (…) instead \
             of OR, or split the query"
        )));
    }
    if walk.relations() > MAX_RELATIONS {
        return Err(QueryError::Invalid(format!(
            "the SQL reads more than {MAX_RELATIONS} tables, subqueries counted as often as they \
             are used: split the query"
        )));
    }
    Ok(())
}

/// What a walk over the statement finds.
#[derive(Default)]
struct Walk {
    depth: usize,
    /// Tables read outside of named subqueries.
    top: Vec<String>,
    /// Tables read by each named subquery.
    named: HashMap<String, Vec<String>>,
    /// Named subqueries that the walk is in. A query without a name has `None`.
    inside: Vec<Option<String>>,
    /// Where queries begin that have names: the name of a query by its place in memory.
    names: HashMap<usize, String>,
}

impl Walk {
    /// Tables that the whole plan reads.
    fn relations(&self) -> u64 {
        let mut known = HashMap::new();
        self.top.iter().map(|name| self.weight(name, &mut known)).fold(0, u64::saturating_add)
    }

    fn weight<'a>(&'a self, name: &'a str, known: &mut HashMap<&'a str, u64>) -> u64 {
        if let Some(weight) = known.get(name) {
            return *weight;
        }
        let Some(tables) = self.named.get(name) else { return 1 };
        // A name within itself is the table of that name outside.
        known.insert(name, 1);
        let weight =
            tables.iter().map(|table| self.weight(table, known)).fold(1, u64::saturating_add);
        known.insert(name, weight);
        weight
    }

    fn enter(&mut self) -> ControlFlow<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn leave(&mut self) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}

fn place(query: &Query) -> usize {
    std::ptr::from_ref(query).addr()
}

impl Visitor for Walk {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for table in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.names.insert(place(&table.query), table.alias.name.value.to_lowercase());
        }
        self.inside.push(self.names.get(&place(query)).cloned());
        self.enter()
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.inside.pop();
        self.leave()
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let table = relation.to_string().trim_matches('"').to_lowercase();
        match self.inside.iter().rev().flatten().next() {
            Some(name) => self.named.entry(name.clone()).or_default().push(table),
            None => self.top.push(table),
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.enter()
    }

    fn post_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.leave()
    }
}
