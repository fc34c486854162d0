//! Backups beside tar, sqlite3, zstd and restic: with full verification on our side, without on theirs.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rusqlite::{Connection, params};

use super::{Band, Cost, Row, Sample, Table, run, run_launch};
use crate::house::{House, NOBODY};

/// Words that people say, so that the database compresses as theirs would.
const WORDS: [&str; 24] = [
    "今日は",
    "少し",
    "疲れました",
    "ゆっくり",
    "話しても",
    "いいですか",
    "ありがとう",
    "散歩",
    "雨の日",
    "本を読む",
    "静かな",
    "音楽が",
    "好きです",
    "昨日",
    "友だちと",
    "会えた",
    "うれしい",
    "どうしたら",
    "眠れない",
    "明日も",
    "がんばらなくて",
    "大丈夫",
    "おはよう",
    "またね",
];

/// How often the writer commits beside a backup.
const COMMIT_EVERY: Duration = Duration::from_millis(5);

/// Measures backups of a database of `mebibytes`, in `rounds` interleaved rounds.
///
/// # Errors
/// When a program fails.
pub fn measure(mebibytes: u64, rounds: usize, table: &mut Table) -> Result<()> {
    let bench = Bench::with(mebibytes)?;
    table.note(format!(
        "database of {mebibytes} MiB; ours verifies what it wrote, the others do not"
    ));
    bench.at_rest(rounds, table)?;
    bench.restores(rounds, table)?;
    bench.under_a_writer(rounds, table)
}

/// A house with a chat database, and a place for what peers make of it.
pub(super) struct Bench {
    house: House,
    database: String,
    place: String,
}

impl Bench {
    pub(super) fn with(mebibytes: u64) -> Result<Self> {
        let house = House::alone();
        fill(&house.database(), mebibytes)?;
        give(&house.data())?;
        let bench = Self {
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

    fn tar(&self) -> Result<Cost> {
        run(&format!(
            "tar -czf {0}/tar.gz -C {1} .",
            self.place,
            self.house.data().display()
        ))
    }

    fn copied_and(&self, compressor: &str) -> Result<Cost> {
        let copy = format!("{}/copy", self.place);
        run(&format!(
            "rm -f {copy}; sqlite3 {} '.timeout 30000' '.backup {copy}' && {compressor} -c {copy} > {copy}.out",
            self.database
        ))
    }

    fn restic(&self) -> Result<Cost> {
        let repository = format!(
            "RESTIC_PASSWORD=x restic -q --no-cache -r {}/restic",
            self.place
        );
        run(&format!("rm -rf {}/restic; {repository} init", self.place))?;
        run(&format!(
            "{repository} backup {}",
            self.house.data().display()
        ))
    }

    fn at_rest(&self, rounds: usize, table: &mut Table) -> Result<()> {
        let has_restic = run("command -v restic").is_ok();
        let mut costs: [Vec<Cost>; 5] = Default::default();
        for _ in 0..rounds {
            costs[0].push(self.ours()?);
            costs[1].push(self.tar()?);
            costs[2].push(self.copied_and("gzip -6")?);
            costs[3].push(self.copied_and("zstd -3 -q")?);
            if has_restic {
                costs[4].push(self.restic()?);
            }
        }
        let wall = |place: usize| Sample::of(costs[place].iter().map(|cost| cost.wall_secs));
        let cpu = |place: usize| Sample::of(costs[place].iter().map(|cost| cost.cpu_secs));
        let peak = Sample::of(costs[0].iter().map(|cost| cost.peak_mib));
        let cpu_row = "backup at rest, CPU s";
        let wall_row = "backup at rest, wall s";
        table.add(Row::beside(
            cpu_row,
            cpu(0),
            ".backup + gzip -6",
            cpu(2),
            Band::RatioAtMost(0.40),
        ));
        table.add(Row::beside(
            cpu_row,
            cpu(0),
            ".backup + zstd -3",
            cpu(3),
            Band::Shown,
        ));
        table.add(Row::beside(
            wall_row,
            wall(0),
            "tar -cz",
            wall(1),
            Band::RatioAtMost(0.25),
        ));
        table.add(Row::beside(
            wall_row,
            wall(0),
            ".backup + zstd -3",
            wall(3),
            Band::Shown,
        ));
        if has_restic {
            table.add(Row::beside(cpu_row, cpu(0), "restic", cpu(4), Band::Shown));
            table.add(Row::beside(
                wall_row,
                wall(0),
                "restic",
                wall(4),
                Band::Shown,
            ));
        } else {
            table.note("restic is not installed, so it is not in the table");
        }
        table.add(Row::alone(
            "backup, peak memory, MiB",
            peak,
            Band::AtMost(64.0),
        ));
        Ok(())
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
            "restore, verified, wall s",
            ours,
            "zstd -d",
            theirs,
            Band::RatioAtMost(2.0),
        ));
        Ok(())
    }

    /// A writer commits 200 times a second; what a backup costs it, and whether backups end at all.
    fn under_a_writer(&self, rounds: usize, table: &mut Table) -> Result<()> {
        let (mut quiet, mut busy, mut wall) =
            (Sample::default(), Sample::default(), Sample::default());
        for _ in 0..rounds {
            let (latencies, ()) = self.beside_a_writer(|| {
                thread::sleep(Duration::from_secs(3));
                Ok(())
            })?;
            quiet.add(latencies.median());
            let (latencies, cost) = self.beside_a_writer(|| self.ours())?;
            busy.add(latencies.median());
            wall.add(cost.wall_secs);
        }
        table.add(Row::beside(
            "a commit during a backup, p50 ms",
            busy,
            "the same writer alone",
            quiet,
            Band::RatioAtMost(1.1),
        ));
        table.add(Row::alone(
            "backup under 200 commits/s, wall s (every one ended)",
            wall,
            Band::Shown,
        ));
        Ok(())
    }

    fn beside_a_writer<R>(&self, act: impl FnOnce() -> Result<R>) -> Result<(Sample, R)> {
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
            Ok((latencies, outcome?))
        })
    }
}

fn write_until(database: &Path, over: &AtomicBool) -> Result<Sample> {
    let connection = open(database)?;
    connection.busy_timeout(Duration::from_secs(30))?;
    for sibling in ["-wal", "-shm"] {
        let path = format!("{}{sibling}", database.display());
        if rustix::process::geteuid().is_root() {
            chown(path, Some(NOBODY), Some(NOBODY)).ok();
        }
    }
    let mut latencies = Sample::default();
    let mut chance = fastrand::Rng::with_seed(7);
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        connection.execute(INSERT, params![chance.i64(..), sentence(&mut chance)])?;
        latencies.add(begun.elapsed().as_secs_f64() * 1e3);
        thread::sleep(COMMIT_EVERY.saturating_sub(begun.elapsed()));
    }
    Ok(latencies)
}

const INSERT: &str = "INSERT INTO messages (speaker, words) VALUES (?1, ?2)";

fn open(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY, speaker INTEGER NOT NULL, words TEXT NOT NULL);",
    )?;
    Ok(connection)
}

fn fill(path: &Path, mebibytes: u64) -> Result<()> {
    let mut connection = open(path)?;
    let mut chance = fastrand::Rng::with_seed(1);
    while fs::metadata(path)?.len() < mebibytes << 20 {
        let transaction = connection.transaction()?;
        {
            let mut insert = transaction.prepare(INSERT)?;
            for _ in 0..20_000 {
                insert.execute(params![chance.i64(..), sentence(&mut chance)])?;
            }
        }
        transaction.commit()?;
        connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
    }
    Ok(())
}

fn sentence(chance: &mut fastrand::Rng) -> String {
    let length = chance.usize(4..40);
    (0..length)
        .map(|_| WORDS[chance.usize(..WORDS.len())])
        .collect()
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
