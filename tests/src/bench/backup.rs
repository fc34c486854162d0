//! Backups beside tar, sqlite3, zstd and restic: with full verification on our side, without on theirs.

mod chat;
mod way;

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use chat::{fill, write_until};
use way::Way;

use super::{Band, Cost, Row, Sample, Table, run, run_launch};
use crate::house::{House, NOBODY};

/// What a backup may take beside a writer before it counts as one that never ends, in seconds.
const GIVEN_UP_AFTER: u32 = 60;

/// Measures backups of databases of so many MiB, each in so many interleaved rounds.
///
/// # Errors
/// When a program fails.
pub fn measure(sizes: &[(u64, usize)], table: &mut Table) -> Result<()> {
    table.note("ours verifies what it wrote, the others do not");
    table.note("a way that did not end once beside the writer was not tried again");
    let mut ways = Way::PEERS.to_vec();
    if run("command -v restic").is_err() {
        table.note("restic is not installed, so it is not in the table");
        ways.retain(|way| !matches!(way, Way::Restic));
    }
    for (mebibytes, rounds) in sizes {
        let bench = Bench::with(*mebibytes)?;
        bench.at_rest(*rounds, &ways, table)?;
        bench.restores(*rounds, table)?;
        bench.under_a_writer(*rounds, &ways, table)?;
    }
    Ok(())
}

/// What one way's backups cost, and how large they are.
#[derive(Default)]
struct Made {
    wall: Sample,
    cpu: Sample,
    peak: Sample,
    mebibytes: Sample,
}

impl Made {
    fn add(&mut self, cost: Cost, bytes: u64) {
        self.wall.add(cost.wall_secs);
        self.cpu.add(cost.cpu_secs);
        self.peak.add(cost.peak_mib);
        self.mebibytes.add(bytes as f64 / 1_048_576.0);
    }
}

/// A house with a chat database, and a place for what peers make of it.
pub(super) struct Bench {
    house: House,
    mebibytes: u64,
    database: String,
    place: String,
}

impl Bench {
    pub(super) fn with(mebibytes: u64) -> Result<Self> {
        let house = House::alone();
        fill(&house.database(), mebibytes)?;
        give(&house.data())?;
        let bench = Self {
            mebibytes,
            database: house.database().display().to_string(),
            place: house.path("bench").display().to_string(),
            house,
        };
        fs::create_dir_all(&bench.place)?;
        Ok(bench)
    }

    pub(super) fn ours(&self) -> Result<Cost> {
        self.fresh_backups()?;
        run_launch(self.house.program("backup-sidecar").args(["backup"]))
    }

    fn fresh_backups(&self) -> Result<()> {
        fs::remove_dir_all(self.house.backups())?;
        fs::create_dir(self.house.backups())?;
        give(&self.house.backups())
    }

    /// Makes one backup; a peer has [`GIVEN_UP_AFTER`] for it.
    fn make(&self, way: Way) -> Result<Cost> {
        let (database, place) = (&self.database, &self.place);
        let live = self.house.data().display().to_string();
        let copied = |statement: &str, compressor: &str| {
            format!(
                "sqlite3 {database} '.timeout 30000' {statement} && {compressor} -c {place}/copy > {place}/made/out"
            )
        };
        let command = match way {
            Way::Ours => return self.ours(),
            Way::Tar => format!("tar -czf {place}/made/tar.gz -C {live} ."),
            Way::Copied(compressor) => copied(&format!("'.backup {place}/copy'"), compressor),
            Way::Vacuumed(compressor) => {
                copied(&format!("\"VACUUM INTO '{place}/copy'\""), compressor)
            }
            Way::Restic => {
                let restic = "RESTIC_PASSWORD=x restic -q --no-cache";
                let repository = format!("{place}/made/restic");
                format!("{restic} -r {repository} init && {restic} -r {repository} backup {live}")
            }
        };
        run(&format!(
            "rm -rf {place}/made {place}/copy && mkdir {place}/made"
        ))?;
        run(&format!(
            "timeout {GIVEN_UP_AFTER} sh -c {}",
            quoted(&command)
        ))
    }

    fn made(&self, way: Way, made: &mut Made) -> Result<()> {
        let cost = self.make(way)?;
        let place = match way {
            Way::Ours => self.house.backups(),
            _ => Path::new(&self.place).join("made"),
        };
        made.add(cost, bytes_below(&place)?);
        Ok(())
    }

    fn at_rest(&self, rounds: usize, peers: &[Way], table: &mut Table) -> Result<()> {
        let mut ours = Made::default();
        let mut theirs: Vec<Made> = peers.iter().map(|_| Made::default()).collect();
        for _ in 0..rounds {
            self.made(Way::Ours, &mut ours)?;
            for (way, made) in peers.iter().zip(&mut theirs) {
                self.made(*way, made)?;
            }
        }
        let size = self.mebibytes;
        for (way, made) in peers.iter().zip(theirs) {
            let [cpu, wall] = way.bands();
            let mut beside = |what: &str, ours: &Sample, theirs: Sample, band| {
                let what = format!("{size} MiB at rest: {what}");
                table.add(Row::beside(what, ours.clone(), &way.name(), theirs, band));
            };
            beside("CPU s", &ours.cpu, made.cpu, cpu);
            beside("wall s", &ours.wall, made.wall, wall);
            beside("bytes, MiB", &ours.mebibytes, made.mebibytes, Band::Shown);
            beside("peak memory, MiB", &ours.peak, made.peak, Band::Shown);
        }
        table.add(Row::alone(
            format!("{size} MiB at rest: peak memory, MiB"),
            ours.peak,
            Band::AtMost(64.0),
        ));
        table.add(Row::alone(
            format!("{size} MiB at rest: disk that is needed besides the archive, in databases"),
            Sample::of([self.extra_disk()?]),
            // One copy, and the manifest's small change.
            Band::AtMost(1.01),
        ));
        Ok(())
    }

    /// How many times the database's size is taken while a backup runs, and is free again afterwards.
    fn extra_disk(&self) -> Result<f64> {
        let database = fs::metadata(self.house.database())?.len();
        let root = self.house.path("");
        let over = AtomicBool::new(false);
        let most = thread::scope(|scope| -> Result<u64> {
            let watching = scope.spawn(|| {
                let mut most = 0;
                while !over.load(Ordering::Relaxed) {
                    // A file that goes meanwhile spoils one look.
                    most = bytes_below(&root).map_or(most, |bytes| most.max(bytes));
                    thread::sleep(Duration::from_millis(2));
                }
                most
            });
            let made = self.ours();
            over.store(true, Ordering::Relaxed);
            let most = watching.join().ok().context("the look at the disk")?;
            made.map(|_| most)
        })?;
        let after = bytes_below(&root)?;
        Ok(most.saturating_sub(after) as f64 / database as f64)
    }

    fn restores(&self, rounds: usize, table: &mut Table) -> Result<()> {
        self.ours()?;
        let archive = newest_archive(&self.house.backups())?;
        let (mut ours, mut theirs) = (Sample::default(), Sample::default());
        for round in 0..rounds {
            let to = self.house.path(&format!("tmp/restored-{round}"));
            let restore = self
                .house
                .program("backup-sidecar")
                .args(["restore", "latest", "--to"]);
            ours.add(run_launch(restore.args([&to]))?.wall_secs);
            fs::remove_dir_all(&to).ok();
            theirs.add(
                run(&format!(
                    "zstd -q -d -f {archive} -o {}/plain && sync {0}/plain",
                    self.place
                ))?
                .wall_secs,
            );
        }
        table.add(Row::beside(
            format!("{} MiB: restore, verified, wall s", self.mebibytes),
            ours,
            "zstd -d",
            theirs,
            Band::RatioAtMost(2.0),
        ));
        Ok(())
    }

    /// A writer commits 200 times a second: what a backup costs it, and whether backups end at all.
    fn under_a_writer(&self, rounds: usize, peers: &[Way], table: &mut Table) -> Result<()> {
        let size = self.mebibytes;
        let mut alone = Commits::default();
        for _ in 0..rounds {
            let pause = || thread::sleep(Duration::from_secs(3));
            alone.add(&self.beside_a_writer(pause)?.0);
        }
        let ours = self.ended_beside_a_writer(Way::Ours, rounds)?;
        let mut beside = |what: &str, ours: Sample, (peer, theirs): (&str, Sample), band| {
            let what = format!("{size} MiB beside 200 commits/s: {what}");
            table.add(Row::beside(what, ours, peer, theirs, band));
        };
        let peer = "the same writer alone";
        let band = Band::RatioAtMost(1.1);
        beside(
            "a commit, p50 ms",
            ours.commits.p50.clone(),
            (peer, alone.p50),
            band,
        );
        beside(
            "a commit, p99 ms",
            ours.commits.p99.clone(),
            (peer, alone.p99),
            Band::Shown,
        );
        let ended = format!("backups of {rounds} that ended in {GIVEN_UP_AFTER} s");
        for way in peers {
            let theirs = self.ended_beside_a_writer(*way, rounds)?;
            let name = way.name();
            beside(&ended, ours.count(), (&name, theirs.count()), Band::Shown);
            if theirs.wall.runs() > 0 {
                beside(
                    "wall s",
                    ours.wall.clone(),
                    (&name, theirs.wall),
                    Band::Shown,
                );
            }
            let (p50, p99) = (theirs.commits.p50, theirs.commits.p99);
            beside(
                "a commit, p50 ms",
                ours.commits.p50.clone(),
                (&name, p50),
                Band::Shown,
            );
            beside(
                "a commit, p99 ms",
                ours.commits.p99.clone(),
                (&name, p99),
                Band::Shown,
            );
        }
        table.add(Row::alone(
            format!("{size} MiB beside 200 commits/s: {ended}"),
            ours.count(),
            Band::AtLeast(rounds as f64),
        ));
        Ok(())
    }

    fn ended_beside_a_writer(&self, way: Way, rounds: usize) -> Result<Ended> {
        let mut ended = Ended::default();
        for _ in 0..rounds {
            let (latencies, made) = self.beside_a_writer(|| self.make(way))?;
            ended.commits.add(&latencies);
            match made {
                Ok(cost) => ended.wall.add(cost.wall_secs),
                // A figure, no reason to stop; what never ends is not waited for again.
                Err(_) => break,
            }
        }
        Ok(ended)
    }

    fn beside_a_writer<R>(&self, act: impl FnOnce() -> R) -> Result<(Sample, R)> {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let writer = scope.spawn(|| write_until(Path::new(&self.database), &over));
            let outcome = act();
            over.store(true, Ordering::Relaxed);
            let latencies = writer
                .join()
                .map_err(|_| anyhow::anyhow!("the writer panicked"))??;
            // The writer ran as root: what it made must belong to the house again.
            give(&self.house.data())?;
            Ok((latencies, outcome))
        })
    }
}

/// How long a writer's commits took.
#[derive(Default)]
struct Commits {
    p50: Sample,
    p99: Sample,
}

impl Commits {
    fn add(&mut self, latencies: &Sample) {
        self.p50.add(latencies.median());
        self.p99.add(latencies.quantile(0.99));
    }
}

/// What became of backups beside a writer, and of its commits.
#[derive(Default)]
struct Ended {
    wall: Sample,
    commits: Commits,
}

impl Ended {
    fn count(&self) -> Sample {
        Sample::of([self.wall.runs() as f64])
    }
}

/// As one word of a shell.
fn quoted(command: &str) -> String {
    format!("'{}'", command.replace('\'', "'\\''"))
}

fn bytes_below(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let facts = entry.metadata()?;
        bytes += if facts.is_dir() {
            bytes_below(&entry.path())?
        } else {
            facts.len()
        };
    }
    Ok(bytes)
}

/// Gives a directory and what is in it to the user that programs run as.
fn give(dir: &Path) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    chown(dir, Some(NOBODY), Some(NOBODY))?;
    for entry in fs::read_dir(dir)? {
        chown(entry?.path(), Some(NOBODY), Some(NOBODY))?;
    }
    Ok(())
}

fn newest_archive(backups: &Path) -> Result<String> {
    let names =
        fs::read_dir(backups)?.filter_map(|entry| Some(entry.ok()?.path().display().to_string()));
    names
        .filter(|name| name.ends_with(".tar.zst"))
        .max()
        .context("no archive")
}
