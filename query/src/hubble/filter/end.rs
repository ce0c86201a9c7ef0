//! Filters of one end of a flow: pod, labels' words, workload, cluster, identity, names.

use datafusion::logical_expr::{Expr, col, lit};
use datafusion::prelude::starts_with;

use super::{FilterError, pattern};
use crate::functions::text::{Comparison, function};
use crate::hubble::identity::{HOST, REMOTE_NODE, WORLD};
use crate::hubble::proto::flow::Workload;

/// Identities below are reserved.
const FIRST_OF_PODS: u32 = 256;

/// Source or destination, as its columns are named.
#[derive(Clone, Copy, Debug)]
pub(super) struct End(&'static str);

impl End {
    pub(super) const SOURCE: Self = Self("source");
    pub(super) const DESTINATION: Self = Self("destination");

    /// A column of this end.
    pub(super) fn column(self, name: &str) -> Expr {
        col(format!("{}_{name}", self.0))
    }

    /// `namespace/prefix`, `namespace/`, `/prefix` in any namespace, `prefix` in `default`.
    pub(super) fn pod(self, text: &str) -> Expr {
        let (namespace, prefix) = text.split_once('/').unwrap_or(("default", text));
        let namespace = match namespace {
            "" => self.column("namespace").is_not_null(),
            _ => self.column("namespace").eq(lit(namespace)),
        };
        match prefix {
            "" => namespace,
            _ => namespace.and(starts_with(self.column("pod"), lit(prefix))),
        }
    }

    /// A DNS name; `*` stands for any characters of names.
    pub(super) fn name(self, text: &str) -> Result<Expr, FilterError> {
        let regex = pattern::name(text)?;
        Ok(function(Comparison::Matches).call(vec![self.column("names"), lit(regex)]))
    }

    /// Of what is said of it, all; of a workload without name and kind, whether there is one.
    pub(super) fn workload(self, wanted: &Workload) -> Expr {
        let parts = [("workload", &wanted.name), ("workload_kind", &wanted.kind)];
        let said = parts.iter().filter(|(_, text)| !text.is_empty());
        let said = said.map(|(column, text)| self.column(column).eq(lit(text.as_str())));
        said.reduce(Expr::and).unwrap_or_else(|| self.column("workload").is_not_null())
    }

    pub(super) fn cluster(self, name: &str) -> Expr {
        let inside = ["pod", "node", "service"].map(lit).to_vec();
        col("cluster").eq(lit(name)).and(self.column("kind").in_list(inside, false))
    }

    pub(super) fn identity(self, identity: u32) -> Result<Expr, FilterError> {
        match identity {
            0 => Ok(self.unknown()),
            HOST => Ok(self.host()),
            WORLD => Ok(self.world()),
            REMOTE_NODE => Ok(self.remote_node()),
            _ if identity < FIRST_OF_PODS => Ok(lit(false)),
            _ => Err(FilterError::new(format!(
                "identity {identity} cannot be filtered by: identities of pods stand for their labels here, \
                 filter by label"
            ))),
        }
    }

    /// The node that it was seen on.
    pub(super) fn host(self) -> Expr {
        self.is("node").and(self.column("node").eq(col("node")))
    }

    /// Another node.
    pub(super) fn remote_node(self) -> Expr {
        self.is("node").and(self.column("node").eq(col("node")).is_not_true())
    }

    /// Outside, or a Service's own address.
    pub(super) fn world(self) -> Expr {
        self.is("world").or(self.is("service"))
    }

    /// What nobody knows.
    pub(super) fn unknown(self) -> Expr {
        self.is("unknown")
    }

    fn is(self, kind: &str) -> Expr {
        self.column("kind").eq(lit(kind))
    }
}

/// `namespace/prefix`, like pods; only what was dialled is a Service.
pub(super) fn service(text: &str) -> Expr {
    let (namespace, prefix) = text.split_once('/').unwrap_or(("default", text));
    let service = col("destination_service");
    match (namespace, prefix) {
        ("", "") => service.is_not_null(),
        ("", _) => {
            let regex = format!("^[^/]*/{}", regex::escape(prefix));
            function(Comparison::Matches).call(vec![service, lit(regex)])
        }
        _ => starts_with(service, lit(format!("{namespace}/{prefix}"))),
    }
}
