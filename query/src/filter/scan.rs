//! Cuts the text of a filter into tokens.

use std::iter::Peekable;
use std::str::Chars;

use super::{FilterError, MAX_CHARACTERS, Operator};

/// A token and the character at which it begins, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) column: usize,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    And,
    Or,
    Not,
    Open,
    Close,
    Operator(Operator),
    /// A column's name, or a value without quotes.
    Word(String),
    /// A value in quotes.
    Quoted(String),
}

/// The tokens of a filter.
pub(super) fn scan(text: &str) -> Result<Vec<Token>, FilterError> {
    let length = text.chars().count();
    if length > MAX_CHARACTERS {
        return Err(FilterError {
            column: MAX_CHARACTERS,
            message: format!("the filter has {length} characters, {MAX_CHARACTERS} are allowed"),
        });
    }
    let mut scanner = Scanner { rest: text.chars().peekable(), column: 1 };
    let mut tokens: Vec<Token> = Vec::new();
    loop {
        scanner.take_while(char::is_whitespace);
        let column = scanner.column;
        let Some(&next) = scanner.rest.peek() else { return Ok(tokens) };
        let value_is_due =
            tokens.last().is_some_and(|token| matches!(token.kind, Kind::Operator(_)));
        let kind = scanner.token(next, value_is_due)?;
        tokens.push(Token { column, kind });
    }
}

struct Scanner<'a> {
    rest: Peekable<Chars<'a>>,
    column: usize,
}

impl Scanner<'_> {
    fn token(&mut self, next: char, value_is_due: bool) -> Result<Kind, FilterError> {
        match next {
            '(' => Ok(self.one(Kind::Open)),
            ')' => Ok(self.one(Kind::Close)),
            '"' => self.quoted(),
            _ if value_is_due => {
                // A value may hold what would be an operator elsewhere: times, addresses, paths.
                Ok(Kind::Word(self.take_while(|c| !c.is_whitespace() && !"()\"".contains(c))))
            }
            '-' => Ok(self.one(Kind::Not)),
            '=' | '!' | '<' | '>' | ':' | '~' => self.operator(),
            c if c.is_ascii_alphanumeric() || "_./".contains(c) => {
                let word = self.take_while(|c| c.is_ascii_alphanumeric() || "_./-".contains(c));
                Ok(match word.as_str() {
                    "AND" => Kind::And,
                    "OR" => Kind::Or,
                    "NOT" => Kind::Not,
                    _ => Kind::Word(word),
                })
            }
            other => Err(self
                .wrong(format!("{other:?} is not expected here: put values into double quotes"))),
        }
    }

    fn operator(&mut self) -> Result<Kind, FilterError> {
        let column = self.column;
        let text = self.take_while(|c| "=!<>:~".contains(c));
        let operator = match text.as_str() {
            "=" => Operator::Equal,
            "!=" => Operator::NotEqual,
            "<" => Operator::Less,
            "<=" => Operator::LessOrEqual,
            ">" => Operator::Greater,
            ">=" => Operator::GreaterOrEqual,
            ":" => Operator::Has,
            "=~" | "!~" => {
                let message = "regular expressions are not known here: use `:` for a part of \
                               the text, or POST /api/v1/sql with regexp_like()";
                return Err(FilterError { column, message: message.into() });
            }
            _ => {
                let message = format!("`{text}` is no operator: use = != < <= > >= or :");
                return Err(FilterError { column, message });
            }
        };
        Ok(Kind::Operator(operator))
    }

    fn quoted(&mut self) -> Result<Kind, FilterError> {
        let column = self.column;
        self.advance();
        let mut text = String::new();
        loop {
            match self.advance() {
                Some('"') => return Ok(Kind::Quoted(text)),
                Some('\\') => match self.advance() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some(other @ ('"' | '\\')) => text.push(other),
                    _ => {
                        let message = "after \\ only \" \\ n and t are known".to_owned();
                        return Err(FilterError { column: self.column - 2, message });
                    }
                },
                Some(other) => text.push(other),
                None => {
                    let message = "this quote is not closed: add a \"".to_owned();
                    return Err(FilterError { column, message });
                }
            }
        }
    }

    fn one(&mut self, kind: Kind) -> Kind {
        self.advance();
        kind
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let mut text = String::new();
        while let Some(&next) = self.rest.peek()
            && wanted(next)
        {
            text.push(next);
            self.advance();
        }
        text
    }

    fn advance(&mut self) -> Option<char> {
        self.column += 1;
        self.rest.next()
    }

    fn wrong(&self, message: String) -> FilterError {
        FilterError { column: self.column, message }
    }
}
