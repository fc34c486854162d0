//! The commands that every program has besides `run`.

use std::io::{self, Write};
use std::process::ExitCode;

use super::{EXIT_CONFIGURATION, Resident, examine};
use crate::doctor::Severity;
use crate::env::{Env, Problem, Settled};
use crate::heartbeat::Heartbeat;

/// The configuration for a command other than `run`.
///
/// # Errors
/// With exit code 78, after every problem was printed to standard error.
pub fn config<R: Resident>(mut env: Env) -> Result<(R::Config, Settled), ExitCode> {
    env.on_start_error();
    env.umask();
    let config = R::configure(&mut env);
    match env.finish() {
        Ok(settled) => Ok((config, settled)),
        Err(problems) => {
            print_problems(&problems, &mut io::stderr().lock()).ok();
            Err(ExitCode::from(EXIT_CONFIGURATION))
        }
    }
}

/// `print-config`: every setting as it is in force, secrets redacted.
#[must_use]
pub fn print_config<R: Resident>(env: Env) -> ExitCode {
    let settled = match config::<R>(env) {
        Ok((_, settled)) => settled,
        Err(code) => return code,
    };
    let mut out = io::stdout().lock();
    let mut rows = settled.effective.iter();
    finish(rows.try_for_each(|shown| writeln!(out, "{}={}", shown.name, shown.value)))
}

/// `doctor`: looks at everything, wrong settings too, and says what to do. Fails when something must be mended.
#[must_use]
pub fn doctor<R: Resident>(mut env: Env, json: bool) -> ExitCode {
    env.on_start_error();
    env.umask();
    let config = R::configure(&mut env);
    let (problems, notices) = match env.finish() {
        Ok(settled) => (Vec::new(), settled.notices),
        Err(problems) => (problems, Vec::new()),
    };
    let kit = R::kit(&config);
    // With a wrong setting its default is looked at instead: better half the picture than none.
    let mut report = examine::<R>(&config, &kit);
    let settings = problems.iter().map(Problem::finding);
    report.findings.splice(0..0, settings);
    let mut out = io::stdout().lock();
    let mut write = || {
        if json {
            return writeln!(out, "{:#}", report.json());
        }
        for notice in &notices {
            writeln!(out, "!   {}", notice.in_language(kit.language))?;
        }
        write!(out, "{}", report.text(kit.language))
    };
    let written = finish(write());
    if !problems.is_empty() {
        return ExitCode::from(EXIT_CONFIGURATION);
    }
    if report.severity() == Severity::Error {
        return ExitCode::FAILURE;
    }
    written
}

/// `healthcheck`: one line, and 0 or 1.
#[must_use]
pub fn healthcheck(service: &str) -> ExitCode {
    let judgement = Heartbeat::new(service).judge();
    let (Ok(line) | Err(line)) = &judgement;
    writeln!(io::stdout().lock(), "{line}").ok();
    if judgement.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn print_problems(problems: &[Problem], out: &mut dyn Write) -> io::Result<()> {
    let count = problems.len();
    writeln!(
        out,
        "設定に問題があります ({count} 件) / the configuration has {count} problem(s):"
    )?;
    problems
        .iter()
        .try_for_each(|problem| writeln!(out, "  {}", problem.line()))
}

/// A reader that went away early (`| head`) is no failure.
fn finish(written: io::Result<()>) -> ExitCode {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}
