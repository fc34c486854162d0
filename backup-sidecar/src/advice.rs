//! This room is the sidecar's own part of `doctor`. It runs beside jobs, so it never opens a database file.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use daemon_kit::doctor::Finding;
use daemon_kit::text::Text;
use jiff::{SignedDuration, Timestamp};

use crate::catalog::Catalog;
use crate::config::{Config, Target};
use crate::{drill, prune, restore};

/// Looks at everything that only this program knows.
#[must_use]
pub fn check(config: &Config, now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(owners(config));
    findings.extend(network(config));
    findings.extend(identity(config));
    findings.extend(pending_restore(config));
    match prune::load(config) {
        Ok(catalog) => {
            findings.push(age(config, &catalog, now));
            findings.extend(freeze(&catalog));
            findings.extend(rehearsal(&catalog));
        }
        Err(error) => findings.push(Finding::error(
            "backups",
            Text::new(
                "バックアップの一覧を読めません",
                "the backups cannot be listed",
            ),
            format!("{error:#}"),
            Text::new(
                "backups フォルダの権限を確かめてください",
                "check the permissions of the backups folder",
            ),
        )),
    }
    findings
}

/// A database of another user must not be opened by us: its `-wal` and `-shm` would become ours.
fn owners(config: &Config) -> Option<Finding> {
    let own = rustix::process::geteuid();
    if own.is_root() {
        return None;
    }
    let entries = fs::read_dir(&config.sources.data).ok()?;
    let foreign = entries.flatten().find_map(|entry| {
        let name = entry.file_name();
        let is_database = Path::new(&name)
            .extension()
            .is_some_and(|ending| ending == "db" || ending == "db-wal");
        let owner = entry.metadata().ok()?.uid();
        (is_database && owner != own.as_raw()).then(|| (name.to_string_lossy().into_owned(), owner))
    });
    let (name, owner) = foreign?;
    Some(
        Finding::error(
            "owner",
            Text::new(
                "データベースの持ち主が違います",
                "a database belongs to another user",
            ),
            format!("{name}: UID {owner}, this program: UID {}", own.as_raw()),
            Text::new(
                "両方のコンテナの PUID/PGID を同じにし、data の持ち主をその UID にしてください",
                "give both containers the same PUID/PGID, and make that UID the owner of data",
            ),
        )
        .by_setting(),
    )
}

/// A container without a network has the loopback device alone.
fn network(config: &Config) -> Option<Finding> {
    let wants_network = config.ping_url.is_some()
        || config
            .remote
            .as_ref()
            .is_some_and(|remote| matches!(remote.target, Target::S3(_)));
    let devices = fs::read_dir("/sys/class/net").ok()?;
    let has_network = devices.flatten().any(|device| device.file_name() != "lo");
    (wants_network && !has_network).then(|| {
        Finding::warning(
            "network",
            Text::new(
                "外部の宛先が設定されていますが、このコンテナにはネットワークがありません",
                "a remote address is set, but this container has no network",
            ),
            "BACKUP_REMOTE_URL / BACKUP_PING_URL",
            Text::new(
                ".env で BACKUP_NETWORK=bridge にしてください",
                "set BACKUP_NETWORK=bridge in .env",
            ),
        )
        .by_setting()
    })
}

fn identity(config: &Config) -> Option<Finding> {
    let error = prune::keys(config).err()?;
    Some(
        Finding::warning(
            "identity",
            Text::new(
                "age の秘密鍵を読めません",
                "the age identity cannot be read",
            ),
            format!("{error:#}"),
            Text::new(
                "BACKUP_AGE_IDENTITY_FILE のパスと中身を確かめてください",
                "check the path and the content of BACKUP_AGE_IDENTITY_FILE",
            ),
        )
        .by_setting(),
    )
}

fn pending_restore(config: &Config) -> Option<Finding> {
    restore::is_pending(&config.sources.data).then(|| {
        Finding::warning(
            "restore",
            Text::new("復元が途中です", "a restore is unfinished"),
            restore::BOT_LOCK,
            Text::new(
                "ボットを止めてください。止まると自動で完了します",
                "stop the bot; it is then completed by itself",
            ),
        )
    })
}

fn age(config: &Config, catalog: &Catalog, now: Timestamp) -> Finding {
    let Some((name, record)) = catalog.latest(now) else {
        return Finding::fine(
            "newest-backup",
            Text::new("バックアップはまだありません", "there is no backup yet"),
            "",
        );
    };
    let grace = SignedDuration::from_hours(1);
    let fresh_until = config
        .schedule
        .as_ref()
        .and_then(|schedule| schedule.fresh_until(record.taken, grace, &config.zone));
    if fresh_until.is_none_or(|until| now <= until) {
        let what = Text::new(
            "最新のバックアップは新しいです",
            "the newest backup is fresh",
        );
        return Finding::fine("newest-backup", what, name.to_string());
    }
    Finding::warning(
        "newest-backup",
        Text::new(
            "最新のバックアップが古すぎます",
            "the newest backup is too old",
        ),
        name.to_string(),
        Text::new(
            "このコンテナのログで backup.failed を探すか、backups に backup-now フォルダを作ってください",
            "look for backup.failed in this container's log, or make a folder backup-now in backups",
        ),
    )
}

fn freeze(catalog: &Catalog) -> Option<Finding> {
    let freeze = catalog.freeze()?;
    let stem = freeze.name.split('.').next().unwrap_or_default().to_owned();
    Some(Finding::warning(
        "freeze",
        Text::new(
            "データが半分以上減ったため、古いバックアップを消さずに残しています",
            "more than half of the data is gone, so no old backup is deleted",
        ),
        format!("{}: {}", freeze.name, freeze.loss),
        Text::new(
            format!("心当たりがあれば backups に accept-{stem} フォルダを作ってください"),
            format!("if that is right, make a folder accept-{stem} in backups"),
        ),
    ))
}

fn rehearsal(catalog: &Catalog) -> Option<Finding> {
    let last = catalog.drill.as_ref()?;
    let evidence = format!("{} {}: {}", last.at, last.archive, last.detail);
    if last.result != drill::FAILED {
        let what = Text::new(
            format!("復元の練習: {}", last.result),
            format!("restore drill: {}", last.result),
        );
        return Some(Finding::fine("drill", what, evidence));
    }
    Some(Finding::warning(
        "drill",
        Text::new("復元の練習に失敗しました", "the restore drill failed"),
        evidence,
        Text::new(
            "verify コマンドで全部を確かめ、backup-now で新しいものを作ってください",
            "verify all archives, and make a new one with backup-now",
        ),
    ))
}
