//! End-to-end tests live in `e2e/`, connectivity cases in `cases/`. This library is empty.
