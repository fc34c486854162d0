//! A writer whose acknowledgements are known, a sidecar, and kill -9 for both: every archive that has its name holds
//! every commit that was acknowledged before its backup began, and nothing half-done.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rusqlite::{Connection, params};

use super::Outcome;
use crate::archives::archives;
use crate::house::{House, Launch, NOBODY};

/// 200 commits a second.
const COMMIT_EVERY: Duration = Duration::from_millis(5);

/// Archives that retention leaves; older ones go while the rounds go on.
const KEPT: usize = 3;

/// Kills the sidecar, and now and then the writer, `rounds` times. `writer` is the program that [`write()`] runs in, with
/// the words `write PATH SEED`.
///
/// # Errors
/// When a program does something that has nothing to do with the kills.
pub fn run(writer: &Path, rounds: usize, seed: u64, mut told: impl FnMut(&str)) -> Result<Outcome> {
    let house = House::alone();
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut scene = Scene {
        acknowledged: Arc::new(AtomicI64::new(0)),
        program: writer.to_owned(),
        writer: None,
        known: Vec::new(),
        outcome: Outcome::default(),
        whole: Duration::from_millis(300),
        house,
    };
    scene.start_writer(chance.u64(..))?;
    for round in 0..rounds {
        scene.round(round, &mut chance)?;
        if round % 50 == 49 {
            told(&format!(
                "{} rounds, {} archives",
                round + 1,
                scene.outcome.archives
            ));
        }
    }
    scene.stop_writer()?;
    scene.end()?;
    scene.outcome.commits = scene.acknowledged.load(Ordering::SeqCst);
    Ok(scene.outcome)
}

struct Scene {
    house: House,
    acknowledged: Arc<AtomicI64>,
    program: PathBuf,
    writer: Option<Writer>,
    /// Archives in the order in which they appeared: a name that is free again may come back later.
    known: Vec<String>,
    outcome: Outcome,
    /// How long the last backup took that nobody disturbed.
    whole: Duration,
}

struct Writer {
    child: Child,
    reader: Option<JoinHandle<()>>,
}

impl Scene {
    fn sidecar(&self, verb: &str) -> Launch {
        self.house
            .program("backup-sidecar")
            .args([verb])
            .env("BACKUP_RETENTION_DAYS", "0")
            .env("BACKUP_KEEP_LAST", KEPT.to_string())
    }

    fn round(&mut self, round: usize, chance: &mut fastrand::Rng) -> Result<()> {
        // Every fifth round the writer dies first; half of those it stays away during the backup.
        let dies = round % 5 == 4;
        let stays_away = chance.bool();
        if dies {
            self.stop_writer()?;
            if !stays_away {
                self.start_writer(chance.u64(..))?;
            }
        }
        let before = self.acknowledged.load(Ordering::SeqCst);
        let begun = Instant::now();
        let sidecar = self.sidecar("backup").start();
        if round % 4 == 3 {
            let finished = sidecar.ended();
            self.whole = begun.elapsed();
            if finished.code != Some(0) {
                self.violation(format!("round {round}: {}", finished.stderr));
            }
        } else {
            thread::sleep(self.whole.mul_f64(chance.f64() * 1.2));
            sidecar.kill();
            self.outcome.kills += 1;
        }
        self.judge(round, before)?;
        if dies && stays_away {
            self.start_writer(chance.u64(..))?;
        }
        Ok(())
    }

    fn judge(&mut self, round: usize, before: i64) -> Result<()> {
        let there: BTreeSet<String> = archives(&self.house).into_iter().collect();
        // What retention may take are the oldest; the newest that were known stay.
        let newest: Vec<String> = self.known.iter().rev().take(KEPT - 1).cloned().collect();
        for name in newest.iter().filter(|name| !there.contains(*name)) {
            self.violation(format!("round {round}: {name} has vanished"));
        }
        self.known.retain(|name| there.contains(name));
        for name in &there {
            if self.known.contains(name) {
                continue;
            }
            self.known.push(name.clone());
            self.outcome.archives += 1;
            let held = self.held(name)?;
            let most = counter(&self.house.database())?;
            if !held.is_some_and(|held| (before..=most).contains(&held)) {
                self.violation(format!(
                    "round {round}: {name} holds {held:?}, not within {before}..={most}"
                ));
            }
        }
        Ok(())
    }

    /// The last commit in an archive; `None` when it does not restore, is unsound, or holds half a transaction.
    fn held(&self, name: &str) -> Result<Option<i64>> {
        let to = self.house.path("tmp/restored");
        let restored = self
            .sidecar("restore")
            .args([name.as_ref(), "--to".as_ref(), to.as_os_str()])
            .run();
        if restored.code != Some(0) {
            return Ok(None);
        }
        let held = prefix(&to.join("data/sessions.db"))?;
        std::fs::remove_dir_all(&to)?;
        Ok(held)
    }

    /// The next whole run leaves nothing of the killed ones, and everything there is whole.
    fn end(&mut self) -> Result<()> {
        for verb in ["backup", "verify"] {
            let finished = self.sidecar(verb).run();
            if finished.code != Some(0) {
                self.violation(format!("{verb}: {}{}", finished.stdout, finished.stderr));
            }
        }
        for path in crate::house::walk(&self.house.backups()) {
            if path.to_string_lossy().contains(".partial") {
                self.violation(format!("{} is left over", path.display()));
            }
        }
        let kept = counter(&self.house.database())?;
        let promised = self.acknowledged.load(Ordering::SeqCst);
        ensure!(
            kept >= promised,
            "SQLite itself lost a commit: {kept} of {promised}"
        );
        Ok(())
    }

    fn violation(&mut self, text: String) {
        self.outcome.violations.push(text);
    }

    fn start_writer(&mut self, seed: u64) -> Result<()> {
        self.house.settle();
        let mut command = Command::new(&self.program);
        command
            .arg("write")
            .arg(self.house.database())
            .arg(seed.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let mut child = command.spawn().context("the writer does not start")?;
        let pipe = child.stdout.take().context("the writer's output")?;
        let acknowledged = Arc::clone(&self.acknowledged);
        let first = acknowledged.load(Ordering::SeqCst);
        let reader = thread::spawn({
            let acknowledged = Arc::clone(&acknowledged);
            move || {
                let numbers = BufReader::new(pipe).lines().map_while(Result::ok);
                for number in numbers.filter_map(|line| line.parse().ok()) {
                    acknowledged.fetch_max(number, Ordering::SeqCst);
                }
            }
        });
        self.writer = Some(Writer {
            child,
            reader: Some(reader),
        });
        let until = Instant::now() + crate::PATIENCE;
        while acknowledged.load(Ordering::SeqCst) == first {
            ensure!(Instant::now() < until, "the writer does not write");
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// kill -9; every acknowledgement that it gave is read first.
    fn stop_writer(&mut self) -> Result<()> {
        let Some(mut writer) = self.writer.take() else {
            return Ok(());
        };
        writer.child.kill()?;
        writer.child.wait()?;
        self.outcome.kills += 1;
        let reader = writer.reader.take().context("the writer's reader")?;
        reader
            .join()
            .map_err(|_| anyhow::anyhow!("the reader panicked"))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The writer's own program: commit n touches two tables, and n is told after COMMIT returned. It checkpoints and opens
/// the database anew at random moments, and never ends by itself.
///
/// # Errors
/// When SQLite refuses, or nobody reads what is told.
pub fn write(path: &Path, seed: u64) -> Result<()> {
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut connection = open(path)?;
    let mut n: i64 = connection.query_row("SELECT n FROM counter", [], |row| row.get(0))?;
    let mut due = Instant::now();
    loop {
        n += 1;
        let transaction = connection.transaction()?;
        transaction.execute(
            "INSERT INTO messages VALUES (?1, hex(randomblob(60)))",
            params![n],
        )?;
        transaction.execute("UPDATE counter SET n = ?1", params![n])?;
        transaction.commit()?;
        writeln!(std::io::stdout().lock(), "{n}")?;
        match chance.u32(0..200) {
            0 => connection = open(path)?,
            1 => connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?,
            _ => {}
        }
        due += COMMIT_EVERY;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

fn open(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(crate::PATIENCE)?;
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    connection.execute_batch(
        "PRAGMA synchronous = NORMAL;
         BEGIN IMMEDIATE;
         CREATE TABLE IF NOT EXISTS messages (n INTEGER PRIMARY KEY, body TEXT);
         CREATE TABLE IF NOT EXISTS counter (n INTEGER);
         INSERT INTO counter SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM counter);
         COMMIT;",
    )?;
    Ok(connection)
}

/// Without a hole, both tables agreeing, and sound: the last commit of a database.
fn prefix(database: &Path) -> Result<Option<i64>> {
    let connection = Connection::open(database)?;
    let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    let all =
        "SELECT count(*), coalesce(max(messages.n), 0), (SELECT n FROM counter) FROM messages";
    let (count, newest, counter): (i64, i64, i64) =
        connection.query_row(all, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let is_whole = sound == "ok" && count == newest && counter == newest;
    Ok(is_whole.then_some(newest))
}

fn counter(database: &Path) -> Result<i64> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = Connection::open_with_flags(database, flags)?;
    connection.busy_timeout(crate::PATIENCE)?;
    Ok(connection.query_row("SELECT n FROM counter", [], |row| row.get(0))?)
}
