//! Turns tests joined by AND, OR and NOT into an expression of the query engine.

use datafusion::logical_expr::{Expr, Operator as Binary, binary_expr};

use super::Test;
use super::syntax::Tree;

/// The expression. Within a NOT every part is true or false; elsewhere null is as good as false, and the
/// bare comparisons are what files and pages are pruned by.
pub(super) fn lower(tree: Tree<Test>, negated: bool) -> Expr {
    match tree {
        Tree::And(terms) => balanced(terms, Binary::And, negated),
        Tree::Or(terms) => balanced(terms, Binary::Or, negated),
        Tree::Not(inner) => Expr::Not(Box::new(lower(*inner, true))),
        Tree::Leaf(test) if negated && test.nullable => test.expr.is_true(),
        Tree::Leaf(test) => test.expr,
    }
}

/// A tree of least depth, so that many terms need little stack.
fn balanced(mut terms: Vec<Tree<Test>>, operator: Binary, negated: bool) -> Expr {
    if terms.len() == 1 {
        return lower(terms.swap_remove(0), negated);
    }
    let right = terms.split_off(terms.len() / 2);
    binary_expr(balanced(terms, operator, negated), operator, balanced(right, operator, negated))
}
