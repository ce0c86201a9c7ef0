//! Cuts the text of a filter into tokens.

use super::error::{Span, Spanned, spanned};
use super::syntax::{Part, Word};
use super::{MAX_CHARACTERS, Operator};

/// A token and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) span: Span,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    And,
    Or,
    Not,
    Open,
    Close,
    Comma,
    Operator(Operator),
    Word(Word),
}

/// The tokens of a filter.
pub(super) fn scan(text: &str) -> Result<Vec<Token>, Spanned> {
    let characters: Vec<char> = text.chars().take(MAX_CHARACTERS + 1).collect();
    if characters.len() > MAX_CHARACTERS {
        let length = text.chars().count();
        return Err(spanned(
            Span::new(MAX_CHARACTERS, MAX_CHARACTERS + 1),
            format!(
                "the filter has {length} characters, {MAX_CHARACTERS} are allowed: shorten it, or \
                 use POST /api/v1/sql"
            ),
        ));
    }
    let mut scanner = Scanner { characters, at: 0 };
    let mut tokens: Vec<Token> = Vec::new();
    loop {
        scanner.skip();
        let Some(next) = scanner.peek() else { return Ok(tokens) };
        let value_is_due =
            tokens.last().is_some_and(|token| matches!(token.kind, Kind::Operator(_)));
        let from = scanner.at;
        let kind = scanner.token(next, value_is_due)?;
        tokens.push(Token { span: Span::new(from, scanner.at), kind });
    }
}

struct Scanner {
    characters: Vec<char>,
    at: usize,
}

impl Scanner {
    /// Blanks and comments.
    fn skip(&mut self) {
        loop {
            self.take_while(char::is_whitespace);
            if self.peek() != Some('-') || self.characters.get(self.at + 1) != Some(&'-') {
                return;
            }
            self.take_while(|c| c != '\n');
        }
    }

    fn token(&mut self, next: char, value_is_due: bool) -> Result<Kind, Spanned> {
        match next {
            '(' => Ok(self.one(Kind::Open)),
            ')' => Ok(self.one(Kind::Close)),
            '"' | '\'' => self.word(),
            // A value may hold what would be an operator elsewhere: whoever needs it decides.
            _ if value_is_due => Ok(self.value()),
            ',' => Ok(self.one(Kind::Comma)),
            '-' => Ok(self.one(Kind::Not)),
            '=' | '!' | '<' | '>' | ':' | '~' => self.operator(),
            c if is_bare(c) || c == '.' => self.word(),
            '&' | '|' => {
                let word = if next == '&' { "AND" } else { "OR" };
                Err(self.wrong(format!("`{next}` is no operator: write {word}")))
            }
            other => {
                Err(self.wrong(format!("{other:?} is not expected here: put texts into quotes")))
            }
        }
    }

    fn operator(&mut self) -> Result<Kind, Spanned> {
        let from = self.at;
        let text = self.take_while(|c| "=!<>:~".contains(c));
        let operator = match text.as_str() {
            "=" => Operator::Equal,
            "!=" => Operator::NotEqual,
            "<" => Operator::Less,
            "<=" => Operator::LessOrEqual,
            ">" => Operator::Greater,
            ">=" => Operator::GreaterOrEqual,
            ":" => Operator::Has,
            "=~" => Operator::Matches,
            "!~" => Operator::NotMatches,
            _ => {
                let meant = match text.as_str() {
                    "==" | ":=" | "=:" => "write =",
                    "!" => "write NOT or -",
                    "<>" | "!==" => "write !=",
                    "=>" => "write >=",
                    "=<" => "write <=",
                    "~" | "~=" | ":~" => "write =~",
                    _ => "there are = != < <= > >= : =~ and !~",
                };
                let message = format!("`{text}` is no operator: {meant}");
                return Err(spanned(Span::new(from, self.at), message));
            }
        };
        Ok(Kind::Operator(operator))
    }

    /// All up to a blank, a quote or a parenthesis.
    fn value(&mut self) -> Kind {
        let from = self.at;
        let text = self.take_while(|c| !c.is_whitespace() && !"()\"'".contains(c));
        let parts = vec![Part { text, quoted: false }];
        Kind::Word(Word { parts, span: Span::new(from, self.at), foreign_escape: None })
    }

    /// Parts joined by points; AND, OR and NOT.
    fn word(&mut self) -> Result<Kind, Spanned> {
        let from = self.at;
        let mut word = Word { parts: vec![], span: Span::new(from, from), foreign_escape: None };
        loop {
            let part = match self.peek() {
                Some('"' | '\'') => Part { text: self.quoted(&mut word)?, quoted: true },
                _ => Part { text: self.take_while(is_bare), quoted: false },
            };
            word.parts.push(part);
            if self.peek() != Some('.') {
                break;
            }
            self.at += 1;
        }
        word.span = Span::new(from, self.at);
        Ok(match word.parts.as_slice() {
            [Part { text, quoted: false }] if text == "AND" => Kind::And,
            [Part { text, quoted: false }] if text == "OR" => Kind::Or,
            [Part { text, quoted: false }] if text == "NOT" => Kind::Not,
            _ => Kind::Word(word),
        })
    }

    fn quoted(&mut self, word: &mut Word) -> Result<String, Spanned> {
        let from = self.at;
        let quote = self.next();
        let mut text = String::new();
        loop {
            let at = self.at;
            match self.next() {
                None => {
                    let message =
                        format!("this quote is not closed: add a {}", quote.unwrap_or('"'));
                    return Err(spanned(Span::new(from, self.at), message));
                }
                same if same == quote => return Ok(text),
                Some('\\') => match self.next() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some(other @ ('"' | '\'' | '\\' | '`')) => text.push(other),
                    Some(digit @ '0'..='7') => text.push(self.octal(digit)),
                    Some(other) => {
                        // A class like \d or \. of a regular expression.
                        word.foreign_escape.get_or_insert(Span::new(at, self.at));
                        text.push('\\');
                        text.push(other);
                    }
                    None => {}
                },
                Some(other) => text.push(other),
            }
        }
    }

    /// Up to three octal digits: a character up to 255.
    fn octal(&mut self, first: char) -> char {
        let mut code = first.to_digit(8).unwrap_or_default();
        for _ in 0..2 {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(8)) else { break };
            if code * 8 + digit > 0o377 {
                break;
            }
            code = code * 8 + digit;
            self.at += 1;
        }
        char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
    }

    fn one(&mut self, kind: Kind) -> Kind {
        self.at += 1;
        kind
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let rest = &self.characters[self.at..];
        let text: String = rest.iter().copied().take_while(|c| wanted(*c)).collect();
        self.at += rest.iter().take_while(|c| wanted(**c)).count();
        text
    }

    fn peek(&self) -> Option<char> {
        self.characters.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += 1;
        Some(next)
    }

    fn wrong(&self, message: String) -> Spanned {
        spanned(Span::new(self.at, self.at + 1), message)
    }
}

/// What words without quotes are made of.
fn is_bare(c: char) -> bool {
    c.is_alphanumeric() || "_/-%@+$".contains(c)
}
