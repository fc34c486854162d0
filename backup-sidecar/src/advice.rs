//! This room is the sidecar's own part of `doctor`. It runs beside jobs, so it never opens a database file.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use daemon_kit::doctor::Finding;
use daemon_kit::text::Text;
use jiff::{SignedDuration, Timestamp};

use crate::catalog::{ArchiveName, Catalog};
use crate::config::{Config, Target};
use crate::{drill, prune, restore};

/// So long a backup may take.
const GRACE: SignedDuration = SignedDuration::from_hours(1);

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

/// How old the newest good archive is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Age {
    /// There is no archive yet.
    NoneYet,
    /// It is as new as the schedule wants it.
    Fresh(ArchiveName),
    /// It is older than the schedule allows.
    Old(ArchiveName),
    /// There are archives, and none of them is good.
    NoneGood,
}

impl Age {
    /// What the catalogue says at `now`.
    #[must_use]
    pub fn of(config: &Config, catalog: &Catalog, now: Timestamp) -> Self {
        // Where nothing is proved yet, as after the catalogue was lost, the next job does it.
        let newest = catalog.newest_proved(now).or_else(|| catalog.latest(now));
        let Some((name, record)) = newest else {
            return if catalog.archives.is_empty() {
                Self::NoneYet
            } else {
                Self::NoneGood
            };
        };
        let schedule = config.schedule.as_ref();
        let fresh_until =
            schedule.and_then(|schedule| schedule.fresh_until(record.taken, GRACE, &config.zone));
        if fresh_until.is_none_or(|until| now <= until) {
            Self::Fresh(name)
        } else {
            Self::Old(name)
        }
    }

    /// What keeps the program from being called well.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        match self {
            Self::NoneYet | Self::Fresh(_) => None,
            Self::Old(name) => Some(format!(
                "the newest good backup is {name}, older than the schedule allows"
            )),
            Self::NoneGood => Some("none of the backups is good".to_owned()),
        }
    }
}

/// Never an error, which would hold up the start: the next backup is what mends it.
fn age(config: &Config, catalog: &Catalog, now: Timestamp) -> Finding {
    let cure = Text::new(
        "このコンテナのログで backup.failed を探すか、backups に backup-now フォルダを作ってください",
        "look for backup.failed in this container's log, or make a folder backup-now in backups",
    );
    match Age::of(config, catalog, now) {
        Age::NoneYet => Finding::fine(
            "newest-backup",
            Text::new("バックアップはまだありません", "there is no backup yet"),
            "",
        ),
        Age::Fresh(name) => {
            let what = Text::new(
                "最新のバックアップは新しいです",
                "the newest backup is fresh",
            );
            Finding::fine("newest-backup", what, name.to_string())
        }
        Age::Old(name) => {
            let what = Text::new(
                "最新のバックアップが古すぎます",
                "the newest backup is too old",
            );
            Finding::warning("newest-backup", what, name.to_string(), cure)
        }
        Age::NoneGood => {
            let what = Text::new(
                "使えるバックアップが 1 つもありません",
                "none of the backups is good",
            );
            let evidence = format!("{} archives", catalog.archives.len());
            Finding::warning("newest-backup", what, evidence, cure)
        }
    }
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

#[cfg(test)]
mod tests {
    use daemon_kit::env::Env;

    use super::*;
    use crate::catalog::Record;

    #[test]
    fn only_what_was_proved_and_did_not_fail_is_fresh() {
        let mut env = Env::from_map([("BACKUP_SCHEDULE", "0 2 * * *"), ("TZ", "UTC")]);
        let config = Config::read(&mut env);
        let now: Timestamp = "2026-11-28T03:00:00Z".parse().unwrap();
        let record = |day: &str, verified: bool, bad: bool| {
            let mut record = Record::of(&crate::manifest::tests::sample(), 1, None);
            record.taken = format!("{day}T02:00:00Z").parse().unwrap();
            record.verified = verified.then(|| "then".to_owned());
            record.bad = bad.then(|| "torn".to_owned());
            let stamp = day.replace('-', "");
            (format!("backup_{stamp}_020000.tar.zst"), record)
        };
        let age = |records: Vec<(String, Record)>| {
            let catalog = Catalog {
                archives: records.into_iter().collect(),
                ..Catalog::default()
            };
            Age::of(&config, &catalog, now)
        };
        assert_eq!(age(vec![]), Age::NoneYet);
        let old = record("2026-11-20", true, false);
        let torn = record("2026-11-28", true, true);
        let copied_there = record("2026-11-28", false, false);
        assert!(matches!(age(vec![old.clone(), torn.clone()]), Age::Old(_)));
        assert!(matches!(age(vec![old, copied_there]), Age::Old(_)));
        let fresh = record("2026-11-28", true, false);
        assert!(matches!(age(vec![fresh]), Age::Fresh(_)));
        let none = age(vec![torn]);
        assert!(none == Age::NoneGood && none.trouble().is_some());
    }
}
