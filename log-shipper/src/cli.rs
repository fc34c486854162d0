//! This room is the command line: what may be asked, and which room answers.

mod sinks;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use daemon_kit::{Env, Resident, Shutdown, Text, boot, time};

use crate::config::{Config, SERVICE};
use crate::line::Level;
use crate::resident::LogShipper;
use crate::search::show::{Shower, Style};
use crate::search::{self, Query};
use crate::segment::Listing;
use crate::sweep::{self, Grudges, Swept};
use crate::{stats, tail};

/// Compresses, prunes, searches and forwards the logs of kotonoha.
#[derive(Debug, Parser)]
#[command(name = "log-shipper", disable_version_flag = true)]
pub struct Cli {
    /// Version, commit, target and zstd's version
    #[arg(long, short = 'V')]
    version: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch the logs until told to stop (the default)
    Run,
    /// Exit 0 when the running program is healthy
    Healthcheck,
    /// Say what is wrong and how to mend it
    Doctor {
        /// For scripts
        #[arg(long)]
        json: bool,
    },
    /// The settings in force, secrets redacted
    PrintConfig,
    /// Compress and prune once
    Sweep,
    /// Find lines, compressed or not
    Search(SearchArgs),
    /// The last lines
    Tail(TailArgs),
    /// Lines, bytes and levels by service
    Stats {
        /// For scripts
        #[arg(long)]
        json: bool,
    },
    /// Delete what the rules give up
    Prune {
        /// Only say what would go, and why
        #[arg(long)]
        dry_run: bool,
    },
    /// Send a test line to every configured sink and say what is wrong
    TestSink,
}

#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one switch of the command line"
)]
struct SearchArgs {
    /// A regular expression
    pattern: String,
    /// No earlier than this: RFC 3339, 2026-11-28, 2h, today
    #[arg(long)]
    since: Option<String>,
    /// Earlier than this
    #[arg(long)]
    until: Option<String>,
    /// Of this service alone
    #[arg(long)]
    service: Option<String>,
    /// At least as grave as this
    #[arg(long)]
    level: Option<String>,
    /// With this value in this field
    #[arg(long = "field", value_name = "NAME=VALUE")]
    fields: Vec<String>,
    /// Lines around each hit
    #[arg(short = 'C', long, default_value_t = 0, value_name = "N")]
    context: usize,
    /// Newest first
    #[arg(long)]
    newest: bool,
    /// Lines as they stand in the file
    #[arg(long)]
    json: bool,
    /// Only the number of hits
    #[arg(short = 'c', long)]
    count: bool,
    /// The pattern as it stands, not a regular expression
    #[arg(short = 'F', long)]
    fixed_strings: bool,
    /// Large and small letters are the same
    #[arg(short = 'i', long)]
    ignore_case: bool,
}

#[derive(Debug, Args)]
struct TailArgs {
    /// Go on with new lines
    #[arg(short = 'f', long)]
    follow: bool,
    /// How many lines
    #[arg(short = 'n', long, default_value_t = 20)]
    lines: usize,
    /// Of this service alone
    #[arg(long)]
    service: Option<String>,
    /// Lines as they stand in the file
    #[arg(long)]
    json: bool,
}

impl Cli {
    /// Answers.
    #[must_use]
    pub fn answer(self, env: Env) -> ExitCode {
        if self.version {
            let told = writeln!(
                io::stdout().lock(),
                "{SERVICE} {}",
                LogShipper::identity().build
            );
            return finish(told.context("writing"));
        }
        let command = self.command.unwrap_or(Command::Run);
        match command {
            Command::Run => return boot::run_frugally::<LogShipper>(&env),
            Command::Healthcheck => return boot::healthcheck(SERVICE),
            Command::Doctor { json } => return boot::doctor::<LogShipper>(env, json),
            Command::PrintConfig => return boot::print_config::<LogShipper>(env),
            _ => {}
        }
        let config = match boot::config::<LogShipper>(env) {
            Ok((config, _)) => config,
            Err(code) => return code,
        };
        let mut out = io::BufWriter::new(io::stdout().lock());
        let answered = match command {
            Command::Sweep => sweep_once(&config, &mut out),
            Command::Search(asked) => search_for(&config, &asked, &mut out),
            Command::Tail(asked) => tail_lines(&config, &asked, &mut out),
            Command::Stats { json } => show_stats(&config, json, &mut out),
            Command::Prune { dry_run } => prune(&config, dry_run, &mut out),
            Command::TestSink => sinks::test(&config, &mut out),
            Command::Run | Command::Healthcheck | Command::Doctor { .. } | Command::PrintConfig => {
                Ok(())
            }
        };
        finish(answered.and_then(|()| out.flush().context("writing")))
    }
}

/// A reader that went away (`| head`) is no failure.
fn finish(answered: anyhow::Result<()>) -> ExitCode {
    let Err(error) = answered else {
        return ExitCode::SUCCESS;
    };
    let closed = error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    });
    if closed {
        return ExitCode::SUCCESS;
    }
    writeln!(io::stderr().lock(), "{SERVICE}: {error:#}").ok();
    ExitCode::FAILURE
}

fn sweep_once(config: &Config, out: &mut dyn Write) -> anyhow::Result<()> {
    let now = time::now().as_millisecond();
    let (sweeper, mut grudges) = (config.sweeper(), Grudges::default());
    let mut all = Swept::default();
    loop {
        let swept = sweeper.sweep(now, &Shutdown::new(), &mut grudges)?;
        all.add(&swept);
        if !swept.unfinished {
            break;
        }
    }
    let swept = all;
    writeln!(
        out,
        "{} compressed ({} to {}), {} pruned, {} failed, {} waiting for a sink",
        swept.compressed,
        stats::shown_bytes(swept.raw_bytes),
        stats::shown_bytes(swept.packed_bytes),
        swept.pruned,
        swept.failed,
        swept.waiting,
    )?;
    if swept.failed > 0 {
        bail!(
            "{} segments could not be compressed; they stay as they are",
            swept.failed
        );
    }
    Ok(())
}

fn search_for(config: &Config, asked: &SearchArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let now = time::now();
    let moment = |text: &Option<String>| -> anyhow::Result<Option<i64>> {
        let Some(text) = text else { return Ok(None) };
        let at = time::parse_moment(text, now, &config.zone);
        let at = at
            .with_context(|| format!("{text} is no time: try 2h, today, 2026-11-28 or RFC 3339"))?;
        Ok(Some(at.as_millisecond()))
    };
    let mut query = Query::new(&asked.pattern, asked.fixed_strings, asked.ignore_case)
        .context("the pattern is no regular expression (-F takes it as it stands)")?;
    query.since = moment(&asked.since)?;
    query.until = moment(&asked.until)?;
    query.service.clone_from(&asked.service);
    if let Some(level) = &asked.level {
        query.level = Some(Level::parse(level).with_context(|| format!("{level} is no level"))?);
    }
    for field in &asked.fields {
        let (name, value) = field
            .split_once('=')
            .with_context(|| format!("{field} is not NAME=VALUE"))?;
        query.fields.push((name.to_owned(), value.to_owned()));
    }
    query.context = asked.context;
    query.newest = asked.newest;
    let mut style = style(config, asked.json);
    style.mark = Some(query.pattern().clone());
    let watched = io::stderr().is_terminal();
    let mut shower = Shower::new(out, style, asked.count, watched);
    let searched = search::search(&config.dir, &query, &mut shower);
    shower.finish()?;
    let searched = searched?;
    if asked.count {
        writeln!(out, "{}", searched.hits)?;
    } else if searched.hits == 0 && watched {
        let nothing = Text::new(
            format!("見つかりませんでした ({} ファイル)", searched.segments),
            format!("nothing found in {} files", searched.segments),
        );
        writeln!(io::stderr(), "{}", nothing.in_language(config.language))?;
    }
    if searched.unreadable > 0 {
        bail!("{} segments could not be read", searched.unreadable);
    }
    Ok(())
}

fn style(config: &Config, json: bool) -> Style {
    Style {
        json,
        color: io::stdout().is_terminal(),
        zone: config.zone.clone(),
        mark: None,
    }
}

fn tail_lines(config: &Config, asked: &TailArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let style = style(config, asked.json);
    let service = asked.service.as_deref();
    let places = tail::last_lines(&config.dir, service, asked.lines, &style, out)?;
    if asked.follow {
        tail::follow(&config.dir, service, places, &style, out, &|| false)?;
    }
    Ok(())
}

fn show_stats(config: &Config, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let counted = stats::count(&config.dir)?;
    if json {
        writeln!(out, "{:#}", counted.json())?;
    } else {
        counted.write(out, &config.zone)?;
    }
    Ok(())
}

fn prune(config: &Config, dry_run: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let sweeper = config.sweeper();
    let now = time::now().as_millisecond();
    let listing = Listing::whole(&config.dir)?;
    let plan = sweeper.plan(&listing, now)?;
    let mut count = 0;
    for (segment, reason) in sweep::doomed(&listing, &plan) {
        count += 1;
        writeln!(
            out,
            "{:<48}{:>11}  {reason}",
            segment.raw_name(),
            stats::shown_bytes(segment.bytes())
        )?;
    }
    writeln!(
        out,
        "{count} of {} segments go, {} wait for a sink; {} afterwards",
        listing.closed.len(),
        plan.waiting,
        stats::shown_bytes(plan.bytes_after)
    )?;
    if !dry_run {
        let pruned = sweeper.prune_now(now)?;
        writeln!(out, "{pruned} deleted")?;
    }
    Ok(())
}
