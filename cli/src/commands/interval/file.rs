//! The manifest that says how often connections are reported: found among others, and written in
//! one step.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use weir_policy::manifest::{self, Object, write_flow_logging};
use weir_policy::model::{FlowLogging, Namespace};

use super::super::policy::manifests;

/// The file where nothing says anything yet.
const NAME: &str = "flow-logging.yaml";

/// What a directory says, and the file to change.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// Empty if there is no such object.
    pub(super) logging: FlowLogging,
    /// Namespaces that are described, with their annotations.
    pub(super) namespaces: Vec<Namespace>,
    /// What cannot be read.
    pub(super) problems: Vec<String>,
    /// The path has other objects too, or something that cannot be read.
    shared: bool,
}

impl Place {
    /// Looks for it below a directory.
    pub(super) fn find(directory: &Path) -> anyhow::Result<Self> {
        let mut place = Self {
            path: directory.join(NAME),
            logging: FlowLogging::default(),
            namespaces: Vec::new(),
            problems: Vec::new(),
            shared: false,
        };
        let mut found = false;
        for path in manifests::files(directory)? {
            let Some(text) = manifests::text(&path)? else {
                place.problems.push(format!("{}: is not UTF-8 text", path.display()));
                place.shared |= path == place.path;
                continue;
            };
            let results = manifest::parse(&text);
            let objects = results.len();
            let mut says = None;
            for result in results {
                match result {
                    Ok(Object::FlowLogging(logging)) => says = Some(logging),
                    Ok(Object::Namespace(namespace)) => place.namespaces.push(namespace),
                    Ok(_) => {}
                    Err(error) => place.problems.push(format!("{}: {error}", path.display())),
                }
            }
            match says {
                // As for collectors, the first one counts.
                Some(_) if found => place.problems.push(format!(
                    "{}: FlowLogging is already described in {}, which counts",
                    path.display(),
                    place.path.display()
                )),
                Some(logging) => {
                    found = true;
                    place.shared = objects > 1;
                    (place.path, place.logging) = (path, logging);
                }
                None if !found && path == place.path => place.shared = objects > 0,
                None => {}
            }
        }
        Ok(place)
    }

    /// Writes the object, so that whoever reads the file meets the old one or the new one.
    pub(super) fn write(&self) -> anyhow::Result<()> {
        let path = &self.path;
        if self.shared {
            bail!(
                "{} has something else in it: put the FlowLogging into a file of its own, or \
                 change it there",
                path.display()
            );
        }
        let directory = path.parent().context("the file is in no directory")?;
        // Collectors do not look at names with a dot in front.
        let aside = directory.join(format!(".{NAME}.{}", std::process::id()));
        let written = fs::File::create(&aside).and_then(|mut file| {
            file.write_all(write_flow_logging(&self.logging).as_bytes())?;
            file.sync_all()?;
            fs::rename(&aside, path)?;
            fs::File::open(directory)?.sync_all()
        });
        written.with_context(|| {
            // It may not even be there.
            let _ = fs::remove_file(&aside);
            format!("cannot write {}", path.display())
        })
    }
}
