//! This room takes files into an archive, while other programs close, compress and prune the logs among them.
//!
//! Every line that was written before the archive is inside once: a segment counts as the same under each of its names.

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;

use anyhow::Context;

use crate::archive::Writer;
use crate::collect::{self, Found, Sources};
use crate::watch::Watch;

/// So many logs that nobody had listed may come in; a rotation brings one.
pub(super) const NEWCOMERS: usize = 16;

/// What such a log takes in the manifest.
pub(super) const NEWCOMER_BYTES: usize = 320;

/// So many logs are held open; each service writes one.
const HELD: usize = 64;

/// How often the logs are listed again: a segment may be compressed between a look and its taking, but only once.
const LOOKS: usize = 3;

/// An archive that takes files.
pub(super) struct Files<'a, 'f> {
    writer: Writer<'f>,
    watch: &'a Watch,
    notes: Vec<String>,
    /// What is inside, segments by the name that they had when they were closed.
    inside: BTreeSet<String>,
    /// Logs that were taken while they were being written: held, so that nothing else gets their identity.
    open: Vec<File>,
}

impl<'a, 'f> Files<'a, 'f> {
    /// Goes on with an archive.
    pub(super) fn new(writer: Writer<'f>, watch: &'a Watch) -> Self {
        Self {
            writer,
            watch,
            notes: Vec::new(),
            inside: BTreeSet::new(),
            open: Vec::new(),
        }
    }

    /// Takes a file, if it is still there and not inside yet.
    ///
    /// # Errors
    /// When it cannot be read; only data must be.
    pub(super) fn take(&mut self, found: &Found) -> anyhow::Result<()> {
        let Found { path, source } = found;
        if self.inside.contains(&key(found)) {
            return Ok(());
        }
        let mut file = match File::open(source) {
            Ok(file) => file,
            // A log has another name now, under which `look_again` finds it, or was pruned.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if path.starts_with("data/") => {
                return Err(error).with_context(|| format!("cannot read {}", source.display()));
            }
            Err(error) => {
                self.notes.push(format!("{path}: {error}, left out"));
                self.inside.insert(key(found));
                return Ok(());
            }
        };
        self.inside.insert(key(found));
        if !self.is_inside(&file.metadata()?)? {
            self.writer.add(path, &mut file, self.watch)?;
            if found.is_open_log() && self.open.len() < HELD {
                self.open.push(file);
            }
        }
        Ok(())
    }

    /// Takes the logs that came in place of what was listed before and is gone; `listed` is how many files were.
    ///
    /// # Errors
    /// When a file that could be opened cannot be read.
    pub(super) fn look_again(&mut self, sources: &Sources, listed: usize) -> anyhow::Result<()> {
        for _ in 0..LOOKS {
            let mut new = collect::logs(sources).files;
            new.retain(|found| !self.inside.contains(&key(found)));
            if new.is_empty() {
                return Ok(());
            }
            let room = (listed + NEWCOMERS).saturating_sub(self.inside.len());
            for found in new.iter().take(room) {
                self.take(found)?;
            }
        }
        Ok(())
    }

    /// The archive, and what it could not take.
    pub(super) fn end(self) -> (Writer<'f>, Vec<String>) {
        (self.writer, self.notes)
    }

    /// Whether a file was taken under the name that it had while it was being written.
    fn is_inside(&self, facts: &Metadata) -> io::Result<bool> {
        for taken in &self.open {
            let taken = taken.metadata()?;
            if (taken.dev(), taken.ino()) == (facts.dev(), facts.ino()) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn key(found: &Found) -> String {
    let segment = found.segment().map(|segment| segment.to_string());
    segment.unwrap_or_else(|| found.path.clone())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    const CLOSED: &str = "bot.20261128T000000.000Z.log";
    const LATER: &str = "bot.20261128T010000.000Z.log";

    /// What an archive of the logs holds when `meanwhile` happens after the listing, and `at_last` after the taking.
    fn archived(dir: &Path, meanwhile: impl Fn(), at_last: impl Fn()) -> Vec<String> {
        let sources = Sources {
            data: dir.join("data"),
            config: None,
            logs: Some(dir.join("logs")),
            apart: Vec::new(),
        };
        let mut archive = File::create(dir.join("archive")).unwrap();
        let writer = Writer::begin(&mut archive, 100_000, 3).unwrap();
        let watch = Watch::command();
        let mut files = Files::new(writer, &watch);
        let listed = collect::collect(&sources).unwrap().files;
        meanwhile();
        for found in &listed {
            files.take(found).unwrap();
        }
        at_last();
        files.look_again(&sources, listed.len()).unwrap();
        let (writer, notes) = files.end();
        assert!(notes.is_empty(), "{notes:?}");
        let inside = writer.finish_files().unwrap().files;
        let mut names: Vec<String> = inside
            .into_iter()
            .map(|file| format!("{} of {}", file.path.trim_start_matches("logs/"), file.size))
            .collect();
        names.sort();
        names
    }

    fn logs(contents: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        fs::create_dir(dir.path().join("logs")).unwrap();
        for (name, text) in contents {
            fs::write(dir.path().join("logs").join(name), text).unwrap();
        }
        dir
    }

    fn rename(dir: &Path, from: &str, to: &str) {
        let path = |name: &str| dir.join("logs").join(name);
        daemon_kit::publish::rename(&path(from), &path(to)).unwrap();
    }

    fn compress(dir: &Path, name: &str) {
        let path = |name: &str| dir.join("logs").join(name);
        fs::write(path(&format!("{name}.zst")), "packed").unwrap();
        fs::remove_file(path(name)).unwrap();
    }

    #[test]
    fn a_segment_that_is_compressed_meanwhile_is_taken_in_its_new_form() {
        let many: Vec<String> = (0..60)
            .map(|minute| format!("bot.20261127T00{minute:02}00.000Z.log"))
            .collect();
        let contents: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "l\n")).collect();
        let home = logs(&contents);
        let all = || many.iter().for_each(|name| compress(home.path(), name));
        let expected: Vec<String> = many.iter().map(|name| format!("{name}.zst of 6")).collect();
        assert_eq!(archived(home.path(), all, || ()), expected);
    }

    #[test]
    fn a_log_that_is_closed_meanwhile_is_inside_once() {
        let home = logs(&[(CLOSED, "old\n"), ("bot.log", "line\n")]);
        let dir = home.path();
        let close = || {
            rename(dir, "bot.log", LATER);
            fs::write(dir.join("logs/bot.log"), "").unwrap();
        };
        let before = archived(dir, close, || ());
        let [closed, later] = [format!("{CLOSED} of 4"), format!("{LATER} of 5")];
        assert_eq!(before, [closed.clone(), later, "bot.log of 0".to_owned()]);

        let home = logs(&[(CLOSED, "old\n"), ("bot.log", "line\n")]);
        let dir = home.path();
        let after = archived(dir, || (), || rename(dir, "bot.log", LATER));
        assert_eq!(after, [closed, "bot.log of 5".to_owned()]);
    }

    #[test]
    fn of_two_forms_of_a_segment_one_is_taken() {
        let packed = format!("{CLOSED}.zst");
        let home = logs(&[(CLOSED, "old\n"), (&packed, "packed")]);
        let found = archived(home.path(), || (), || ());
        assert_eq!(found, [format!("{CLOSED} of 4")]);
    }
}
