//! Ready queries: those that come with Weir, each a file beside, and those of a file of one's own.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::StartError;
use crate::guard::MAX_SQL_BYTES;

/// Largest file of queries.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Most queries of a file.
const MAX_SAVED: usize = 500;

/// A query with a name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Saved {
    pub(crate) name: Cow<'static, str>,
    /// What it shows, in a line.
    pub(crate) title: Cow<'static, str>,
    pub(crate) sql: Cow<'static, str>,
}

/// Those that come with Weir.
const READY: [Saved; 8] = [
    ready(
        "denied-now",
        "Denied in the last 15 minutes, by edge",
        include_str!("library/denied-now.sql"),
    ),
    ready(
        "to-the-internet",
        "Who talks to the internet, in the last day",
        include_str!("library/to-the-internet.sql"),
    ),
    ready(
        "top-denied-pairs",
        "The pairs of workloads that are denied most, in the last day",
        include_str!("library/top-denied-pairs.sql"),
    ),
    ready(
        "namespace-to-namespace",
        "Namespace to namespace, by verdict, in the last hour",
        include_str!("library/namespace-to-namespace.sql"),
    ),
    ready(
        "ports-scanned",
        "Who tried many ports of one address and was denied, in the last hour",
        include_str!("library/ports-scanned.sql"),
    ),
    ready(
        "never-arrived",
        "What left its source and never arrived, in the last 10 minutes",
        include_str!("library/never-arrived.sql"),
    ),
    ready(
        "not-isolated",
        "Flows of pods that no policy isolates, in the last hour",
        include_str!("library/not-isolated.sql"),
    ),
    ready("lost", "What is in no row, in the last day, by stage", include_str!("library/lost.sql")),
];

const fn ready(name: &'static str, title: &'static str, sql: &'static str) -> Saved {
    Saved { name: Cow::Borrowed(name), title: Cow::Borrowed(title), sql: Cow::Borrowed(sql) }
}

/// All queries: one's own, and the ready ones.
///
/// # Errors
/// The file cannot be read, is no JSON list of `{"name","title","sql"}`, or gives a name twice.
pub(crate) fn load(file: Option<&Path>) -> Result<Vec<Saved>, StartError> {
    let mut all = match file {
        Some(path) => read(path)?,
        None => Vec::new(),
    };
    let own: BTreeSet<Cow<'_, str>> = all.iter().map(|saved| saved.name.clone()).collect();
    all.extend(READY.into_iter().filter(|ready| !own.contains(&ready.name)));
    Ok(all)
}

fn read(path: &Path) -> Result<Vec<Saved>, StartError> {
    let wrong = |cause: String| StartError::SavedQueries { path: path.to_owned(), cause };
    let size = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
    if size > MAX_FILE_BYTES {
        return Err(wrong(format!("it has {size} bytes, {MAX_FILE_BYTES} are allowed")));
    }
    let text = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let saved: Vec<Saved> = serde_json::from_slice(&text).map_err(|error| {
        wrong(format!("it has to be a list of {{\"name\",\"title\",\"sql\"}}: {error}"))
    })?;
    if saved.len() > MAX_SAVED {
        return Err(wrong(format!("it has {} queries, {MAX_SAVED} are allowed", saved.len())));
    }
    let mut names = BTreeSet::new();
    for query in &saved {
        if query.name.is_empty() || !names.insert(query.name.as_ref()) {
            return Err(wrong(format!("the name {:?} is empty or there twice", query.name)));
        }
        if query.sql.len() > MAX_SQL_BYTES {
            return Err(wrong(format!("the SQL of {:?} is too long", query.name)));
        }
    }
    Ok(saved)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{Stand, batch, flow};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_ready_query_runs() {
        let stand = Stand::new().await;
        stand.relay.push(batch((0..10).map(flow)));
        let (code, text) = stand.get("/api/v1/library").await;
        assert_eq!(code, 200, "{text}");
        let listed: serde_json::Value = serde_json::from_str(&text).unwrap();
        let listed = listed["queries"].as_array().unwrap();
        assert_eq!(listed.len(), READY.len());
        for query in listed {
            stand.rows(query["sql"].as_str().unwrap()).await;
        }
    }

    #[test]
    fn a_file_adds_queries_and_takes_the_place_of_ready_ones() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("queries.json");
        let write = |value: serde_json::Value| std::fs::write(&path, value.to_string()).unwrap();
        let query = |name: &str| json!({"name": name, "title": "mine", "sql": "select 1"});
        write(json!([query("mine"), query("denied-now")]));
        let all = load(Some(&path)).unwrap();
        assert_eq!(all.len(), READY.len() + 1);
        assert_eq!(all.iter().filter(|saved| saved.title == "mine").count(), 2);
        for wrong in [
            json!({"name": "x"}),
            json!([query("twice"), query("twice")]),
            json!([{"name": "x", "title": "y", "sql": "select 1", "colour": "red"}]),
            json!([{"name": "x", "title": "y", "sql": " ".repeat(MAX_SQL_BYTES + 1)}]),
        ] {
            write(wrong);
            let error = load(Some(&path)).unwrap_err().to_string();
            assert!(error.contains("queries.json"), "{error}");
        }
        assert!(load(Some(&directory.path().join("none"))).is_err());
    }
}
