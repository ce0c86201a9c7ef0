//! SQL and HTTP over hot and stored flows.
