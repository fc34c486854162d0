//! What happens to the data before anything else: the lock, the predecessor's database, files to import, the store.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use daemon_kit::boot::Hold;
use daemon_kit::doctor::Finding;
use daemon_kit::lock::DirLock;
use daemon_kit::text::Text;

use crate::config::Config;
use crate::store::{self, Closing, ImportReport, Store};

/// While this lies in the data, a restore is under way.
const RESTORE_JOURNAL: &str = ".restore-journal.json";
/// Left by a restore, taken away here.
const RESTORED: &str = ".restored";
/// How long set-aside copies stay.
const KEEP_COPIES: Duration = Duration::from_hours(30 * 24);

/// The data, locked and open.
pub struct Data {
    /// Held for the bot's life.
    pub lock: DirLock,
    /// The store.
    pub store: Store,
    /// Its end.
    pub closing: Closing,
    /// What the owner should hear of it.
    pub tidings: Vec<(String, Text)>,
}

/// Locks, imports and opens.
///
/// # Errors
/// [`Hold`] for what the owner can mend.
pub fn open(config: &Config) -> anyhow::Result<Data> {
    let lock = lock(config)?;
    if config.data_dir.join(RESTORE_JOURNAL).exists() {
        return Err(Hold::and_retry(restore_pending()).into());
    }
    let mut tidings = Vec::new();
    adopt_predecessor(config, &mut tidings)?;
    import_waiting(config, &mut tidings)?;
    let path = config.database_path();
    let (store, closing) = Store::open(&path).map_err(|error| hold(&path, &error))?;
    note_restore(config, &mut tidings);
    let before = SystemTime::now() - KEEP_COPIES;
    match Store::remove_old_copies(&path, before) {
        Ok(0) => {}
        Ok(copies) => tracing::info!(
            event = "copies.removed",
            copies,
            "set-aside copies of the database are older than 30 days and were removed"
        ),
        Err(error) => {
            tracing::warn!(event = "copies.not_removed", error = %error, "old set-aside copies could not be removed");
        }
    }
    Ok(Data {
        lock,
        store,
        closing,
        tidings,
    })
}

/// The lock of the data, or why not.
///
/// # Errors
/// Another bot holds it, or it cannot be made.
pub fn lock(config: &Config) -> anyhow::Result<DirLock> {
    let path = config.lock_path();
    match DirLock::try_take(&path) {
        Ok(Some(lock)) => Ok(lock),
        Ok(None) => Err(Hold::and_retry(second_bot(&path)).into()),
        Err(error) => Err(Hold::and_retry(unlockable(&path, &error)).into()),
    }
}

fn second_bot(path: &Path) -> Finding {
    Finding::error(
        "bot.second",
        Text::new(
            "同じデータを使うボット (または復元作業) がもう一つ動いています",
            "another bot (or a restore) already uses this data",
        ),
        path.display().to_string(),
        Text::new(
            "もう一つのコンテナを止めてください。止まれば自動で始まります",
            "stop the other container; I start by myself then",
        ),
    )
}

fn unlockable(path: &Path, error: &std::io::Error) -> Finding {
    Finding::error(
        "bot.lock",
        Text::new(
            "data フォルダにロックファイルを作れません",
            "the lock file cannot be made in the data folder",
        ),
        format!("{}: {error}", path.display()),
        Text::new(
            "data フォルダの権限 (PUID/PGID) を確かめてください",
            "check the permissions of the data folder (PUID/PGID)",
        ),
    )
    .by_setting()
}

fn restore_pending() -> Finding {
    Finding::error(
        "bot.restore_pending",
        Text::new("復元が途中です", "a restore is under way"),
        RESTORE_JOURNAL,
        Text::new(
            "backup-sidecar を起動すると復元が完了し、自動で始まります",
            "start the backup-sidecar: it completes the restore, and I start by myself",
        ),
    )
}

/// What keeps the store from opening, with its cure.
fn hold(path: &Path, error: &store::Error) -> anyhow::Error {
    let (what, fix) = match error {
        store::Error::Newer { .. } => {
            return Hold::and_retry(newer(path, error)).into();
        }
        store::Error::Full => (
            Text::new(
                "ディスクがいっぱいで、データベースを開けません",
                "the disk is full, so the database cannot be opened",
            ),
            Text::new("NAS の空き容量を増やしてください", "make room on the NAS"),
        ),
        _ => (
            Text::new("データベースを開けません", "the database cannot be opened"),
            Text::new(
                "data フォルダの権限と空き容量を確かめ、壊れている場合はバックアップを復元してください",
                "check permissions and free space of the data folder; if the database is damaged, restore a backup",
            ),
        ),
    };
    let evidence = format!("{}: {error}", path.display());
    Hold::and_retry(Finding::error("bot.database", what, evidence, fix)).into()
}

/// An older version on newer data: forward again, or back to what was set aside before.
fn newer(path: &Path, error: &store::Error) -> Finding {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (ja, en) = match Store::copy_before_upgrade(path) {
        Some(copy) => (
            format!(
                "更新前に戻すなら、data フォルダの {name} (と {name}-wal、{name}-shm) を別の名前にし、{copy} を {name} という名前にしてください (自動で始まります)"
            ),
            format!(
                "to go back to the state before the upgrade, rename {name} (with {name}-wal and {name}-shm) in the data folder to something else and {copy} to {name} (I start by myself then)"
            ),
        ),
        None => (
            "更新前に戻すなら、その版にする前のバックアップを復元してください (backups に restore-backup_… という空のフォルダ)".to_owned(),
            "to go back, restore a backup from before the upgrade (an empty folder restore-backup_… in backups)".to_owned(),
        ),
    };
    Finding::error(
        "bot.database",
        Text::new(
            "データベースは、もっと新しい版のボットが作ったものです",
            "the database was made by a newer version of the bot",
        ),
        format!("{}: {error}", path.display()),
        Text::new(
            format!("{ja}。このまま使うなら KOTONOHA_VERSION を新しい版に戻してください"),
            format!("{en}; to keep it, set KOTONOHA_VERSION to the newer version again"),
        ),
    )
    .by_setting()
}

/// A database in the predecessor's schema stands in our place: it is set aside whole, and its words come along, now or,
/// when that is interrupted, at the next start.
fn adopt_predecessor(config: &Config, tidings: &mut Vec<(String, Text)>) -> anyhow::Result<()> {
    let path = config.database_path();
    let failed = |error: store::Error| hold(&path, &error);
    let now = daemon_kit::time::now();
    if Store::is_predecessors(&path).map_err(failed)? {
        Store::begin_takeover(&path, now).map_err(failed)?;
    }
    for copy in Store::unfinished_takeovers(&path).map_err(failed)? {
        let report = Store::import(&path, &copy, &config.zone(), now)
            .map_err(|error| not_taken_over(&path, &copy, &error))?;
        say(&report, tidings);
        if let Err(error) = Store::end_takeover(&path, &copy) {
            tracing::warn!(event = "import.not_marked", error = %error, "the predecessor's database could not be renamed; it is looked at again, and nothing is taken twice");
        }
    }
    Ok(())
}

/// The predecessor's words are not here yet: to begin without them is for the owner to decide.
fn not_taken_over(path: &Path, copy: &Path, error: &store::Error) -> anyhow::Error {
    if matches!(error, store::Error::Newer { .. } | store::Error::Full) {
        return hold(path, error);
    }
    let name = copy.file_name().unwrap_or_default().to_string_lossy();
    let finding = Finding::error(
        "bot.takeover",
        Text::new(
            "前のボットのデータベースを引き継げません",
            "the previous bot's database cannot be taken over",
        ),
        format!("{}: {error}", copy.display()),
        Text::new(
            format!(
                "data フォルダの権限と空き容量を確かめてください (直れば自動で続けます)。引き継がずに始めるなら、{name} を data フォルダの外へ移してください"
            ),
            format!(
                "check permissions and free space of the data folder (I go on by myself then); to start without its words, move {name} out of the data folder"
            ),
        ),
    );
    Hold::and_retry(finding).into()
}

/// Files in `data/import/`, each once.
fn import_waiting(config: &Config, tidings: &mut Vec<(String, Text)>) -> anyhow::Result<()> {
    for file in waiting(&config.data_dir.join("import")) {
        match Store::import(
            &config.database_path(),
            &file,
            &config.zone(),
            daemon_kit::time::now(),
        ) {
            Ok(report) => {
                say(&report, tidings);
                mark(&file, "imported");
            }
            Err(error @ store::Error::Full) => return Err(hold(&config.database_path(), &error)),
            Err(error) => {
                tracing::error!(event = "import.failed", error = %error, "a file in data/import could not be taken over");
                mark(&file, "failed");
            }
        }
    }
    Ok(())
}

fn waiting(folder: &Path) -> Vec<PathBuf> {
    let Ok(list) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let is_database = |path: &PathBuf| {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        [".db", ".db.gz", ".sqlite", ".sqlite3"]
            .iter()
            .any(|end| name.ends_with(end))
    };
    let mut files: Vec<PathBuf> = list
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(is_database)
        .collect();
    files.sort();
    files
}

fn mark(file: &Path, how: &str) {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(how);
    if let Err(error) = daemon_kit::publish::rename(file, Path::new(&name)) {
        tracing::warn!(event = "import.not_marked", error = %error, "a file in data/import could not be renamed; it is looked at again, and nothing is taken twice");
    }
}

/// The report of an import, for log and owner.
fn say(report: &ImportReport, tidings: &mut Vec<(String, Text)>) {
    let ImportReport {
        sessions,
        taken,
        known,
        empty,
        sealed,
        unreadable,
    } = report;
    tracing::info!(
        event = "import.done",
        sessions,
        taken,
        known,
        empty,
        sealed,
        unreadable = unreadable.len(),
        "took over the predecessor's words"
    );
    if *taken > 0 {
        tidings.push(("import".to_owned(), import_text(report)));
    }
}

/// What was taken over, and what behaves differently now.
#[must_use]
pub fn import_text(report: &ImportReport) -> Text {
    let ImportReport {
        sessions,
        taken,
        known,
        empty,
        sealed,
        unreadable,
    } = report;
    let unreadable = unreadable.len();
    Text::new(
        format!(
            "前のボットの会話 {sessions} 件から、発言 {taken} 件を引き継ぎました (すでにあったもの {known} 件、空のもの {empty} 件、読めなかった会話 {unreadable} 件)。\
             そのうち {sealed} 件はチャンネルをまたいでいたため、書き出しと削除はできますが、返事には使いません。\
             前と違うところ: 覚えている範囲はスレッドごと・チャンネルの人ごとです。話題は期限で消えません。コマンドは / で始まります。"
        ),
        format!(
            "Took over {taken} messages of {sessions} conversations of the previous bot ({known} were here already, {empty} were empty, {unreadable} conversations could not be read). \
             {sealed} of them crossed channels: they can be exported and forgotten, but are never used for an answer. \
             What differs: I remember by thread, and by person in a channel. Conversations do not expire. Commands begin with /."
        ),
    )
}

fn note_restore(config: &Config, tidings: &mut Vec<(String, Text)>) {
    let marker = config.data_dir.join(RESTORED);
    if !marker.exists() {
        return;
    }
    tracing::warn!(
        event = "restore.noticed",
        "the database was restored; what was said before is answered only if Discord shows no answer of ours"
    );
    tidings.push((
        "restored".to_owned(),
        Text::new(
            "バックアップから復元されたデータで始めました。復元より前の発言には、まだ返事がないと確かめられたものにだけ返事をします。",
            "I started with data restored from a backup. What was said before is answered only where no answer of mine stands.",
        ),
    ));
    if let Err(error) = daemon_kit::publish::remove(&marker) {
        tracing::warn!(event = "restore.not_unmarked", error = %error, "the marker of a restore could not be removed");
    }
}
