//! This room keeps `logs/alerts/`: one file an alert, delivered by the bot, which then renames it to `*.delivered`.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use daemon_kit::publish;

use crate::alerts::Alert;

/// Undelivered alerts kept at most: a bot that cannot reach its owner must not fill the disk.
const UNDELIVERED: usize = 500;

/// The directory.
#[must_use]
pub fn dir(logs: &Path) -> PathBuf {
    logs.join("alerts")
}

/// Publishes an alert, unless it was already: false.
pub fn publish(logs: &Path, alert: &Alert) -> io::Result<bool> {
    let dir = dir(logs);
    std::fs::create_dir_all(&dir)?;
    let path = dir.join(format!("{}.json", alert.id));
    let marks = [
        format!("{}.json.delivered", alert.id),
        format!("{}.delivered", alert.id),
    ];
    if path.exists() || marks.iter().any(|mark| dir.join(mark).exists()) {
        return Ok(false);
    }
    let mut partial = publish::Partial::create(&path, 0o666)?;
    serde_json::to_writer(partial.file(), alert)?;
    match partial.publish() {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// The ids that stand there, delivered or not, oldest first, each with its file.
pub fn all(logs: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let entries = match std::fs::read_dir(dir(logs)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Some(id) = entry.file_name().to_str().and_then(id_of)
            && entry.file_type()?.is_file()
        {
            found.push((id.to_owned(), entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// `YYYYMMDDTHHMMSSmmm-<kind>…` of a name of ours.
fn id_of(name: &str) -> Option<&str> {
    let id = name.strip_suffix(".delivered").unwrap_or(name);
    let id = id.strip_suffix(".json").unwrap_or(id);
    let (stamp, kind) = id.split_once('-')?;
    let dated = stamp.len() == 18
        && stamp.bytes().enumerate().all(|(at, byte)| {
            if at == 8 {
                byte == b'T'
            } else {
                byte.is_ascii_digit()
            }
        });
    let ours =
        dated && !kind.is_empty() && (name.ends_with(".json") || name.ends_with(".delivered"));
    ours.then_some(id)
}

/// Whether the bot has marked it.
#[must_use]
pub fn is_delivered(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "delivered")
}

/// Removes delivered alerts written before `before` (milliseconds since 1970), and the oldest of far too many others.
pub fn prune(logs: &Path, before: i64) -> io::Result<u64> {
    let found = all(logs)?;
    let waiting: Vec<&PathBuf> = found
        .iter()
        .map(|(_, path)| path)
        .filter(|path| !is_delivered(path))
        .collect();
    let too_many: BTreeSet<&PathBuf> = waiting
        .iter()
        .take(waiting.len().saturating_sub(UNDELIVERED))
        .copied()
        .collect();
    let mut removed = 0;
    for (_, path) in &found {
        let old = || {
            let modified = std::fs::symlink_metadata(path).and_then(|facts| facts.modified());
            let since = modified
                .ok()
                .and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
            since.is_some_and(|since| (since.as_millis() as i64) < before)
        };
        if too_many.contains(path) || (is_delivered(path) && old()) {
            match publish::remove(path) {
                Ok(()) => removed += 1,
                // The bot marked it in this very moment.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    if !too_many.is_empty() {
        tracing::warn!(
            event = "alert.dropped",
            count = too_many.len() as u64,
            "alerts that nobody fetched were dropped"
        );
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(id: &str) -> Alert {
        Alert {
            v: 1,
            id: id.into(),
            at: String::new(),
            kind: "error".into(),
            severity: "error".into(),
            service: "bot".into(),
            event: "x".into(),
            count: 1,
            ja: "あ".into(),
            en: "a".into(),
        }
    }

    #[test]
    fn nothing_is_told_twice() {
        let logs = tempfile::tempdir().unwrap();
        let one = alert("20260301T000000000-error-0000abcd");
        assert!(publish(logs.path(), &one).unwrap());
        assert!(!publish(logs.path(), &one).unwrap());
        let path = dir(logs.path()).join("20260301T000000000-error-0000abcd.json");
        let read: Alert = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(read, one);
        for mark in [
            "20260301T000000000-error-0000abcd.json.delivered",
            "20260301T000000000-error-0000abcd.delivered",
        ] {
            let moved = dir(logs.path()).join(mark);
            std::fs::write(&moved, "").unwrap();
            std::fs::remove_file(&path).ok();
            assert!(!publish(logs.path(), &one).unwrap());
            std::fs::remove_file(moved).unwrap();
        }
    }

    #[test]
    fn delivered_ones_go_with_the_logs_and_the_rest_stays() {
        let logs = tempfile::tempdir().unwrap();
        publish(logs.path(), &alert("20260301T000000000-error-1")).unwrap();
        for name in [
            "20260301T000000001-silence-bot.json.delivered",
            "notes.txt",
            "@eaDir",
        ] {
            std::fs::write(dir(logs.path()).join(name), "{}").unwrap();
        }
        assert_eq!(prune(logs.path(), 0).unwrap(), 0);
        assert_eq!(prune(logs.path(), i64::MAX).unwrap(), 1);
        assert_eq!(all(logs.path()).unwrap().len(), 1);
        assert!(dir(logs.path()).join("notes.txt").exists());
        for number in 0..UNDELIVERED + 2 {
            publish(
                logs.path(),
                &alert(&format!("20260302T{number:09}-error-1")),
            )
            .unwrap();
        }
        prune(logs.path(), 0).unwrap();
        assert_eq!(all(logs.path()).unwrap().len(), UNDELIVERED);
    }
}
