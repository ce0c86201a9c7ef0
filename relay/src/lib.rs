//! Ingest, durability and storage of flows.
