//! The tree of a filter, as it is written.

use super::Operator;
use super::error::Span;

/// Things joined by AND, OR and NOT.
#[derive(Clone, Debug)]
pub(super) enum Tree<T> {
    /// All are true.
    And(Vec<Tree<T>>),
    /// At least one is true.
    Or(Vec<Tree<T>>),
    /// It is not true.
    Not(Box<Tree<T>>),
    Leaf(T),
}

/// Something between AND, OR and NOT.
#[derive(Clone, Debug)]
pub(super) enum Term {
    /// A text to be found anywhere.
    Anywhere(Literal),
    /// A comparison.
    Compare(Compare),
    /// A function that is true or false.
    Call(Call),
}

/// A comparison with one value or several.
#[derive(Clone, Debug)]
pub(super) struct Compare {
    pub(super) left: Comparable,
    pub(super) operator: Operator,
    pub(super) operator_span: Span,
    pub(super) right: Tree<Literal>,
}

/// What stands left of an operator, or in a function.
#[derive(Clone, Debug)]
pub(super) enum Comparable {
    Word(Word),
    Call(Call),
}

impl Comparable {
    pub(super) fn span(&self) -> Span {
        match self {
            Self::Word(word) => word.span,
            Self::Call(call) => call.span,
        }
    }
}

/// A function and its arguments.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) span: Span,
    pub(super) arguments: Vec<Comparable>,
}

/// Parts joined by points, each perhaps in quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) parts: Vec<Part>,
    pub(super) span: Span,
    /// An escape in it that only regular expressions have.
    pub(super) foreign_escape: Option<Span>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) text: String,
    pub(super) quoted: bool,
}

impl Word {
    /// As it would be without quotes.
    pub(super) fn text(&self) -> String {
        self.parts.iter().map(|part| part.text.as_str()).collect::<Vec<_>>().join(".")
    }

    pub(super) fn quoted(&self) -> bool {
        self.parts.iter().any(|part| part.quoted)
    }

    pub(super) fn into_literal(self) -> Literal {
        let (text, quoted) = (self.text(), self.quoted());
        Literal { text, quoted, span: self.span, foreign_escape: self.foreign_escape }
    }
}

/// What something is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Literal {
    pub(super) text: String,
    pub(super) quoted: bool,
    pub(super) span: Span,
    pub(super) foreign_escape: Option<Span>,
}

impl Literal {
    /// `*`, which asks whether there is anything.
    pub(super) fn is_star(&self) -> bool {
        !self.quoted && self.text == "*"
    }

    /// `NULL_VALUE`.
    pub(super) fn is_null(&self) -> bool {
        !self.quoted && self.text == "NULL_VALUE"
    }
}
