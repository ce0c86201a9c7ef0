//! Values as YAML text.

use serde_json::Value;

/// A value in block style, with a line end after each line.
pub(in crate::explain) fn block(value: &Value) -> String {
    let mut text = String::new();
    lines(value, 0, &mut text);
    text
}

/// Writes a value whose first line begins where the text is, further ones at the indent.
pub(super) fn lines(value: &Value, indent: usize, text: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (index, (key, value)) in fields.iter().enumerate() {
                if index > 0 {
                    text.push_str(&pad);
                }
                text.push_str(&scalar(&Value::String(key.clone())));
                text.push(':');
                entry(value, indent, text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push_str(&pad);
                }
                text.push_str("- ");
                lines(item, indent + 2, text);
            }
        }
        other => {
            text.push_str(&flow(other));
            text.push('\n');
        }
    }
}

/// Writes what follows `key:`; lists go on at the key's own indent.
pub(super) fn entry(value: &Value, indent: usize, text: &mut String) {
    let deeper = match value {
        Value::Object(fields) if !fields.is_empty() => indent + 2,
        Value::Array(items) if !items.is_empty() => indent,
        _ => {
            text.push(' ');
            return lines(value, indent, text);
        }
    };
    text.push('\n');
    text.push_str(&" ".repeat(deeper));
    lines(value, deeper, text);
}

/// A value in one line.
pub(super) fn flow(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| {
                format!("{}: {}", scalar(&Value::String(key.clone())), flow(value))
            });
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", "))
        }
        other => scalar(other),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Whether YAML reads the text, unquoted, as this text, in any place.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let is_letters = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b));
    // What begins with a digit could be a number or a date, but not if it has a slash.
    let begins_well = text.starts_with(|first: char| {
        first.is_ascii_alphabetic() || first.is_ascii_digit() && text.contains('/')
    });
    is_letters && begins_well && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}
