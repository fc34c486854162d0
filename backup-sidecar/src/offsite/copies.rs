//! This room makes the copies, one archive at a time so that other jobs come between, and lets old copies go.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, bail};
use daemon_kit::time;

use super::{Place, Unfinished, Upload, place};
use crate::catalog::{ArchiveName, Catalog};
use crate::config::{Config, Remote};
use crate::retention::{self, Candidate, Policy, Verdict};
use crate::watch::Watch;
use crate::{archive, job, lock, prune, verify};

/// Copies with their sizes, as a place lists them.
type Listed = [(ArchiveName, u64)];

/// What follows a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Another one.
    More,
    /// The same one again: another job is at work.
    Busy,
    /// Nothing: the round is over.
    Over,
}

/// One round: every good archive that has no proved copy is tried once, then old copies go.
#[derive(Debug, Default)]
pub struct Round {
    tried: BTreeSet<ArchiveName>,
    copied: usize,
    failures: Vec<String>,
}

impl Round {
    /// A whole round, for a command.
    #[must_use]
    pub fn whole(config: &Config, watch: &Watch) -> Self {
        let mut round = Self::default();
        loop {
            match round.step(config, job::PATIENCE, watch) {
                Step::More => {}
                Step::Over => return round,
                Step::Busy => {
                    round.failures.push(lock::Busy.to_string());
                    return round;
                }
            }
        }
    }

    /// Copies one archive, or ends the round, under the job lock. Failures are told at the end, not returned.
    pub fn step(&mut self, config: &Config, patience: Duration, watch: &Watch) -> Step {
        let Some(remote) = &config.remote else {
            return Step::Over;
        };
        let result = match lock::take(&config.backup_dir, patience) {
            Ok(Some(_lock)) => self.go_on(config, remote, watch),
            Ok(None) => return Step::Busy,
            Err(error) => Err(error),
        };
        match result {
            Ok(true) => return Step::More,
            Ok(false) => {}
            // The next start makes another round.
            Err(_) if watch.is_stopping() => return Step::Over,
            Err(error) => self.failures.push(format!("{error:#}")),
        }
        self.tell();
        Step::Over
    }

    /// How many archives were copied.
    #[must_use]
    pub fn copied(&self) -> usize {
        self.copied
    }

    /// Why some were not.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        (!self.failures.is_empty()).then(|| self.failures.join("; "))
    }

    fn tell(&self) {
        if self.copied > 0 {
            tracing::info!(
                event = "offsite.done",
                copied = self.copied,
                "archives copied off-site and read back"
            );
        }
        if let Some(error) = self.trouble() {
            tracing::error!(
                event = "offsite.failed",
                error,
                "archives could not be copied off-site; the next run tries again"
            );
        }
    }

    /// Whether there may be more to copy. What fails of one archive keeps no other one from its copy; a place that
    /// cannot be listed ends the round.
    fn go_on(&mut self, config: &Config, remote: &Remote, watch: &Watch) -> anyhow::Result<bool> {
        let place = place(config, remote)?;
        let there = place.list().context("cannot list the copies")?;
        let mut catalog = prune::load(config)?;
        forget_missing(&mut catalog, &there);
        let waiting = waiting(config, remote, &catalog, &there);
        if self.tried.is_empty() {
            give_up_others(&mut catalog, place.as_ref(), &waiting);
        }
        catalog.save(&config.backup_dir)?;
        let next = waiting.into_iter().find(|name| !self.tried.contains(name));
        let Some(name) = next else {
            let retained = retain(config, remote, &mut catalog, place.as_ref());
            catalog.save(&config.backup_dir)?;
            return retained.map(|()| false);
        };
        self.tried.insert(name.clone());
        match copy_one(config, &mut catalog, place.as_ref(), (&name, &there), watch) {
            Ok(is_copied) => self.copied += usize::from(is_copied),
            Err(error) if watch.is_stopping() => return Err(error),
            // What stands of it in the other place is gone on with.
            Err(_) if watch.gives_way() => drop(self.tried.remove(&name)),
            Err(error) => self.failures.push(format!("{error:#}")),
        }
        Ok(true)
    }
}

/// Copies go by their own days, above the floor of the archives here.
#[must_use]
pub fn policy(config: &Config, remote: &Remote) -> Policy {
    Policy {
        days: remote.retention_days,
        last: config.policy.last.max(1),
        daily: 0,
        weekly: 0,
        monthly: 0,
        yearly: 0,
    }
}

/// Whether an archive waits to be copied, as far as is known without asking the place.
#[must_use]
pub fn is_behind(config: &Config, catalog: &Catalog) -> bool {
    let Some(remote) = &config.remote else {
        return false;
    };
    let all = catalog.newest_first().into_iter();
    let copied: Vec<(ArchiveName, u64)> = all
        .filter(|(_, record)| record.offsite.is_some())
        .map(|(name, record)| (name, record.bytes))
        .collect();
    !waiting(config, remote, catalog, &copied).is_empty()
}

/// A disk was replaced, a bucket emptied, another place named: what is not there is no copy, whatever was written down.
fn forget_missing(catalog: &mut Catalog, there: &Listed) {
    for (name, record) in &mut catalog.archives {
        let is_there = there.iter().any(|(copy, bytes)| {
            // Of an archive that is not whole here any more, the copy may well be.
            copy.to_string() == *name && (*bytes == record.bytes || record.bad.is_some())
        });
        if !is_there {
            record.offsite = None;
        }
    }
}

/// The archives to be copied, newest first. What would be let go at once is not sent.
fn waiting(
    config: &Config,
    remote: &Remote,
    catalog: &Catalog,
    there: &Listed,
) -> Vec<ArchiveName> {
    let all = catalog.newest_first().into_iter();
    let missing = all.filter(|(name, record)| {
        !name.damaged
            && record.bad.is_none()
            && record.verified.is_some()
            && record.offsite.is_none()
    });
    let missing: Vec<ArchiveName> = missing.map(|(name, _)| name).collect();
    let then: BTreeSet<&ArchiveName> = there.iter().map(|(name, _)| name).chain(&missing).collect();
    let leaving = leaving(config, remote, catalog, then);
    missing
        .into_iter()
        .filter(|name| !leaving.contains(&name.to_string()))
        .collect()
}

/// The copies that the plan lets go: under the rules of the archives here, the newest and the floor stay, and everything
/// while deletion is frozen.
fn leaving<'a>(
    config: &Config,
    remote: &Remote,
    catalog: &Catalog,
    copies: impl IntoIterator<Item = &'a ArchiveName>,
) -> BTreeSet<String> {
    let copies: Vec<Candidate> = copies
        .into_iter()
        .map(|name| Candidate {
            name: name.to_string(),
            taken: name.taken(&config.zone),
            good: !name.damaged,
            unproved: false,
        })
        .collect();
    let (policy, is_frozen) = (policy(config, remote), catalog.freeze().is_some());
    let verdicts = retention::plan(&copies, &policy, &config.zone, time::now(), is_frozen);
    let old = verdicts.into_iter().filter(Verdict::goes);
    old.map(|verdict| verdict.name).collect()
}

/// One archive: stored unless it is there, and read back either way. `false`: it is not what was published, and is
/// called bad from now on.
fn copy_one(
    config: &Config,
    catalog: &mut Catalog,
    place: &dyn Place,
    (name, there): (&ArchiveName, &Listed),
    watch: &Watch,
) -> anyhow::Result<bool> {
    let path = config.backup_dir.join(name.to_string());
    let record = catalog.archives.get(&name.to_string());
    let (bytes, known) = record.map_or((0, None), |record| (record.bytes, record.sha256.clone()));
    let expected = match &known {
        Some(sha256) => sha256.clone(),
        None => archive::hash_file(&path, watch)?,
    };
    let is_there = there.contains(&(name.clone(), bytes));
    if !is_there || read_back(place, name, watch)? != expected {
        if known.is_some()
            && let Err(error) = verify::sealed(&path, Some(&expected), watch)
        {
            if verify::is_hindered(&error) {
                return Err(error.context(format!("cannot copy {name}")));
            }
            prune::note(catalog, name, Err(error));
            catalog.save(&config.backup_dir)?;
            return Ok(false);
        }
        send(config, catalog, place, (name, &expected), watch)?;
    }
    if let Some(record) = catalog.archives.get_mut(&name.to_string()) {
        record.sha256 = Some(expected);
        record.offsite = Some(time::now().to_string());
    }
    catalog.save(&config.backup_dir)?;
    Ok(true)
}

fn send(
    config: &Config,
    catalog: &mut Catalog,
    place: &dyn Place,
    (name, expected): (&ArchiveName, &str),
    watch: &Watch,
) -> anyhow::Result<()> {
    let path = config.backup_dir.join(name.to_string());
    let mut unfinished = Unfinished {
        catalog,
        dir: &config.backup_dir,
        name: name.to_string(),
    };
    place
        .put(name, &path, &mut unfinished, watch)
        .with_context(|| format!("cannot copy {name}"))?;
    if read_back(place, name, watch)? != expected {
        // Under its name somebody would take it for the archive.
        let removed = place.remove(name);
        removed.with_context(|| format!("the copy of {name} is wrong and cannot be removed"))?;
        bail!("the copy of {name} is not what was sent");
    }
    Ok(())
}

fn read_back(place: &dyn Place, name: &ArchiveName, watch: &Watch) -> anyhow::Result<String> {
    let mut hashed = archive::HashingWriter::new(std::io::sink());
    place
        .get(name, &mut hashed, watch)
        .with_context(|| format!("cannot read {name} back"))?;
    Ok(hashed.finish().0)
}

/// Parts of archives that are not to be copied any more must not lie there, and cost money, for ever. What cannot be
/// taken away now is tried again next time.
fn give_up_others(catalog: &mut Catalog, place: &dyn Place, waiting: &[ArchiveName]) {
    let remembered: Vec<(ArchiveName, Upload)> = catalog
        .uploads
        .iter()
        .filter_map(|(name, upload)| Some((name.parse().ok()?, upload.clone())))
        .collect();
    let others = remembered
        .iter()
        .filter(|(name, _)| !waiting.contains(name));
    for (name, upload) in others {
        match place.give_up(name, upload) {
            Ok(()) => {
                catalog.uploads.remove(&name.to_string());
            }
            Err(error) => {
                tracing::warn!(event = "offsite.parts_left", archive = %name, error = %format!("{error:#}"), "parts of an upload that is not wanted any more could not be removed yet");
            }
        }
    }
    // Not every server can list them; those that can tell of parts whose memory was lost.
    for (name, upload) in place.orphans().unwrap_or_default() {
        let is_ours = remembered.iter().any(|(_, ours)| ours.id == upload.id);
        if !is_ours && place.give_up(&name, &upload).is_ok() {
            tracing::info!(event = "offsite.given_up", archive = %name, "parts of an upload that nobody remembers were removed");
        }
    }
}

/// Lets old copies go. One that cannot be removed keeps no other one.
fn retain(
    config: &Config,
    remote: &Remote,
    catalog: &mut Catalog,
    place: &dyn Place,
) -> anyhow::Result<()> {
    let there = place.list().context("cannot list the copies")?;
    let old = leaving(config, remote, catalog, there.iter().map(|(name, _)| name));
    let (mut removed, mut result) = (0, Ok(()));
    for (name, _) in there
        .iter()
        .filter(|(name, _)| old.contains(&name.to_string()))
    {
        if let Err(error) = place.remove(name) {
            result = Err(error.context(format!("cannot remove the copy of {name}")));
            continue;
        }
        removed += 1;
        if let Some(record) = catalog.archives.get_mut(&name.to_string()) {
            record.offsite = None;
        }
    }
    if removed > 0 {
        tracing::info!(event = "offsite.pruned", removed, "old copies removed");
    }
    result
}

#[cfg(test)]
mod tests;
