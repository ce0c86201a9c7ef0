//! What `entries:list` asks for.

use serde::Deserialize;

use crate::engine::Order;
use crate::http::error::ApiError;

const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: usize = 1_000;
const MAX_RESOURCES: usize = 100;
const PARENTS: [&str; 4] = ["projects", "organizations", "folders", "billingAccounts"];

/// The `ListLogEntriesRequest` message.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ListRequest {
    pub(crate) resource_names: Vec<String>,
    /// Projects by name alone; the API has given it up, old clients have not.
    pub(crate) project_ids: Vec<String>,
    pub(crate) filter: String,
    pub(crate) order_by: String,
    pub(crate) page_size: i64,
    pub(crate) page_token: String,
}

impl ListRequest {
    /// The project whose entries are wanted; every project has the same.
    pub(crate) fn project(&self) -> Result<Option<String>, ApiError> {
        let old = self.project_ids.iter().map(|project| format!("projects/{project}"));
        let all: Vec<String> = self.resource_names.iter().cloned().chain(old).collect();
        projects(&all)
    }

    pub(crate) fn order(&self) -> Result<Order, ApiError> {
        let words: Vec<&str> = self.order_by.split_whitespace().collect();
        match words.as_slice() {
            [] | ["timestamp"] | ["timestamp", "asc"] => Ok(Order::Ascending),
            ["timestamp", "desc"] => Ok(Order::Descending),
            _ => Err(ApiError::invalid(format!(
                "orderBy {:?} is not possible: use \"timestamp asc\" or \"timestamp desc\"",
                self.order_by
            ))),
        }
    }

    pub(crate) fn page(&self) -> Result<usize, ApiError> {
        match usize::try_from(self.page_size) {
            Ok(0) => Ok(DEFAULT_PAGE),
            Ok(size) if size <= MAX_PAGE => Ok(size),
            _ => Err(ApiError::invalid(format!(
                "pageSize {} is not possible: use a number from 1 to {MAX_PAGE}",
                self.page_size
            ))),
        }
    }
}

/// The first project of some resources.
pub(crate) fn projects(resources: &[String]) -> Result<Option<String>, ApiError> {
    if resources.is_empty() {
        return Err(ApiError::invalid(
            "resourceNames is empty: name a project, like [\"projects/demo\"]; any name will do",
        ));
    }
    if resources.len() > MAX_RESOURCES {
        return Err(ApiError::invalid(format!(
            "resourceNames has {} names, {MAX_RESOURCES} are allowed",
            resources.len()
        )));
    }
    let mut project = None;
    for resource in resources {
        let mut parts = resource.split('/');
        let (kind, id) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if !PARENTS.contains(&kind) || id.is_empty() {
            return Err(ApiError::invalid(format!(
                "{resource:?} is no resource name: write it like \"projects/demo\""
            )));
        }
        if kind == "projects" && project.is_none() {
            project = Some(id.to_owned());
        }
    }
    Ok(project)
}
