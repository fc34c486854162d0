//! This room tells how a job ended: one log line, one ping, and sentences for people in both languages.

use daemon_kit::text::Text;
use secrecy::SecretString;

use crate::config::Config;
use crate::freeze::Freeze;
use crate::job::{Failure, Outcome, Published};
use crate::manifest::{Cause, Manifest};
use crate::offsite::Round;
use crate::restore::{BotRuns, Restored};
use crate::watch::Watch;
use crate::web::Web;

/// Logs a job's end and tells the dead man's switch. What is no fault is not told as one: that the program ends, or that
/// another job is at work; whoever wanted the backup tries again.
pub fn conclude(config: &Config, cause: Cause, result: &Result<Outcome, Failure>, watch: &Watch) {
    match result {
        Err(_) if watch.is_stopping() => {
            tracing::info!(
                event = "backup.stopped",
                "the program ends before the backup was done; the next start makes it"
            );
        }
        Err(failure) if failure.is_busy() => {}
        Ok(Outcome::Published(done)) => {
            log_published(cause, done);
            let trouble = (!done.manifest.is_sound()).then(|| "the database is damaged".to_owned());
            ping(config, trouble.as_deref());
        }
        Ok(Outcome::NoDatabaseYet) => {
            tracing::info!(
                event = "backup.waiting",
                "there is no database yet; the first backup follows when the bot has made one"
            );
        }
        Err(failure) => {
            let (stage, error) = (failure.stage, failure.to_string());
            tracing::error!(event = "backup.failed", %stage, error, reason = cause.word(), "the backup failed; earlier archives are untouched");
            ping(config, Some(&format!("{stage}: {error}")));
        }
    }
}

fn log_published(cause: Cause, done: &Published) {
    let archive = done.name.to_string();
    tracing::info!(
        event = "backup.done",
        archive,
        bytes = done.bytes,
        content_bytes = done.manifest.total_bytes(),
        files = done.manifest.files.len(),
        databases = done.manifest.databases.len(),
        rows = done.manifest.total_rows(),
        removed = done.pruned.len(),
        seconds = done.took.as_secs_f64(),
        reason = cause.word(),
        verified = true,
        "backup verified and published"
    );
    for database in done
        .manifest
        .databases
        .iter()
        .filter(|database| !database.is_sound())
    {
        tracing::error!(
            event = "database.damaged",
            archive,
            database = database.path,
            finding = database.integrity,
            "a database failed its check; it was archived as damaged, and older archives are kept"
        );
    }
    for note in &done.manifest.notes {
        tracing::warn!(
            event = "backup.note",
            archive,
            note,
            "something in the data is not in the archive, or not as it should be"
        );
    }
    for database in &done.made_wait {
        tracing::warn!(
            event = "backup.blocked",
            database,
            "this database is not in WAL mode: its writer had to wait for the copy"
        );
    }
    if let Some(freeze) = &done.freeze {
        log_freeze(freeze);
    }
}

fn log_freeze(freeze: &Freeze) {
    tracing::error!(
        event = "freeze.begun",
        archive = freeze.name,
        loss = freeze.loss,
        "an archive lost more than half: nothing is deleted until it is accepted"
    );
}

fn ping(config: &Config, trouble: Option<&str>) {
    let Some(url) = &config.ping_url else { return };
    send(config, url, trouble);
}

fn send(config: &Config, url: &SecretString, trouble: Option<&str>) {
    match Web::new(config.extra_ca.as_deref()) {
        Ok(web) => web.ping(url, trouble),
        Err(error) => {
            tracing::warn!(event = "ping.failed", error = %format!("{error:#}"), "the dead man's switch could not be reached");
        }
    }
}

/// Logs a restore in place.
pub fn log_restored(done: &Restored) {
    tracing::info!(
        event = "restore.done",
        archive = %done.name,
        rows = done.manifest.total_rows(),
        set_aside = done.set_aside.len(),
        seconds = done.took.as_secs_f64(),
        "the data was restored"
    );
}

/// What a backup made, for people.
#[must_use]
pub fn published(done: &Published) -> Text {
    let (name, path) = (&done.name, done.path.display());
    let (size, seconds) = (bytes(done.bytes), done.took.as_secs_f64());
    let rows = done.manifest.total_rows();
    let mut text = Text::new(
        format!(
            "バックアップができました: {name}\n大きさ {size}、{rows} 行、{seconds:.1} 秒。復元できることを確認済みです。\n場所: {path}\n"
        ),
        format!(
            "Backup made: {name}\n{size}, {rows} rows, {seconds:.1} s. Verified: it can be restored.\nPlace: {path}\n"
        ),
    );
    for database in &done.made_wait {
        add(
            &mut text,
            &format!(
                "{database} は WAL モードではないため、写している間、書き込みを待たせました。\n"
            ),
            &format!(
                "{database} is not in WAL mode: its writer had to wait while it was copied.\n"
            ),
        );
    }
    if !done.manifest.is_sound() {
        add(
            &mut text,
            "注意: データベースが壊れています。古いバックアップから復元してください (restore-latest)。\n",
            "Attention: the database is damaged. Restore an older backup (restore-latest).\n",
        );
    }
    if let Some(freeze) = &done.freeze {
        let stem = freeze.name.split('.').next().unwrap_or_default();
        add(
            &mut text,
            &format!(
                "注意: 前より半分以上減っています ({})。心当たりがあれば accept-{stem} で承認してください。それまで古いものは消しません。\n",
                freeze.loss
            ),
            &format!(
                "Attention: more than half is gone ({}). If that is right, accept it with accept-{stem}; until then nothing old is deleted.\n",
                freeze.loss
            ),
        );
    }
    text
}

/// Adds how the copying off-site went, where there was any.
pub fn add_copies(text: &mut Text, round: &Round) {
    let copied = round.copied();
    if copied > 0 {
        add(
            text,
            &format!("別の場所への写し: {copied} 個。読み返して確認済みです。\n"),
            &format!("Copied off-site and read back: {copied}.\n"),
        );
    }
    if let Some(trouble) = round.trouble() {
        add(
            text,
            &format!("別の場所にはまだ写せていません ({trouble})。あとでもう一度試します。\n"),
            &format!("Not copied off-site yet ({trouble}); it is tried again later.\n"),
        );
    }
}

/// What a restore did, for people.
#[must_use]
pub fn restored(done: &Restored) -> Text {
    let (name, target, seconds) = (&done.name, done.target.display(), done.took.as_secs_f64());
    let (files, rows) = (done.manifest.files.len(), done.manifest.total_rows());
    let taken = &done.manifest.created_local;
    let mut text = Text::new(
        format!(
            "復元しました: {name} → {target}\n{taken} の時点、{files} ファイル、{rows} 行、{seconds:.1} 秒。すべて検査済みです。\n"
        ),
        format!(
            "Restored: {name} → {target}\nAs of {taken}, {files} files, {rows} rows, {seconds:.1} s. Everything was verified.\n"
        ),
    );
    add_databases(&mut text, &done.manifest);
    if done.set_aside.is_empty() {
        return text;
    }
    add(
        &mut text,
        "元のファイルは次の名前で残してあります (30 日後に消えます)。元に戻すには、ボットを止めて名前を戻してください:\n",
        "The old files were kept under these names (for 30 days). To undo, stop the bot and rename them back:\n",
    );
    for (old, aside) in &done.set_aside {
        let line = format!("  {aside} → {old}\n");
        add(&mut text, &line, &line);
    }
    text
}

/// Rows of every table, for people.
pub fn add_databases(text: &mut Text, manifest: &Manifest) {
    for database in &manifest.databases {
        let tables: Vec<String> = database
            .tables
            .iter()
            .map(|(table, rows)| format!("{table} {rows}"))
            .collect();
        let line = format!("  {}: {}\n", database.path, tables.join(", "));
        add(text, &line, &line);
    }
}

/// Why something could not be done, for people, with what helps.
#[must_use]
pub fn trouble(error: &anyhow::Error) -> Text {
    let mut text = Text::new(
        format!("できませんでした: {error:#}\n"),
        format!("Not done: {error:#}\n"),
    );
    if error
        .chain()
        .any(|cause| cause.downcast_ref::<BotRuns>().is_some())
        || error.is::<BotRuns>()
    {
        add(
            &mut text,
            "ボットを止めてからもう一度行ってください。\n  Synology: Container Manager → コンテナ → kotonoha-bot → 停止\n  QNAP: Container Station → kotonoha-bot → 停止\n  TrueNAS: Apps → kotonoha → bot を停止\n  コマンド: docker compose stop bot\n終わったら、ボットを再び開始してください。\n",
            "Stop the bot, then try again.\n  Synology: Container Manager → Container → kotonoha-bot → Stop\n  QNAP: Container Station → kotonoha-bot → Stop\n  TrueNAS: Apps → kotonoha → stop bot\n  Command: docker compose stop bot\nAfterwards start the bot again.\n",
        );
    }
    text
}

/// Adds a sentence in both languages.
pub fn add(text: &mut Text, ja: &str, en: &str) {
    text.ja.push_str(ja);
    text.en.push_str(en);
}

/// Bytes as people read them.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KB", "MB", "GB", "TB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}
