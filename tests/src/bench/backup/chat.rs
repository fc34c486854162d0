//! A chat database as people would fill it, and a writer that goes on writing into it.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use rusqlite::{Connection, params};

use super::super::Sample;
use crate::house::NOBODY;

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

const INSERT: &str = "INSERT INTO messages (speaker, words) VALUES (?1, ?2)";

fn open(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY, speaker INTEGER NOT NULL, words TEXT NOT NULL);",
    )?;
    Ok(connection)
}

/// Fills a database until it has this size.
pub(super) fn fill(path: &Path, mebibytes: u64) -> Result<()> {
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

/// Writes until it is told to stop; how long its commits took, in milliseconds.
pub(super) fn write_until(database: &Path, over: &AtomicBool) -> Result<Sample> {
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
