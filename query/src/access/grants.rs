//! From who somebody is to what that one sees.

use std::sync::Arc;

use super::principal::{NamespacePattern, Namespaces, Principal};
use super::settings::GrantSettings;
use crate::error::StartError;

/// Everything granted.
#[derive(Debug)]
pub(super) struct Grants(Vec<Grant>);

#[derive(Debug)]
struct Grant {
    principals: Vec<String>,
    groups: Vec<String>,
    everything: bool,
    patterns: Vec<NamespacePattern>,
    admin: bool,
}

impl Grants {
    /// # Errors
    /// A namespace is neither a name, nor a prefix with `*`, nor `*`; or a grant is for nobody.
    pub(super) fn new(settings: Vec<GrantSettings>) -> Result<Self, StartError> {
        settings.into_iter().map(Grant::new).collect::<Result<_, _>>().map(Self)
    }

    /// Somebody with what the grants give.
    pub(super) fn principal(&self, name: &str, groups: &[String]) -> Arc<Principal> {
        let own = || self.0.iter().filter(|grant| grant.is_for(name, groups));
        let namespaces = if own().any(|grant| grant.everything) {
            Namespaces::All
        } else {
            let mut patterns: Vec<_> = own().flat_map(|grant| grant.patterns.clone()).collect();
            patterns.sort();
            patterns.dedup();
            Namespaces::Some(patterns)
        };
        let admin = own().any(|grant| grant.admin);
        Arc::new(Principal { name: name.into(), namespaces, admin })
    }
}

impl Grant {
    fn new(settings: GrantSettings) -> Result<Self, StartError> {
        let GrantSettings { principals, groups, namespaces, admin } = settings;
        let wrong = |what: String| StartError::Access(format!("access.grants: {what}"));
        if principals.is_empty() && groups.is_empty() {
            return Err(wrong("a grant is for nobody: give it `principals` or `groups`".into()));
        }
        let everything = namespaces.iter().any(|namespace| namespace == "*");
        let patterns = namespaces
            .iter()
            .filter(|namespace| *namespace != "*")
            .map(|text| {
                NamespacePattern::parse(text).ok_or_else(|| {
                    wrong(format!("{text:?} is no namespace: write its name, or PREFIX* or *"))
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { principals, groups, everything, patterns, admin })
    }

    fn is_for(&self, name: &str, groups: &[String]) -> bool {
        self.principals.iter().any(|principal| principal == "*" || principal == name)
            || self.groups.iter().any(|group| groups.contains(group))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(principals: &[&str], groups: &[&str], namespaces: &[&str]) -> GrantSettings {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        GrantSettings {
            principals: owned(principals),
            groups: owned(groups),
            namespaces: owned(namespaces),
            admin: false,
        }
    }

    #[test]
    fn grants_add_up_and_nobody_has_more_than_granted() {
        let grants = Grants::new(vec![
            grant(&["alice"], &[], &["shop"]),
            grant(&[], &["payments"], &["pay-*"]),
            grant(&["root"], &[], &["*"]),
        ])
        .unwrap();
        let sees = |name: &str, groups: &[&str], namespace: &str| {
            let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
            grants.principal(name, &groups).namespaces.has(namespace)
        };
        assert!(sees("alice", &[], "shop"));
        assert!(!sees("alice", &[], "pay-1"));
        assert!(sees("alice", &["payments"], "pay-1"));
        assert!(sees("root", &[], "kube-system"));
        assert!(!sees("bob", &["shop"], "shop"));
    }

    #[test]
    fn what_is_no_grant_is_refused() {
        for wrong in [grant(&[], &[], &["shop"]), grant(&["a"], &[], &["s h"])] {
            let text = Grants::new(vec![wrong]).unwrap_err().to_string();
            assert!(text.starts_with("access.grants: "), "{text}");
        }
    }
}
