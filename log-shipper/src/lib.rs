//! log-shipper.
