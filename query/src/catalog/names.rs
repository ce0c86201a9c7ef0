//! Finds the name that was meant.

use datafusion::common::{Column, SchemaError};
use weir_flow::schema::tables;

/// What is wrong with a column reference, and what was probably meant.
pub(crate) fn explain(error: &SchemaError) -> String {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            unknown(&field.name, valid_fields.iter().map(Column::name))
        }
        other => other.to_string(),
    }
}

/// What is wrong with a reference to a table, if that is what the engine's message says.
pub(crate) fn missing_table(message: &str) -> Option<String> {
    let name = message.strip_prefix("table '")?.strip_suffix("' not found")?;
    let name = name.strip_prefix("weir.public.").unwrap_or(name);
    let known: Vec<String> = tables().iter().map(|table| format!("`{}`", table.name)).collect();
    Some(format!("there is no table `{name}`: there are {}", known.join(", ")))
}

/// Says that there is no such column and names the nearest of the known ones.
pub(crate) fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    match nearest(name, known) {
        Some(near) => format!("there is no column `{name}`: did you mean `{near}`?"),
        None => format!("there is no column `{name}`: GET /api/v1/schema lists the columns"),
    }
}

/// The known name that is nearest to one that is not, if any is near.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    if name.len() > 100 {
        return None;
    }
    known
        .map(|candidate| (distance(&name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(name.len()) / 2)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits between two words; a part left out at one end (`pod` for `source_pod`) counts once.
fn distance(left: &str, right: &str) -> usize {
    if left.len() >= 3 && (right.ends_with(left) || right.starts_with(left)) {
        return 1;
    }
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested() {
        let known = ["time", "source_pod", "destination_port", "verdict"];
        let suggest = |name| nearest(name, known.into_iter());
        assert_eq!(suggest("sourcepod"), Some("source_pod"));
        assert_eq!(suggest("Verdikt"), Some("verdict"));
        assert_eq!(suggest("pod"), Some("source_pod"));
        assert_eq!(suggest("xyzzy"), None);
    }
}
