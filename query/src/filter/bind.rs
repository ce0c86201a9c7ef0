//! Makes tests of rows of comparisons.
//!
//! A value that is none of the field's type makes the comparison false, as in Cloud Logging, and a
//! warning.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, binary_expr, lit};
use weir_flow::schema::columns;

use super::error::{Spanned, spanned};
use super::field::{Constant, Field, Kind, resolve};
use super::literal::{Bounds, binary, compare_column, holds, number, severity};
use super::syntax::{Comparable, Compare, Literal, Part, Term, Tree, Word};
use super::{Names, Operator, Test, call};
use crate::engine::time;
use crate::functions::convert::boolean;
use crate::functions::fold::fold;
use crate::functions::text::{function, regex};
use crate::functions::units::{duration_ns, timestamp_ns};

/// Most tests that a filter may become: objects are tested field by field.
const MAX_TESTS: usize = 2_000;
/// An example of a time.
const TIME: &str = "\"2026-01-31T12:00:00Z\"";

/// What the filter calls the project and the location, where nobody did before: what it demands, not
/// what it excludes.
pub(super) fn name(tree: &Tree<Term>, mut names: Names) -> Result<Names, Spanned> {
    visit(tree, &mut |term| {
        match term {
            Term::Compare(Compare {
                left: Comparable::Word(word),
                operator: Operator::Equal,
                right,
                ..
            }) => {
                let Some(value) = first(right) else { return Ok(()) };
                let text = &value.text;
                match word.text().to_lowercase().as_str() {
                    "logname" => {
                        let project = text.strip_prefix("projects/");
                        let project = project.and_then(|rest| rest.split('/').next());
                        if project.is_some_and(str::is_empty) {
                            return Err(spanned(
                                value.span,
                                "the project's name is empty: the variable that should hold it \
                                 is probably not set; write \
                                 logName=\"projects/PROJECT/logs/policy-action\"",
                            ));
                        }
                        learn(&mut names.project, project.unwrap_or_default());
                    }
                    "resource.labels.project_id" => learn(&mut names.project, text),
                    "resource.labels.location" => learn(&mut names.location, text),
                    _ => {}
                }
            }
            Term::Call(call) if call.name.eq_ignore_ascii_case("source") => {
                if let [Comparable::Word(word)] = call.arguments.as_slice() {
                    let text = word.text();
                    learn(&mut names.project, text.strip_prefix("projects/").unwrap_or_default());
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(names)
}

fn learn(name: &mut Option<String>, told: &str) {
    if name.is_none() && !told.is_empty() {
        *name = Some(told.to_owned());
    }
}

fn visit(
    tree: &Tree<Term>,
    with: &mut impl FnMut(&Term) -> Result<(), Spanned>,
) -> Result<(), Spanned> {
    match tree {
        Tree::And(terms) | Tree::Or(terms) => terms.iter().try_for_each(|term| visit(term, with)),
        Tree::Not(_) => Ok(()),
        Tree::Leaf(term) => with(term),
    }
}

/// The first value of a list.
fn first(values: &Tree<Literal>) -> Option<&Literal> {
    match values {
        Tree::And(values) | Tree::Or(values) => values.iter().find_map(first),
        Tree::Not(_) => None,
        Tree::Leaf(value) => Some(value),
    }
}

/// The tests.
pub(super) fn bind(
    tree: Tree<Term>,
    names: &Names,
    warnings: &mut Vec<Spanned>,
) -> Result<Tree<Test>, Spanned> {
    Binder { names, warnings, tests: 0 }.tree(tree)
}

pub(super) struct Binder<'a> {
    pub(super) names: &'a Names,
    pub(super) warnings: &'a mut Vec<Spanned>,
    tests: usize,
}

impl Binder<'_> {
    fn tree(&mut self, tree: Tree<Term>) -> Result<Tree<Test>, Spanned> {
        Ok(match tree {
            Tree::And(terms) => Tree::And(self.trees(terms)?),
            Tree::Or(terms) => Tree::Or(self.trees(terms)?),
            Tree::Not(inner) => Tree::Not(Box::new(self.tree(*inner)?)),
            Tree::Leaf(Term::Anywhere(text)) => Tree::Leaf(self.anywhere(&text)),
            Tree::Leaf(Term::Call(call)) => Tree::Leaf(call::test(self, &call)?),
            Tree::Leaf(Term::Compare(compare)) => {
                let field = self.field(&compare.left)?;
                self.values(&field, &compare, &compare.right)?
            }
        })
    }

    fn trees(&mut self, terms: Vec<Tree<Term>>) -> Result<Vec<Tree<Test>>, Spanned> {
        terms.into_iter().map(|term| self.tree(term)).collect()
    }

    pub(super) fn field(&mut self, left: &Comparable) -> Result<Field, Spanned> {
        match left {
            Comparable::Word(word) => resolve(word, self.names, self.warnings),
            Comparable::Call(call) => call::value(self, call),
        }
    }

    /// Field and operator over each value of a list.
    fn values(
        &mut self,
        field: &Field,
        compare: &Compare,
        values: &Tree<Literal>,
    ) -> Result<Tree<Test>, Spanned> {
        let list = |this: &mut Self, terms: &[Tree<Literal>]| {
            let tests = terms.iter().map(|term| this.values(field, compare, term));
            tests.collect::<Result<Vec<_>, _>>()
        };
        Ok(match values {
            Tree::And(terms) => Tree::And(list(self, terms)?),
            Tree::Or(terms) => Tree::Or(list(self, terms)?),
            Tree::Not(inner) => Tree::Not(Box::new(self.values(field, compare, inner)?)),
            Tree::Leaf(value) => self.compare(field, compare, value)?,
        })
    }

    fn compare(
        &mut self,
        field: &Field,
        compare: &Compare,
        value: &Literal,
    ) -> Result<Tree<Test>, Spanned> {
        self.tests += 1;
        if self.tests > MAX_TESTS {
            let message = format!("more than {MAX_TESTS} tests: name fields instead of objects");
            return Err(spanned(compare.left.span(), message));
        }
        if let Kind::Object(fields) = &field.kind {
            return self.object(fields, compare, value);
        }
        let operator = compare.operator;
        let regular = matches!(operator, Operator::Matches | Operator::NotMatches);
        if regular {
            check_regex(field, compare, value)?;
        } else if let Some(span) = value.foreign_escape {
            return Err(spanned(span, "after \\ only \" ' \\ n t r and octal digits are known"));
        }
        let tested = if value.is_star() && operator == Operator::Has {
            presence(field)
        } else if value.is_star() {
            return Err(spanned(value.span, "`*` goes with `:` only: write field:*, or \"*\""));
        } else if value.is_null() {
            self.null(field, compare)
        } else {
            self.one(field, compare, value)
        };
        Ok(Tree::Leaf(guarded(field, tested)))
    }

    /// `object:value` is true if a field of it is.
    fn object(
        &mut self,
        fields: &[String],
        compare: &Compare,
        value: &Literal,
    ) -> Result<Tree<Test>, Spanned> {
        let text = |left: &Comparable| match left {
            Comparable::Word(word) => word.text(),
            Comparable::Call(call) => call.name.clone(),
        };
        if compare.operator != Operator::Has {
            let (name, example) = (text(&compare.left), fields.first().cloned());
            let message = format!(
                "`{name}` is an object, which only `:` can ask: name a field of it, like `{}`",
                example.unwrap_or_default()
            );
            return Err(spanned(compare.left.span(), message));
        }
        let mut tests = Vec::new();
        for name in fields {
            let parts = name.split('.');
            let parts = parts.map(|part| Part { text: part.to_owned(), quoted: false }).collect();
            let word = Word { parts, span: compare.left.span(), foreign_escape: None };
            let field = resolve(&word, self.names, &mut vec![])?;
            // Of texts that are no numbers nothing need be said here.
            let told = self.warnings.len();
            tests.push(self.compare(&field, compare, value)?);
            self.warnings.truncate(told);
        }
        Ok(Tree::Or(tests))
    }

    fn null(&mut self, field: &Field, compare: &Compare) -> Test {
        let wanted = compare.operator != Operator::NotEqual;
        let native = match &compare.left {
            Comparable::Word(word) if word.parts.len() == 1 => {
                columns().iter().find(|column| column.name.eq_ignore_ascii_case(&word.text()))
            }
            _ => None,
        };
        match (native, field.value()) {
            (Some(column), Some(value)) if column.nullable => {
                sure(if wanted { value.is_null() } else { value.is_not_null() })
            }
            // Entries leave out what they do not have: nothing is null in them.
            _ if wanted => sure(lit(false)),
            _ => presence(field),
        }
    }

    fn one(&mut self, field: &Field, compare: &Compare, value: &Literal) -> Test {
        let (operator, text) = (compare.operator, value.text.as_str());
        match &field.kind {
            Kind::Missing | Kind::Unset | Kind::Object(_) => sure(lit(false)),
            Kind::Constant { value: constant, .. } => {
                match holds_constant(constant, operator, text) {
                    Some(truth) => sure(lit(truth)),
                    None => self.foreign(value, "this field's type", "it is never equal"),
                }
            }
            Kind::Text { expr, words } => {
                let folded = fold(text);
                let known = words.iter().find(|word| **word == folded);
                match known {
                    Some(word) if operator == Operator::Equal => {
                        Test { expr: expr.clone().eq(lit(*word)), nullable: false }
                    }
                    _ if operator == Operator::Equal && is_address(expr, text) => {
                        Test { expr: expr.clone().eq(lit(text)), nullable: false }
                    }
                    _ => sure(function(operator).call(vec![expr.clone(), lit(text)])),
                }
            }
            Kind::Texts(expr) => sure(function(operator).call(vec![expr.clone(), lit(text)])),
            Kind::Cases(cases) => {
                let Ok(passes) = operator.with(text) else { return sure(lit(false)) };
                let passing = cases.iter().filter(|(case, _)| passes(case));
                let conditions = passing.map(|(_, condition)| condition.clone());
                sure(conditions.reduce(Expr::or).unwrap_or_else(|| lit(false)))
            }
            Kind::Number(column) => match Bounds::parse(text, column.name) {
                Some(bounds) => Test {
                    expr: compare_column(column, operator, bounds),
                    nullable: column.nullable,
                },
                None => self.foreign(value, "a number", "write digits"),
            },
            Kind::Integer(expr) | Kind::Float(expr) => match number(text) {
                Some(number) => ordered(expr, operator, lit(number)),
                None => self.foreign(value, "a number", "write digits"),
            },
            Kind::Boolean(expr) => match boolean(text) {
                Some(truth) => ordered(expr, operator, lit(truth)),
                None => self.foreign(value, "a truth", "write true or false"),
            },
            Kind::Duration(expr) => match duration_ns(text) {
                Some(duration) => ordered(expr, operator, lit(duration)),
                None => self.foreign(value, "a duration", "write it like \"3.2s\""),
            },
            Kind::Time(expr) => match timestamp_ns(text) {
                Some(at) => ordered(expr, operator, time(at)),
                None => self.foreign(value, "a time", &format!("write it like {TIME}")),
            },
            Kind::Labels(expr) => {
                let found = crate::functions::labels::label().call(vec![expr.clone(), lit(text)]);
                match operator {
                    Operator::Has => sure(found.is_not_null()),
                    _ => self.foreign(value, "a label", "write labels.KEY=\"value\""),
                }
            }
        }
    }

    fn foreign(&mut self, value: &Literal, kind: &str, fix: &str) -> Test {
        let text: String = value.text.chars().take(60).collect();
        let message = format!("{text:?} is not {kind}, so no row passes this comparison: {fix}");
        self.warnings.push(spanned(value.span, message));
        sure(lit(false))
    }

    fn anywhere(&mut self, text: &Literal) -> Test {
        self.tests += 1;
        call::anywhere(self.names, &text.text)
    }
}

/// What is never null.
pub(super) fn sure(expr: Expr) -> Test {
    Test { expr, nullable: false }
}

/// The test of rows that have the field.
pub(super) fn guarded(field: &Field, test: Test) -> Test {
    if field.guards.is_empty() || test.expr == lit(false) {
        return test;
    }
    let guards = field.guards.iter().cloned();
    let all = guards.chain([test.expr].into_iter().filter(|expr| *expr != lit(true)));
    let expr = all.reduce(Expr::and).unwrap_or_else(|| lit(true));
    // Guards compare columns that may be null.
    Test { expr, nullable: true }
}

fn ordered(expr: &Expr, operator: Operator, value: Expr) -> Test {
    let compared = binary_expr(expr.clone(), binary(operator), value);
    let never_null = matches!(expr, Expr::Column(column) if columns().iter().any(|known| known.name == column.name && !known.nullable));
    Test { expr: compared, nullable: !never_null }
}

/// Whether the row has the field.
fn presence(field: &Field) -> Test {
    match &field.kind {
        Kind::Missing | Kind::Unset | Kind::Object(_) => sure(lit(false)),
        Kind::Constant { set, .. } => sure(lit(*set)),
        Kind::Cases(_) => sure(lit(true)),
        // What is empty was not set.
        Kind::Text { expr, .. } | Kind::Texts(expr) => {
            sure(function(Operator::NotEqual).call(vec![expr.clone(), lit("")]))
        }
        Kind::Labels(expr) => {
            let empty = ScalarValue::Utf8(Some(String::new()));
            sure(crate::functions::rows::row_has().call(vec![lit(empty), expr.clone()]))
        }
        Kind::Number(column) if !column.nullable => sure(lit(true)),
        _ => match field.value() {
            Some(value) => sure(value.is_not_null()),
            None => sure(lit(false)),
        },
    }
}

fn check_regex(field: &Field, compare: &Compare, value: &Literal) -> Result<(), Spanned> {
    let textual = matches!(
        field.kind,
        Kind::Missing
            | Kind::Text { .. }
            | Kind::Texts(_)
            | Kind::Cases(_)
            | Kind::Constant { value: Constant::Text(_), .. }
            | Kind::Object(_)
    );
    if !textual {
        let name = match &compare.left {
            Comparable::Word(word) => word.text(),
            Comparable::Call(call) => call.name.clone(),
        };
        let message = format!(
            "regular expressions match texts only: write cast({name}, STRING){}\"…\"",
            compare.operator
        );
        return Err(spanned(compare.operator_span, message));
    }
    if !value.quoted {
        let message = format!("a regular expression needs quotes: write {:?}", value.text);
        return Err(spanned(value.span, message));
    }
    regex(&value.text).map(|_| ()).map_err(|message| spanned(value.span, message))
}

/// Whether it is an address as rows have it, in a column of addresses.
fn is_address(expr: &Expr, text: &str) -> bool {
    let addresses = matches!(expr, Expr::Column(column) if column.name.ends_with("_ip"));
    let parsed = || text.parse::<std::net::IpAddr>();
    addresses && parsed().is_ok_and(|address| address.to_string() == text)
}

/// Whether what every row has passes; `None` if the value is of another type.
pub(super) fn holds_constant(constant: &Constant, operator: Operator, text: &str) -> Option<bool> {
    Some(match constant {
        Constant::Text(own) => operator.with(text).ok()?(own),
        Constant::Number(own) => holds(operator, *own, number(text)?),
        Constant::Boolean(own) => operator.holds(own.cmp(&boolean(text)?)),
        Constant::Time(own) => operator.holds(own.cmp(&timestamp_ns(text)?)),
        Constant::Duration(own) => operator.holds(own.cmp(&duration_ns(text)?)),
        Constant::Severity(own) => operator.holds(own.cmp(&severity(text)?)),
    })
}
