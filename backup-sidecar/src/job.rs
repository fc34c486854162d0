//! This room is the straight line of a backup: lock → snapshot → archive → verify → publish → retain → report.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use daemon_kit::doctor::{self, Severity};
use daemon_kit::publish::PARTIAL;
use daemon_kit::time;
use jiff::Timestamp;

use crate::catalog::{ArchiveName, Catalog, Record};
use crate::collect::{self, Collection};
use crate::config::Config;
use crate::draft;
use crate::freeze::Freeze;
use crate::manifest::{Cause, Manifest};
use crate::snapshot::Copy;
use crate::watch::Watch;
use crate::{forgotten, lock, prune, room, snapshot};

/// How long a job waits for another one.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The steps of a job, as its failure names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the step of that name")]
pub enum Stage {
    Lock,
    Space,
    Snapshot,
    Archive,
    Verify,
    Publish,
    Retain,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lock => "lock",
            Self::Space => "space",
            Self::Snapshot => "snapshot",
            Self::Archive => "archive",
            Self::Verify => "verify",
            Self::Publish => "publish",
            Self::Retain => "retain",
        })
    }
}

/// Why a job did not succeed, and where.
#[derive(Debug, thiserror::Error)]
#[error("{source:#}")]
pub struct Failure {
    /// The step that failed.
    pub stage: Stage,
    /// What was wrong.
    pub source: anyhow::Error,
}

impl Failure {
    /// Whether another job was at work: no fault, only a matter of time.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.source.is::<lock::Busy>()
    }
}

/// How a job ended that did not fail.
#[derive(Debug)]
pub enum Outcome {
    /// There is one more archive.
    Published(Box<Published>),
    /// The bot has not made its database yet.
    NoDatabaseYet,
}

/// A new archive and what followed from it.
#[derive(Debug)]
pub struct Published {
    /// Its name.
    pub name: ArchiveName,
    /// Its path.
    pub path: PathBuf,
    /// Its bytes on disk.
    pub bytes: u64,
    /// What it holds.
    pub manifest: Manifest,
    /// The archive that keeps deletion frozen, if one does.
    pub freeze: Option<Freeze>,
    /// The archives that retention took away.
    pub pruned: Vec<String>,
    /// Databases whose writer had to wait.
    pub made_wait: Vec<String>,
    /// How long it all took.
    pub took: Duration,
}

trait At<T> {
    fn at(self, stage: Stage) -> Result<T, Failure>;
}

impl<T> At<T> for anyhow::Result<T> {
    fn at(self, stage: Stage) -> Result<T, Failure> {
        self.map_err(|source| Failure { stage, source })
    }
}

/// Makes one archive.
///
/// # Errors
/// With the step that failed; nothing unverified has a final name then.
pub fn run(config: &Config, cause: Cause, watch: &Watch) -> Result<Outcome, Failure> {
    let began = Instant::now();
    let _lock = lock::take(&config.backup_dir, PATIENCE)
        .and_then(|lock| lock.context(lock::Busy))
        .at(Stage::Lock)?;
    let mut catalog = prune::load_proved(config, watch).at(Stage::Verify)?;

    refuse_network(config).at(Stage::Snapshot)?;
    forgotten::copy(&config.sources.data, &config.backup_dir).at(Stage::Snapshot)?;
    let found = collect::collect(&config.sources)
        .with_context(|| format!("cannot read {}", config.sources.data.display()))
        .at(Stage::Snapshot)?;
    if found.databases.is_empty() {
        return no_database(&catalog).at(Stage::Snapshot);
    }
    room::make(config, &mut catalog, &found, watch).at(Stage::Space)?;

    let taken = time::now();
    let copies = take_snapshots(config, &found, watch).at(Stage::Snapshot)?;
    let made_wait = waited(&found, &copies);
    let draft = draft::write(config, &found, &copies, &head(config, taken, cause), watch)
        .at(Stage::Archive)?;
    let draft = draft.verify(watch).at(Stage::Verify)?;
    // The databases' copies have served: their room is free again before anything else is written.
    drop(copies);

    let ready = draft.seal(config, watch).at(Stage::Archive)?;
    let archive = ready.publish(config).at(Stage::Publish)?;
    let mut record = Record::of(&archive.manifest, archive.bytes, Some(archive.sha256));
    record.verified = Some(time::now().to_string());
    catalog.archives.insert(archive.name.to_string(), record);
    catalog.save(&config.backup_dir).at(Stage::Publish)?;

    let pruned = prune::carry_out(config, &mut catalog, time::now()).at(Stage::Retain)?;
    catalog.save(&config.backup_dir).at(Stage::Retain)?;
    watch.finish();
    Ok(Outcome::Published(Box::new(Published {
        freeze: catalog.freeze(),
        name: archive.name,
        path: archive.path,
        bytes: archive.bytes,
        manifest: archive.manifest,
        pruned,
        made_wait,
        took: began.elapsed(),
    })))
}

/// Neither SQLite's shared memory nor locks can be trusted across a network.
///
/// # Errors
/// When the data lies on a network file system and the owner did not allow that.
pub fn refuse_network(config: &Config) -> anyhow::Result<()> {
    let data = &config.sources.data;
    let finding = doctor::file_system(data, "data", config.allow_network_filesystem);
    match finding.filter(|finding| finding.severity == Severity::Error) {
        Some(finding) => Err(anyhow::anyhow!(finding.line())),
        None => Ok(()),
    }
}

/// An archive without a database would be no backup.
fn no_database(catalog: &Catalog) -> anyhow::Result<Outcome> {
    anyhow::ensure!(
        catalog.archives.is_empty(),
        "there is no database in the data directory any more; earlier archives have one"
    );
    Ok(Outcome::NoDatabaseYet)
}

fn take_snapshots(config: &Config, found: &Collection, watch: &Watch) -> anyhow::Result<Vec<Copy>> {
    let numbered = found.databases.iter().enumerate();
    let copies = numbered.map(|(number, database)| {
        let target = config
            .backup_dir
            .join(format!("{}{number}.db{PARTIAL}", lock::SCRATCH));
        snapshot::take(&database.source, &target, watch)
    });
    copies.collect()
}

fn waited(found: &Collection, copies: &[Copy]) -> Vec<String> {
    let pairs = found.databases.iter().zip(copies);
    let waited = pairs.filter(|(_, copy)| copy.made_writer_wait);
    waited.map(|(database, _)| database.path.clone()).collect()
}

fn head(config: &Config, taken: Timestamp, cause: Cause) -> Manifest {
    Manifest {
        format: crate::manifest::FORMAT,
        created_utc: taken,
        created_local: taken.to_zoned_datetime(config.zone.clone()).to_string(),
        reason: cause,
        tool: format!(
            "kotonoha {} {}",
            crate::config::SERVICE,
            env!("CARGO_PKG_VERSION")
        ),
        sqlite: crate::verify::sqlite_version().to_owned(),
        files: Vec::new(),
        databases: Vec::new(),
        notes: Vec::new(),
    }
}
