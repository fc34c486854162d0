//! The bot's program: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    bot::cli::main()
}
