//! This room alone knows the names of archives, and keeps `catalog.json`: what was proved about each of them.
//!
//! The directory is the truth. The catalogue remembers what a sealed archive cannot say about itself, and is rebuilt
//! from the archives when it is lost.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context;
use daemon_kit::publish;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::drill;
use crate::freeze::{self, Freeze, Sight};
use crate::manifest::{Cause, DatabaseEntry, Manifest};
use crate::offsite::Upload;
use crate::retention::{self, Candidate};
use crate::verify;

/// The catalogue's file.
pub const FILE: &str = "catalog.json";

/// The name of an archive: `backup_YYYYMMDD_HHMMSS[.damaged].tar.zst[.age]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ArchiveName {
    /// What the owner's clock showed.
    pub stamp: DateTime,
    /// A database in it failed its check.
    pub damaged: bool,
    /// It is encrypted.
    pub sealed: bool,
}

impl ArchiveName {
    /// The name without its endings, as request folders use it.
    #[must_use]
    pub fn stem(&self) -> String {
        format!("backup_{}", self.stamp.strftime("%Y%m%d_%H%M%S"))
    }

    /// The instant that the name tells, where nothing else does.
    #[must_use]
    pub fn taken(&self, zone: &TimeZone) -> Timestamp {
        zone.to_timestamp(self.stamp)
            .unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

impl fmt::Display for ArchiveName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let damaged = if self.damaged { ".damaged" } else { "" };
        let sealed = if self.sealed { ".age" } else { "" };
        write!(f, "{}{damaged}.tar.zst{sealed}", self.stem())
    }
}

impl FromStr for ArchiveName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let rest = text.strip_prefix("backup_").ok_or(())?;
        let (rest, sealed) = rest
            .strip_suffix(".age")
            .map_or((rest, false), |rest| (rest, true));
        let rest = rest.strip_suffix(".tar.zst").ok_or(())?;
        let (stamp, damaged) = rest
            .strip_suffix(".damaged")
            .map_or((rest, false), |rest| (rest, true));
        let digits = stamp.bytes().enumerate().all(|(at, byte)| {
            if at == 8 {
                byte == b'_'
            } else {
                byte.is_ascii_digit()
            }
        });
        if stamp.len() != 15 || !digits {
            return Err(());
        }
        Ok(Self {
            stamp: DateTime::strptime("%Y%m%d_%H%M%S", stamp).map_err(|_| ())?,
            damaged,
            sealed,
        })
    }
}

/// What is known about one archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When its snapshot was taken.
    #[serde(with = "crate::manifest::instant")]
    pub taken: Timestamp,
    /// Why it was made; unknown for a sealed archive whose record was lost.
    pub reason: Option<Cause>,
    /// Bytes of the file.
    pub bytes: u64,
    /// SHA-256 of the file as it lies there (of the ciphertext when sealed); unknown after a rebuild.
    pub sha256: Option<String>,
    /// When it was last proved whole.
    pub verified: Option<String>,
    /// Why the last proof failed.
    pub bad: Option<String>,
    /// The databases in it, when known.
    pub databases: Vec<DatabaseEntry>,
    /// When its copy off-site was proved.
    pub offsite: Option<String>,
}

impl Record {
    /// The facts of a manifest.
    #[must_use]
    pub fn of(manifest: &Manifest, bytes: u64, sha256: Option<String>) -> Self {
        Self {
            taken: manifest.created_utc,
            reason: Some(manifest.reason),
            bytes,
            sha256,
            verified: None,
            bad: None,
            databases: manifest.databases.clone(),
            offsite: None,
        }
    }

    /// What a proof found in an archive that nobody could look into before.
    pub fn learn(&mut self, manifest: &Manifest) {
        self.taken = manifest.created_utc;
        self.reason = Some(manifest.reason);
        self.databases.clone_from(&manifest.databases);
    }

    /// The file is not the one that was proved: of a sealed one that is certain without looking inside.
    fn changed_size(&mut self, bytes: u64) {
        self.bad = Some(format!("its size changed from {} to {bytes}", self.bytes));
        self.bytes = bytes;
    }

    /// Rows of all its databases.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.databases
            .iter()
            .fold(0, |sum, database| sum.saturating_add(database.rows()))
    }
}

/// How the last drill went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drill {
    /// When it ended.
    #[serde(with = "crate::manifest::instant")]
    pub at: Timestamp,
    /// Which archive was restored.
    pub archive: String,
    /// `passed`, `failed` or `not possible`.
    pub result: String,
    /// What was counted, or why it failed.
    pub detail: String,
}

impl Drill {
    /// Its result and date on one line.
    #[must_use]
    pub fn in_brief(&self, zone: &TimeZone) -> String {
        let at = self.at.to_zoned_datetime(zone.clone());
        format!(
            "last drill {} {}",
            self.result,
            at.strftime("%Y-%m-%d %H:%M")
        )
    }

    /// What the owner should mend, if it found an archive wanting.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let is_failed = self.result == drill::FAILED;
        is_failed.then(|| format!("the drill of {} failed: {}", self.archive, self.detail))
    }
}

/// The catalogue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalog {
    /// Records by file name.
    pub archives: BTreeMap<String, Record>,
    /// Up to which snapshot the owner accepted losses.
    pub accepted_until: Option<String>,
    /// The last drill.
    pub drill: Option<Drill>,
    /// Uploads in parts that were begun and did not end yet, by file name.
    #[serde(default)]
    pub uploads: BTreeMap<String, Upload>,
}

impl Catalog {
    /// Loads the catalogue of `dir` and brings it in line with the files that are there. `read_manifest` looks into an
    /// archive that has no record; a sealed one whose record is lost is dated by its name.
    ///
    /// # Errors
    /// When the directory or the catalogue cannot be read: taken for empty, it would be written over.
    pub fn load(
        dir: &Path,
        zone: &TimeZone,
        read_manifest: impl Fn(&Path) -> anyhow::Result<Manifest>,
    ) -> anyhow::Result<Self> {
        let mut catalog = Self::stored(dir)?;
        let files = archives_in(dir).with_context(|| format!("cannot list {}", dir.display()))?;
        catalog
            .archives
            .retain(|name, _| files.iter().any(|(found, _)| found.to_string() == *name));
        for (name, bytes) in files {
            match catalog.archives.get_mut(&name.to_string()) {
                Some(known) if known.bytes == bytes => continue,
                // What it was is known, and that it is so no more: its record must not be forgotten.
                Some(known) if name.sealed && known.sha256.is_some() => {
                    known.changed_size(bytes);
                    continue;
                }
                _ => {}
            }
            let record = match read_manifest(&dir.join(name.to_string())) {
                Ok(manifest) => Record::of(&manifest, bytes, None),
                Err(error) => unreadable(&name, bytes, zone, &error),
            };
            catalog.archives.insert(name.to_string(), record);
        }
        Ok(catalog)
    }

    fn stored(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error).context("cannot read catalog.json"),
        };
        match serde_json::from_slice(&bytes) {
            Ok(catalog) => Ok(catalog),
            Err(error) => {
                keep_unreadable(&path, &bytes, &error).context("cannot set catalog.json aside")?;
                Ok(Self::default())
            }
        }
    }

    /// Writes the catalogue.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, dir: &Path) -> anyhow::Result<()> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        publish::write(&dir.join(FILE), &bytes, 0o666).context("cannot write catalog.json")
    }

    /// Names and records, newest first.
    #[must_use]
    pub fn newest_first(&self) -> Vec<(ArchiveName, &Record)> {
        let mut all: Vec<_> = self
            .archives
            .iter()
            .filter_map(|(name, record)| Some((name.parse::<ArchiveName>().ok()?, record)))
            .collect();
        all.sort_by(|(a_name, a), (b_name, b)| {
            b.taken.cmp(&a.taken).then_with(|| b_name.cmp(a_name))
        });
        all
    }

    /// The newest archive that holds no damage and did not fail its last proof, proved or not: whoever restores it proves
    /// it. One that a clock far ahead dated is the newest only when there is no other.
    #[must_use]
    pub fn latest(&self, now: Timestamp) -> Option<(ArchiveName, &Record)> {
        self.newest(now, is_good)
    }

    /// The newest archive that was proved whole.
    #[must_use]
    pub fn newest_proved(&self, now: Timestamp) -> Option<(ArchiveName, &Record)> {
        self.newest(now, |name, record| {
            is_good(name, record) && record.verified.is_some()
        })
    }

    fn newest(
        &self,
        now: Timestamp,
        is_wanted: impl Fn(&ArchiveName, &Record) -> bool,
    ) -> Option<(ArchiveName, &Record)> {
        let wanted = || {
            let all = self.newest_first().into_iter();
            all.filter(|(name, record)| is_wanted(name, record))
        };
        let dated = wanted().find(|(_, record)| !retention::is_ahead(record.taken, now));
        dated.or_else(|| wanted().next())
    }

    /// What retention judges.
    #[must_use]
    pub fn candidates(&self) -> Vec<Candidate> {
        let all = self
            .newest_first()
            .into_iter()
            .map(|(name, record)| Candidate {
                good: is_good(&name, record) && record.verified.is_some(),
                unproved: is_good(&name, record) && record.verified.is_none(),
                name: name.to_string(),
                taken: record.taken,
            });
        all.collect()
    }

    /// The archive that waits for the owner, if one does.
    #[must_use]
    pub fn freeze(&self) -> Option<Freeze> {
        let sights: Vec<Sight<'_>> = self
            .archives
            .iter()
            .filter(|(name, record)| {
                let known = !record.databases.is_empty();
                known
                    && name
                        .parse::<ArchiveName>()
                        .is_ok_and(|parsed| is_good(&parsed, record))
            })
            .map(|(name, record)| Sight {
                name,
                taken: record.taken,
                databases: &record.databases,
            })
            .collect();
        let until = self
            .accepted_until
            .as_ref()
            .and_then(|text| text.parse().ok());
        freeze::find(&sights, until)
    }

    /// The archive that an owner means by `wanted`: `latest`, a name, a name without endings, or a path.
    #[must_use]
    pub fn resolve(&self, wanted: &str, now: Timestamp) -> Option<ArchiveName> {
        if wanted == "latest" {
            return self.latest(now).map(|(name, _)| name);
        }
        let wanted = Path::new(wanted).file_name()?.to_str()?;
        let all = self.newest_first().into_iter().map(|(name, _)| name);
        all.into_iter()
            .find(|name| name.to_string() == wanted || name.stem() == wanted)
    }
}

fn is_good(name: &ArchiveName, record: &Record) -> bool {
    !name.damaged && record.bad.is_none()
}

/// A copy of a catalogue that is not readable, named by its own time: whoever looks again makes no second one.
fn keep_unreadable(path: &Path, bytes: &[u8], error: &serde_json::Error) -> anyhow::Result<()> {
    let written = Timestamp::try_from(fs::metadata(path)?.modified()?)?;
    let name = format!("{FILE}.bad-{}", written.strftime("%Y%m%dT%H%M%SZ"));
    let aside = path.with_file_name(&name);
    if aside.try_exists()? {
        return Ok(());
    }
    publish::write(&aside, bytes, 0o666)?;
    tracing::error!(
        event = "catalog.unreadable",
        error = %error,
        kept = name,
        "the catalogue is not readable; it was kept under another name and is rebuilt from the archives"
    );
    Ok(())
}

fn unreadable(name: &ArchiveName, bytes: u64, zone: &TimeZone, error: &anyhow::Error) -> Record {
    Record {
        taken: name.taken(zone),
        reason: None,
        bytes,
        sha256: None,
        verified: None,
        // Nobody can look into a sealed archive without its identity: that is no fault of the archive, and a disk that
        // refused for a moment is none either.
        bad: (!name.sealed && !verify::is_hindered(error)).then(|| format!("{error:#}")),
        databases: Vec::new(),
        offsite: None,
    }
}

/// The archives of a directory with their sizes; every other name is foreign and left alone.
///
/// # Errors
/// When the directory cannot be read.
pub fn archives_in(dir: &Path) -> io::Result<Vec<(ArchiveName, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let Some(name) = name else { continue };
        // A file may go between the listing and the look at it.
        if let Ok(facts) = entry.metadata()
            && facts.is_file()
        {
            found.push((name, facts.len()));
        }
    }
    found.sort();
    Ok(found)
}

/// A free name for an archive taken at `taken`: a taken one moves on by a second.
#[must_use]
pub fn free_name(
    dir: &Path,
    taken: Timestamp,
    zone: &TimeZone,
    damaged: bool,
    sealed: bool,
) -> (ArchiveName, PathBuf) {
    let mut stamp = zone
        .to_datetime(taken)
        .with()
        .subsec_nanosecond(0)
        .build()
        .unwrap_or_default();
    loop {
        let name = ArchiveName {
            stamp,
            damaged,
            sealed,
        };
        let stem = format!("{}.", name.stem());
        let is_taken = archives_in(dir).is_ok_and(|all| {
            all.iter()
                .any(|(other, _)| other.to_string().starts_with(&stem))
        });
        if !is_taken {
            let path = dir.join(name.to_string());
            return (name, path);
        }
        stamp = stamp.saturating_add(jiff::SignedDuration::from_secs(1));
    }
}

#[cfg(test)]
mod tests;
