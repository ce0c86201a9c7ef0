//! Who asks, and which rows that one sees.

use std::fmt;
use std::sync::Arc;

use datafusion::logical_expr::{Expr, col, lit};
use datafusion::prelude::starts_with;

/// Somebody whom a door let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// As the token, the certificate or the file of tokens names it.
    pub name: Arc<str>,
    /// Whose flows it sees: those with either end in one of them.
    pub namespaces: Namespaces,
    /// Whether it may see and end what others run.
    pub admin: bool,
}

/// The namespaces that somebody is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespaces {
    /// Everything, also what is in no namespace.
    All,
    /// Those that one of the patterns names.
    Some(Vec<NamespacePattern>),
}

/// `shop`, or `shop-*` for all that begin with `shop-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NamespacePattern {
    /// This one.
    Name(String),
    /// Every one that begins so.
    Prefix(String),
}

impl Principal {
    /// Whoever comes while access is off.
    pub(crate) fn everyone() -> Arc<Self> {
        Arc::new(Self { name: "anonymous".into(), namespaces: Namespaces::All, admin: true })
    }
}

impl Namespaces {
    /// Whether a namespace is granted.
    pub(crate) fn has(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(patterns) => patterns.iter().any(|pattern| pattern.has(namespace)),
        }
    }

    /// Whether rows have to be left out.
    pub(crate) fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }

    /// The rows of which one of these columns names a granted namespace; `None` if that is all. It
    /// cannot fail, whatever the rows.
    pub(crate) fn condition(&self, columns: &[&str]) -> Option<Expr> {
        let Self::Some(patterns) = self else { return None };
        let names: Vec<Expr> = patterns
            .iter()
            .filter_map(|pattern| match pattern {
                NamespacePattern::Name(name) => Some(lit(name.as_str())),
                NamespacePattern::Prefix(_) => None,
            })
            .collect();
        let conditions = columns.iter().flat_map(|column| {
            let prefixes = patterns.iter().filter_map(|pattern| match pattern {
                NamespacePattern::Prefix(prefix) => {
                    Some(starts_with(col(*column), lit(prefix.as_str())))
                }
                NamespacePattern::Name(_) => None,
            });
            let named = (!names.is_empty()).then(|| col(*column).in_list(names.clone(), false));
            prefixes.chain(named).collect::<Vec<_>>()
        });
        Some(conditions.reduce(Expr::or).unwrap_or_else(|| lit(false)))
    }
}

impl NamespacePattern {
    /// Reads `shop` or `shop-*`; `None` if it is neither.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (name, prefix) = match text.strip_suffix('*') {
            Some(prefix) => (prefix, true),
            None => (text, false),
        };
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        match (plain && !name.is_empty() && name.len() <= 63, prefix) {
            (false, _) => None,
            (true, false) => Some(Self::Name(name.to_owned())),
            (true, true) => Some(Self::Prefix(name.to_owned())),
        }
    }

    fn has(&self, namespace: &str) -> bool {
        match self {
            Self::Name(name) => name == namespace,
            Self::Prefix(prefix) => namespace.starts_with(prefix),
        }
    }
}

impl fmt::Display for NamespacePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_names_or_prefixes() {
        let granted = |patterns: &[&str]| {
            let patterns = patterns.iter().map(|text| NamespacePattern::parse(text).unwrap());
            Namespaces::Some(patterns.collect())
        };
        let shop = granted(&["shop", "team-a-*"]);
        for (namespace, seen) in
            [("shop", true), ("shop-2", false), ("team-a-x", true), ("team-a", false), ("", false)]
        {
            assert_eq!(shop.has(namespace), seen, "{namespace}");
        }
        assert!(Namespaces::All.has("anything"));
        for wrong in ["", "*", "a*b", "a b", "sh%p", "ä"] {
            assert_eq!(NamespacePattern::parse(wrong), None, "{wrong}");
        }
    }
}
