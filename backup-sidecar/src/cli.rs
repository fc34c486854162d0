//! This room reads the command line and answers on the terminal.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use daemon_kit::boot::{self, Resident};
use daemon_kit::env::Env;
use daemon_kit::heartbeat::Heartbeat;
use daemon_kit::logging;
use daemon_kit::text::{Language, Text};
use daemon_kit::time;

use crate::config::{Config, SERVICE};
use crate::job::{self, Outcome};
use crate::lock::JobLock;
use crate::manifest::Cause;
use crate::resident::{self, Sidecar};
use crate::watch::Watch;
use crate::{accept, drill, find, lock, offsite, prune, report, restore, table, verify};

/// Consistent, verified backups of SQLite databases that are being written, and their restore.
#[derive(Parser)]
#[command(name = "backup-sidecar", disable_version_flag = true)]
struct Cli {
    /// Print version, commit, target and library versions
    #[arg(long)]
    version: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Back up on schedule until told to stop (the default)
    Run,
    /// Back up now
    Backup,
    /// List the archives
    List {
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Prove archives: every hash, every page, every row; all of them without a name
    Verify {
        /// Archives to prove, by their names, or copies of them elsewhere, by their paths
        names: Vec<String>,
    },
    /// Restore data/ in place (stop the bot first), or everything into a directory
    Restore {
        /// The archive
        #[arg(default_value = "latest")]
        name: String,
        /// Unpack here instead of in place
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
    /// Accept an archive that lost much, so that old ones are removed again
    Accept {
        /// The archive
        name: String,
    },
    /// Restore the newest archive into a scratch place and prove it
    Drill,
    /// Remove archives as the retention plan says
    Prune {
        /// Show the plan only
        #[arg(long)]
        dry_run: bool,
    },
    /// Say whether the resident is well: one line, exit code 0 or 1
    Healthcheck,
    /// Look at everything and say what to do
    Doctor {
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Show every setting as it is in force
    PrintConfig,
}

/// The program.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.version {
        return print(&format!("{SERVICE} {}\n", Sidecar::identity().build));
    }
    let env = Env::from_process();
    match cli.command.unwrap_or(Command::Run) {
        Command::Run => boot::run_frugally::<Sidecar>(&env),
        Command::Healthcheck => healthcheck(),
        Command::Doctor { json } => boot::doctor::<Sidecar>(env, json),
        Command::PrintConfig => boot::print_config::<Sidecar>(env),
        command => {
            let umask = env.fresh().umask();
            let config = match boot::config::<Sidecar>(env) {
                Ok((config, _)) => config,
                Err(code) => return code,
            };
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask));
            // On a terminal the answer itself says how it went: only trouble is told beside it.
            let level = if io::stderr().is_terminal() {
                tracing::Level::WARN.min(config.log.level)
            } else {
                config.log.level
            };
            logging::install_for_command(&config.log, level);
            answer(&config, command)
        }
    }
}

/// Carries out a command that does one thing, and says how it went.
fn answer(config: &Config, command: Command) -> ExitCode {
    let watch = Watch::command();
    let result = match command {
        Command::Backup => backup(config, &watch),
        Command::List { json } => list(config, json),
        Command::Verify { names } => verify_all(config, &names, &watch),
        Command::Restore { name, to } => restore_one(config, &name, to, &watch),
        Command::Accept { name } => locked(config)
            .and_then(|_lock| accept::run(config, &name))
            .map(done),
        Command::Drill => rehearse(config, &watch),
        Command::Prune { dry_run } => prune_now(config, dry_run, &watch),
        Command::Run | Command::Healthcheck | Command::Doctor { .. } | Command::PrintConfig => {
            return ExitCode::FAILURE;
        }
    };
    watch.finish();
    match result {
        Ok(Answer { text, is_good }) => {
            let printed = print(text.in_language(config.language));
            if is_good { printed } else { ExitCode::FAILURE }
        }
        Err(error) => {
            let text = report::trouble(&error);
            write!(io::stderr().lock(), "{}", text.in_language(config.language)).ok();
            ExitCode::FAILURE
        }
    }
}

struct Answer {
    text: Text,
    is_good: bool,
}

fn done(text: Text) -> Answer {
    Answer {
        text,
        is_good: true,
    }
}

fn locked(config: &Config) -> anyhow::Result<JobLock> {
    lock::take(&config.backup_dir, job::PATIENCE)?.context(lock::Busy)
}

fn backup(config: &Config, watch: &Watch) -> anyhow::Result<Answer> {
    let result = job::run(config, Cause::Manual, watch);
    report::conclude(config, Cause::Manual, &result, watch);
    match result.map_err(|failure| {
        failure
            .source
            .context(format!("the step {} failed", failure.stage))
    })? {
        Outcome::Published(done) => {
            let mut text = report::published(&done);
            report::add_copies(&mut text, &offsite::Round::whole(config, watch));
            Ok(Answer {
                text,
                is_good: done.manifest.is_sound(),
            })
        }
        Outcome::NoDatabaseYet => anyhow::bail!(
            "there is no database in {} yet: start the bot first",
            config.sources.data.display()
        ),
    }
}

fn list(config: &Config, json: bool) -> anyhow::Result<Answer> {
    let catalog = prune::load(config)?;
    let now = time::now();
    let verdicts = prune::plan(config, &catalog, now);
    let text = if json {
        format!("{:#}\n", table::json(&catalog, &verdicts, now))
    } else {
        table::text(&catalog, &verdicts, &config.zone, config.language)
    };
    Ok(done(Text::new(text.clone(), text)))
}

fn verify_all(config: &Config, names: &[String], watch: &Watch) -> anyhow::Result<Answer> {
    let _lock = locked(config)?;
    let mut catalog = prune::load(config)?;
    let before = catalog.clone();
    let keys = prune::keys(config)?;
    let wanted = if names.is_empty() {
        let all = catalog.newest_first().into_iter();
        all.map(|(name, _)| find::Found {
            path: config.backup_dir.join(name.to_string()),
            name,
            is_ours: true,
        })
        .collect()
    } else {
        let found = names.iter().map(|name| find::here(config, &catalog, name));
        found.collect::<anyhow::Result<Vec<_>>>()?
    };
    let mut text = String::new();
    let mut is_good = true;
    for find::Found {
        name,
        path,
        is_ours,
    } in wanted
    {
        let is_closed = name.sealed && keys.is_none();
        let result = if is_closed {
            let expected = catalog
                .archives
                .get(&name.to_string())
                .and_then(|record| record.sha256.as_deref());
            verify::sealed(&path, expected, watch)
        } else {
            verify::whole(&path, &config.backup_dir, keys.as_ref(), watch).map(|_| ())
        };
        let word = match &result {
            Ok(()) if is_closed => "sealed".to_owned(),
            Ok(()) if name.damaged => "damaged".to_owned(),
            Ok(()) => "ok".to_owned(),
            Err(error) if verify::is_hindered(error) => format!("{error:#}"),
            Err(error) => format!("BAD: {error:#}"),
        };
        is_good &= result.is_ok();
        // Writing to a String cannot fail.
        if is_ours {
            writeln!(text, "{name}  {word}").ok();
            prune::note(&mut catalog, &name, result);
        } else {
            writeln!(text, "{}  {word}", path.display()).ok();
        }
    }
    // On a full disk, where nothing could be proved, that is what is told.
    if catalog != before {
        catalog.save(&config.backup_dir)?;
    }
    let newest = catalog
        .latest(time::now())
        .map_or_else(|| "-".to_owned(), |(name, _)| name.to_string());
    let mut text = Text::new(text.clone(), text);
    report::add(
        &mut text,
        &format!("最新の良いバックアップ: {newest}\n"),
        &format!("Newest good archive: {newest}\n"),
    );
    Ok(Answer { text, is_good })
}

fn restore_one(
    config: &Config,
    name: &str,
    to: Option<PathBuf>,
    watch: &Watch,
) -> anyhow::Result<Answer> {
    let _lock = locked(config)?;
    let Some(dir) = to else {
        let restored = restore::in_place(config, name, watch)?;
        report::log_restored(&restored);
        return Ok(done(report::restored(&restored)));
    };
    let restored = restore::to_dir(config, name, &dir, watch)?;
    let mut text = report::restored(&restored);
    report::add(
        &mut text,
        "この写しには「忘れて」の依頼は反映されていません。\n",
        "Requests to forget do not reach into this copy.\n",
    );
    Ok(done(text))
}

fn rehearse(config: &Config, watch: &Watch) -> anyhow::Result<Answer> {
    let _lock = locked(config)?;
    let (drill, took) = drill::run(config, watch)?;
    let seconds = took.as_secs_f64();
    Ok(Answer {
        text: Text::new(
            format!(
                "復元の練習 {}: {} ({}、{seconds:.1} 秒)\n",
                table::drill_word(&drill.result, Language::Ja),
                drill.archive,
                drill.detail
            ),
            format!(
                "Drill {}: {} ({}, {seconds:.1} s)\n",
                drill.result, drill.archive, drill.detail
            ),
        ),
        is_good: drill.result == drill::PASSED,
    })
}

fn prune_now(config: &Config, dry_run: bool, watch: &Watch) -> anyhow::Result<Answer> {
    if dry_run {
        let catalog = prune::load(config)?;
        let verdicts = prune::plan(config, &catalog, time::now());
        let text = table::plan(&verdicts, config.language);
        return Ok(done(Text::new(text.clone(), text)));
    }
    let _lock = locked(config)?;
    let mut catalog = prune::load_proved(config, watch)?;
    prune::prove_newest(config, &mut catalog, watch)?;
    let gone = prune::carry_out(config, &mut catalog, time::now())?;
    catalog.save(&config.backup_dir)?;
    let lines = format!("  {}\n", gone.join("\n  "));
    Ok(done(Text::new(
        format!("{} 個の古いバックアップを消しました。\n{lines}", gone.len()),
        format!("{} old archives removed.\n{lines}", gone.len()),
    )))
}

/// The kit's judgement, when the next backup is planned and how the last drill went, on one line.
fn healthcheck() -> ExitCode {
    let judgement = Heartbeat::new(SERVICE).judge();
    let (Ok(line) | Err(line)) = &judgement;
    let note = std::fs::read_to_string(resident::note_path()).unwrap_or_default();
    let separator = if note.is_empty() { "" } else { "; " };
    print(&format!("{line}{separator}{note}\n"));
    if judgement.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// A reader that went away early (`| head`) is no failure.
fn print(text: &str) -> ExitCode {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}
