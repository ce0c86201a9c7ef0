//! A directory of manifest files and the last good state of each.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use weir_policy::manifest::{self, Object};
use weir_policy::model::{LabelPool, Labels};

use super::ClusterState;
use super::assemble::assemble;

/// Most files that are read.
const MAX_FILES: usize = 10_000;
/// Largest file that is read.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// Deepest subdirectory that is looked into.
const MAX_DEPTH: usize = 8;
/// A file changed this recently may change again without its time stamp showing it.
const RACY: Duration = Duration::from_secs(2);

/// The directory.
#[derive(Debug)]
pub(super) struct Files {
    root: PathBuf,
    files: BTreeMap<PathBuf, File>,
    labels: LabelPool,
    /// What is wrong with the directory itself.
    problems: Vec<String>,
}

/// An object, and of a policy the text that describes it.
pub(super) type Described = (Object, Option<Arc<str>>);

#[derive(Debug, Default)]
struct File {
    /// None if the file has to be read again.
    stamp: Option<Stamp>,
    /// Of the last time it was good.
    objects: Box<[Described]>,
    /// What is wrong with it now.
    problems: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Files {
    /// Nothing read yet.
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, files: BTreeMap::new(), labels: LabelPool::default(), problems: Vec::new() }
    }

    /// Reads what has changed and returns the state now.
    pub(super) fn read(&mut self) -> ClusterState {
        self.problems.clear();
        let mut found = BTreeMap::new();
        let mut unreadable = Vec::new();
        let root = self.root.clone();
        self.list(&root, 0, &mut found, &mut unreadable);
        // What lies in a directory that cannot be read may still be there.
        self.files.retain(|path, _| {
            found.contains_key(path)
                || unreadable.iter().any(|directory| path.starts_with(directory))
        });
        for (path, metadata) in found {
            let file = self.files.entry(path.clone()).or_default();
            let stamp = Stamp::of(&metadata);
            if file.stamp != Some(stamp) {
                file.read(&path, &metadata, &mut self.labels);
                file.stamp = is_settled(&metadata).then_some(stamp);
            }
        }
        self.labels.forget_unused();
        self.state()
    }

    fn state(&self) -> ClusterState {
        let objects = self
            .files
            .iter()
            .flat_map(|(path, file)| file.objects.iter().map(|object| (path.as_path(), object)));
        let (cluster, texts, duplicates) = assemble(&self.root, objects);
        let mut problems = self.problems.clone();
        for (path, file) in &self.files {
            let name = short(&self.root, path);
            problems.extend(file.problems.iter().map(|problem| format!("{name}: {problem}")));
        }
        problems.extend(duplicates);
        ClusterState { cluster: cluster.into(), texts: texts.into(), problems }
    }

    fn list(
        &mut self,
        directory: &Path,
        depth: usize,
        found: &mut BTreeMap<PathBuf, Metadata>,
        unreadable: &mut Vec<PathBuf>,
    ) {
        let entries = fs::read_dir(directory).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let entries = match entries {
            Ok(entries) => entries,
            Err(error) => {
                let name = directory.display();
                self.problems
                    .push(format!("{name}: cannot be read ({error}); its files count as before"));
                unreadable.push(directory.to_owned());
                return;
            }
        };
        for entry in entries {
            let (path, name) = (entry.path(), entry.file_name());
            // Editors' and mounts' own files begin with a dot.
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let metadata = match fs::metadata(&path) {
                Ok(metadata) => metadata,
                // A file may go between listing and looking.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    let name = short(&self.root, &path);
                    self.problems
                        .push(format!("{name}: cannot be read ({error}); it counts as before"));
                    unreadable.push(path);
                    continue;
                }
            };
            if metadata.is_dir() {
                if depth < MAX_DEPTH {
                    self.list(&path, depth + 1, found, unreadable);
                } else {
                    self.problems.push(format!("{}: is nested too deeply", path.display()));
                }
            } else if metadata.is_file() && is_manifest(&path) {
                if found.len() == MAX_FILES {
                    let name = self.root.display();
                    self.problems.push(format!(
                        "{name}: has more than {MAX_FILES} files, the others do not count: \
                         put several objects into one file"
                    ));
                    unreadable.push(directory.to_owned());
                    return;
                }
                found.insert(path, metadata);
            }
        }
    }
}

impl File {
    /// Takes over the file's objects if all of it is good.
    fn read(&mut self, path: &Path, metadata: &Metadata, labels: &mut LabelPool) {
        match objects(path, metadata, labels) {
            Ok(objects) => {
                for kind in objects.iter().filter_map(|(object, _)| ignored(object)) {
                    tracing::debug!(file = %path.display(), kind, "not needed for policies");
                }
                self.objects = objects;
                self.problems.clear();
            }
            Err(mut problems) => {
                if !self.objects.is_empty() {
                    problems.push("until it is repaired, its last good state stays".to_owned());
                }
                self.problems = problems;
            }
        }
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

fn objects(
    path: &Path,
    metadata: &Metadata,
    labels: &mut LabelPool,
) -> Result<Box<[Described]>, Vec<String>> {
    if metadata.len() > MAX_FILE_BYTES {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| vec![format!("cannot be read: {error}")])?;
    // It may have grown since.
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(too_large());
    }
    let text = String::from_utf8(bytes).map_err(|_| vec!["is not UTF-8 text".to_owned()])?;
    let mut objects = Vec::new();
    let mut problems = Vec::new();
    for result in manifest::parse_with_texts(&text) {
        match result {
            Ok((mut object, text)) => {
                if let Some(own) = labels_of(&mut object) {
                    labels.share(own);
                }
                objects.push((object, text.map(Arc::from)));
            }
            Err(error) => problems.push(error.to_string()),
        }
    }
    // A file that is being written begins empty.
    if text.trim().is_empty() {
        problems.push("is empty: remove the file to remove what it described".to_owned());
    }
    if problems.is_empty() { Ok(objects.into()) } else { Err(problems) }
}

fn labels_of(object: &mut Object) -> Option<&mut Labels> {
    match object {
        Object::Namespace(namespace) => Some(&mut namespace.labels),
        Object::Pod(pod) => Some(&mut pod.labels),
        Object::Node(node) => Some(&mut node.labels),
        Object::Service(service) => Some(&mut service.selector),
        _ => None,
    }
}

fn too_large() -> Vec<String> {
    vec![format!("has more than {MAX_FILE_BYTES} bytes: split it into several files")]
}

fn ignored(object: &Object) -> Option<&str> {
    match object {
        Object::Ignored { kind } => Some(kind),
        _ => None,
    }
}

fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(std::ffi::OsStr::to_str);
    matches!(extension, Some("yaml" | "yml" | "json"))
}

fn is_settled(metadata: &Metadata) -> bool {
    let changed = u64::try_from(metadata.ctime()).unwrap_or_default();
    let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(changed);
    SystemTime::now().duration_since(changed).is_ok_and(|age| age > RACY)
}

/// The path as seen from the directory.
pub(super) fn short(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: NAME, namespace: default}\n\
                       status: {podIP: 10.0.0.1}\n";

    fn pod(name: &str) -> String {
        POD.replace("NAME", name)
    }

    fn names(state: &ClusterState) -> Vec<&str> {
        state.cluster.pods.iter().map(|pod| pod.name.as_str()).collect()
    }

    struct Directory(tempfile::TempDir);

    impl Directory {
        fn new() -> (Self, Files) {
            let directory = tempfile::tempdir().unwrap();
            let files = Files::new(directory.path().to_owned());
            (Self(directory), files)
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.0.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }
    }

    #[test]
    fn files_come_change_move_and_go() {
        let (directory, mut files) = Directory::new();
        assert_eq!(files.read(), ClusterState::default());
        directory.write("a.yaml", &pod("a"));
        directory.write("deep/er/b.yml", &pod("b"));
        directory.write("c.json", r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"c"}}"#);
        directory.write("notes.txt", "not: a manifest");
        directory.write(".hidden.yaml", "nor this");
        let state = files.read();
        assert_eq!(names(&state), vec!["a", "c", "b"]);
        assert_eq!(state.problems, [""; 0]);

        directory.write("a.yaml", &format!("{}---\n{}", pod("a1"), pod("a2")));
        assert_eq!(names(&files.read()), ["a1", "a2", "c", "b"]);
        fs::rename(directory.path("a.yaml"), directory.path("z.yaml")).unwrap();
        fs::remove_file(directory.path("c.json")).unwrap();
        let state = files.read();
        assert_eq!(names(&state), vec!["b", "a1", "a2"]);
        assert_eq!(state.problems, [""; 0]);
        fs::remove_dir_all(directory.path("deep")).unwrap();
        assert_eq!(names(&files.read()), ["a1", "a2"]);
    }

    #[test]
    fn a_bad_file_keeps_its_last_good_state_and_is_named() {
        let (directory, mut files) = Directory::new();
        directory.write("a.yaml", &pod("a"));
        directory.write("b.yaml", &pod("b"));
        files.read();
        let policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
                      metadata: {name: p, namespace: default}\nspec: {podSelector: 5}\n";
        directory.write("a.yaml", &format!("{}---\n{policy}", pod("new")));
        directory.write("b.yaml", &pod("b2"));
        let state = files.read();
        assert_eq!(names(&state), ["a", "b2"]);
        let problem = state.problems.join("\n");
        for part in ["a.yaml: ", "podSelector", "document 2", "last good state stays"] {
            assert!(problem.contains(part), "{part} is not in {problem}");
        }
        directory.write("a.yaml", &pod("repaired"));
        let state = files.read();
        assert_eq!(names(&state), vec!["repaired", "b2"]);
        assert_eq!(state.problems, [""; 0]);
    }

    #[test]
    fn broken_empty_and_foreign_files_are_reported() {
        let (directory, mut files) = Directory::new();
        directory.write("empty.yaml", &pod("kept"));
        files.read();
        directory.write("broken.yaml", "kind: [");
        directory.write("empty.yaml", "");
        fs::write(directory.path("binary.json"), [0xff, 0xfe]).unwrap();
        let state = files.read();
        assert_eq!(names(&state), ["kept"]);
        for part in ["broken.yaml: ", "empty.yaml: is empty", "binary.json: is not UTF-8"] {
            assert!(
                state.problems.iter().any(|p| p.contains(part)),
                "{part}: {:?}",
                state.problems
            );
        }
    }

    #[test]
    fn of_two_objects_of_one_name_the_first_counts_and_both_files_are_named() {
        let (directory, mut files) = Directory::new();
        directory.write("a.yaml", &pod("same"));
        directory.write("b.yaml", &pod("same").replace("10.0.0.1", "10.0.0.2"));
        let state = files.read();
        assert_eq!(state.cluster.pods[0].addresses[0].to_string(), "10.0.0.1");
        assert_eq!(
            state.problems,
            ["b.yaml: Pod default/same is already described in a.yaml, which counts"]
        );
    }

    #[test]
    fn a_directory_that_goes_away_changes_nothing_but_is_reported() {
        let (directory, mut files) = Directory::new();
        directory.write("a.yaml", &pod("a"));
        files.read();
        fs::remove_dir_all(directory.0.path()).unwrap();
        let state = files.read();
        assert_eq!(names(&state), ["a"]);
        assert!(state.problems[0].contains("count as before"), "{:?}", state.problems);
    }
}
