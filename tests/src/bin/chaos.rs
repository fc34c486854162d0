//! The long forms of the chaos runs, by count and seed: `cargo chaos bot --rounds 200 --mentions 10 --seed 1`.

use std::io::Write;
use std::process::ExitCode;

use tests::chaos::{self, Plan};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, default: u64| {
        let at = words.iter().position(|word| word == name)?;
        words.get(at + 1)?.parse().ok().or(Some(default))
    };
    let out = std::io::stdout();
    if words.first().map(String::as_str) != Some("bot") {
        drop(writeln!(
            out.lock(),
            "usage: chaos bot [--rounds N] [--mentions M] [--seed S] [--replay PERCENT]"
        ));
        return ExitCode::from(2);
    }
    let plan = Plan {
        rounds: number("--rounds", 0).unwrap_or(20) as usize,
        mentions: number("--mentions", 0).unwrap_or(10) as usize,
        seed: number("--seed", 0).unwrap_or(1),
        replay: number("--replay", 0).unwrap_or(30) as f64 / 100.0,
    };
    let outcome = chaos::bot(plan, |line| drop(writeln!(out.lock(), "{line}")));
    for violation in &outcome.violations {
        drop(writeln!(out.lock(), "{violation}"));
    }
    drop(writeln!(
        out.lock(),
        "{} rounds, {} violations ({} mentions, {} kills, seed {})",
        plan.rounds,
        outcome.violations.len(),
        outcome.mentions,
        outcome.kills,
        plan.seed
    ));
    if outcome.violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
