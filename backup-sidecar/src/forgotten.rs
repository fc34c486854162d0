//! This room carries requests to forget past a restore: the bot's `forgotten.jsonl` is copied beside the archives, and
//! a restore brings every line of it back. It knows lines, not what they mean.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context;
use daemon_kit::publish;
use jiff::Timestamp;

/// The bot's file of requests to forget.
pub const FILE: &str = "forgotten.jsonl";

/// Adds to the copy beside the archives what is new in the data; tells whether something was.
///
/// # Errors
/// When a file cannot be read or written.
pub fn copy(data: &Path, backups: &Path) -> anyhow::Result<bool> {
    merge(&[&data.join(FILE)], &backups.join(FILE), 0o666)
}

/// When the last request came, as the copy beside the archives tells: it is written only when it grows.
///
/// # Errors
/// When it cannot be looked at.
pub fn last_asked(backups: &Path) -> anyhow::Result<Option<Timestamp>> {
    let path = backups.join(FILE);
    let facts = match fs::metadata(&path) {
        Ok(facts) => facts,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot see {}", path.display())),
    };
    Ok(Some(Timestamp::try_from(facts.modified()?)?))
}

/// Merges the lines of all `sources` into `target`; tells whether it changed.
///
/// # Errors
/// When a file cannot be read or written.
pub fn merge(sources: &[&Path], target: &Path, mode: u32) -> anyhow::Result<bool> {
    let read = |path: &Path| lines(path).with_context(|| format!("cannot read {}", path.display()));
    let mut merged = read(target)?;
    let before: BTreeSet<String> = merged.iter().cloned().collect();
    let mut seen = before.clone();
    for source in sources {
        merged.extend(
            read(source)?
                .into_iter()
                .filter(|line| seen.insert(line.clone())),
        );
    }
    if seen.len() == before.len() {
        return Ok(false);
    }
    let mut text = merged.join("\n");
    text.push('\n');
    publish::write(target, text.as_bytes(), mode)
        .with_context(|| format!("cannot write {}", target.display()))?;
    Ok(true)
}

/// Whole lines that are JSON; one that a kill tore is not a request yet.
fn lines(path: &Path) -> io::Result<Vec<String>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let text = String::from_utf8_lossy(&bytes);
    let whole = text
        .lines()
        .filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok());
    Ok(whole.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_whole_line_survives_once() {
        let dir = tempfile::tempdir().unwrap();
        let (data, backups) = (dir.path().join("data"), dir.path().join("backups"));
        fs::create_dir(&data).unwrap();
        fs::create_dir(&backups).unwrap();
        assert!(
            !copy(&data, &backups).unwrap(),
            "nothing to copy is no error"
        );
        fs::write(data.join(FILE), "{\"user\":1}\n{\"user\":2}\n{\"us").unwrap();
        assert!(copy(&data, &backups).unwrap());
        assert!(!copy(&data, &backups).unwrap());
        let copied = || lines(&backups.join(FILE)).unwrap().len();
        assert_eq!(copied(), 2);
        // An older state of the data must not shorten the copy, and gets everything back.
        fs::write(data.join(FILE), "{\"user\":3}\n").unwrap();
        assert!(copy(&data, &backups).unwrap());
        assert!(merge(&[&backups.join(FILE)], &data.join(FILE), 0o600).unwrap());
        assert_eq!(
            fs::read_to_string(data.join(FILE)).unwrap(),
            "{\"user\":3}\n{\"user\":1}\n{\"user\":2}\n"
        );
        assert_eq!(copied(), 3);
    }
}
