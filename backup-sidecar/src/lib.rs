//! backup-sidecar.
