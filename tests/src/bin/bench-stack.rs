//! `cargo bench-stack [bot|backup|logs|containers|growth|soak]… [--quick] [--json FILE]`: measures, prints a table, and writes it as JSON.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use tests::bench::{Table, backup, bot, containers, growth, logs, soak};

const AREAS: [&str; 6] = ["bot", "backup", "logs", "containers", "growth", "soak"];

const USAGE: &str = "usage: bench-stack [bot|backup|logs|containers|growth|soak]… [--quick] [--json FILE]
       without an area: all of them; --quick: fewer and smaller; --json: the tables once more, for programs";

struct Wish {
    areas: Vec<String>,
    quick: bool,
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let Some(wish) = wish() else {
        drop(writeln!(io::stderr().lock(), "{USAGE}"));
        return ExitCode::from(2);
    };
    match measure(&wish) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(io::stderr().lock(), "{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn measure(wish: &Wish) -> Result<()> {
    let rounds = if wish.quick { 3 } else { 5 };
    let mut tables = Vec::new();
    for area in &wish.areas {
        let mut table = Table::new(area);
        match area.as_str() {
            "bot" if wish.quick => bot::measure(200, 300, rounds, &mut table)?,
            "bot" => bot::measure(1_000, 2_000, rounds, &mut table)?,
            "backup" if wish.quick => backup::measure(&[(64, rounds)], &mut table)?,
            "backup" => backup::measure(&[(10, rounds), (256, rounds), (1_024, 3)], &mut table)?,
            "logs" => logs::measure(if wish.quick { 100 } else { 1_024 }, rounds, &mut table)?,
            "containers" => containers::measure(if wish.quick { 200 } else { 1_000 }, &mut table)?,
            "growth" => growth::measure(wish.quick, &mut table)?,
            _ => soak::measure(if wish.quick { 2_000 } else { 20_000 }, &mut table)?,
        }
        table.print(&mut io::stdout().lock())?;
        tables.push(table.json());
    }
    if let Some(path) = &wish.json {
        let text = serde_json::to_string_pretty(&tables)?;
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
        writeln!(io::stdout().lock(), "written to {}", path.display())?;
    }
    Ok(())
}

/// What is asked for; `None` when the words say nothing that there is.
fn wish() -> Option<Wish> {
    let mut wish = Wish {
        areas: Vec::new(),
        quick: false,
        json: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--quick" => wish.quick = true,
            "--json" => wish.json = Some(words.next()?.into()),
            area if AREAS.contains(&area) => wish.areas.push(word),
            _ => return None,
        }
    }
    if wish.areas.is_empty() {
        wish.areas = AREAS.map(str::to_owned).to_vec();
    }
    Some(wish)
}
