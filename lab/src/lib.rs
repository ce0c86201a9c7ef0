//! A cluster's data path on one Linux machine: nodes and pods as network namespaces.
