//! The program: reads the command line and hands over to the room that answers it.

use std::process::ExitCode;

use clap::Parser;
use daemon_kit::Env;

fn main() -> ExitCode {
    log_shipper::cli::Cli::parse().answer(Env::from_process())
}
