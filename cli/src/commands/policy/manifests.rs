//! Manifests of files and directories as one cluster.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Serialize;
use weir_policy::Cluster;
use weir_policy::case::Case;
use weir_policy::explain::Original;
use weir_policy::lint::{Lint, lint_text};
use weir_policy::manifest::{self, ManifestError, Object};

/// Most files that are read, and the largest of them: those of a collector's directory.
const MAX_FILES: usize = 10_000;
const MAX_FILE_BYTES: u64 = 16 << 20;
/// Deepest subdirectory that is looked into.
const MAX_DEPTH: usize = 8;

/// What files describe.
#[derive(Debug, Default)]
pub(super) struct Manifests {
    /// What could be read.
    pub(super) cluster: Cluster,
    /// The files, for changes of them.
    pub(super) originals: Vec<Original>,
    /// What could not be read.
    pub(super) refused: Vec<Refused>,
    /// What the texts of policies tell beyond what they mean.
    pub(super) lints: Vec<Lint>,
    /// The file of each object by kind, namespace and name.
    files: HashMap<Name, String>,
}

type Name = (&'static str, String, String);

/// An object that cannot be used.
#[derive(Debug, Serialize)]
pub(super) struct Refused {
    /// Its file.
    pub(super) file: String,
    /// Line in the file, counted from 1, where it is known.
    pub(super) line: Option<u64>,
    /// What it calls itself; empty if it does not.
    pub(super) object: String,
    /// The field, such as `spec.ingress[0]`; empty for the whole.
    pub(super) field: String,
    /// What is wrong and what to do.
    pub(super) reason: String,
}

impl Manifests {
    /// Reads files, and those that a collector would read below directories.
    pub(super) fn read(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let mut files = Vec::new();
        for path in paths {
            let kind = std::fs::metadata(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            if kind.is_dir() {
                let found = self::files(path)?;
                if found.is_empty() {
                    bail!("there are no *.yaml, *.yml or *.json files below {}", path.display());
                }
                files.extend(found);
            } else {
                files.push(path.clone());
            }
        }
        let mut manifests = Self::default();
        for file in files {
            manifests.add(&file)?;
        }
        Ok(manifests)
    }

    /// The file that a policy is in.
    pub(super) fn file(&self, lint: &Lint) -> Option<&str> {
        let name = (lint.kind, lint.namespace.clone(), lint.name.clone());
        self.files.get(&name).map(String::as_str)
    }

    fn add(&mut self, path: &Path) -> anyhow::Result<()> {
        let file = path.display().to_string();
        let Some(text) = text(path)? else {
            self.refused.push(Refused::whole(&file, "is not UTF-8 text"));
            return Ok(());
        };
        if is_case(path, &text) {
            return self.add_case(&file, &text);
        }
        for result in manifest::parse_with_texts(&text) {
            match result {
                Ok((object, text)) => self.take(&file, object, text.as_deref()),
                Err(error) => self.refused.push(Refused::of(&file, error)),
            }
        }
        self.originals.push(Original { path: file, text });
        Ok(())
    }

    /// A case file of `weir policy test`, as it is at its first step.
    fn add_case(&mut self, file: &str, text: &str) -> anyhow::Result<()> {
        let case = Case::parse(text).with_context(|| format!("the case {file} is wrong"))?;
        let Some(step) = case.steps.into_iter().next() else { return Ok(()) };
        let Cluster { namespaces, pods, policies, tier_policies, services, nodes, .. } =
            step.cluster;
        let objects = namespaces
            .into_iter()
            .map(Object::Namespace)
            .chain(pods.into_iter().map(Object::Pod))
            .chain(policies.into_iter().map(Object::NetworkPolicy))
            .chain(tier_policies.into_iter().map(Object::TierPolicy))
            .chain(services.into_iter().map(Object::Service))
            .chain(nodes.into_iter().map(Object::Node));
        for object in objects {
            self.take(file, object, None);
        }
        Ok(())
    }

    fn take(&mut self, file: &str, object: Object, text: Option<&str>) {
        let Some(name) = name(&object) else { return };
        if let Some(first) = self.files.get(&name) {
            let reason = format!("is already described in {first}: remove one of them");
            let (kind, namespace, own) = &name;
            let slash = if namespace.is_empty() { "" } else { "/" };
            self.refused.push(Refused {
                file: file.to_owned(),
                line: None,
                object: format!("{kind} {namespace}{slash}{own}"),
                field: String::new(),
                reason,
            });
            return;
        }
        self.files.insert(name, file.to_owned());
        self.lints.extend(text.iter().flat_map(|text| lint_text(text)));
        let cluster = &mut self.cluster;
        match object {
            Object::Namespace(namespace) => cluster.namespaces.push(namespace),
            Object::Pod(pod) => cluster.pods.push(pod),
            Object::NetworkPolicy(policy) => cluster.policies.push(policy),
            Object::TierPolicy(policy) => cluster.tier_policies.push(policy),
            Object::Service(service) => cluster.services.push(service),
            Object::Node(node) => cluster.nodes.push(node),
            Object::FlowLogging(logging) => cluster.flow_logging = Some(logging),
            Object::NetworkLogging(_) | Object::Ignored { .. } => {}
        }
    }
}

impl Refused {
    fn of(file: &str, error: ManifestError) -> Self {
        Self {
            file: file.to_owned(),
            line: error.line,
            object: error.object.map(|object| object.to_string()).unwrap_or_default(),
            field: error.path.to_string(),
            reason: error.message,
        }
    }

    /// A file that is nothing.
    fn whole(file: &str, reason: &str) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
            object: String::new(),
            field: String::new(),
            reason: reason.to_owned(),
        }
    }

    /// `file:line: object: field reason`.
    pub(super) fn text(&self) -> String {
        let mut text = self.file.clone();
        if let Some(line) = self.line {
            text.push_str(&format!(":{line}"));
        }
        if !self.object.is_empty() {
            text.push_str(&format!(": {}", self.object));
        }
        let gap = if self.field.is_empty() { "" } else { " " };
        format!("{text}: {}{gap}{}", self.field, self.reason)
    }
}

fn name(object: &Object) -> Option<Name> {
    let of = |kind, namespace: &str, name: &str| Some((kind, namespace.into(), name.into()));
    match object {
        Object::Namespace(namespace) => of("Namespace", "", &namespace.name),
        Object::Pod(pod) => of("Pod", &pod.namespace, &pod.name),
        Object::NetworkPolicy(policy) => of("NetworkPolicy", &policy.namespace, &policy.name),
        Object::TierPolicy(policy) => of(policy.kind.as_str(), "", &policy.name),
        Object::Service(service) => of("Service", &service.namespace, &service.name),
        Object::Node(node) => of("Node", "", &node.name),
        Object::FlowLogging(_) => of("FlowLogging", "", "default"),
        Object::NetworkLogging(_) | Object::Ignored { .. } => None,
    }
}

/// Whether a text is a case file: manifests have a kind.
fn is_case(path: &Path, text: &str) -> bool {
    path.extension().is_some_and(|extension| extension == "json")
        && serde_json::from_str::<serde_json::Value>(text)
            .is_ok_and(|value| value.get("steps").is_some() && value.get("kind").is_none())
}

/// The files that a collector would read below a directory.
pub(in crate::commands) fn files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    list(directory, 0, &mut files)?;
    Ok(files)
}

/// The text of a file that is not too long; none if it is no text.
pub(in crate::commands) fn text(path: &Path) -> anyhow::Result<Option<String>> {
    let file = path.display();
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {file}"))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        bail!("{file} has more than {MAX_FILE_BYTES} bytes: split it into several files");
    }
    Ok(String::from_utf8(bytes).ok())
}

fn list(directory: &Path, depth: usize, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if depth > MAX_DEPTH {
        bail!("{} is nested too deeply", directory.display());
    }
    let unreadable = || format!("cannot read the directory {}", directory.display());
    let mut entries = std::fs::read_dir(directory)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(unreadable)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        // Editors' and mounts' own files begin with a dot.
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        let metadata = std::fs::metadata(&path).with_context(unreadable)?;
        let extension = path.extension().and_then(std::ffi::OsStr::to_str);
        if metadata.is_dir() {
            list(&path, depth + 1, files)?;
        } else if metadata.is_file() && matches!(extension, Some("yaml" | "yml" | "json")) {
            if files.len() == MAX_FILES {
                bail!("there are more than {MAX_FILES} files below {}", directory.display());
            }
            files.push(path);
        }
    }
    Ok(())
}
