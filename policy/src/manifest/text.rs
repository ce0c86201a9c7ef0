//! Text into documents, and fields back into lines.
//!
//! Documents are cut apart before they are parsed, so that broken syntax costs one document only
//! and the limits count per document.

use std::cell::OnceCell;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::{Location, Spanned};

use super::error::{FieldPath, Problem, Segment};
use super::{MAX_TEXT_BYTES, ManifestError, ObjectName};

/// One document of a text.
pub(super) struct Document<'a> {
    /// Counted from 1.
    pub(super) index: usize,
    /// Lines before it in the text.
    lines_before: u64,
    content: Content<'a>,
    /// Where its fields are; parsed when the first error asks.
    places: OnceCell<Option<Spanned<Tree>>>,
}

enum Content<'a> {
    Yaml(&'a str),
    Json { text: &'a str, value: Value },
    TooLong,
}

/// The documents of a text, without the empty ones.
pub(super) fn documents(text: &str) -> Vec<Document<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > MAX_TEXT_BYTES {
        return vec![Document::new(1, 0, Content::TooLong)];
    }
    if text.trim_start().starts_with('{')
        && let Some(documents) = json(text)
    {
        return documents;
    }
    let mut documents = Vec::new();
    let mut push = |start: usize, end: usize, lines_before: u64| {
        let text = &text[start..end];
        if text.lines().any(has_content) {
            let index = documents.len() + 1;
            documents.push(Document::new(index, lines_before, Content::Yaml(text)));
        }
    };
    let (mut start, mut start_line) = (0, 0);
    let mut offset = 0;
    for (line_number, line) in (0_u64..).zip(text.split_inclusive('\n')) {
        if is_start(line) {
            push(start, offset, start_line);
            (start, start_line) = (offset, line_number);
        } else if line.trim_end() == "..." {
            push(start, offset, start_line);
            (start, start_line) = (offset + line.len(), line_number + 1);
        }
        offset += line.len();
    }
    push(start, text.len(), start_line);
    documents
}

/// The documents if the text is JSON; much faster than YAML for long lists.
fn json(text: &str) -> Option<Vec<Document<'_>>> {
    let mut documents = Vec::new();
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let mut start = 0;
    let mut lines_before = 0;
    while let Some(value) = values.next() {
        let value = value.ok()?;
        let end = values.byte_offset();
        let lines_here = lines_before;
        lines_before += text[start..end].matches('\n').count() as u64;
        let content = Content::Json { text: &text[start..end], value };
        documents.push(Document::new(documents.len() + 1, lines_here, content));
        start = end;
    }
    Some(documents)
}

fn is_start(line: &str) -> bool {
    line.strip_prefix("---")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn has_content(line: &str) -> bool {
    let line = line.trim();
    !(line.is_empty() || line.starts_with(['#', '%']) || line == "---")
}

impl<'a> Document<'a> {
    fn new(index: usize, lines_before: u64, content: Content<'a>) -> Self {
        Self { index, lines_before, content, places: OnceCell::new() }
    }

    /// Its value, or the line and the message of a syntax error. To be asked for once.
    pub(super) fn value(&mut self) -> Result<Value, (Option<u64>, String)> {
        match &mut self.content {
            Content::Json { value, .. } => Ok(value.take()),
            Content::Yaml(text) => {
                serde_saphyr::from_str_with_options(text, limits()).map_err(|error| {
                    let line = error.location().and_then(|location| self.line(location));
                    (line, format!("is not valid YAML: {}", plain(&error.render())))
                })
            }
            Content::TooLong => Err((
                None,
                format!("the text is longer than {} MiB: split it", MAX_TEXT_BYTES >> 20),
            )),
        }
    }

    /// As it was written.
    pub(super) fn text(&self) -> &'a str {
        match &self.content {
            Content::Yaml(text) | Content::Json { text, .. } => text,
            Content::TooLong => "",
        }
    }

    /// A problem with one of its objects, with the line.
    pub(super) fn error(&self, object: Option<ObjectName>, problem: Problem) -> ManifestError {
        let text = self.text();
        let places =
            self.places.get_or_init(|| serde_saphyr::from_str_with_options(text, limits()).ok());
        let line = places.as_ref().and_then(|tree| self.line(locate(tree, &problem.path)));
        ManifestError {
            document: self.index,
            object: object.map(Box::new),
            path: problem.path,
            line,
            message: problem.message,
        }
    }

    fn line(&self, location: Location) -> Option<u64> {
        (location.line() > 0).then(|| self.lines_before + location.line())
    }
}

/// The parser's message, without what it advises its caller to do.
fn plain(message: &str) -> String {
    let what = message.rsplit_once(" at line ").map_or(message, |(what, _)| what);
    if let Some(rest) = what.strip_prefix("duplicate mapping key: ") {
        let key = rest.split(", ").next().unwrap_or(rest);
        return format!("{key} stands there twice: remove one");
    }
    if what.starts_with("recursive references") {
        return "an alias stands inside of what it stands for: write it out".to_owned();
    }
    message.to_owned()
}

fn limits() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 20_000_000,
            max_nodes: 10_000_000,
            max_depth: 64,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_documents: 1,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 100_000,
            max_replay_stack_depth: 16,
        },
        with_snippet: false,
    }
}

/// Where a field is in a document; where its nearest parent is if the field is missing.
fn locate(mut node: &Spanned<Tree>, path: &FieldPath) -> Location {
    for segment in &path.0 {
        let child = match (&node.value, segment) {
            (Tree::Mapping(fields), Segment::Key(key)) => {
                fields.iter().find(|(name, _)| name == key).map(|(_, value)| value)
            }
            (Tree::Sequence(items), Segment::Index(index)) => items.get(*index),
            _ => None,
        };
        match child {
            Some(child) => node = child,
            None => break,
        }
    }
    node.referenced
}

/// The shape of a document, for finding lines.
enum Tree {
    Leaf,
    Sequence(Vec<Spanned<Tree>>),
    Mapping(Vec<(String, Spanned<Tree>)>),
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_str<E>(self, _: &str) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Tree::Sequence(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = access.next_entry()? {
            fields.push(field);
        }
        Ok(Tree::Mapping(fields))
    }
}
