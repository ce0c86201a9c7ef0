//! Builds the tree of a filter from its tokens.

use std::iter::Peekable;
use std::net::IpAddr;

use super::error::{Span, Spanned, spanned};
use super::scan::{Kind, Token, scan};
use super::syntax::{Call, Comparable, Compare, Literal, Part, Term, Tree, Word};
use super::{MAX_CHARACTERS, Operator};
use crate::functions::units::timestamp_ns;

/// Deepest nesting of parentheses, NOT and functions.
const MAX_DEPTH: usize = 50;
/// Most comparisons, values of lists counted one by one.
const MAX_COMPARISONS: usize = 500;
/// Most arguments of a function.
const MAX_ARGUMENTS: usize = 8;

type Parts<T> = fn(&mut Parser, usize) -> Result<T, Spanned>;

/// Parses a filter; no tree if there is nothing but blanks and comments.
pub(super) fn parse(text: &str) -> Result<(Option<Tree<Term>>, Vec<Spanned>), Spanned> {
    let tokens = scan(text)?;
    if tokens.is_empty() {
        return Ok((None, vec![]));
    }
    let end = text.chars().take(MAX_CHARACTERS).count();
    let mut parser =
        Parser { tokens: tokens.into_iter().peekable(), end, comparisons: 0, warnings: vec![] };
    let tree = parser.conjunction(0, Parser::term)?;
    match parser.tokens.next() {
        None => {
            warn_of_loose_values(&tree, &mut parser.warnings);
            Ok((Some(tree), parser.warnings))
        }
        Some(Token { kind: Kind::Comma, span }) => Err(spanned(
            span,
            "a comma stands only between a function's arguments: write AND or OR",
        )),
        Some(token) => Err(spanned(token.span, "this parenthesis was never opened: remove it")),
    }
}

struct Parser {
    tokens: Peekable<std::vec::IntoIter<Token>>,
    /// Behind the last character.
    end: usize,
    comparisons: usize,
    warnings: Vec<Spanned>,
}

impl Parser {
    /// Terms joined by AND, or by nothing.
    fn conjunction<T>(&mut self, depth: usize, leaf: Parts<T>) -> Result<Tree<T>, Spanned> {
        let mut terms = vec![self.disjunction(depth, leaf)?];
        loop {
            match self.peek() {
                None | Some(Kind::Close | Kind::Comma) => break,
                Some(Kind::And) => {
                    self.tokens.next();
                }
                Some(_) => {}
            }
            terms.push(self.disjunction(depth, leaf)?);
        }
        Ok(one_or(terms, Tree::And))
    }

    /// Terms joined by OR, which binds tighter than AND.
    fn disjunction<T>(&mut self, depth: usize, leaf: Parts<T>) -> Result<Tree<T>, Spanned> {
        let mut terms = vec![self.negation(depth, leaf)?];
        while let Some(Kind::Or) = self.peek() {
            self.tokens.next();
            terms.push(self.negation(depth, leaf)?);
        }
        Ok(one_or(terms, Tree::Or))
    }

    fn negation<T>(&mut self, depth: usize, leaf: Parts<T>) -> Result<Tree<T>, Spanned> {
        let span = self.span();
        if depth > MAX_DEPTH {
            let message = format!("more than {MAX_DEPTH} levels deep: use fewer parentheses");
            return Err(spanned(span, message));
        }
        match self.peek() {
            Some(Kind::Not) => {
                self.tokens.next();
                Ok(Tree::Not(Box::new(self.negation(depth + 1, leaf)?)))
            }
            Some(Kind::Open) => {
                self.tokens.next();
                if let Some(Kind::Close) = self.peek() {
                    return Err(spanned(span, "nothing is in these parentheses: remove them"));
                }
                let inner = self.conjunction(depth + 1, leaf)?;
                self.close(span)?;
                Ok(inner)
            }
            _ => {
                self.comparisons += 1;
                if self.comparisons > MAX_COMPARISONS {
                    return Err(spanned(
                        span,
                        format!("more than {MAX_COMPARISONS} comparisons: use POST /api/v1/sql"),
                    ));
                }
                Ok(Tree::Leaf(leaf(self, depth)?))
            }
        }
    }

    /// A word, a comparison or a function.
    fn term(&mut self, depth: usize) -> Result<Term, Spanned> {
        let word = self.word("a comparison is missing here, like verdict=\"deny\"")?;
        let left = match self.call(word, depth)? {
            Comparable::Call(call) if !matches!(self.peek(), Some(Kind::Operator(_))) => {
                return Ok(Term::Call(call));
            }
            left => left,
        };
        let Some(Kind::Operator(operator)) = self.peek().cloned() else {
            return match left {
                Comparable::Word(word) => Ok(Term::Anywhere(checked(word.into_literal())?)),
                Comparable::Call(call) => Ok(Term::Call(call)),
            };
        };
        let operator_span = self.span();
        self.tokens.next();
        self.comparison(left, operator, operator_span, depth).map(Term::Compare)
    }

    fn comparison(
        &mut self,
        left: Comparable,
        operator: Operator,
        operator_span: Span,
        depth: usize,
    ) -> Result<Compare, Spanned> {
        if let Some(Kind::Open) = self.peek() {
            let right = self.negation(depth + 1, Self::listed)?;
            return Ok(Compare { left, operator, operator_span, right });
        }
        let word = match self.peek() {
            Some(Kind::Word(_)) => self.word("")?,
            _ => {
                let message = format!("a value is missing after `{operator}`: add one in quotes");
                return Err(spanned(self.span(), message));
            }
        };
        if let Comparable::Word(name) = &left
            && name.text() == "text"
            && operator == Operator::Has
            && let Some(pasted) = self.pasted(name.span, &word)?
        {
            return Ok(pasted);
        }
        let right = Tree::Leaf(checked(word.into_literal())?);
        Ok(Compare { left, operator, operator_span, right })
    }

    /// `text:field:value`, as some pages show what to copy, is `field:value`.
    fn pasted(&mut self, text_span: Span, word: &Word) -> Result<Option<Compare>, Spanned> {
        let text = word.text();
        let Some(at) = text.find([':', '=']).filter(|at| !word.quoted() && *at > 0) else {
            return Ok(None);
        };
        let (field, rest) = text.split_at(at);
        let operator = if rest.starts_with('=') { Operator::Equal } else { Operator::Has };
        let begin = word.span.from;
        let split = begin + field.chars().count();
        let operator_span = Span::new(split, split + 1);
        let value = match &rest[1..] {
            "" => match self.tokens.next() {
                Some(Token { kind: Kind::Word(value), .. }) => value.into_literal(),
                _ => {
                    let message = "a value is missing here: add one in quotes";
                    return Err(spanned(Span::new(split + 1, split + 2), message));
                }
            },
            value => Literal {
                text: value.to_owned(),
                quoted: true,
                span: Span::new(split + 1, word.span.until),
                foreign_escape: None,
            },
        };
        let meant = format!(
            "`text:` is not part of the language: this is read as {field}{operator}{:?}",
            value.text
        );
        self.warnings.push(spanned(text_span.to(word.span), meant));
        let parts = field.split('.');
        let parts = parts.map(|part| Part { text: part.to_owned(), quoted: false }).collect();
        let span = Span::new(begin, split);
        let left = Comparable::Word(Word { parts, span, foreign_escape: None });
        Ok(Some(Compare { left, operator, operator_span, right: Tree::Leaf(value) }))
    }

    /// A value of a list.
    fn listed(&mut self, _: usize) -> Result<Literal, Spanned> {
        let word = self.word("a value is missing here: lists are like (\"a\" OR \"b\")")?;
        if let Some(Kind::Operator(operator)) = self.peek() {
            let message = format!(
                "a list has values only, and `{operator}` makes a comparison: put the value into \
                 quotes, or close the parenthesis before it"
            );
            return Err(spanned(self.span(), message));
        }
        checked(word.into_literal())
    }

    /// The function that a word with a parenthesis right behind it begins, or else the word.
    fn call(&mut self, word: Word, depth: usize) -> Result<Comparable, Spanned> {
        let adjacent = self
            .tokens
            .peek()
            .is_some_and(|next| next.kind == Kind::Open && next.span.from == word.span.until);
        if !adjacent || word.quoted() {
            return Ok(Comparable::Word(word));
        }
        if depth > MAX_DEPTH {
            let message = format!("more than {MAX_DEPTH} levels deep: use fewer functions");
            return Err(spanned(word.span, message));
        }
        let open = self.span();
        self.tokens.next();
        let mut arguments = Vec::new();
        if self.peek() != Some(&Kind::Close) {
            loop {
                if arguments.len() == MAX_ARGUMENTS {
                    return Err(spanned(self.span(), "no function takes so many arguments"));
                }
                let argument = self.word("an argument is missing here")?;
                arguments.push(self.call(argument, depth + 1)?);
                if self.peek() != Some(&Kind::Comma) {
                    break;
                }
                self.tokens.next();
            }
        }
        let close = self.span();
        if !matches!(self.peek(), Some(Kind::Close) | None) {
            let message = "a function's arguments are joined by commas: add one, or quotes around \
                           a text with blanks or operators";
            return Err(spanned(close, message));
        }
        self.close(open)?;
        Ok(Comparable::Call(Call { name: word.text(), span: word.span.to(close), arguments }))
    }

    fn close(&mut self, open: Span) -> Result<(), Spanned> {
        match self.peek() {
            Some(Kind::Close) => {
                self.tokens.next();
                Ok(())
            }
            Some(Kind::Comma) => {
                let message = "lists are joined by OR or AND, not by commas";
                Err(spanned(self.span(), message))
            }
            _ => Err(spanned(open, "this parenthesis is not closed: add a )")),
        }
    }

    fn word(&mut self, missing: &str) -> Result<Word, Spanned> {
        let span = self.span();
        match self.tokens.next() {
            Some(Token { kind: Kind::Word(word), .. }) => Ok(word),
            _ => Err(spanned(span, missing)),
        }
    }

    fn peek(&mut self) -> Option<&Kind> {
        self.tokens.peek().map(|token| &token.kind)
    }

    /// Where the next token stands, or the end.
    fn span(&mut self) -> Span {
        let end = Span::new(self.end, self.end + 1);
        self.tokens.peek().map_or(end, |token| token.span)
    }
}

/// A value without quotes may have only what cannot be anything else, but for times and addresses.
fn checked(literal: Literal) -> Result<Literal, Spanned> {
    let text = &literal.text;
    if literal.quoted || literal.is_star() {
        return Ok(literal);
    }
    let Some(wrong) = text.chars().find(|c| "~=:<>,*;!&|`\\[]{}#^?".contains(*c)) else {
        return Ok(literal);
    };
    let address = text.split_once('/').map_or(text.as_str(), |(address, _)| address);
    if wrong == ':' && (address.parse::<IpAddr>().is_ok() || timestamp_ns(text).is_some()) {
        return Ok(literal);
    }
    let shown: String = text.chars().take(60).collect();
    Err(spanned(literal.span, format!("a text with `{wrong}` needs quotes: write {shown:?}")))
}

/// `insertId="A" OR "B"` looks for B everywhere.
fn warn_of_loose_values(tree: &Tree<Term>, warnings: &mut Vec<Spanned>) {
    match tree {
        Tree::And(terms) => terms.iter().for_each(|term| warn_of_loose_values(term, warnings)),
        Tree::Not(inner) => warn_of_loose_values(inner, warnings),
        Tree::Leaf(_) => {}
        Tree::Or(terms) => {
            let mut before = None;
            for term in terms {
                match term {
                    Tree::Leaf(Term::Compare(Compare {
                        left: Comparable::Word(word),
                        operator,
                        right: Tree::Leaf(value),
                        ..
                    })) => before = Some((word.text(), operator, value)),
                    Tree::Leaf(Term::Anywhere(loose)) => {
                        if let Some((field, operator, value)) = &before {
                            let (first, text) = (&value.text, &loose.text);
                            warnings.push(spanned(
                                loose.span,
                                format!(
                                    "{text:?} alone is searched in every field: if a value of \
                                     {field} is meant, write {field}{operator}({first:?} OR {text:?})"
                                ),
                            ));
                        }
                    }
                    other => warn_of_loose_values(other, warnings),
                }
            }
        }
    }
}

fn one_or<T>(mut terms: Vec<Tree<T>>, many: fn(Vec<Tree<T>>) -> Tree<T>) -> Tree<T> {
    if terms.len() == 1 { terms.swap_remove(0) } else { many(terms) }
}
