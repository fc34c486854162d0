//! `cargo bench-stack [bot|backup|logs|containers|growth|soak]… [--quick] [--json FILE]`: measures, prints a table, and writes it as JSON.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use tests::bench::{Table, backup, bot, containers, growth, logs, soak};

struct Wish {
    areas: Vec<String>,
    quick: bool,
    json: Option<PathBuf>,
}

fn main() -> Result<()> {
    let wish = wish()?;
    let rounds = if wish.quick { 3 } else { 5 };
    let mut tables = Vec::new();
    for area in &wish.areas {
        let mut table = Table::new(area);
        match area.as_str() {
            "bot" if wish.quick => bot::measure(200, 300, rounds, &mut table)?,
            "bot" => bot::measure(1_000, 2_000, rounds, &mut table)?,
            "backup" if wish.quick => backup::measure(&[(64, rounds)], &mut table)?,
            "backup" => backup::measure(&[(10, rounds), (256, rounds), (1_024, 3)], &mut table)?,
            "logs" => logs::measure(if wish.quick { 100 } else { 512 }, rounds, &mut table)?,
            "containers" => containers::measure(if wish.quick { 200 } else { 1_000 }, &mut table)?,
            "growth" => growth::measure(wish.quick, &mut table)?,
            "soak" => soak::measure(if wish.quick { 2_000 } else { 20_000 }, &mut table)?,
            other => bail!("{other:?} is none of: bot, backup, logs, containers, growth, soak"),
        }
        table.print(&mut io::stdout().lock())?;
        tables.push(table.json());
    }
    if let Some(path) = wish.json {
        let text = serde_json::to_string_pretty(&tables)?;
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        writeln!(io::stdout().lock(), "written to {}", path.display())?;
    }
    Ok(())
}

fn wish() -> Result<Wish> {
    let mut wish = Wish {
        areas: Vec::new(),
        quick: false,
        json: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--quick" => wish.quick = true,
            "--json" => wish.json = Some(words.next().context("--json needs a file name")?.into()),
            area => wish.areas.push(area.to_owned()),
        }
    }
    if wish.areas.is_empty() {
        wish.areas = ["bot", "backup", "logs", "containers", "growth", "soak"]
            .map(str::to_owned)
            .to_vec();
    }
    Ok(wish)
}
