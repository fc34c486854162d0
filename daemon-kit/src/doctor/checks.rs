//! The checks that all three programs share: directories, owners, file systems, space, clock.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::{statfs, statvfs};
use rustix::process::{getgid, getuid};

use super::Finding;
use crate::nas::{self, Nas};
use crate::publish;
use crate::text::Text;

/// A clock before this instant has not been set since the machine started.
const EARLIEST_PLAUSIBLE: &str = "2026-01-01T00:00:00Z";

/// Magic numbers of file systems on another machine, or between us and one (`statfs(2)`).
const NETWORK_FILE_SYSTEMS: [(i64, &str); 8] = [
    (0x6969, "NFS"),
    (0x517B, "SMB"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB2"),
    (0x0102_1997, "9p"),
    (0x00C3_6400, "Ceph"),
    (0x5346_414F, "AFS"),
    (0x6573_5546, "FUSE"),
];

const PROBE: &str = ".probe-";
/// No probe takes this long.
const STALE_PROBE: Duration = Duration::from_secs(60);

/// Whether `path` is a directory that this process may use, tried by writing a probe when it `must_write`.
/// `name` is what the owner calls it, such as `data`.
#[must_use]
pub fn directory(path: &Path, name: &str, must_write: bool) -> Finding {
    let shown = path.display();
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) => return missing(path, name, &error),
    };
    if !found.is_dir() {
        let what = Text::new(
            format!("{name} はフォルダではありません"),
            format!("{name} is not a directory"),
        );
        let fix = Text::new(
            format!("{shown} にあるファイルを別の名前にして、{name} フォルダを作ってください"),
            format!("rename the file at {shown} and create a directory there"),
        );
        return Finding::error("directory", what, shown.to_string(), fix);
    }
    let tried = if must_write {
        probe(path)
    } else {
        fs::read_dir(path).map(drop)
    };
    match tried {
        Ok(()) => {
            let what = Text::new(
                format!("{name} フォルダを使えます"),
                format!("the {name} directory can be used"),
            );
            Finding::fine("directory", what, shown.to_string())
        }
        Err(error) => refused(path, name, &found, &error),
    }
}

/// Whether at least `min_bytes` are free where `path` lies.
#[must_use]
pub fn free_space(path: &Path, name: &str, min_bytes: u64) -> Option<Finding> {
    let space = statvfs(path).ok()?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let evidence = format!("{} MB free, {} MB wanted", free >> 20, min_bytes >> 20);
    if free >= min_bytes {
        let what = Text::new(
            format!("{name} のディスクに空きがあります"),
            format!("there is room for {name}"),
        );
        return Some(Finding::fine("free-space", what, evidence));
    }
    let what = Text::new(
        format!("{name} のディスクの空きが足りません"),
        format!("there is little room left for {name}"),
    );
    let fix = Text::new(
        "NAS の不要なファイルやスナップショットを消すか、保存日数の設定を短くしてください",
        "delete files or snapshots you no longer need, or keep backups and logs for fewer days",
    );
    Some(Finding::warning("free-space", what, evidence, fix))
}

/// Whether `path` lies on a network file system, where neither SQLite nor locks can be trusted.
#[must_use]
pub fn file_system(path: &Path, name: &str, allowed: bool) -> Option<Finding> {
    // The type's width differs between machines; the magic numbers have 32 bits.
    let magic = i64::from(statfs(path).ok()?.f_type as u32);
    let (_, kind) = NETWORK_FILE_SYSTEMS
        .iter()
        .find(|(known, _)| *known == magic)?;
    Some(on_network(path, name, kind, allowed))
}

fn on_network(path: &Path, name: &str, kind: &str, allowed: bool) -> Finding {
    let what = Text::new(
        format!("{name} がネットワーク越しのフォルダ ({kind}) にあります"),
        format!("{name} lies on a network file system ({kind})"),
    );
    let fix = Text::new(
        format!(
            "NAS 本体のディスクに置いてください。危険を承知で使うなら ALLOW_NETWORK_FILESYSTEM=on ({name} が壊れることがあります)"
        ),
        format!(
            "put it on a disk of the NAS itself; to use it all the same, set ALLOW_NETWORK_FILESYSTEM=on ({name} may get damaged)"
        ),
    );
    let evidence = path.display().to_string();
    if allowed {
        Finding::warning("file-system", what, evidence, fix)
    } else {
        Finding::error("file-system", what, evidence, fix).by_setting()
    }
}

/// Whether the clock shows a time that can be.
#[must_use]
pub fn clock(now: Timestamp) -> Finding {
    let evidence = now.to_string();
    if EARLIEST_PLAUSIBLE
        .parse()
        .is_ok_and(|earliest: Timestamp| now >= earliest)
    {
        let what = Text::new("時計は動いています", "the clock is set");
        return Finding::fine("clock", what, evidence);
    }
    let what = Text::new("時計が合っていません", "the clock is wrong");
    let fix = Text::new(
        "NAS の「時刻」の設定で NTP を有効にしてください",
        "turn on NTP in the time settings of the NAS",
    );
    Finding::error("clock", what, evidence, fix)
}

fn missing(path: &Path, name: &str, error: &io::Error) -> Finding {
    let shown = path.display();
    let what = Text::new(
        format!("{name} フォルダがないか、開けません"),
        format!("the {name} directory is missing or closed to us"),
    );
    let fix = Text::new(
        format!(
            "compose ファイルの隣に {name} フォルダを作ってください (コンテナの中では {shown})。SSH なら: mkdir -p {name} && sudo chown {} {name}",
            ids()
        ),
        format!(
            "create a directory named {name} beside the compose file ({shown} inside the container); by SSH: mkdir -p {name} && sudo chown {} {name}",
            ids()
        ),
    );
    Finding::error("directory", what, format!("{shown}: {error}"), fix)
}

fn refused(path: &Path, name: &str, found: &fs::Metadata, error: &io::Error) -> Finding {
    let evidence = format!(
        "{}: {error}; it belongs to {}:{} with mode {:03o}, we are {}",
        path.display(),
        found.uid(),
        found.gid(),
        found.mode() & 0o777,
        ids()
    );
    let what = Text::new(
        format!("{name} フォルダに書き込めません"),
        format!("the {name} directory cannot be used"),
    );
    match error
        .raw_os_error()
        .map(rustix::io::Errno::from_raw_os_error)
    {
        Some(rustix::io::Errno::ROFS) => {
            let fix = Text::new(
                format!(
                    "{name} が読み取り専用になっています。ボリュームの状態と compose の :ro を確かめてください"
                ),
                format!(
                    "{name} is read-only: look at the state of the volume, and for :ro in the compose file"
                ),
            );
            Finding::error("directory", what, evidence, fix)
        }
        Some(rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT) => {
            let fix = Text::new(
                "ディスクがいっぱいです。NAS の空き容量を増やしてください",
                "the disk is full: make room on the NAS",
            );
            Finding::error("directory", what, evidence, fix)
        }
        _ => foreign(path, name, found, what, evidence),
    }
}

/// A folder of somebody else: become that somebody, or be let in. The number of root is never offered: what engines make
/// by themselves belongs to root, and should not.
fn foreign(path: &Path, name: &str, found: &fs::Metadata, what: Text, evidence: String) -> Finding {
    let place = nas::outside(path).unwrap_or_else(|| name.to_owned());
    let allow = Nas::here().permissions(&place);
    let ids = ids();
    let (uid, gid) = (found.uid(), found.gid());
    if uid == 0 || uid == getuid().as_raw() {
        let shell = match (uid == 0, Nas::here()) {
            (true, _) => Some(format!("sudo chown -R {ids} {name}")),
            // On a share of DSM that would take the ACL away, and with it File Station's way in.
            (false, Nas::Synology) => None,
            (false, _) => Some(format!("chmod u+rwx {name}")),
        };
        let fix = shell.map_or(allow.clone(), |shell| {
            Text::new(
                format!("{}。SSH なら: {shell}", allow.ja),
                format!("{}; by SSH: {shell}", allow.en),
            )
        });
        return Finding::error("directory", what, evidence, fix);
    }
    let Text { ja, en } = Nas::here().apply();
    let fix = Text::new(
        format!(
            "次の 2 行を .env に書いてください ({ja})。または {}。SSH なら: sudo chown -R {ids} {name}",
            allow.ja
        ),
        format!(
            "write the two lines below into .env ({en}); or {}; by SSH: sudo chown -R {ids} {name}",
            allow.en
        ),
    );
    Finding::error("directory", what, evidence, fix)
        .with_paste([format!("PUID={uid}"), format!("PGID={gid}")])
}

/// Creates, syncs, renames and removes a small file, as everything that follows will. Its name is nobody else's: the first
/// process of every container has the same number, and three of them may try one folder at the same moment.
fn probe(dir: &Path) -> io::Result<()> {
    let chance = RandomState::new().build_hasher().finish();
    let path = dir.join(format!("{PROBE}{}-{chance:016x}", std::process::id()));
    publish::write(&path, b"probe", 0o600)?;
    publish::remove(&path)?;
    clear_probes(dir);
    Ok(())
}

/// Probes whose processes were killed over them; young ones may be another program's at this moment. What cannot be
/// removed does no harm.
fn clear_probes(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let is_probe = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(PROBE));
        let age = entry.metadata().and_then(|facts| facts.modified());
        let age = age.ok().and_then(|at| at.elapsed().ok());
        if is_probe && age.is_some_and(|age| age > STALE_PROBE) {
            fs::remove_file(entry.path()).ok();
        }
    }
}

fn ids() -> String {
    format!("{}:{}", getuid().as_raw(), getgid().as_raw())
}
