//! The power goes at a random moment: whatever was not synced is gone. What a program had promised must still hold.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use rusqlite::Connection;

use super::{Outcome, forget_starts};
use crate::disk::{self, Disk};
use crate::house::{House, Launch, NOBODY};
use crate::world::model::echo;
use crate::world::{BOT, World};

/// Large enough for a few archives, small enough to be made in a moment.
const DISK_MIB: u64 = 96;

/// Which program is at work when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Answering mentions.
    Bot,
    /// Backing up a database that is being written.
    Sidecar,
    /// Compressing closed segments.
    Shipper,
    /// None: a plain file that is appended to and synced. Shows what the disk itself keeps, and what no program can.
    Control,
}

/// Cuts the power `rounds` times.
///
/// # Errors
/// When there are no loop disks here, or a program does something that has nothing to do with the power.
pub fn run(subject: Subject, rounds: usize, seed: u64) -> Result<Outcome> {
    let disk = Disk::new(DISK_MIB)?;
    let mut chance = fastrand::Rng::with_seed(seed);
    match subject {
        Subject::Bot => bot(&disk, rounds, &mut chance),
        Subject::Sidecar => sidecar(&disk, rounds, &mut chance),
        Subject::Shipper => shipper(&disk, rounds, &mut chance),
        Subject::Control => control(&disk, rounds, &mut chance),
    }
}

fn moment(chance: &mut fastrand::Rng, most_ms: u64) -> Duration {
    Duration::from_millis(chance.u64(5..most_ms))
}

/// A program of the house with its directories on the disk.
fn on(disk: &Disk, house: &House, name: &str) -> Result<Launch> {
    let mut launch = house.program(name);
    for (variable, dir) in [
        ("DATA_DIR", "data"),
        ("LOG_DIR", "logs"),
        ("BACKUP_DIR", "backups"),
    ] {
        launch = launch.env(variable, disk.directory(dir, NOBODY)?);
    }
    // Segments of the past are not to be pruned for their age or size here.
    Ok(launch
        .env("LOG_RETENTION_DAYS", "36500")
        .env("LOG_MAX_TOTAL_SIZE", "1000"))
}

fn bot(disk: &Disk, rounds: usize, chance: &mut fastrand::Rng) -> Result<Outcome> {
    let world = World::start();
    let house = House::new(&world);
    let who = world.member("はな");
    let mut outcome = Outcome::default();
    let mut tokens = Vec::new();
    for round in 0..rounds {
        let before = world.with(|state| state.gateway.identifies);
        let bot = on(disk, &house, "bot")?.start();
        world.wait("IDENTIFY", |state| {
            (state.gateway.identifies > before).then_some(())
        });
        for number in 0..4 {
            let token = format!("cut-{round}-{number}.");
            world.mention(who, world.general(), &token);
            tokens.push(token);
            thread::sleep(moment(chance, 60));
        }
        disk.cut_power()?;
        bot.kill();
        outcome.kills += 1;
        disk.restore_power()?;
        forget_starts(&disk.path().join("data/sessions.db"), round);
    }
    let bot = on(disk, &house, "bot")?.start();
    for token in &tokens {
        let wanted = echo(token);
        world.expect(&format!("an answer to {token}"), |message| {
            message.author == BOT && message.words() == wanted
        });
        let standing = world.with(|state| {
            let standing = state
                .messages
                .values()
                .filter(|message| message.author == BOT && !message.deleted);
            standing
                .filter(|message| message.content.contains(token.as_str()))
                .count()
        });
        if standing != 1 {
            outcome
                .violations
                .push(format!("{token} has {standing} answers"));
        }
    }
    bot.stop();
    outcome.mentions = tokens.len();
    outcome
        .violations
        .extend(unsound(&disk.path().join("data/sessions.db"))?);
    world.expect_all();
    world.finish();
    Ok(outcome)
}

/// A database with more commits than this is begun anew, so that the small disk never fills up by itself.
const MOST_COMMITS: i64 = 2_000;

/// What a writer was told is done, in order, and when it was told.
type Told = Vec<(i64, Duration)>;

/// A writer that knows which commits were acknowledged, a sidecar that backs up in a loop, and the power.
fn sidecar(disk: &Disk, rounds: usize, chance: &mut fastrand::Rng) -> Result<Outcome> {
    let house = House::alone();
    let mut outcome = Outcome::default();
    for _ in 0..rounds {
        let database = disk.directory("data", NOBODY)?.join("sessions.db");
        let backup = on(disk, &house, "backup-sidecar")?.args(["backup"]).start();
        let (told, cut) = write_until_cut(disk, chance, |over, told| {
            commit_until(&database, over, told)
        })?;
        backup.kill();
        outcome.kills += 1;
        disk.restore_power()?;
        outcome.violations.extend(unsound(&database)?);
        let kept = highest(&database)?;
        judge(&told, cut, kept, &mut outcome);
        outcome.violations.extend(bad_archives(disk, &house)?);
        if kept > MOST_COMMITS {
            for ending in ["", "-wal", "-shm"] {
                fs::remove_file(format!("{}{ending}", database.display())).ok();
            }
        }
    }
    Ok(outcome)
}

/// No program at all, to know what may be asked of one on such a disk.
fn control(disk: &Disk, rounds: usize, chance: &mut fastrand::Rng) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let path = disk.path().join("plain");
    for _ in 0..rounds {
        let (told, cut) =
            write_until_cut(disk, chance, |over, told| append_until(&path, over, told))?;
        outcome.kills += 1;
        disk.restore_power()?;
        let bytes = fs::read(&path).unwrap_or_default();
        let kept = bytes
            .chunks_exact(RECORD_BYTES)
            .zip(1_i64..)
            .take_while(|(record, number)| **record == plain_record(*number))
            .count();
        judge(&told, cut, i64::try_from(kept)?, &mut outcome);
        fs::remove_file(&path).ok();
        fs::File::open(disk.path())?.sync_all()?;
    }
    Ok(outcome)
}

/// Lets a writer write, cuts the power after a while, and gives what the writer was told and when the cut began.
fn write_until_cut(
    disk: &Disk,
    chance: &mut fastrand::Rng,
    write: impl FnOnce(&AtomicBool, &mut Told) -> Result<()> + Send,
) -> Result<(Told, Duration)> {
    let over = AtomicBool::new(false);
    let mut told = Told::new();
    let cut = thread::scope(|scope| {
        let writer = scope.spawn(|| write(&over, &mut told));
        thread::sleep(moment(chance, 400));
        let cut = disk.cut_power();
        over.store(true, Ordering::SeqCst);
        // Its end may be an error: the power is gone.
        drop(writer.join());
        cut
    })?;
    Ok((told, cut))
}

/// What was told before the cut must be among the first `kept`. What was told while it happened may be lost, and is
/// counted: see [`Disk::cut_power`].
fn judge(told: &Told, cut: Duration, kept: i64, outcome: &mut Outcome) {
    outcome.commits += i64::try_from(told.len()).unwrap_or(i64::MAX);
    let lost = told.iter().filter(|(number, _)| *number > kept);
    let (before, within): (Vec<_>, Vec<_>) = lost.partition(|(_, at)| *at < cut);
    outcome.lost_in_cut += within.len();
    if let Some((number, at)) = before.last() {
        outcome.violations.push(format!(
            "write {number} was acknowledged {:?} before the cut, {kept} is the last one left",
            cut.saturating_sub(*at)
        ));
    }
}

/// Every archive under its final name must be whole.
fn bad_archives(disk: &Disk, house: &House) -> Result<Vec<String>> {
    let backups = disk.directory("backups", NOBODY)?;
    let names =
        fs::read_dir(&backups)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let archives: Vec<String> = names
        .filter(|name| name.starts_with("backup_") && name.ends_with(".tar.zst"))
        .collect();
    if archives.is_empty() {
        return Ok(Vec::new());
    }
    let verified = on(disk, house, "backup-sidecar")?.args(["verify"]).run();
    // Only the newest few are kept, so that the disk never fills up by itself.
    let mut sorted = archives;
    sorted.sort();
    for old in sorted.iter().rev().skip(3) {
        fs::remove_file(backups.join(old))?;
    }
    Ok((verified.code != Some(0))
        .then(|| format!("verify: {}{}", verified.stdout, verified.stderr))
        .into_iter()
        .collect())
}

fn commit_until(database: &Path, over: &AtomicBool, told: &mut Told) -> Result<()> {
    let connection = Connection::open(database)?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE IF NOT EXISTS acts (id INTEGER PRIMARY KEY, words BLOB);",
    )?;
    for sibling in ["", "-wal", "-shm"] {
        std::os::unix::fs::chown(
            format!("{}{sibling}", database.display()),
            Some(NOBODY),
            Some(NOBODY),
        )?;
    }
    while !over.load(Ordering::SeqCst) {
        connection.execute("INSERT INTO acts (words) VALUES (randomblob(2000))", [])?;
        told.push((connection.last_insert_rowid(), disk::moment()));
    }
    Ok(())
}

/// As much as a commit of the other writer, about.
const RECORD_BYTES: usize = 2_400;

fn plain_record(number: i64) -> Vec<u8> {
    number.to_le_bytes().repeat(RECORD_BYTES / 8)
}

fn append_until(path: &Path, over: &AtomicBool, told: &mut Told) -> Result<()> {
    let mut file = fs::File::create(path)?;
    file.sync_all()?;
    fs::File::open(path.parent().context("a directory")?)?.sync_all()?;
    for number in 1.. {
        if over.load(Ordering::SeqCst) {
            break;
        }
        file.write_all(&plain_record(number))?;
        file.sync_data()?;
        told.push((number, disk::moment()));
    }
    Ok(())
}

fn highest(database: &Path) -> Result<i64> {
    let connection = Connection::open(database)?;
    let newest = connection.query_row("SELECT coalesce(max(id), 0) FROM acts", [], |row| {
        row.get(0)
    });
    // Cut before the table was there: nothing was acknowledged either.
    Ok(newest.unwrap_or(0))
}

fn unsound(database: &Path) -> Result<Option<String>> {
    if !database.exists() {
        return Ok(None);
    }
    let connection = Connection::open(database).context("after the power came back")?;
    let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    Ok((verdict != "ok").then(|| format!("integrity_check: {verdict}")))
}

/// Closed segments are compressed in a loop; after each cut every line must be readable exactly once.
fn shipper(disk: &Disk, rounds: usize, chance: &mut fastrand::Rng) -> Result<Outcome> {
    let house = House::alone();
    let logs = disk.directory("logs", NOBODY)?;
    let mut outcome = Outcome::default();
    let mut written = 0;
    for round in 0..rounds {
        for number in 0..3 {
            written += close_segment(&logs, round * 3 + number, written)?;
        }
        let sweep = on(disk, &house, "log-shipper")?.args(["sweep"]).start();
        thread::sleep(moment(chance, 150));
        disk.cut_power()?;
        sweep.kill();
        outcome.kills += 1;
        disk.restore_power()?;
        on(disk, &house, "log-shipper")?
            .args(["sweep"])
            .run()
            .expect_code(0);
        let found = lines_of(&logs);
        if let Some((number, times)) = (0..written)
            .map(|n| (n, found.get(&n).copied().unwrap_or(0)))
            .find(|(_, times)| *times != 1)
        {
            outcome.violations.push(format!(
                "round {round}: line {number} is there {times} times"
            ));
        }
    }
    Ok(outcome)
}

/// Writes, syncs and names a segment as a program of the house does, and gives the number of its lines.
fn close_segment(logs: &Path, number: usize, first: u64) -> Result<u64> {
    const LINES: u64 = 400;
    let path = logs.join(format!("{}.log", stem(number)));
    let mut text = String::new();
    for line in first..first + LINES {
        writeln!(
            text,
            "{{\"ts\":\"2026-11-28T09:00:00.000+09:00\",\"level\":\"INFO\",\"service\":\"bot\",\"seq\":{line},\"start\":\"00000001\",\"target\":\"bot\",\"event\":\"log\",\"msg\":\"{}\"}}",
            "静かな一行".repeat(20)
        )?;
    }
    let mut file = fs::File::create(&path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::os::unix::fs::chown(&path, Some(NOBODY), Some(NOBODY))?;
    fs::File::open(logs)?.sync_all()?;
    Ok(LINES)
}

/// How often each line number is in the closed segments, plain or compressed.
fn lines_of(logs: &Path) -> BTreeMap<u64, usize> {
    let mut found = BTreeMap::new();
    for event in crate::house::events(logs, "bot") {
        if let Some(number) = event["seq"].as_u64() {
            *found.entry(number).or_default() += 1;
        }
    }
    found
}

/// The stem of the n-th segment of a bot, made without the programs' own code.
fn stem(number: usize) -> String {
    let (hour, rest) = (number / 3_600 % 24, number % 3_600);
    format!(
        "bot.20261128T{hour:02}{:02}{:02}.000Z",
        rest / 60,
        rest % 60
    )
}
