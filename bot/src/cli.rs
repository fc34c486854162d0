//! Verbs and flags.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use daemon_kit::boot::{self, Resident as _};
use daemon_kit::env::Env;

use crate::Bot;
use crate::commands;
use crate::config::{Config, SERVICE};
use crate::start;
use crate::store::{PlaceRow, Store, UsageRow};

/// A gentle AI companion for a Discord community.
#[derive(Debug, Parser)]
#[command(name = "bot", disable_version_flag = true)]
pub struct Cli {
    /// Print version, commit, target and SQLite version
    #[arg(short = 'V', long)]
    version: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Answer, until told to stop (the default)
    Run,
    /// Say whether the running bot is well: exit code 0 or 1
    Healthcheck,
    /// Look at everything and say what to mend
    Doctor {
        /// For scripts
        #[arg(long)]
        json: bool,
    },
    /// Print the settings in force, secrets redacted
    PrintConfig,
    /// Take over a predecessor's sessions.db; nothing is taken twice
    Import {
        /// The database
        file: PathBuf,
    },
    /// Print everything kept of one member, as JSON
    Export {
        /// The member's id
        #[arg(long)]
        user: u64,
    },
    /// Forget one member's words and the answers to them
    Forget {
        /// The member's id
        #[arg(long)]
        user: u64,
    },
    /// Say what answering cost
    Usage {
        /// From this day on (2026-11-01, today, 7d)
        #[arg(long)]
        since: Option<String>,
        /// For scripts
        #[arg(long)]
        json: bool,
    },
}

/// Does what was asked.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.version {
        let identity = Bot::identity();
        return done(
            writeln!(
                io::stdout().lock(),
                "{} {}",
                identity.service,
                identity.build
            )
            .map_err(Into::into),
        );
    }
    match cli.verb.unwrap_or(Verb::Run) {
        Verb::Run => boot::run::<Bot>(&Env::from_process()),
        Verb::Healthcheck => boot::healthcheck(SERVICE),
        Verb::Doctor { json } => boot::doctor::<Bot>(Env::from_process(), json),
        Verb::PrintConfig => boot::print_config::<Bot>(Env::from_process()),
        Verb::Import { file } => with_config(|config| import(config, &file)),
        Verb::Export { user } => with_config(|config| export(config, user)),
        Verb::Forget { user } => with_config(|config| forget(config, user)),
        Verb::Usage { since, json } => with_config(|config| usage(config, since.as_deref(), json)),
    }
}

fn with_config(work: impl FnOnce(&Config) -> anyhow::Result<()>) -> ExitCode {
    match boot::config::<Bot>(Env::from_process()) {
        Ok((config, _)) => done(work(&config)),
        Err(code) => code,
    }
}

fn done(outcome: anyhow::Result<()>) -> ExitCode {
    let Err(error) = outcome else {
        return ExitCode::SUCCESS;
    };
    let is_closed_pipe = error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
    if is_closed_pipe {
        return ExitCode::SUCCESS;
    }
    writeln!(io::stderr().lock(), "{error:#}").ok();
    ExitCode::FAILURE
}

fn import(config: &Config, file: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(file.exists(), "{} does not exist", file.display());
    let _lock = start::lock(config)?;
    let now = daemon_kit::time::now();
    let report = Store::import(&config.database_path(), file, &config.zone(), now)?;
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{}",
        start::import_text(&report).in_language(config.language)
    )?;
    for key in &report.unreadable {
        writeln!(out, "  ! {key}")?;
    }
    Ok(())
}

fn export(config: &Config, user: u64) -> anyhow::Result<()> {
    let kept = Store::kept_of(&existing(config)?, user)?;
    let whole = serde_json::json!({
        "user": user.to_string(), "messages": kept.messages, "turns": kept.turns, "forgotten": kept.forgotten,
    });
    writeln!(io::stdout().lock(), "{whole:#}")?;
    Ok(())
}

fn forget(config: &Config, user: u64) -> anyhow::Result<()> {
    let path = existing(config)?;
    let _lock = start::lock(config)?;
    let gone = Store::forget_offline(&path, user, daemon_kit::time::now())?;
    writeln!(
        io::stdout().lock(),
        "messages: {}, turns: {}",
        gone.messages,
        gone.turns
    )?;
    let now = daemon_kit::time::now();
    let held = commands::still_held(&config.log.dir, (now, &config.zone()), config.language);
    writeln!(io::stdout().lock(), "{held}")?;
    if gone.has_nameless {
        // As the member would read it: the owner may pass it on.
        writeln!(
            io::stdout().lock(),
            "{}",
            commands::nameless(config.language)
        )?;
    }
    Ok(())
}

fn usage(config: &Config, since: Option<&str>, json: bool) -> anyhow::Result<()> {
    let (now, zone) = (daemon_kit::time::now(), config.zone());
    let since = since.map(|text| {
        daemon_kit::time::parse_moment(text, now, &zone)
            .with_context(|| format!("`{text}` is not a day such as 2026-11-01, today or 7d"))
    });
    let day = match since {
        Some(moment) => moment?
            .to_zoned_datetime(zone)
            .strftime("%Y-%m-%d")
            .to_string(),
        None => String::new(),
    };
    let (rows, places) = Store::usage_of(&existing(config)?, &day)?;
    let mut out = io::stdout().lock();
    if json {
        let whole = serde_json::json!({"by_purpose": rows, "by_channel": places});
        writeln!(out, "{whole:#}")?;
        return Ok(());
    }
    for row in &rows {
        line(&mut out, &row.day, row)?;
    }
    let sum = |of: fn(&UsageRow) -> u64| rows.iter().map(of).sum::<u64>();
    let total = UsageRow {
        day: String::new(),
        model: String::new(),
        purpose: crate::store::Purpose::Answer,
        calls: sum(|row| row.calls),
        input_tokens: sum(|row| row.input_tokens),
        output_tokens: sum(|row| row.output_tokens),
        cost_micros: sum(|row| row.cost_micros),
    };
    line(&mut out, "total", &total)?;
    by_channel(&mut out, &places)
}

/// Answers and their cost by channel, over all the days asked for.
fn by_channel(out: &mut dyn Write, places: &[PlaceRow]) -> anyhow::Result<()> {
    let mut channels: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for row in places {
        let sum = channels.entry(row.channel).or_default();
        sum.0 += row.messages;
        sum.1 += row.cost_micros;
    }
    for (channel, (messages, cost_micros)) in channels {
        let name = match channel {
            0 => "direct messages and others".to_owned(),
            _ => format!("channel {channel}"),
        };
        let dollars = cost_micros as f64 / 1e6;
        writeln!(out, "{name:<48} {messages:>6} messages  ${dollars:.4}")?;
    }
    Ok(())
}

fn line(out: &mut dyn Write, name: &str, row: &UsageRow) -> io::Result<()> {
    let dollars = row.cost_micros as f64 / 1e6;
    writeln!(
        out,
        "{name:<10}  {:<36} {:>6} calls {:>10} in {:>9} out  ${dollars:.4}",
        row.model, row.calls, row.input_tokens, row.output_tokens
    )
}

fn existing(config: &Config) -> anyhow::Result<PathBuf> {
    let path = config.database_path();
    anyhow::ensure!(
        path.exists(),
        "{} does not exist: the bot has not run yet",
        path.display()
    );
    Ok(path)
}
