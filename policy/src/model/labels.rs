//! Labels of an object. Copies share them, and equal ones can be made to.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Labels of an object: a map from key to value of which copies cost nothing.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels(Arc<BTreeMap<String, String>>);

impl Labels {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Deref for Labels {
    type Target = BTreeMap<String, String>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Labels {
    /// Makes them this object's own.
    fn deref_mut(&mut self) -> &mut Self::Target {
        Arc::make_mut(&mut self.0)
    }
}

/// As a map: digests of what contains labels are made from this text.
impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<BTreeMap<String, String>> for Labels {
    fn from(labels: BTreeMap<String, String>) -> Self {
        Self(Arc::new(labels))
    }
}

impl<const N: usize> From<[(String, String); N]> for Labels {
    fn from(labels: [(String, String); N]) -> Self {
        BTreeMap::from(labels).into()
    }
}

impl FromIterator<(String, String)> for Labels {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(labels: I) -> Self {
        labels.into_iter().collect::<BTreeMap<_, _>>().into()
    }
}

impl IntoIterator for Labels {
    type Item = (String, String);
    type IntoIter = std::collections::btree_map::IntoIter<String, String>;

    fn into_iter(self) -> Self::IntoIter {
        Arc::unwrap_or_clone(self.0).into_iter()
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a String, &'a String);
    type IntoIter = std::collections::btree_map::Iter<'a, String, String>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl PartialEq<BTreeMap<String, String>> for Labels {
    fn eq(&self, other: &BTreeMap<String, String>) -> bool {
        *self.0 == *other
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::deserialize(deserializer).map(Self::from)
    }
}

/// One copy of equal labels: most pods have those of others of their workload.
#[derive(Debug, Default)]
pub struct LabelPool(HashSet<Labels>);

impl LabelPool {
    /// Makes labels share the memory of equal ones that were seen before.
    pub fn share(&mut self, labels: &mut Labels) {
        match self.0.get(labels) {
            Some(known) => labels.clone_from(known),
            None => {
                self.0.insert(labels.clone());
            }
        }
    }

    /// Forgets those that nobody else has.
    pub fn forget_unused(&mut self) {
        self.0.retain(|labels| Arc::strong_count(&labels.0) > 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Labels {
        Labels::from([("app".to_owned(), "web".to_owned())])
    }

    #[test]
    fn equal_labels_are_one_as_long_as_somebody_has_them() {
        let mut pool = LabelPool::default();
        let (mut one, mut two) = (labels(), labels());
        pool.share(&mut one);
        pool.share(&mut two);
        assert!(Arc::ptr_eq(&one.0, &two.0));
        two.insert("app".into(), "api".into());
        assert_eq!((one["app"].as_str(), two["app"].as_str()), ("web", "api"));
        pool.forget_unused();
        assert_eq!(pool.0.len(), 1);
        drop(one);
        pool.forget_unused();
        assert!(pool.0.is_empty());
    }

    #[test]
    fn they_are_written_as_a_map() {
        assert_eq!(format!("{:?}", labels()), r#"{"app": "web"}"#);
        let text = serde_json::to_string(&labels()).unwrap();
        assert_eq!(text, r#"{"app":"web"}"#);
        assert_eq!(serde_json::from_str::<Labels>(&text).unwrap(), labels());
    }
}
