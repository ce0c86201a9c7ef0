//! Where the parts of a manifest are in its text.
//!
//! Knows the YAML that manifests are written in: block and flow style, quotes, comments, block
//! scalars. What it does not know (anchors, tags, complex keys) it refuses or misplaces; edits are
//! checked by reading the edited text again, so that neither can do harm.

/// Deepest nesting.
const MAX_DEPTH: usize = 64;

/// A part of a text.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) content: Content,
    /// First byte. Blocks begin at their first key or dash.
    pub(super) start: usize,
    /// Byte after the last. Blocks end after the line end of their last line.
    pub(super) end: usize,
    /// Bytes before it on its line.
    pub(super) column: usize,
    /// Flow style, or a scalar.
    pub(super) inline: bool,
}

#[derive(Debug)]
pub(super) enum Content {
    /// Text without its quotes; escapes are left alone.
    Scalar(String),
    Map(Vec<Entry>),
    List(Vec<Item>),
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    /// First byte of the key.
    pub(super) start: usize,
    /// Byte after the colon.
    pub(super) colon_end: usize,
    /// None for nothing.
    pub(super) value: Option<Node>,
    /// Byte after the entry; in blocks after its last line.
    pub(super) end: usize,
}

#[derive(Debug)]
pub(super) struct Item {
    /// First byte: the dash in blocks.
    pub(super) start: usize,
    /// Byte after it; in blocks after its last line.
    pub(super) end: usize,
    pub(super) value: Option<Node>,
}

impl Node {
    /// The text of a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(text) => Some(text),
            _ => None,
        }
    }

    /// The entry of that key.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.content {
            Content::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// The value of that key.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key)?.value.as_ref()
    }
}

/// The documents of a text; those that are not understood are left out.
pub(super) fn documents(text: &str) -> Vec<Node> {
    let mut documents = Vec::new();
    let (mut start, mut offset) = (0, 0);
    let mut push = |start: usize, end: usize| documents.extend(document(text, start, end));
    for line in text.split_inclusive('\n') {
        if line.starts_with("---") || line.trim_end() == "..." {
            push(start, offset);
            start = offset + line.len();
        }
        offset += line.len();
    }
    push(start, text.len());
    documents
}

fn document(text: &str, start: usize, end: usize) -> Option<Node> {
    let mut lines = Vec::new();
    let mut offset = start;
    for line in text[start..end].split_inclusive('\n') {
        let content = line.trim();
        if !content.is_empty() && !content.starts_with('#') {
            let indent = line.len() - line.trim_start_matches(' ').len();
            lines.push(Line { start: offset, end: offset + line.len(), indent });
        }
        offset += line.len();
    }
    let column = lines.first()?.indent;
    Reader { text, lines, line: 0 }.node(column, 0)
}

struct Line {
    start: usize,
    end: usize,
    indent: usize,
}

struct Reader<'a> {
    text: &'a str,
    /// Lines with content.
    lines: Vec<Line>,
    line: usize,
}

impl Reader<'_> {
    fn rest(&self, column: usize) -> &str {
        let line = &self.lines[self.line];
        self.text[(line.start + column).min(line.end)..line.end].trim_end()
    }

    fn indent(&self) -> Option<usize> {
        self.lines.get(self.line).map(|line| line.indent)
    }

    /// End of the last line that was read.
    fn end(&self) -> usize {
        self.lines[self.line.saturating_sub(1)].end
    }

    /// The node that begins in this column of the current line; goes on to the line after it.
    fn node(&mut self, column: usize, depth: usize) -> Option<Node> {
        if depth > MAX_DEPTH {
            return None;
        }
        let start = self.lines[self.line].start + column;
        let rest = self.rest(column);
        if rest == "-" || rest.starts_with("- ") {
            return self.list(start, column, depth);
        }
        if !rest.starts_with(['{', '[']) && key(rest).is_some() {
            return self.map(start, column, depth);
        }
        self.inline(start, column, column)
    }

    fn list(&mut self, start: usize, column: usize, depth: usize) -> Option<Node> {
        let mut items = Vec::new();
        while self.line < self.lines.len() && (items.is_empty() || self.indent() == Some(column)) {
            let rest = self.rest(column);
            if !(rest == "-" || rest.starts_with("- ")) {
                break;
            }
            let start = self.lines[self.line].start + column;
            let after = rest[1..].len() - rest[1..].trim_start().len() + 1;
            let value = if rest == "-" || rest[after..].starts_with('#') {
                self.line += 1;
                match self.indent() {
                    Some(indent) if indent > column => Some(self.node(indent, depth + 1)?),
                    _ => None,
                }
            } else {
                Some(self.node(column + after, depth + 1)?)
            };
            items.push(Item { start, end: self.end(), value });
        }
        let content = Content::List(items);
        Some(Node { content, start, end: self.end(), column, inline: false })
    }

    fn map(&mut self, start: usize, column: usize, depth: usize) -> Option<Node> {
        let mut entries: Vec<Entry> = Vec::new();
        while self.line < self.lines.len() && (entries.is_empty() || self.indent() == Some(column))
        {
            let rest = self.rest(column);
            let (name, length) = key(rest)?;
            let start = self.lines[self.line].start + column;
            let after = &rest[length..];
            let gap = after.len() - after.trim_start().len();
            let value = if after.trim().is_empty() || after.trim_start().starts_with('#') {
                self.line += 1;
                match self.indent() {
                    Some(indent) if indent > column => Some(self.node(indent, depth + 1)?),
                    Some(indent) if indent == column && is_dash(self.rest(column)) => {
                        Some(self.node(indent, depth + 1)?)
                    }
                    _ => None,
                }
            } else {
                let column_of_value = column + length + gap;
                let at = self.lines[self.line].start + column_of_value;
                Some(self.inline(at, column_of_value, column)?)
            };
            let end = self.end();
            entries.push(Entry { key: name, start, colon_end: start + length, value, end });
        }
        let content = Content::Map(entries);
        Some(Node { content, start, end: self.end(), column, inline: false })
    }

    /// A scalar or something in flow style, which may go on over lines that are indented more than
    /// its parent.
    fn inline(&mut self, start: usize, column: usize, parent: usize) -> Option<Node> {
        let first = self.text[start..].chars().next()?;
        let node = match first {
            '&' | '*' | '!' => return None,
            '{' | '[' | '"' | '\'' => flow(self.text, start, column, 0)?,
            _ => {
                let end = start + plain_end(self.rest(column), false);
                let content = Content::Scalar(self.text[start..end].to_owned());
                Node { content, start, end, column, inline: true }
            }
        };
        while self.lines.get(self.line).is_some_and(|line| line.start < node.end) {
            self.line += 1;
        }
        if matches!(node.content, Content::Scalar(_)) {
            while self.indent().is_some_and(|indent| indent > parent) {
                self.line += 1;
            }
        }
        Some(node)
    }
}

fn is_dash(rest: &str) -> bool {
    rest == "-" || rest.starts_with("- ")
}

/// The key that a line begins with, and its length with the colon.
fn key(rest: &str) -> Option<(String, usize)> {
    let quote = rest.chars().next().filter(|first| ['"', '\''].contains(first));
    let (name, after) = match quote {
        Some(quote) => {
            let end = rest[1..].find(quote)? + 1;
            (&rest[1..end], end + 1)
        }
        None => {
            let end = rest
                .match_indices(':')
                .map(|(at, _)| at)
                .find(|at| rest[at + 1..].is_empty() || rest[at + 1..].starts_with([' ', '\t']))?;
            if rest[..end].contains(" #") {
                return None;
            }
            (rest[..end].trim_end(), end)
        }
    };
    rest[after..].starts_with(':').then(|| (name.to_owned(), after + 1))
}

/// Length of the plain scalar at the beginning of a line's rest.
fn plain_end(rest: &str, in_flow: bool) -> usize {
    let mut end = rest.find(" #").unwrap_or(rest.len());
    if in_flow {
        end = end.min(rest.find([',', '}', ']', '\n']).unwrap_or(end));
        end = end.min(rest.find(": ").unwrap_or(end));
    }
    rest[..end].trim_end().len()
}

/// A node in flow style, or a quoted scalar.
fn flow(text: &str, start: usize, column: usize, depth: usize) -> Option<Node> {
    if depth > MAX_DEPTH {
        return None;
    }
    let node = |content, end| Some(Node { content, start, end, column, inline: true });
    let first = text[start..].chars().next()?;
    match first {
        '"' | '\'' => {
            let mut end = start + 1;
            loop {
                end += text[end..].find(['"', '\'', '\\'])?;
                match text[end..].chars().next()? {
                    '\\' if first == '"' => end += 2,
                    other if other == first => break,
                    _ => end += 1,
                }
                text.get(end..)?;
            }
            node(Content::Scalar(text[start + 1..end].to_owned()), end + 1)
        }
        '{' => {
            let mut entries = Vec::new();
            let mut at = skip(text, start + 1);
            while !text[at..].starts_with('}') {
                let key_start = at;
                let name = match text[at..].chars().next()? {
                    '"' | '\'' => {
                        let name = flow(text, at, column, depth + 1)?;
                        at = name.end;
                        name.text()?.to_owned()
                    }
                    _ => {
                        let end = text[at..].find(':')?;
                        let name = text[at..at + end].trim_end().to_owned();
                        at += end;
                        name
                    }
                };
                at = skip(text, at);
                if !text[at..].starts_with(':') {
                    return None;
                }
                let colon_end = at + 1;
                at = skip(text, colon_end);
                let value = flow_value(text, at, column, depth)?;
                let end = value.as_ref().map_or(colon_end, |value| value.end);
                at = skip(text, end);
                entries.push(Entry { key: name, start: key_start, colon_end, value, end });
                at = separator(text, at, '}')?;
            }
            node(Content::Map(entries), at + 1)
        }
        '[' => {
            let mut items = Vec::new();
            let mut at = skip(text, start + 1);
            while !text[at..].starts_with(']') {
                let value = flow_value(text, at, column, depth)?;
                let end = value.as_ref().map_or(at, |value| value.end);
                items.push(Item { start: at, end, value });
                at = separator(text, skip(text, end), ']')?;
            }
            node(Content::List(items), at + 1)
        }
        _ => {
            let end = start + plain_end(&text[start..], true);
            (end > start).then(|| node(Content::Scalar(text[start..end].to_owned()), end))?
        }
    }
}

fn flow_value(text: &str, at: usize, column: usize, depth: usize) -> Option<Option<Node>> {
    if text[at..].starts_with([',', '}', ']']) {
        return Some(None);
    }
    flow(text, at, column, depth + 1).map(Some)
}

/// Goes past a comma, or stays at the closing bracket.
fn separator(text: &str, at: usize, close: char) -> Option<usize> {
    if text[at..].starts_with(',') {
        return Some(skip(text, at + 1));
    }
    text[at..].starts_with(close).then_some(at)
}

/// Goes past spaces, line ends and comments.
fn skip(text: &str, mut at: usize) -> usize {
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        if !text[at..].starts_with('#') {
            return at;
        }
        at += text[at..].find('\n').unwrap_or(text.len() - at);
    }
}
