//! This room says what an archive promises: every file with size and hash, every database with its rows.
//!
//! A manifest that comes out of an archive is hostile until `Manifest::check` has passed.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail, ensure};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The name of the first entry of every archive.
pub const NAME: &str = "MANIFEST.json";

/// The only format there is so far.
pub const FORMAT: u32 = 1;

/// A manifest is text about files: larger than this it is an attack.
pub const MAX_BYTES: u64 = 64 << 20;

/// Each is examined by itself: more than these is an attack.
const MAX_DATABASES: usize = 4_096;

/// The promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this shape.
    pub format: u32,
    /// The instant before the snapshot began, RFC 3339 in UTC: every commit acknowledged before it is inside.
    #[serde(with = "instant")]
    pub created_utc: Timestamp,
    /// The same instant as the owner's clock showed it.
    pub created_local: String,
    /// Why the archive was made.
    pub reason: Cause,
    /// The program that made it, with its version.
    pub tool: String,
    /// The version of SQLite that copied and checked the databases.
    pub sqlite: String,
    /// Every file of the archive, databases included, in the order of the archive.
    pub files: Vec<FileEntry>,
    /// What was found in each database.
    pub databases: Vec<DatabaseEntry>,
    /// What the archive could not take, in words.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Why an archive was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// The schedule.
    Schedule,
    /// A scheduled run that could not happen at its time.
    Missed,
    /// The first archive of all, or one at every start.
    Start,
    /// A command.
    Manual,
    /// A request folder.
    Request,
}

impl Cause {
    /// One word for tables and logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Missed => "missed",
            Self::Start => "start",
            Self::Manual => "manual",
            Self::Request => "request",
        }
    }
}

/// One file of the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Path inside the archive, with `/`.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256, in lower-case hexadecimal.
    pub sha256: String,
}

/// What SQLite says of a database in which it finds nothing wrong.
pub const SOUND: &str = "ok";

/// What one database holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseEntry {
    /// Path inside the archive.
    pub path: String,
    /// Bytes a page.
    pub page_size: u64,
    /// Pages.
    pub pages: u64,
    /// `PRAGMA user_version`: the schema's version.
    pub user_version: i64,
    /// `ok`, or what `integrity_check` complained about.
    pub integrity: String,
    /// Rows of every table.
    pub tables: BTreeMap<String, u64>,
    /// Rows that its writer deleted on purpose so far, as its table `let_go` counts them.
    #[serde(default, skip_serializing_if = "is_none")]
    pub let_go: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_none(rows: &u64) -> bool {
    *rows == 0
}

impl DatabaseEntry {
    /// Whether SQLite found nothing wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.integrity == SOUND
    }

    /// Rows of all tables.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.tables
            .values()
            .fold(0, |sum, rows| sum.saturating_add(*rows))
    }

    /// Bytes of all pages.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.pages.saturating_mul(self.page_size)
    }
}

impl Manifest {
    /// Reads and checks a manifest from an archive.
    ///
    /// # Errors
    /// With the reason for which it cannot be trusted.
    pub fn parse(bytes: &[u8]) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let head: Head =
            serde_json::from_slice(bytes).context("its manifest is not one of ours")?;
        ensure!(
            head.format == FORMAT,
            "its format is {}, this program knows {FORMAT}: a newer backup-sidecar made it",
            head.format
        );
        let manifest: Self =
            serde_json::from_slice(bytes).context("its manifest is not readable")?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The bytes that go into the archive.
    ///
    /// # Errors
    /// Never in practice: every part has a JSON form.
    pub fn to_bytes(&self) -> anyhow::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Whether every database is sound.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.databases.iter().all(DatabaseEntry::is_sound)
    }

    /// Bytes of all files.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.files
            .iter()
            .fold(0, |sum, file| sum.saturating_add(file.size))
    }

    /// Rows of all databases.
    #[must_use]
    pub fn total_rows(&self) -> u64 {
        self.databases
            .iter()
            .fold(0, |sum, database| sum.saturating_add(database.rows()))
    }

    /// The entry of one database.
    #[must_use]
    pub fn database(&self, path: &str) -> Option<&DatabaseEntry> {
        self.databases.iter().find(|database| database.path == path)
    }

    fn check(&self) -> anyhow::Result<()> {
        let mut seen = BTreeSet::new();
        for file in &self.files {
            check_path(&file.path)?;
            ensure!(
                seen.insert(file.path.as_str()),
                "it names {:?} twice",
                file.path
            );
            let is_hash =
                file.sha256.len() == 64 && file.sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
            ensure!(is_hash, "the hash of {:?} is not one", file.path);
        }
        for path in &seen {
            // A file cannot be a directory of another one.
            let mut above = path.match_indices('/').map(|(at, _)| &path[..at]);
            ensure!(
                !above.any(|dir| seen.contains(dir)),
                "{path:?} lies below another file"
            );
        }
        ensure!(!self.databases.is_empty(), "it holds no database");
        ensure!(
            self.databases.len() <= MAX_DATABASES,
            "it holds too many databases"
        );
        let mut databases = BTreeSet::new();
        for database in &self.databases {
            ensure!(
                seen.contains(database.path.as_str()),
                "it counts the rows of {:?}, which it does not hold",
                database.path
            );
            ensure!(
                databases.insert(&database.path),
                "it counts {:?} twice",
                database.path
            );
        }
        Ok(())
    }
}

/// Refuses every path that could leave the directory it is unpacked into.
///
/// # Errors
/// With the reason.
pub fn check_path(path: &str) -> anyhow::Result<()> {
    ensure!(
        path.len() <= 4_096,
        "a path of {} bytes is too long",
        path.len()
    );
    ensure!(
        !path.contains(['\0', '\\']),
        "the path {path:?} holds a forbidden character"
    );
    let mut parts = path.split('/');
    let room = parts.next().unwrap_or_default();
    ensure!(
        matches!(room, "data" | "config" | "logs"),
        "the path {path:?} lies outside data/, config/ and logs/"
    );
    let mut depth = 0;
    for part in parts {
        if part.is_empty() || part == "." || part == ".." {
            bail!("the path {path:?} does not stay where it belongs");
        }
        ensure!(part.len() <= 255, "a name in {path:?} is too long");
        depth += 1;
    }
    ensure!(depth > 0, "the path {path:?} names no file");
    Ok(())
}

/// Instants as RFC 3339 text.
pub mod instant {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes one.
    ///
    /// # Errors
    /// When the serializer fails.
    pub fn serialize<S: Serializer>(instant: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(instant)
    }

    /// Reads one.
    ///
    /// # Errors
    /// When the text is no instant.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
pub(crate) mod tests;
