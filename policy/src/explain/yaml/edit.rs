//! Small edits: of a value, and of a text so that the rest of it stays as it is.

use serde_json::{Map, Value};

use super::print::{entry, flow, lines};
use super::tree::{Content, Item, Node, documents};
use crate::manifest::ObjectName;

/// One step of a way to a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::explain) enum Step {
    Key(String),
    Index(usize),
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// A small edit of a manifest.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::explain) enum Edit {
    /// Puts an item into a list, before the index or at the end; makes the list if there is none.
    Insert { list: Vec<Step>, before: Option<usize>, value: Value },
    /// Sets a field or an item, and makes the fields above it.
    Set { at: Vec<Step>, value: Value },
    /// Takes away a field or an item, and a list that is empty without it.
    Remove { at: Vec<Step> },
}

/// Edits a value; none if the way does not exist.
pub(in crate::explain) fn edit_value(root: &mut Value, edit: &Edit) -> Option<()> {
    match edit {
        Edit::Insert { list, before, value } => {
            let list = reach(root, list)?;
            if list.is_null() {
                *list = Value::Array(Vec::new());
            }
            let items = list.as_array_mut()?;
            let index = before.unwrap_or(items.len());
            if index > items.len() {
                return None;
            }
            items.insert(index, value.clone());
        }
        Edit::Set { at, value } => *reach(root, at)? = value.clone(),
        Edit::Remove { at } => {
            let (last, parent) = at.split_last()?;
            match (reach(root, parent)?, last) {
                (Value::Object(fields), Step::Key(key)) => {
                    fields.remove(key)?;
                }
                (Value::Array(items), Step::Index(index)) if *index < items.len() => {
                    items.remove(*index);
                    if items.is_empty() {
                        return edit_value(root, &Edit::Remove { at: parent.to_vec() });
                    }
                }
                _ => return None,
            }
        }
    }
    Some(())
}

/// The field, made null if it is missing.
fn reach<'a>(mut value: &'a mut Value, path: &[Step]) -> Option<&'a mut Value> {
    for step in path {
        value = match step {
            Step::Key(key) => {
                if value.is_null() {
                    *value = Value::Object(Map::new());
                }
                value.as_object_mut()?.entry(key.clone()).or_insert(Value::Null)
            }
            Step::Index(index) => value.as_array_mut()?.get_mut(*index)?,
        };
    }
    Some(value)
}

/// Edits the object of that name in a text; none if it is not there or not understood.
pub(in crate::explain) fn edit_text(
    text: &str,
    object: &ObjectName,
    edit: &Edit,
) -> Option<String> {
    let documents = documents(text);
    let root = documents.iter().find_map(|document| find(document, object))?;
    let quotes_keys = |text: &str| text.trim_start().starts_with('"');
    let json = text[root.start..].strip_prefix('{').is_some_and(quotes_keys);
    let style = Style { text, json };
    match edit {
        Edit::Insert { list, before, value } => style.insert(root, list, *before, value),
        Edit::Set { at, value } => style.set(root, at, value),
        Edit::Remove { at } => style.remove(root, at),
    }
}

fn find<'a>(document: &'a Node, object: &ObjectName) -> Option<&'a Node> {
    let text = |node: Option<&'a Node>| node.and_then(Node::text).unwrap_or_default();
    let metadata = document.get("metadata");
    let namespace = text(metadata.and_then(|metadata| metadata.get("namespace")));
    let same_namespace =
        namespace == object.namespace || namespace.is_empty() && object.namespace == "default";
    if same_namespace
        && text(metadata.and_then(|metadata| metadata.get("name"))) == object.name
        && text(document.get("kind")) == object.kind
    {
        return Some(document);
    }
    match document.get("items").map(|items| &items.content) {
        Some(Content::List(items)) => {
            items.iter().filter_map(|item| item.value.as_ref()).find_map(|item| find(item, object))
        }
        _ => None,
    }
}

struct Style<'a> {
    text: &'a str,
    json: bool,
}

impl Style<'_> {
    fn flow(&self, value: &Value) -> String {
        if self.json { value.to_string() } else { flow(value) }
    }

    fn key(&self, key: &str) -> String {
        if self.json { format!("\"{key}\"") } else { key.to_owned() }
    }

    fn splice(&self, start: usize, end: usize, new: &str) -> Option<String> {
        let (before, after) = (self.text.get(..start)?, self.text.get(end..)?);
        // A last line without an end.
        let missing = new.ends_with('\n') && !before.is_empty() && start == self.text.len();
        let line_end = if missing && !before.ends_with('\n') { "\n" } else { "" };
        Some(format!("{before}{line_end}{new}{after}"))
    }

    fn insert(
        &self,
        root: &Node,
        path: &[Step],
        before: Option<usize>,
        value: &Value,
    ) -> Option<String> {
        let list = walk(root, path);
        let Some((list, items)) = list.and_then(|list| match &list.content {
            Content::List(items) if !items.is_empty() => Some((list, items)),
            _ => None,
        }) else {
            return self.set(root, path, &Value::Array(vec![value.clone()]));
        };
        let next = before.map_or(items.len(), |index| index);
        if list.inline {
            let text = self.flow(value);
            return match items.get(next) {
                Some(item) => self.splice(item.start, item.start, &format!("{text}, ")),
                None => {
                    let end = items.last()?.end;
                    self.splice(end, end, &format!(", {text}"))
                }
            };
        }
        let at = match items.get(next) {
            Some(item) => self.line_start(item.start)?,
            None => list.end,
        };
        let mut new = format!("{}- ", " ".repeat(list.column));
        lines(value, list.column + 2, &mut new);
        self.splice(at, at, &new)
    }

    /// Start of a line whose content begins at a byte.
    fn line_start(&self, content: usize) -> Option<usize> {
        let start = self.text[..content].rfind('\n').map_or(0, |end| end + 1);
        self.text[start..content].trim().is_empty().then_some(start)
    }

    fn set(&self, root: &Node, path: &[Step], value: &Value) -> Option<String> {
        let (last, parent_path) = path.split_last()?;
        let Some(parent) = walk(root, parent_path) else {
            let Step::Key(key) = last else { return None };
            let mut fields = Map::new();
            fields.insert(key.clone(), value.clone());
            return self.set(root, parent_path, &Value::Object(fields));
        };
        match (&parent.content, last) {
            (Content::List(items), Step::Index(index)) => {
                let node = items.get(*index)?.value.as_ref()?;
                self.replace(node, value)
            }
            (Content::Map(entries), Step::Key(key)) => {
                let old = entries.iter().find(|entry| entry.key == *key);
                match old {
                    Some(old) => match &old.value {
                        Some(node) if !node.inline => self.replace(node, value),
                        Some(node) if parent.inline || !is_container(value) => {
                            self.replace(node, value)
                        }
                        _ if parent.inline => None,
                        _ => {
                            let mut new = String::new();
                            entry(value, parent.column, &mut new);
                            self.splice(old.colon_end, old.end, &new)
                        }
                    },
                    None if parent.inline => {
                        let new = format!("{}: {}", self.key(key), self.flow(value));
                        match entries.last() {
                            Some(last) => self.splice(last.end, last.end, &format!(", {new}")),
                            None => self.splice(parent.start + 1, parent.start + 1, &new),
                        }
                    }
                    None => {
                        let mut new = format!("{}{key}:", " ".repeat(parent.column));
                        entry(value, parent.column, &mut new);
                        self.splice(parent.end, parent.end, &new)
                    }
                }
            }
            _ => None,
        }
    }

    fn replace(&self, node: &Node, value: &Value) -> Option<String> {
        if node.inline {
            return self.splice(node.start, node.end, &self.flow(value));
        }
        let mut new = String::new();
        lines(value, node.column, &mut new);
        self.splice(node.start, node.end, &new)
    }

    fn remove(&self, root: &Node, path: &[Step]) -> Option<String> {
        let (last, parent_path) = path.split_last()?;
        let parent = walk(root, parent_path)?;
        let parts: Vec<(usize, usize)> = match &parent.content {
            Content::List(items) => {
                items.iter().map(|Item { start, end, .. }| (*start, *end)).collect()
            }
            Content::Map(entries) => entries.iter().map(|entry| (entry.start, entry.end)).collect(),
            Content::Scalar(_) => return None,
        };
        let index = match (&parent.content, last) {
            (Content::Map(entries), Step::Key(key)) => {
                entries.iter().position(|entry| entry.key == *key)?
            }
            (Content::List(_), Step::Index(index)) => *index,
            _ => return None,
        };
        if parts.len() == 1 && matches!(parent.content, Content::List(_)) {
            return self.remove(root, parent_path);
        }
        let &(start, end) = parts.get(index)?;
        if parent.inline {
            return match (parts.get(index + 1), index.checked_sub(1).and_then(|i| parts.get(i))) {
                (Some(&(next, _)), _) => self.splice(start, next, ""),
                (None, Some(&(_, previous))) => self.splice(previous, end, ""),
                (None, None) => self.splice(start, end, ""),
            };
        }
        if parts.len() == 1 {
            return self.splice(parent.start, parent.end, "{}\n");
        }
        match self.line_start(start) {
            Some(line) => self.splice(line, end, ""),
            // The first of a block that begins behind a dash.
            None => self.splice(start, parts.get(index + 1)?.0, ""),
        }
    }
}

fn is_container(value: &Value) -> bool {
    match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

fn walk<'a>(mut node: &'a Node, path: &[Step]) -> Option<&'a Node> {
    for step in path {
        node = match (&node.content, step) {
            (Content::Map(_), Step::Key(key)) => node.get(key)?,
            (Content::List(items), Step::Index(index)) => items.get(*index)?.value.as_ref()?,
            _ => return None,
        };
    }
    Some(node)
}
