//! This room puts an archive back: proved and staged beside the data, then as one step that a journal makes
//! recoverable. The old files are set aside with a time in their name.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use daemon_kit::lock::DirLock;
use daemon_kit::publish::{self, PARTIAL};
use daemon_kit::time;
use jiff::Timestamp;

use crate::catalog::ArchiveName;
use crate::config::Config;
use crate::find::{self, Found};
use crate::manifest::Manifest;
use crate::unpack::{Manner, SPARE_BYTES, unpack};
use crate::watch::Watch;
use crate::{forgotten, job, prune, snapshot};

mod journal;

pub use journal::{Journal, RESTORED, is_pending, recover};

/// The bot's lock.
pub const BOT_LOCK: &str = ".bot.lock";

/// Where files wait in `data/` until all of them are proved.
const STAGE: &str = ".restore-stage";

/// Files of the data are for the bot alone.
const PRIVATE: u32 = 0o600;

/// The bot has the data open: nothing was touched.
#[derive(Debug, thiserror::Error)]
#[error("the bot is running and has the data open; nothing was changed")]
pub struct BotRuns;

/// What a restore did.
#[derive(Debug)]
pub struct Restored {
    /// The archive's name.
    pub name: ArchiveName,
    /// What it holds.
    pub manifest: Manifest,
    /// Where the files went.
    pub target: PathBuf,
    /// Old files and where they are now.
    pub set_aside: Vec<(String, String)>,
    /// How long it took.
    pub took: Duration,
}

/// Restores `data/` in place. The caller holds the job lock.
///
/// # Errors
/// When the archive cannot be trusted or the bot runs: nothing was touched then. After the journal is written the
/// restore is completed by the next start, whatever happens.
pub fn in_place(config: &Config, wanted: &str, watch: &Watch) -> anyhow::Result<Restored> {
    let began = Instant::now();
    let data = &config.sources.data;
    job::refuse_network(config)?;
    let _bot = bot_lock(data)?;
    journal::recover_locked(config)?;
    let Found {
        name,
        path: archive,
        ..
    } = find::anywhere(config, wanted, watch)?;
    ensure!(
        !name.damaged,
        "{name} holds a damaged database: unpack it with --to instead and look at it first"
    );
    let databases = databases_in(config)?;
    for database in &databases {
        snapshot::prove_unused(database).map_err(|error| {
            // A full disk or a missing permission is not mended by stopping the bot.
            if error.is::<snapshot::InUse>() {
                error.context(BotRuns)
            } else {
                error
            }
        })?;
    }
    let stage = data.join(format!("{STAGE}{PARTIAL}"));
    clear_stage(data)?;
    let manner = Manner {
        data_only: true,
        mode: PRIVATE,
        spare_bytes: SPARE_BYTES,
    };
    let keys = prune::keys(config)?;
    let unpacked = unpack(&archive, &stage, manner, keys.as_ref(), watch);
    let manifest = match unpacked {
        Ok(manifest) => manifest,
        Err(error) => {
            fs::remove_dir_all(&stage).ok();
            return Err(error.context(format!("{name} cannot be restored")));
        }
    };
    let journal = Journal::plan(config, &name, &manifest, &stage, &databases, time::now())?;
    journal.begin(data)?;
    journal.carry_out(config)?;
    watch.finish();
    Ok(Restored {
        name,
        manifest,
        target: data.clone(),
        set_aside: journal.set_aside(data),
        took: began.elapsed(),
    })
}

/// Unpacks everything below `dir`, which must be empty or not exist.
///
/// # Errors
/// When the archive cannot be trusted; `dir` then holds nothing new.
pub fn to_dir(
    config: &Config,
    wanted: &str,
    dir: &Path,
    watch: &Watch,
) -> anyhow::Result<Restored> {
    let began = Instant::now();
    let Found {
        name,
        path: archive,
        ..
    } = find::anywhere(config, wanted, watch)?;
    let is_empty = match fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", dir.display())),
    };
    ensure!(
        is_empty,
        "{} is not empty: choose another directory",
        dir.display()
    );
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let stage = dir.join(format!("{STAGE}{PARTIAL}"));
    let manner = Manner {
        data_only: false,
        mode: PRIVATE,
        spare_bytes: SPARE_BYTES,
    };
    let keys = prune::keys(config)?;
    let unpacked = unpack(&archive, &stage, manner, keys.as_ref(), watch).and_then(|manifest| {
        for entry in fs::read_dir(&stage)? {
            let entry = entry?;
            publish::rename(&entry.path(), &dir.join(entry.file_name()))?;
        }
        fs::remove_dir(&stage)?;
        Ok(manifest)
    });
    let manifest = unpacked.map_err(|error| {
        fs::remove_dir_all(&stage).ok();
        error.context(format!("{name} cannot be restored"))
    })?;
    watch.finish();
    Ok(Restored {
        name,
        manifest,
        target: dir.to_owned(),
        set_aside: Vec::new(),
        took: began.elapsed(),
    })
}

fn bot_lock(data: &Path) -> anyhow::Result<DirLock> {
    fs::create_dir_all(data).with_context(|| format!("cannot create {}", data.display()))?;
    let path = data.join(BOT_LOCK);
    let lock =
        DirLock::try_take(&path).with_context(|| format!("cannot lock {}", path.display()))?;
    lock.ok_or_else(|| BotRuns.into())
}

fn databases_in(config: &Config) -> anyhow::Result<Vec<PathBuf>> {
    let mut sources = config.sources.clone();
    sources.config = None;
    sources.logs = None;
    let found = crate::collect::collect(&sources)?;
    Ok(found
        .databases
        .into_iter()
        .map(|database| database.source)
        .collect())
}

fn clear_stage(data: &Path) -> anyhow::Result<()> {
    let stage = data.join(format!("{STAGE}{PARTIAL}"));
    match fs::remove_dir_all(&stage) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", stage.display()))
        }
        _ => Ok(()),
    }
}

/// Merges every request to forget into the data: those of the copy beside the archives, and those from before the
/// restore.
fn merge_forgotten(config: &Config, also: &[PathBuf]) -> anyhow::Result<bool> {
    let beside = config.backup_dir.join(forgotten::FILE);
    let mut sources: Vec<&Path> = vec![&beside];
    sources.extend(also.iter().map(PathBuf::as_path));
    forgotten::merge(
        &sources,
        &config.sources.data.join(forgotten::FILE),
        PRIVATE,
    )
}

/// The time in the names of files set aside.
fn stamp(now: Timestamp) -> String {
    now.strftime("%Y%m%dT%H%M%SZ").to_string()
}

#[cfg(test)]
mod tests;
