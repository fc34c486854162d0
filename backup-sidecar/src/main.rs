//! The program.

use std::process::ExitCode;

fn main() -> ExitCode {
    backup_sidecar::cli::main()
}
