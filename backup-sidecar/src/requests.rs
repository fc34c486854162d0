//! This room serves owners without a terminal: an empty folder made beside the archives is a request.
//!
//! A request is claimed by renaming it, so that a kill never runs it twice, and ends as `done-…` or `failed-…` with a
//! report inside.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use daemon_kit::publish;
use daemon_kit::text::{Language, Text};
use daemon_kit::time;

use crate::collect::is_foreign;
use crate::config::Config;
use crate::job::{self, Outcome};
use crate::manifest::Cause;
use crate::watch::Watch;
use crate::{accept, extract, lock, report, restore};

const RUNNING: &str = "running-";
const REPORT: &str = "report.txt";

/// What an owner asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Request {
    Backup,
    Restore(String),
    Extract(String),
    Accept(String),
}

type Make = fn(String) -> Request;

impl Request {
    fn parse(name: &str) -> Option<Self> {
        if name == "backup-now" {
            return Some(Self::Backup);
        }
        let kinds: [(&str, Make); 3] = [
            ("restore-", Self::Restore),
            ("extract-", Self::Extract),
            ("accept-", Self::Accept),
        ];
        let (wanted, make) = kinds
            .iter()
            .find_map(|(prefix, make)| Some((name.strip_prefix(prefix)?, make)))?;
        let is_archive = format!("{}.tar.zst", wanted.split('.').next()?)
            .parse::<crate::catalog::ArchiveName>()
            .is_ok();
        (wanted == "latest" || is_archive).then(|| make(wanted.to_owned()))
    }

    /// Whether the data and the newest archive belong together again afterwards.
    fn renews(&self) -> bool {
        matches!(self, Self::Backup | Self::Restore(_))
    }
}

/// What was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Served {
    /// Nothing was asked for.
    Nothing,
    /// Requests that changed neither the data nor the archives, or failed.
    Something,
    /// A backup or a restore.
    Renewal,
}

/// Serves every request that is there.
///
/// # Errors
/// When the directory cannot be read.
pub fn serve(config: &Config, watch: &Watch) -> anyhow::Result<Served> {
    let mut served = Served::Nothing;
    for (name, request) in waiting(&config.backup_dir)? {
        if watch.is_stopping() {
            break;
        }
        let running = config.backup_dir.join(format!("{RUNNING}{name}"));
        if let Err(error) = publish::rename(&config.backup_dir.join(&name), &running) {
            tracing::warn!(event = "request.refused", request = name, %error, "a request could not be claimed");
            continue;
        }
        tracing::info!(
            event = "request.begun",
            request = name,
            "a request folder was found"
        );
        let mut result = carry_out(config, &request, watch);
        if result.is_err() && watch.is_stopping() {
            result = Err(interrupted());
        }
        finish(config, &name, &running, &result);
        let renews = result.is_ok() && request.renews();
        served = served.max(if renews {
            Served::Renewal
        } else {
            Served::Something
        });
    }
    Ok(served)
}

/// The names of the requests that wait; none where the directory cannot be read.
#[must_use]
pub fn names(dir: &Path) -> BTreeSet<String> {
    let waiting = waiting(dir).unwrap_or_default().into_iter();
    waiting.map(|(name, _)| name).collect()
}

/// Requests whose work was cut off by a kill: they are told to be failed, never run again.
///
/// # Errors
/// When the directory cannot be read.
pub fn close_interrupted(config: &Config) -> anyhow::Result<()> {
    for name in folders(&config.backup_dir)? {
        let Some(request) = name
            .strip_prefix(RUNNING)
            .filter(|request| Request::parse(request).is_some())
        else {
            continue;
        };
        finish(
            config,
            request,
            &config.backup_dir.join(&name),
            &Err(interrupted()),
        );
    }
    Ok(())
}

fn interrupted() -> anyhow::Error {
    let text = Text::new(
        "途中で中断されました。一覧 (list) やデータを確かめてから、必要ならもう一度フォルダを作ってください。復元の途中だった場合は、次の起動で完了します。\n",
        "It was interrupted. Look at the result first; if it is still wanted, make the folder again. A restore that had begun is completed by the next start.\n",
    );
    anyhow::anyhow!(Interrupted(text))
}

#[derive(Debug)]
struct Interrupted(Text);

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.in_language(Language::En).trim_end())
    }
}

impl std::error::Error for Interrupted {}

fn waiting(dir: &Path) -> anyhow::Result<Vec<(String, Request)>> {
    let names = folders(dir)?.into_iter();
    let requests = names.filter_map(|name| {
        let request = Request::parse(&name)?;
        is_empty(&dir.join(&name)).then_some((name, request))
    });
    Ok(requests.collect())
}

fn folders(dir: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let entry = entry?;
        // Not every file system tells the kind; one that goes meanwhile is no request.
        if entry.file_type().is_ok_and(|kind| kind.is_dir())
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// What a NAS or a desktop puts into every folder does not count.
fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|entries| {
        entries
            .flatten()
            .all(|entry| entry.file_name().to_str().is_some_and(is_foreign))
    })
}

fn carry_out(config: &Config, request: &Request, watch: &Watch) -> anyhow::Result<Text> {
    if *request == Request::Backup {
        let result = job::run(config, Cause::Request, watch);
        report::conclude(config, Cause::Request, &result, watch);
        return match result? {
            Outcome::Published(done) => Ok(report::published(&done)),
            Outcome::NoDatabaseYet => {
                anyhow::bail!("there is no database yet: the bot has not run")
            }
        };
    }
    let lock = lock::take(&config.backup_dir, job::PATIENCE)?;
    let _lock = lock.context(lock::Busy)?;
    match request {
        Request::Backup => Ok(Text::new("", "")),
        Request::Restore(wanted) => {
            let done = restore::in_place(config, wanted, watch)?;
            report::log_restored(&done);
            Ok(report::restored(&done))
        }
        Request::Accept(wanted) => accept::run(config, wanted),
        Request::Extract(wanted) => {
            let (folder, manifest) = extract::run(config, wanted, time::now(), watch)?;
            let shown = folder.display();
            let mut text = Text::new(
                format!(
                    "取り出しました: {shown}\nこのフォルダは 7 日後に消えます。「忘れて」の依頼はこの写しには及びません。\n"
                ),
                format!(
                    "Extracted: {shown}\nThis folder goes after 7 days. Requests to forget do not reach into this copy.\n"
                ),
            );
            report::add_databases(&mut text, &manifest);
            Ok(text)
        }
    }
}

fn finish(config: &Config, name: &str, running: &Path, result: &anyhow::Result<Text>) {
    let (word, text) = match result {
        Ok(text) => ("done", text.clone()),
        Err(error) => match error.downcast_ref::<Interrupted>() {
            Some(Interrupted(text)) => ("failed", text.clone()),
            None => ("failed", report::trouble(error)),
        },
    };
    match result {
        Ok(_) => tracing::info!(
            event = "request.done",
            request = name,
            "a request was served"
        ),
        Err(error) => {
            tracing::warn!(event = "request.failed", request = name, error = %format!("{error:#}"), "a request could not be served");
        }
    }
    let body = text.in_language(config.language);
    let target = free_folder(&config.backup_dir, &format!("{word}-{name}"), config);
    if publish::write(&running.join(REPORT), body.as_bytes(), 0o666).is_err() {
        let beside = config.backup_dir.join(format!("{word}-{name}-{REPORT}"));
        publish::write(&beside, body.as_bytes(), 0o666).ok();
    }
    if let Err(error) = publish::rename(running, &target) {
        tracing::warn!(event = "request.stuck", request = name, %error, "a request folder could not be renamed");
    }
}

fn free_folder(dir: &Path, name: &str, config: &Config) -> PathBuf {
    let plain = dir.join(name);
    if !plain.exists() {
        return plain;
    }
    let stamp = time::now()
        .to_zoned_datetime(config.zone.clone())
        .strftime("%Y%m%d_%H%M%S")
        .to_string();
    let stamped = dir.join(format!("{name}-{stamp}"));
    let more = (2..1_000).map(|count| dir.join(format!("{name}-{stamp}-{count}")));
    std::iter::once(stamped.clone())
        .chain(more)
        .find(|path| !path.exists())
        .unwrap_or(stamped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_words_are_requests() {
        assert_eq!(Request::parse("backup-now"), Some(Request::Backup));
        assert_eq!(
            Request::parse("restore-latest"),
            Some(Request::Restore("latest".into()))
        );
        let stem = "backup_20261128_020000";
        assert_eq!(
            Request::parse(&format!("restore-{stem}")),
            Some(Request::Restore(stem.into()))
        );
        assert_eq!(
            Request::parse(&format!("extract-{stem}")),
            Some(Request::Extract(stem.into()))
        );
        assert_eq!(
            Request::parse(&format!("accept-{stem}")),
            Some(Request::Accept(stem.into()))
        );
        for name in [
            "restore",
            "restore-",
            "restore-..",
            "restore-my photos",
            "done-backup-now",
            "running-backup-now",
            "New Folder",
            "backup-now2",
        ] {
            assert_eq!(Request::parse(name), None, "{name}");
        }
    }

    #[test]
    fn what_a_nas_adds_counts_as_empty() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["backup-now/@eaDir", "restore-latest/photos"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("backup-now/.DS_Store"), "x").unwrap();
        fs::write(dir.path().join("extract-latest"), "a file is no request").unwrap();
        let found = waiting(dir.path()).unwrap();
        assert_eq!(found, [("backup-now".to_owned(), Request::Backup)]);
    }
}
