//! The long forms of the chaos runs, by count and seed: `cargo chaos bot --rounds 200 --mentions 10 --seed 1`,
//! `cargo chaos power sidecar --rounds 100 --seed 1`, `cargo chaos logs --rounds 10000 --seed 1`,
//! `cargo chaos oracle --rounds 500 --seed 1`.

use std::io::{self, Write};
use std::process::ExitCode;

use tests::chaos::oracle;
use tests::chaos::power::{self, Subject};
use tests::chaos::{self, Outcome, Plan, logs, scribe};

const USAGE: &str = "usage: chaos bot [--rounds N] [--mentions M] [--seed S] [--replay PERCENT]
       chaos oracle [--rounds N] [--seed S]
       chaos power bot|sidecar|shipper|control [--rounds N] [--seed S]   (as root, with loop devices)
       chaos logs [--rounds N] [--seed S]   (disks are filled and made read-only as root, with loop devices)";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, default: u64| {
        let value = words
            .iter()
            .position(|word| word == name)
            .and_then(|at| words.get(at + 1));
        value.map_or(Some(default), |text| text.parse().ok())
    };
    let names: Vec<&str> = words.iter().take(2).map(String::as_str).collect();
    let (Some(rounds), Some(seed)) = (number("--rounds", 20), number("--seed", 1)) else {
        return usage();
    };
    let outcome = match names[..] {
        // Not for people: the writer that the rounds of `logs` let live and kill.
        ["scribe", ..] => return said(&scribe::run(&words[1..]).map(|()| true)),
        ["logs", ..] => return said(&model(rounds as usize, seed)),
        ["power", "bot"] => power::run(Subject::Bot, rounds as usize, seed),
        ["power", "sidecar"] => power::run(Subject::Sidecar, rounds as usize, seed),
        ["power", "shipper"] => power::run(Subject::Shipper, rounds as usize, seed),
        ["power", "control"] => power::run(Subject::Control, rounds as usize, seed),
        ["oracle", ..] => std::env::current_exe()
            .map_err(Into::into)
            .and_then(|me| oracle::run(&me, rounds as usize, seed, say)),
        // The writer of the oracle, in a process of its own.
        ["write", path] => {
            let seed = words.get(2).and_then(|text| text.parse().ok());
            match oracle::write(path.as_ref(), seed.unwrap_or_default()) {
                Ok(()) => return ExitCode::SUCCESS,
                Err(error) => Err(error),
            }
        }
        ["bot", ..] => {
            let (Some(mentions), Some(replay)) = (number("--mentions", 10), number("--replay", 30))
            else {
                return usage();
            };
            let plan = Plan {
                rounds: rounds as usize,
                mentions: mentions as usize,
                seed,
                replay: replay as f64 / 100.0,
            };
            Ok(chaos::bot(plan, say))
        }
        _ => return usage(),
    };
    match outcome {
        Ok(outcome) => conclude(&outcome, rounds, seed),
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Random programs against the model of `logs/`; whether none of them lost or doubled a line.
fn model(rounds: usize, seed: u64) -> anyhow::Result<bool> {
    let outcome = logs::run(rounds, seed, say)?;
    if let Some(why) = &outcome.without_disk {
        say(&format!("SKIPPED: full and read-only disks: {why}"));
    }
    say(&format!("{}, seed {seed}", outcome.summary()));
    Ok(outcome.violations.is_empty())
}

fn said(outcome: &anyhow::Result<bool>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    say(USAGE);
    ExitCode::from(2)
}

fn conclude(outcome: &Outcome, rounds: u64, seed: u64) -> ExitCode {
    for violation in &outcome.violations {
        say(violation);
    }
    let Outcome {
        mentions,
        kills,
        violations,
        commits,
        archives,
        lost_in_cut,
    } = outcome;
    if *lost_in_cut > 0 {
        say(&format!(
            "{lost_in_cut} writes were called done while the power went, and are gone"
        ));
    }
    say(&format!(
        "{rounds} rounds, {} violations ({mentions} mentions, {commits} commits, {archives} archives, {kills} kills, seed {seed})",
        violations.len()
    ));
    if violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn say(line: &str) {
    // Whoever reads the output may have gone.
    drop(writeln!(io::stdout().lock(), "{line}"));
}
