//! The node agent: loads the eBPF programs, keeps their maps in step with the cluster, turns events into flows.
