//! The hands of a random program: the directory, the processes in it, and the model of what must be there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::reading::{self, Shelf};
use crate::archives;
use crate::chaos::scribe::{Beginning, SERVICE, Scribe, TORN};
use crate::disk::Disk;
use crate::house::{House, Launch, Running};

/// Bytes that `LOG_MAX_TOTAL_SIZE=1` allows.
const ONE_MIB: u64 = 1 << 20;

/// What must be true of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Its writer said that it is written: it is there once.
    Sure,
    /// Its writer was killed over it: it is there once or not at all.
    Maybe,
    /// The disk refused it: it is nowhere.
    Never,
    /// It was in a segment that a rule gave up: it is nowhere.
    Pruned,
}

/// A directory and everything that happens in it.
pub(super) struct Desk<'a> {
    house: &'a House,
    disk: Option<&'a Disk>,
    /// `logs/`
    logs: PathBuf,
    fates: Vec<Fate>,
    scribe: Option<Scribe>,
    shipper: Option<Running>,
    filling: Option<PathBuf>,
    max_bytes: u64,
    ahead_ms: i64,
    /// How often each verb was carried out.
    pub(super) done: BTreeMap<&'static str, u64>,
}

impl<'a> Desk<'a> {
    /// An empty directory, on the disk where there is one.
    pub(super) fn new(
        house: &'a House,
        disk: Option<&'a Disk>,
        max_bytes: u64,
    ) -> Result<Desk<'a>> {
        let logs = match disk {
            Some(disk) => disk.directory("logs", crate::house::NOBODY)?,
            None => house.logs(),
        };
        for entry in fs::read_dir(&logs)? {
            let path = entry?.path();
            if path.is_dir() {
                fs::remove_dir_all(path)?;
            } else {
                fs::remove_file(path)?;
            }
        }
        Ok(Desk {
            house,
            disk,
            logs,
            fates: Vec::new(),
            scribe: None,
            shipper: None,
            filling: None,
            max_bytes,
            ahead_ms: 0,
            done: BTreeMap::new(),
        })
    }

    /// Counts a verb.
    fn count(&mut self, verb: &'static str) {
        *self.done.entry(verb).or_insert(0) += 1;
    }

    fn program(&self) -> Launch {
        self.house
            .program("log-shipper")
            .env("LOG_DIR", &self.logs)
            .env("LOG_SWEEP_SECONDS", "1")
            .env("LOG_MIN_FREE", "0")
    }

    fn write_anew(&mut self) -> Result<bool> {
        if self.scribe.is_none() {
            let beginning = Beginning {
                dir: &self.logs,
                first: self.fates.len() as u64,
                max_bytes: self.max_bytes,
                ahead_ms: self.ahead_ms,
            };
            self.scribe = Scribe::start(beginning, &[])?;
        }
        Ok(self.scribe.is_some())
    }

    /// Writes lines; those that the disk refuses are nowhere.
    pub(super) fn write(&mut self, count: u64) -> Result<()> {
        self.count("write");
        self.write_anew()?;
        let Some(scribe) = &mut self.scribe else {
            return Ok(());
        };
        let refused: BTreeSet<u64> = scribe
            .write(count)?
            .context("the scribe died of writing")?
            .into_iter()
            .collect();
        let first = self.fates.len() as u64;
        self.fates.extend((first..first + count).map(|number| {
            if refused.contains(&number) {
                Fate::Never
            } else {
                Fate::Sure
            }
        }));
        Ok(())
    }

    /// Closes the active file.
    pub(super) fn rotate(&mut self) -> Result<()> {
        self.count("rotate");
        if self.write_anew()?
            && let Some(scribe) = &mut self.scribe
        {
            scribe.order("rotate");
            scribe.answer()?.context("the scribe died of rotating")?;
        }
        Ok(())
    }

    /// Kills the writer in the middle of many lines, and leaves half a line where it can.
    pub(super) fn crash_writer(&mut self, after: Duration, torn: bool) -> Result<()> {
        self.count("crash writer");
        if !self.write_anew()? {
            return Ok(());
        }
        if let Some(mut scribe) = self.scribe.take() {
            const MANY: u64 = 3_000;
            scribe.order(&format!("write {MANY}"));
            wait(after);
            scribe.kill();
            // The rest of the numbers is never written by anybody: they may be there or not.
            let all = self.fates.len() + MANY as usize;
            self.fates.resize(all, Fate::Maybe);
        }
        if torn {
            let active = File::options()
                .append(true)
                .open(self.logs.join(format!("{SERVICE}.log")));
            // A full disk takes no half lines either.
            drop(active.and_then(|mut file| file.write_all(TORN.as_bytes())));
        }
        Ok(())
    }

    /// The shipper runs for a moment, and is killed or left alone.
    pub(super) fn ship(&mut self, moment: Duration, kill: bool) {
        if self.shipper.as_mut().is_none_or(|running| !running.alive()) {
            self.shipper = Some(self.program().start());
        }
        wait(moment);
        if kill {
            self.kill_shipper();
        }
    }

    /// kill -9 of the shipper, when it runs.
    pub(super) fn kill_shipper(&mut self) {
        if let Some(shipper) = self.shipper.take() {
            shipper.kill();
            self.count("kill shipper");
        }
    }

    /// One sweep by command, in whatever state things are. Whether it says that all is done.
    pub(super) fn sweep(&mut self) -> bool {
        self.count("sweep");
        self.program().args(["sweep"]).run().code == Some(0)
    }

    /// Fills the disk to the last block, or empties it again.
    pub(super) fn fill(&mut self) -> Result<()> {
        let Some(disk) = self.disk else { return Ok(()) };
        if let Some(filling) = self.filling.take() {
            fs::remove_file(filling)?;
            return Ok(());
        }
        self.count("fill disk");
        self.filling = Some(disk.fill()?);
        Ok(())
    }

    /// A disk that cannot be written for a while: nothing may be lost by it, and everything can be found.
    pub(super) fn remount(&mut self) -> Result<()> {
        let Some(disk) = self.disk else { return Ok(()) };
        self.count("remount read-only");
        // Only a disk that nobody writes to can be remounted.
        if let Some(scribe) = self.scribe.take() {
            scribe.leave();
        }
        self.kill_shipper();
        disk.set_read_only(true)?;
        let swept = self.sweep();
        let checked = self.check().and_then(|()| self.search());
        let written = self.write_anew()?;
        disk.set_read_only(false)?;
        checked?;
        ensure!(
            !swept,
            "a sweep says that it did its work on a read-only disk"
        );
        ensure!(
            !written,
            "a writer says that it can write on a read-only disk"
        );
        Ok(())
    }

    /// The writer's clock jumps; the shipper's does not, so one of them is far ahead of the other.
    pub(super) fn jump(&mut self, by_ms: i64) {
        self.count("jump clock");
        self.ahead_ms += by_ms;
        if let Some(scribe) = self.scribe.take() {
            scribe.leave();
        }
    }

    /// Prunes to one mebibyte: what went must be the oldest, only as much as needed, and never the newest; whoever
    /// had a file open reads it to its end.
    pub(super) fn prune(&mut self) -> Result<()> {
        self.count("prune");
        self.kill_shipper();
        let before = reading::shelf(&self.logs)?;
        let (bytes, _) = reading::taken(&self.logs)?;
        let mut held = self.hold()?;
        let pruned = self
            .program()
            .env("LOG_MAX_TOTAL_SIZE", "1")
            .args(["prune"])
            .run();
        for (name, (file, length)) in &mut held {
            let mut text = Vec::new();
            file.read_to_end(&mut text)?;
            ensure!(
                text.len() as u64 == *length,
                "{name} was cut while it was read"
            );
        }
        let after = reading::shelf(&self.logs)?;
        self.account(&before, &after)?;
        ensure!(
            before == after || bytes > ONE_MIB,
            "{bytes} bytes were allowed, and segments went"
        );
        let (bytes, counts) = reading::taken(&self.logs)?;
        ensure!(
            pruned.code != Some(0) || bytes <= ONE_MIB || counts.values().all(|count| *count == 1),
            "{bytes} bytes are too many, and segments stayed: {counts:?}"
        );
        Ok(())
    }

    /// Every closed file, open, with its length.
    fn hold(&self) -> Result<BTreeMap<String, (File, u64)>> {
        let mut held = BTreeMap::new();
        for entry in fs::read_dir(&self.logs)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".log.zst") || name.ends_with("Z.log") {
                let file = File::open(entry.path())?;
                let length = file.metadata()?.len();
                held.insert(name, (file, length));
            }
        }
        Ok(held)
    }

    /// What is gone must be the oldest closed segments, never the newest one; its lines are given up.
    fn account(&mut self, before: &Shelf, after: &Shelf) -> Result<()> {
        let active = format!("{SERVICE}.log");
        let closed: Vec<&String> = before.keys().filter(|stem| **stem != active).collect();
        let gone = closed.iter().filter(|stem| !after.contains_key(**stem));
        let count = gone.clone().count();
        ensure!(
            closed.iter().take(count).eq(gone),
            "not the oldest ones went: {closed:?} became {:?}",
            after.keys()
        );
        ensure!(
            count == 0 || count < closed.len(),
            "the newest segment went"
        );
        for number in closed.iter().take(count).flat_map(|stem| &before[*stem]) {
            self.fates[*number as usize] = Fate::Pruned;
        }
        Ok(())
    }

    /// The product's own search finds what must be there, also beside a shipper that sweeps.
    pub(super) fn search(&mut self) -> Result<()> {
        self.count("search");
        let launch = self.program().args(["search", "--json", "-F"]);
        let searched = launch
            .args(["--service", SERVICE, "\"event\":\"test.line\""])
            .run();
        ensure!(
            searched.code == Some(0),
            "search failed: {}",
            searched.stderr
        );
        let mut counts = BTreeMap::new();
        for number in reading::found(&searched.stdout)? {
            *counts.entry(number).or_insert(0_u64) += 1;
        }
        self.compare(&counts).context("search")
    }

    /// A backup reads the logs while a segment is closed and compressed: it holds every line once.
    pub(super) fn backup(&mut self, after: Duration) -> Result<()> {
        const SOME: u64 = 40;
        self.count("backup reads");
        self.ship(Duration::ZERO, false);
        self.write(SOME)?;
        if !self.house.database().exists() {
            archives::chat(self.house, 3);
        }
        let backups = self.house.backups();
        let backup = self.house.program("backup-sidecar");
        let making = backup.env("LOG_DIR", &self.logs).args(["backup"]).start();
        wait(after);
        self.rotate()?;
        let made = making.ended();
        ensure!(made.code == Some(0), "the backup failed: {}", made.stderr);
        let newest = archives::archives(self.house).pop().context("an archive")?;
        let scratch = tempfile::tempdir()?;
        let unpacked = std::process::Command::new("tar")
            .args(["--zstd", "-xf"])
            .arg(backups.join(newest))
            .arg("-C")
            .arg(scratch.path())
            .status()?;
        ensure!(unpacked.success(), "stock tar cannot open the archive");
        let logs = scratch.path().join("logs");
        // Killed before its first line: there is nothing to back up yet.
        let held = if logs.exists() {
            reading::shelf(&logs)?
        } else {
            Shelf::new()
        };
        self.compare(&counted(&held)).context("the backup")?;
        for entry in fs::read_dir(&backups)? {
            let path = entry?.path();
            if path.is_file() {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Every line is where it must be, by an independent look.
    pub(super) fn check(&self) -> Result<()> {
        self.compare(&counted(&reading::shelf(&self.logs)?))
    }

    fn compare(&self, counts: &BTreeMap<u64, u64>) -> Result<()> {
        for (number, fate) in self.fates.iter().enumerate() {
            let times = counts.get(&(number as u64)).copied().unwrap_or(0);
            let right = match fate {
                Fate::Sure => times == 1,
                Fate::Maybe => times <= 1,
                Fate::Never | Fate::Pruned => times == 0,
            };
            ensure!(right, "line {number} ({fate:?}) is there {times} times");
        }
        let strangers = counts.range(self.fates.len() as u64..).next();
        ensure!(
            strangers.is_none(),
            "a line that nobody wrote: {strangers:?}"
        );
        Ok(())
    }

    /// Everything is mended, and one sweep later all is compressed and still there.
    pub(super) fn end(&mut self) -> Result<()> {
        if self.filling.is_some() {
            self.fill()?;
        }
        self.kill_shipper();
        self.rotate()?;
        if let Some(scribe) = self.scribe.take() {
            scribe.leave();
        }
        ensure!(self.sweep(), "the last sweep failed");
        self.check()?;
        self.search()?;
        for entry in fs::read_dir(&self.logs)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            // Half a page or report of `run` is written over by the next one.
            let is_left = name.ends_with("Z.log") || name.ends_with(".zst.partial");
            ensure!(!is_left, "{name} is left over");
        }
        Ok(())
    }
}

impl Drop for Desk<'_> {
    fn drop(&mut self) {
        self.scribe = None;
        self.shipper = None;
        if let Some(filling) = self.filling.take() {
            fs::remove_file(filling).ok();
        }
    }
}

fn counted(shelf: &Shelf) -> BTreeMap<u64, u64> {
    let mut counts = BTreeMap::new();
    for number in shelf.values().flatten() {
        *counts.entry(*number).or_insert(0) += 1;
    }
    counts
}

/// A moment of the kill's own choosing, finer than a sleep.
fn wait(moment: Duration) {
    let until = Instant::now() + moment;
    while Instant::now() < until {
        thread::yield_now();
    }
}
