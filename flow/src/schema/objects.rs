//! The cluster's objects, as collectors send them and as queries see them.
//!
//! Collectors send [`ObjectVersion`]s: only what changes. The other tables are made of them when
//! they are read.

use super::kind::{Labels, Names, Text, TextOrNull, TimestampNs, TimestampNsOrNull};

table! {
    /// One version of one object of the cluster, from the moment that a collector saw it first.
    row ObjectVersion;
    /// Builds record batches of object versions.
    builder ObjectVersionBuilder;
    /// Every column of an object version, in order.
    columns object_columns;
    /// What collectors send and Parquet files hold of objects.
    schema object_schema;
    stored {
        time: TimestampNs, "Since when the object is like this.";
        cluster: Text, "Its cluster.";
        node: Text, "Node of the collector that saw it first.";
        kind: Text, "`NetworkPolicy`, `Pod`, `Node`, …";
        namespace: Text, "Its namespace; empty where the kind has none.";
        name: Text, "Its name.";
        manifest: TextOrNull, "What `policy::manifest` reads: of policies the text as its author wrote it, of others only what policies need. Null: the object is gone.";
    }
    derived {}
}

table! {
    /// One version of one policy.
    row PolicyRow;
    /// Builds record batches of policies.
    builder PolicyBuilder;
    /// Every column of table `policies`, in order.
    columns policy_columns;
    /// The schema of table `policies`.
    schema policy_schema;
    stored {
        cluster: Text, "Its cluster.";
        kind: Text, "`NetworkPolicy`, `AdminNetworkPolicy`, `BaselineAdminNetworkPolicy` or `ClusterNetworkPolicy`.";
        namespace: Text, "Its namespace; empty where the kind has none.";
        name: Text, "Its name.";
        valid_from: TimestampNs, "When a collector saw this version first. It is in force a moment later.";
        valid_to: TimestampNsOrNull, "When the next version was seen, or that the policy is gone; null for the version of now.";
        manifest: Text, "The manifest as its author wrote it.";
    }
    derived {}
}

table! {
    /// One version of one pod.
    row EndpointRow;
    /// Builds record batches of pods.
    builder EndpointBuilder;
    /// Every column of table `endpoints`, in order.
    columns endpoint_columns;
    /// The schema of table `endpoints`.
    schema endpoint_schema;
    stored {
        cluster: Text, "Its cluster.";
        namespace: Text, "The pod's namespace.";
        name: Text, "The pod's name.";
        addresses: Names, "The pod's addresses; empty until it has a network.";
        labels: Labels, "The pod's labels.";
        workload_kind: TextOrNull, "`Deployment`, `StatefulSet`, …; null for a pod without an owner.";
        workload: TextOrNull, "Name of the pod's workload.";
        node: TextOrNull, "Its node, once it has one.";
        phase: Text, "`Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.";
        valid_from: TimestampNs, "When a collector saw this version first.";
        valid_to: TimestampNsOrNull, "When the next version was seen, or that the pod is gone; null for the version of now.";
    }
    derived {}
}

table! {
    /// One version of one node.
    row NodeRow;
    /// Builds record batches of nodes.
    builder NodeBuilder;
    /// Every column of table `nodes`, in order.
    columns node_columns;
    /// The schema of table `nodes`.
    schema node_schema;
    stored {
        cluster: Text, "Its cluster.";
        name: Text, "The node's name.";
        addresses: Names, "The node's own addresses.";
        labels: Labels, "The node's labels.";
        valid_from: TimestampNs, "When a collector saw this version first.";
        valid_to: TimestampNsOrNull, "When the next version was seen, or that the node is gone; null for the version of now.";
    }
    derived {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_round_trip_through_arrow() {
        let version = ObjectVersion {
            time: TimestampNs(1_700_000_000_000_000_001),
            cluster: "lab".into(),
            node: "node-1".into(),
            kind: "NetworkPolicy".into(),
            namespace: "default".into(),
            name: "redis".into(),
            manifest: Some("kind: NetworkPolicy\n# as written\n".into()),
        };
        let gone = ObjectVersion { manifest: None, ..version.clone() };
        let mut builder = ObjectVersionBuilder::default();
        builder.append(&version);
        builder.append(&gone);
        let batch = builder.finish();
        assert_eq!(batch.schema(), object_schema());
        assert_eq!(ObjectVersion::read(&batch).unwrap(), [version, gone]);
    }
}
