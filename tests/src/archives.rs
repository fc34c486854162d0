//! What tests of the backup sidecar say: chat databases, archives made by hand with stock tools, what a list says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::House;

/// A database with so many messages, as a bot that is running leaves it: in WAL mode.
pub fn chat(house: &House, rows: i64) -> PathBuf {
    let path = house.database();
    let connection = Connection::open(&path).expect("a database");
    connection.busy_timeout(crate::PATIENCE).expect("patience");
    connection
        .query_row("PRAGMA journal_mode=WAL", [], |_| Ok(()))
        .expect("WAL");
    connection
        .execute_batch(
            "CREATE TABLE IF NOT EXISTS messages (n INTEGER PRIMARY KEY, body BLOB); DELETE FROM messages",
        )
        .expect("a table");
    let insert = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < ?1)
                  INSERT INTO messages SELECT n, randomblob(400) FROM c WHERE ?1 > 0";
    connection.execute(insert, [rows]).expect("rows");
    connection.close().expect("a closed database");
    house.settle();
    path
}

/// How many messages a database holds.
pub fn rows(database: &Path) -> i64 {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = Connection::open_with_flags(database, flags).expect("a database");
    let problems: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .expect("a check");
    assert_eq!(problems, "ok");
    connection
        .query_row("SELECT count(*) FROM messages", [], |row| row.get(0))
        .expect("rows")
}

/// The names of the archives of a house, oldest first.
pub fn archives(house: &House) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(house.backups())
        .expect("backups/")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| {
            name.starts_with("backup_") && (name.ends_with(".tar.zst") || name.ends_with(".age"))
        })
        .collect();
    names.sort();
    names
}

/// What `list --json` says.
pub fn list(house: &House) -> Value {
    let listed = house
        .program("backup-sidecar")
        .args(["list", "--json"])
        .run()
        .expect_code(0);
    serde_json::from_str(&listed.stdout).expect("JSON")
}

/// An archive made with stock tools alone, as somebody else's program could: taken at `taken` (RFC 3339, UTC), called
/// `name`, with so many rows.
pub fn forge(house: &House, name: &str, taken: &str, rows: i64) {
    let work = tempfile::tempdir().expect("a directory");
    fs::create_dir(work.path().join("data")).expect("a directory");
    let database = work.path().join("data/sessions.db");
    let connection = Connection::open(&database).expect("a database");
    connection
        .execute_batch("CREATE TABLE messages (n INTEGER PRIMARY KEY, body BLOB)")
        .expect("a table");
    for n in 1..=rows {
        connection
            .execute("INSERT INTO messages VALUES (?1, randomblob(40))", [n])
            .expect("a row");
    }
    let number = |pragma: &str| -> i64 {
        connection
            .query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))
            .expect("a number")
    };
    let (pages, page_size) = (number("page_count"), number("page_size"));
    connection.close().expect("a closed database");
    let summed = Command::new("sha256sum")
        .arg(&database)
        .output()
        .expect("sha256sum");
    let sha256 = String::from_utf8_lossy(&summed.stdout)[..64].to_owned();
    let size = fs::metadata(&database).expect("a file").len();
    let manifest = json!({
        "format": 1, "created_utc": taken, "created_local": taken, "reason": "schedule", "tool": "by hand", "sqlite": "3",
        "files": [{ "path": "data/sessions.db", "size": size, "sha256": sha256 }],
        "databases": [{ "path": "data/sessions.db", "page_size": page_size, "pages": pages, "user_version": 0,
                        "integrity": "ok", "tables": { "messages": rows } }],
    });
    fs::write(work.path().join("MANIFEST.json"), manifest.to_string()).expect("a manifest");
    let tar = Command::new("tar")
        .current_dir(work.path())
        .args([
            "--format=gnu",
            "-cf",
            "-",
            "MANIFEST.json",
            "data/sessions.db",
        ])
        .output()
        .expect("tar");
    assert!(tar.status.success());
    let bytes = zstd::encode_all(tar.stdout.as_slice(), 3).expect("zstd");
    house.write(&format!("backups/{name}"), bytes);
}

/// Unpacks an archive with stock tar and tells where.
pub fn stock_unpack(archive: &Path, into: &Path) -> PathBuf {
    fs::create_dir_all(into).expect("a directory");
    let plain = zstd::decode_all(fs::File::open(archive).expect("an archive")).expect("zstd");
    let tar = into.join("plain.tar");
    fs::write(&tar, plain).expect("a tar");
    let status = Command::new("tar")
        .arg("-xf")
        .arg(&tar)
        .arg("-C")
        .arg(into)
        .status()
        .expect("tar");
    assert!(status.success());
    into.to_owned()
}
