//! Patterns of DNS names and of nodes, as regular expressions.

use datafusion::logical_expr::{Expr, col, lit};

use super::FilterError;
use crate::functions::text::{Comparison, function};

/// The regular expression of a DNS name; `*` goes over points.
pub(super) fn name(pattern: &str) -> Result<String, FilterError> {
    let name = pattern.strip_suffix('.').unwrap_or(pattern);
    if name.is_empty() {
        return Err(FilterError::new("a name is empty: write it like *.example.com"));
    }
    Ok(format!("(?i)^{}\\.?$", escaped(name, "[-._0-9a-zA-Z]*")))
}

/// `node`, or `cluster/node`; `*` stays within a part of a name, `**` goes over points.
pub(super) fn node(pattern: &str) -> Result<Expr, FilterError> {
    let matches = |column: &str, part: &str| {
        let text = escaped(&part.replace("**", "\u{0}"), "[-_0-9a-zA-Z]*");
        let text = format!("(?i)^{text}$");
        function(Comparison::Matches).call(vec![col(column), lit(text)])
    };
    match pattern.split_once('/') {
        _ if pattern.is_empty() => {
            Err(FilterError::new("a node_name is empty: write it like node-* or cluster/node-1"))
        }
        Some((_, node)) if node.contains('/') => Err(FilterError::new(format!(
            "node_name {pattern:?} has more than one slash: write it like cluster/node-1"
        ))),
        None => Ok(matches("node", pattern)),
        // An empty part stands for any.
        Some((cluster, node)) => {
            let parts = [("cluster", cluster), ("node", node)];
            let said = parts.iter().filter(|(_, part)| !part.is_empty());
            let said = said.map(|(column, part)| matches(column, part));
            Ok(said.reduce(Expr::and).unwrap_or_else(|| lit(true)))
        }
    }
}

/// A pattern's characters; NUL stands for anything.
fn escaped(pattern: &str, star: &str) -> String {
    let part = |c: char| match c {
        '*' => star.to_owned(),
        '\u{0}' => ".*".to_owned(),
        c => regex::escape(c.encode_utf8(&mut [0; 4])),
    };
    pattern.chars().map(part).collect()
}
