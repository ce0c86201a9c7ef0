//! How texts are compared without regard to case and to how Unicode writes them.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization as _;

/// The text in compatible composed form (NFKC), each letter in the one case that all its cases
/// have in common.
pub(crate) fn fold(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            text.to_ascii_lowercase().into()
        } else {
            text.into()
        };
    }
    // By way of upper case, as some letters have two small forms (ς and σ) or become two (ß, ss).
    let small = text.nfkc().flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    small.nfkc().collect::<String>().into()
}

/// A search: words that must all be there, and phrases word for word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// A word.
    Word(String),
    /// What stood in backticks.
    Phrase(String),
}

/// What a search text asks for; empty if it asks for nothing.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    for (index, part) in text.split('`').enumerate() {
        let part = fold(part);
        if index % 2 == 1 && !part.trim().is_empty() {
            found.push(Token::Phrase(part.trim().to_owned()));
        } else if index % 2 == 0 {
            found.extend(words(&part).map(|word| Token::Word(word.to_owned())));
        }
    }
    found
}

/// Whether a text has the token.
pub(crate) fn has_token(text: &str, token: &Token) -> bool {
    let text = fold(text);
    match token {
        Token::Word(word) => words(&text).any(|other| other == word),
        Token::Phrase(phrase) => text.match_indices(phrase.as_str()).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            let behind = text[at + phrase.len()..].chars().next();
            let begins = phrase.chars().next().is_some_and(char::is_alphanumeric);
            let ends = phrase.chars().next_back().is_some_and(char::is_alphanumeric);
            let goes_on = |next: Option<char>| next.is_some_and(char::is_alphanumeric);
            !(begins && goes_on(before) || ends && goes_on(behind))
        }),
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}
