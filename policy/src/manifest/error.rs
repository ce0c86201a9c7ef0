//! What is wrong with a manifest, and where.

use std::fmt;

use serde_json::Value;

/// Something is wrong with one object of a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ManifestError {
    /// Which document of the text, counted from 1; empty documents do not count.
    pub document: usize,
    /// What the object calls itself.
    pub object: Option<Box<ObjectName>>,
    /// The field, from the document's root.
    pub path: FieldPath,
    /// Line in the text, counted from 1.
    pub line: Option<u64>,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "document {}", self.document)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if let Some(object) = &self.object {
            write!(f, ", {object}")?;
        }
        f.write_str(": ")?;
        if !self.path.0.is_empty() {
            write!(f, "{} ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// What an object calls itself, as far as it does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectName {
    /// Its kind; empty if it has none.
    pub kind: String,
    /// Its namespace; empty if it has none.
    pub namespace: String,
    /// Its name; empty if it has none.
    pub name: String,
}

impl ObjectName {
    /// The name in a document, however broken the rest is.
    pub(super) fn of(value: &Value) -> Option<Self> {
        let text = |value: Option<&Value>| {
            value.and_then(Value::as_str).unwrap_or_default().chars().take(253).collect()
        };
        let metadata = value.get("metadata");
        let name = Self {
            kind: text(value.get("kind")),
            namespace: text(metadata.and_then(|metadata| metadata.get("namespace"))),
            name: text(metadata.and_then(|metadata| metadata.get("name"))),
        };
        (name != Self::default()).then_some(name)
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.kind.is_empty() { "object" } else { &self.kind })?;
        match (self.namespace.as_str(), self.name.as_str()) {
            ("", "") => Ok(()),
            ("", name) => write!(f, " {name}"),
            (namespace, "") => write!(f, " in {namespace}"),
            (namespace, name) => write!(f, " {namespace}/{name}"),
        }
    }
}

/// Way to a field, such as `spec.ingress[0].from[1].ipBlock.cidr`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldPath(pub Vec<Segment>);

/// One step of a [`FieldPath`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// A field.
    Key(String),
    /// An item of a list.
    Index(usize),
}

impl FieldPath {
    /// The field of that name below this one.
    pub(super) fn key(&self, key: &str) -> Self {
        self.step(Segment::Key(key.to_owned()))
    }

    /// The item of that index below this one.
    pub(super) fn index(&self, index: usize) -> Self {
        self.step(Segment::Index(index))
    }

    fn step(&self, segment: Segment) -> Self {
        let mut path = self.clone();
        path.0.push(segment);
        path
    }

    /// A problem with this field.
    pub(super) fn problem(&self, message: impl Into<String>) -> Problem {
        Problem { path: self.clone(), message: message.into() }
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(key) if position == 0 => f.write_str(key)?,
                Segment::Key(key) => write!(f, ".{key}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Something wrong inside one object: a [`ManifestError`] that does not know its document yet.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) path: FieldPath,
    pub(super) message: String,
}

impl Problem {
    /// With the object as a whole.
    pub(super) fn here(message: impl Into<String>) -> Self {
        FieldPath::default().problem(message)
    }

    /// With one of its fields.
    pub(super) fn at(field: &str, message: impl Into<String>) -> Self {
        FieldPath::default().key(field).problem(message)
    }

    /// The same, seen from further out.
    pub(super) fn inside(mut self, prefix: impl IntoIterator<Item = Segment>) -> Self {
        self.path.0.splice(0..0, prefix);
        self
    }

    /// Reads `value` as `T`; the problem names the field at fault.
    pub(super) fn decode<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, Self> {
        serde_path_to_error::deserialize(value).map_err(|error| {
            let path = FieldPath(error.path().iter().filter_map(segment).collect());
            let message = error.inner().to_string();
            match message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
                Some(field) => path.key(field).problem("is missing: add it"),
                None => Self { message: advice(&message, &path), path },
            }
        })
    }
}

fn segment(segment: &serde_path_to_error::Segment) -> Option<Segment> {
    match segment {
        serde_path_to_error::Segment::Seq { index } => Some(Segment::Index(*index)),
        serde_path_to_error::Segment::Map { key } => Some(Segment::Key(key.clone())),
        serde_path_to_error::Segment::Enum { variant } => Some(Segment::Key(variant.clone())),
        serde_path_to_error::Segment::Unknown => None,
    }
}

/// The decoder's message as something that can be acted on.
fn advice(message: &str, path: &FieldPath) -> String {
    if message.starts_with("unknown field") {
        return format!(
            "is not known here ({}): correct its spelling or remove it",
            message.split_once(", ").map_or(message, |(_, expected)| expected)
        );
    }
    if message.ends_with("expected a string") {
        return format!("has the wrong type ({message}): put the value in quotes");
    }
    if path.0.is_empty() { message.to_owned() } else { format!("cannot be read: {message}") }
}
