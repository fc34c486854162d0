//! This room decides which files belong into an archive, and finds the databases by their header, not their name.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use daemon_kit::segments::SegmentName;

/// How every SQLite database begins.
const SQLITE_MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Directories are walked no deeper than this.
const MAX_DEPTH: usize = 32;

/// The directories that an archive is made of.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Databases and whatever else the bot keeps.
    pub data: PathBuf,
    /// The owner's settings, when there are any.
    pub config: Option<PathBuf>,
    /// The logs, when they are wanted.
    pub logs: Option<PathBuf>,
    /// Directories of archives and logs: wherever they lie, they are left out, or each archive would hold all earlier
    /// ones.
    pub apart: Vec<PathBuf>,
}

/// One file that belongs into the archive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// Its path in the archive.
    pub path: String,
    /// Where it lies.
    pub source: PathBuf,
}

impl Found {
    /// The closed segment of a log that this is, whether it is compressed or not.
    #[must_use]
    pub fn segment(&self) -> Option<SegmentName> {
        let name = SegmentName::parse(self.path.strip_prefix("logs/")?)?;
        Some(name.to_plain())
    }

    /// Whether its writer may be at work on it.
    #[must_use]
    pub fn is_open_log(&self) -> bool {
        self.path.starts_with("logs/") && self.segment().is_none()
    }
}

/// Everything that belongs into an archive.
#[derive(Clone, Debug, Default)]
pub struct Collection {
    /// SQLite databases, to be copied through SQLite.
    pub databases: Vec<Found>,
    /// Every other file, to be copied as it is.
    pub files: Vec<Found>,
    /// What was left out and should be known.
    pub notes: Vec<String>,
    apart: Vec<Identity>,
}

/// Device and inode: a directory is the same under another path, and in a container under another mount.
type Identity = (u64, u64);

fn identity(dir: &Path) -> io::Result<Identity> {
    fs::metadata(dir).map(|facts| (facts.dev(), facts.ino()))
}

impl Collection {
    fn without(apart: &[PathBuf]) -> Self {
        // One that is not there, nobody meets.
        let apart = apart.iter().filter_map(|dir| identity(dir).ok()).collect();
        Self {
            apart,
            ..Self::default()
        }
    }
}

/// Walks the directories. Must not run while this process has a database open: closing a database file that SQLite
/// holds would drop its locks.
///
/// # Errors
/// When the data directory cannot be read; the others may be missing.
pub fn collect(sources: &Sources) -> io::Result<Collection> {
    let mut found = Collection::without(&sources.apart);
    walk(&sources.data, "data", 0, is_data, &mut found)?;
    visit(sources.config.as_deref(), "config", is_config, &mut found);
    visit(sources.logs.as_deref(), "logs", is_log, &mut found);
    found.databases.sort();
    // Logs that are being written come last: the closed ones are then as old as the archive when they are taken.
    found
        .files
        .sort_by_cached_key(|file| (file.is_open_log(), file.clone()));
    Ok(found)
}

/// The logs alone, as they stand now: other programs close, compress and prune them at any moment.
#[must_use]
pub fn logs(sources: &Sources) -> Collection {
    let mut found = Collection::default();
    visit(sources.logs.as_deref(), "logs", is_log, &mut found);
    found.files.sort();
    found
}

type Wanted = fn(&str) -> bool;

/// Walks a directory that may be missing.
fn visit(dir: Option<&Path>, room: &str, wanted: Wanted, found: &mut Collection) {
    let walked = dir.map_or(Ok(()), |dir| walk(dir, room, 0, wanted, found));
    match walked {
        Err(error) if error.kind() != io::ErrorKind::NotFound => found
            .notes
            .push(format!("{room}/ could not be read: {error}")),
        _ => {}
    }
}

fn walk(
    dir: &Path,
    room: &str,
    depth: usize,
    wanted: Wanted,
    found: &mut Collection,
) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            found.notes.push(format!(
                "{room}/{}: the name is not UTF-8, left out",
                name.to_string_lossy()
            ));
            continue;
        };
        if is_foreign(name) || name.contains('\\') || !wanted(name) {
            continue;
        }
        let path = format!("{room}/{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() {
            let is_apart = !found.apart.is_empty()
                && identity(&entry.path()).is_ok_and(|dir| found.apart.contains(&dir));
            if is_apart {
                found
                    .notes
                    .push(format!("{path}: a directory of archives or logs, left out"));
            } else if depth < MAX_DEPTH {
                walk(&entry.path(), &path, depth + 1, wanted, found)?;
            } else {
                found.notes.push(format!("{path}: too deep, left out"));
            }
        } else if kind.is_file() {
            let source = entry.path();
            let is_database = room.starts_with("data") && is_database(&source)?;
            let list = if is_database {
                &mut found.databases
            } else {
                &mut found.files
            };
            list.push(Found { path, source });
        } else {
            found
                .notes
                .push(format!("{path}: neither a file nor a directory, left out"));
        }
    }
    Ok(())
}

/// Whether SQLite keeps a database in this file; an empty one with a filled `-wal` is one as well.
fn is_database(path: &Path) -> io::Result<bool> {
    let mut head = Vec::with_capacity(SQLITE_MAGIC.len());
    match File::open(path) {
        Ok(file) => file
            .take(SQLITE_MAGIC.len() as u64)
            .read_to_end(&mut head)?,
        // Gone between the listing and the look: it is left out later as well.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => {
            return Err(io::Error::new(
                error.kind(),
                format!("{}: {error}", path.display()),
            ));
        }
    };
    if head.is_empty() {
        let mut wal = path.as_os_str().to_owned();
        wal.push("-wal");
        return Ok(fs::metadata(wal).is_ok_and(|wal| wal.len() > 32));
    }
    Ok(head == SQLITE_MAGIC)
}

/// Names that NAS systems and desktops put everywhere.
#[must_use]
pub fn is_foreign(name: &str) -> bool {
    matches!(
        name,
        "@eaDir"
            | "#recycle"
            | "@Recycle"
            | "@Recently-Snapshot"
            | "#snapshot"
            | ".@__thumb"
            | ".DS_Store"
            | "Thumbs.db"
            | "desktop.ini"
            | "lost+found"
            | ".snapshot"
            | ".zfs"
            | ".gitkeep"
    ) || name.starts_with("._")
}

/// What of `data/` belongs into an archive.
fn is_data(name: &str) -> bool {
    let is_sqlite_side_file = name.ends_with("-wal")
        || name.ends_with("-shm")
        || name.ends_with("-journal")
        || name
            .rsplit_once("-mj")
            .is_some_and(|(_, rest)| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let is_own = name.starts_with(".restore") || name == "README.txt";
    !is_sqlite_side_file
        && !is_own
        && !name.ends_with(".lock")
        && !name.ends_with(daemon_kit::publish::PARTIAL)
        && !is_set_aside(name)
}

/// Whether a name says that its file was set aside before a migration, an import or a restore: it carries a time
/// such as `20261128T050102Z` after `.before-…` or `.predecessor-…`.
#[must_use]
pub fn is_set_aside(name: &str) -> bool {
    let why = [".before-", ".predecessor-"]
        .iter()
        .find_map(|why| name.split_once(why));
    why.is_some_and(|(_, rest)| {
        rest.as_bytes().windows(15).any(|stamp| {
            stamp.iter().enumerate().all(|(at, byte)| {
                if at == 8 {
                    *byte == b'T'
                } else {
                    byte.is_ascii_digit()
                }
            })
        })
    })
}

/// What of `config/` belongs into an archive: never a secret.
fn is_config(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let is_secret = lower.starts_with(".env")
        || lower.ends_with(".env")
        || lower.contains("secret")
        || lower.contains("token")
        || [".key", ".pem", ".p12", ".age", ".partial"]
            .iter()
            .any(|ending| lower.ends_with(ending));
    !is_secret
}

/// What of `logs/` belongs into an archive: segments, closed, compressed or active.
fn is_log(name: &str) -> bool {
    name.ends_with(".log") || name.ends_with(".log.zst")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of names")]
    fn only_what_belongs_is_taken() {
        let root = tempfile::tempdir().unwrap();
        let make = |path: &str, text: &[u8]| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let database = [SQLITE_MAGIC.as_slice(), &[0; 100]].concat();
        for name in [
            "sessions.db",
            "deep/er/other.bin",
            "sessions.db.before-restore-20261128T050102Z",
            "x.db.partial",
        ] {
            make(&format!("data/{name}"), &database);
        }
        for name in [
            "sessions.db-wal",
            "sessions.db-shm",
            "sessions.db-journal",
            "sessions.db-mj1F",
            ".bot.lock",
            "@eaDir/x",
            ".restore-journal.json",
            "note.txt",
            "empty.db",
            "forgotten.jsonl",
        ] {
            make(&format!("data/{name}"), b"x");
        }
        make("data/empty.db", b"");
        for name in [
            "kotonoha.yaml",
            ".env",
            "prod.env",
            "secrets/token.txt",
            "server.key",
        ] {
            make(&format!("config/{name}"), b"x");
        }
        for name in [
            "bot.log",
            "bot.20261128T000000.000Z.log.zst",
            "status.html",
            "alerts/1.json",
            ".bot.lock",
        ] {
            make(&format!("logs/{name}"), b"x");
        }
        std::os::unix::fs::symlink("/etc/passwd", root.path().join("data/link")).unwrap();
        let found = collect(&Sources {
            data: root.path().join("data"),
            config: Some(root.path().join("config")),
            logs: Some(root.path().join("logs")),
            apart: Vec::new(),
        })
        .unwrap();
        let paths = |list: &[Found]| {
            list.iter()
                .map(|found| found.path.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            paths(&found.databases),
            ["data/deep/er/other.bin", "data/sessions.db"]
        );
        assert_eq!(
            paths(&found.files),
            [
                "config/kotonoha.yaml",
                "data/empty.db",
                "data/forgotten.jsonl",
                "data/note.txt",
                "logs/bot.20261128T000000.000Z.log.zst",
                "logs/bot.log",
            ]
        );
        assert_eq!(found.notes.len(), 1, "{:?}", found.notes);
    }

    #[test]
    fn missing_rooms_are_no_error_but_missing_data_is() {
        let root = tempfile::tempdir().unwrap();
        let mut sources = Sources {
            data: root.path().to_owned(),
            config: Some(root.path().join("nowhere")),
            logs: None,
            apart: Vec::new(),
        };
        assert!(collect(&sources).unwrap().files.is_empty());
        sources.data = root.path().join("nowhere");
        assert!(collect(&sources).is_err());
    }

    #[test]
    fn archives_below_the_data_are_not_archived_again() {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        let database = [SQLITE_MAGIC.as_slice(), &[0; 100]].concat();
        for name in ["backups/backup_1", "deep/logs/bot.log", "other/x.db"] {
            let path = data.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, &database).unwrap();
        }
        // They are known under other names as well.
        let link = root.path().join("link");
        std::os::unix::fs::symlink(data.join("backups"), &link).unwrap();
        let mut sources = Sources {
            data: data.clone(),
            config: None,
            logs: Some(data.join("deep/logs")),
            apart: vec![link, data.join("other/../deep/logs"), data.join("nowhere")],
        };
        let found = collect(&sources).unwrap();
        assert_eq!(found.databases.len(), 1, "{found:?}");
        assert_eq!(found.databases[0].path, "data/other/x.db");
        let paths: Vec<_> = found.files.iter().map(|file| &*file.path).collect();
        assert_eq!(paths, ["logs/bot.log"]);
        assert_eq!(found.notes.len(), 2, "{:?}", found.notes);
        sources.apart.clear();
        assert_eq!(collect(&sources).unwrap().databases.len(), 3);
    }

    #[test]
    fn set_aside_copies_are_known_by_their_time() {
        assert!(is_set_aside(
            "sessions.db.before-migration-20261128T050102Z"
        ));
        assert!(is_set_aside(
            "sessions.db.before-restore-20261128T050102.123Z-wal"
        ));
        assert!(!is_set_aside("before-20261128T050102Z.db"));
        assert!(!is_set_aside("notes.before-christmas"));
    }
}
