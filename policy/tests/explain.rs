//! Mistakes that people make: each a set of manifests and a question in `explain/NAME.yaml`, and
//! what is answered in `explain/NAME.txt`. Set `UPDATE_SNAPSHOTS` to write the answers anew, then
//! read them.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use weir_policy::Cluster;
use weir_policy::explain::{Explanation, Original, Overall, Question, explain, policy_yaml};
use weir_policy::manifest::{self, Object};

/// Adds what a text describes.
fn read(text: &str, cluster: &mut Cluster) {
    for object in manifest::parse(text) {
        match object.unwrap() {
            Object::Namespace(namespace) => cluster.namespaces.push(namespace),
            Object::Pod(pod) => cluster.pods.push(pod),
            Object::NetworkPolicy(policy) => cluster.policies.push(policy),
            Object::TierPolicy(policy) => cluster.tier_policies.push(policy),
            Object::Service(service) => cluster.services.push(service),
            Object::Node(node) => cluster.nodes.push(node),
            Object::NetworkLogging(_) | Object::FlowLogging(_) | Object::Ignored { .. } => {}
        }
    }
}

fn cluster(text: &str) -> Cluster {
    let mut cluster = Cluster::default();
    read(text, &mut cluster);
    cluster
}

/// The question in the first line: `# shop/web -> shop/db TCP 5432`.
fn question(text: &str) -> Question {
    let words: Vec<&str> = text.lines().next().unwrap().split_whitespace().collect();
    let ["#", from, "->", to, protocol, port] = words[..] else { panic!("{words:?}") };
    serde_json::from_value(serde_json::json!({
        "from": from, "to": to, "protocol": protocol, "port": port.parse::<u16>().unwrap(),
    }))
    .unwrap()
}

fn rendered(explanation: &Explanation) -> String {
    let mut text = format!("{}\n", explanation.sentence);
    for note in &explanation.notes {
        writeln!(text, "\nnote: {note}").unwrap();
    }
    for mistake in &explanation.mistakes {
        writeln!(text, "\nmistake {}: {}\n  fix: {}", mistake.id, mistake.sentence, mistake.fix)
            .unwrap();
    }
    for answer in &explanation.answers {
        for change in &answer.changes {
            let line = format!("\nnearest miss ({}): {}", change.cost, change.sentence);
            if !text.contains(&line) {
                writeln!(text, "{line}").unwrap();
            }
        }
    }
    if let Some(diff) = &explanation.diff {
        write!(text, "\n{diff}").unwrap();
    }
    text
}

fn cases() -> Vec<(String, String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/explain");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "yaml")).collect();
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(&path).unwrap(), path.with_extension("txt"))
        })
        .collect()
}

/// The texts of a folder after a diff was applied to it with git.
fn patched(files: &[(String, String)], diff: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    std::fs::write(folder.path().join("change.diff"), diff).unwrap();
    let output = Command::new("git")
        .args(["apply", "--verbose", "change.diff"])
        .env("GIT_CEILING_DIRECTORIES", folder.path().parent().unwrap())
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}\n{diff}", String::from_utf8_lossy(&output.stderr));
    let mut texts = Vec::new();
    let mut folders = vec![folder.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                texts.push(std::fs::read_to_string(path).unwrap());
            }
        }
    }
    texts
}

fn assert_opened(name: &str, cluster: &Cluster, question: &Question) {
    let after = explain(cluster, question, &[]).unwrap();
    assert_eq!(after.verdict, Overall::Allow, "{name}: {}", after.sentence);
}

#[test]
fn mistakes_are_explained_and_their_changes_open_the_way() {
    let update = std::env::var_os("UPDATE_SNAPSHOTS").is_some();
    let (mut different, mut count, mut opened) = (Vec::new(), 0, 0);
    for (name, text, expected_path) in cases() {
        let (cluster, question) = (cluster(&text), question(&text));
        let file = format!("{name}.yaml");
        let originals = [Original { path: file.clone(), text: text.clone() }];
        let explanation = explain(&cluster, &question, &originals).unwrap();
        let actual = rendered(&explanation);
        if update {
            std::fs::write(&expected_path, &actual).unwrap();
        }
        let expected = std::fs::read_to_string(&expected_path).unwrap_or_default();
        if actual != expected {
            different.push(format!("== {name}\n{actual}"));
        }
        count += 1;
        let is_denied = !matches!(explanation.verdict, Overall::Allow | Overall::Unknown);
        assert_eq!(is_denied, explanation.diff.is_some(), "{name}: {}", explanation.sentence);
        let Some(diff) = &explanation.diff else { continue };
        opened += 1;
        // The file that people wrote.
        let texts = patched(&[(file, text.clone())], diff).join("\n---\n");
        assert_opened(&name, &self::cluster(&texts), &question);
        // The policies as they are printed, where the file is not known.
        let printed = explain(&cluster, &question, &[]).unwrap();
        let files: Vec<(String, String)> = cluster
            .policies
            .iter()
            .map(|policy| {
                let path = format!("{}/{}.yaml", policy.namespace, policy.name);
                (path, policy_yaml(policy))
            })
            .collect();
        if cluster.tier_policies.is_empty() {
            let texts = patched(&files, &printed.diff.unwrap()).join("\n---\n");
            let mut after = cluster.clone();
            after.policies.clear();
            read(&texts, &mut after);
            assert_opened(&name, &after, &question);
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert!(count >= 40 && opened >= 30, "{count} cases, {opened} opened");
}

#[test]
fn clauses_agree_with_the_evaluator() {
    for (name, text, _) in cases() {
        let cluster = cluster(&text);
        let explanation = explain(&cluster, &question(&text), &[]).unwrap();
        for answer in &explanation.answers {
            for side in answer.egress.iter().chain(&answer.ingress) {
                for policy in side.policies.iter().filter(|policy| policy.kind == "NetworkPolicy") {
                    for rule in policy.rules.iter().filter(|_| !side.isolated_by.is_empty()) {
                        let index = u32::try_from(rule.index).unwrap();
                        let named = side
                            .rules
                            .iter()
                            .any(|other| other.name == policy.name && other.rule == Some(index));
                        let decides = side.reason.as_str() == "policy";
                        assert_eq!(rule.matched && decides, named, "{name}: {policy:?}");
                    }
                }
            }
        }
    }
}
