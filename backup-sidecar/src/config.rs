//! This room holds the configuration: complete and valid before anything is opened.

use std::path::{Path, PathBuf};

use daemon_kit::boot::Place;
use daemon_kit::env::Env;
use daemon_kit::logging::LogSettings;
use daemon_kit::text::{Language, Text};
use jiff::tz::TimeZone;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::collect::Sources;
use crate::retention::Policy;
use crate::schedule::Schedule;
use crate::seal::Recipients;

/// The service's name in logs and locks.
pub const SERVICE: &str = "backup-sidecar";

/// Where the owner's settings lie, beside the working directory's `data/`; mounted read-only in a container.
const CONFIG_DIR: &str = "./config";

/// Everything that a job needs to know.
#[derive(Clone)]
pub struct Config {
    /// What goes into an archive.
    pub sources: Sources,
    /// Where archives are kept.
    pub backup_dir: PathBuf,
    /// When to back up; `None`: only when told to.
    pub schedule: Option<Schedule>,
    /// What a start does.
    pub on_start: OnStart,
    /// When to rehearse a restore; `None`: only when told to.
    pub drill: Option<Schedule>,
    /// What to keep.
    pub policy: Policy,
    /// zstd's level.
    pub level: i32,
    /// So many bytes stay free.
    pub min_free_bytes: u64,
    /// Who can open archives; empty: they are not sealed.
    pub recipients: Recipients,
    /// Where keys that open sealed archives are, if anywhere.
    pub identity_file: Option<PathBuf>,
    /// Where copies go.
    pub remote: Option<Remote>,
    /// Whom to tell about success and failure.
    pub ping_url: Option<SecretString>,
    /// A root certificate to trust besides the built-in ones.
    pub extra_ca: Option<PathBuf>,
    /// The owner's zone.
    pub zone: TimeZone,
    /// The owner's language.
    pub language: Language,
    /// How to log.
    pub log: LogSettings,
    /// Whether network file systems are accepted.
    pub allow_network_filesystem: bool,
}

/// What a start does when the schedule does not say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStart {
    /// Back up when the last scheduled run was missed, or there is no archive.
    Missed,
    /// Back up at every start.
    Always,
    /// Wait for the schedule.
    Never,
}

/// Where copies go.
#[derive(Clone)]
pub struct Remote {
    /// The kind of place.
    pub target: Target,
    /// Copies older than this many days go, apart from the newest.
    pub retention_days: u32,
}

/// A place off-site.
#[derive(Clone)]
pub enum Target {
    /// A directory, such as a second volume.
    Directory(PathBuf),
    /// S3-compatible storage.
    S3(S3),
}

/// S3-compatible storage.
#[derive(Clone)]
pub struct S3 {
    /// Where the service is.
    pub endpoint: Url,
    /// The bucket's name.
    pub bucket: String,
    /// What every key begins with: empty, or ending in `/`.
    pub prefix: String,
    /// The region's name.
    pub region: String,
    /// The access key.
    pub access_key: SecretString,
    /// The secret key.
    pub secret_key: SecretString,
}

impl Config {
    /// Asks for everything.
    pub fn read(env: &mut Env) -> Self {
        let log = env.log_settings(SERVICE);
        let include_logs = env.switch("BACKUP_INCLUDE_LOGS", true);
        let days = env.number("BACKUP_RETENTION_DAYS", 7, 0..=36_500);
        let mut keep = |name| env.optional_number(name, 0..=10_000).unwrap_or(0);
        let policy = Policy {
            days,
            daily: keep("BACKUP_KEEP_DAILY"),
            weekly: keep("BACKUP_KEEP_WEEKLY"),
            monthly: keep("BACKUP_KEEP_MONTHLY"),
            yearly: keep("BACKUP_KEEP_YEARLY"),
            last: env.number("BACKUP_KEEP_LAST", 3, 1..=10_000),
        };
        let data = env.path("DATA_DIR", "./data");
        let backup_dir = env.path("BACKUP_DIR", "./backups");
        refuse_same(env, &data, &backup_dir);
        let remote = remote(env);
        let mut apart = vec![backup_dir.clone(), log.dir.clone()];
        if let Some(Target::Directory(copies)) = remote.as_ref().map(|remote| &remote.target) {
            apart.push(copies.clone());
        }
        Self {
            sources: Sources {
                data,
                config: Some(PathBuf::from(CONFIG_DIR)),
                logs: include_logs.then(|| log.dir.clone()),
                apart,
            },
            backup_dir,
            schedule: schedule(env, "BACKUP_SCHEDULE", "0 2 * * *"),
            on_start: on_start(env),
            drill: schedule(env, "BACKUP_DRILL_SCHEDULE", "0 4 1 * *"),
            policy,
            level: env.number("BACKUP_COMPRESSION_LEVEL", 3, 1..=19),
            min_free_bytes: env.mebibytes("BACKUP_MIN_FREE", 512, 0..=1 << 30),
            recipients: recipients(env),
            identity_file: env.optional_path("BACKUP_AGE_IDENTITY_FILE"),
            remote,
            ping_url: ping_url(env),
            extra_ca: env.extra_ca(),
            zone: env.zone(),
            language: env.language(),
            log,
            allow_network_filesystem: env.allow_network_filesystem(),
        }
    }

    /// The directories that the kit looks at.
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        let place = |name, path: &PathBuf, local, min_free_bytes| Place {
            name,
            path: path.clone(),
            write: true,
            local,
            min_free_bytes,
        };
        vec![
            place("data", &self.sources.data, true, 0),
            place("backups", &self.backup_dir, false, self.min_free_bytes),
            place("logs", &self.log.dir, false, 0),
        ]
    }
}

/// Archives among the data would be archived again and again. In a directory of their own below it they are left out.
fn refuse_same(env: &mut Env, data: &Path, backup_dir: &Path) {
    let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if whole(data) == whole(backup_dir) {
        let expected = Text::new(
            "DATA_DIR とは別のフォルダを指定してください",
            "must be another directory than DATA_DIR",
        );
        env.problem("BACKUP_DIR", expected, "./backups");
    }
}

fn schedule(env: &mut Env, name: &'static str, default: &str) -> Option<Schedule> {
    let expected = Text::new(
        "cron の 5 項目 (分 時 日 月 曜日)、@every 間隔、または off を指定してください",
        "must be five cron fields (minute hour day month weekday), @every and a span, or off",
    );
    let read = |text: &str| {
        if matches!(text, "off" | "never") {
            return Some(None);
        }
        Schedule::parse(text).map(Some)
    };
    env.parsed(name, default, &expected, default, read)
        .flatten()
}

fn on_start(env: &mut Env) -> OnStart {
    let expected = Text::new(
        "missed, always, never のどれかを指定してください",
        "must be missed, always or never",
    );
    let read = |text: &str| match text.to_ascii_lowercase().as_str() {
        "missed" => Some(OnStart::Missed),
        "always" | "on" | "true" | "1" => Some(OnStart::Always),
        "never" | "off" | "false" | "0" => Some(OnStart::Never),
        _ => None,
    };
    env.parsed("BACKUP_ON_START", "missed", &expected, "missed", read)
        .unwrap_or(OnStart::Missed)
}

fn recipients(env: &mut Env) -> Recipients {
    let list = env.list("BACKUP_AGE_RECIPIENTS");
    Recipients::parse(&list).unwrap_or_else(|| {
        let expected = Text::new(
            "age の公開鍵 (age1…) をコンマ区切りで指定してください",
            "must be age recipients (age1…), separated by commas",
        );
        env.problem(
            "BACKUP_AGE_RECIPIENTS",
            expected,
            "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p",
        );
        Recipients::none()
    })
}

fn ping_url(env: &mut Env) -> Option<SecretString> {
    let secret = env.secret("BACKUP_PING_URL")?;
    let is_http = Url::parse(secret.expose_secret())
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    if !is_http {
        let expected = Text::new(
            "http:// か https:// で始まる URL を指定してください",
            "must be a URL that begins with http:// or https://",
        );
        env.problem("BACKUP_PING_URL", expected, "https://hc-ping.com/your-uuid");
    }
    Some(secret)
}

fn remote(env: &mut Env) -> Option<Remote> {
    let url = env.secret("BACKUP_REMOTE_URL");
    let access_key = env.secret("BACKUP_REMOTE_ACCESS_KEY");
    let secret_key = env.secret("BACKUP_REMOTE_SECRET_KEY");
    let region = env.text_or("BACKUP_REMOTE_REGION", "us-east-1");
    let expected = Text::new("URL を指定してください", "must be a URL");
    let endpoint = env.optional(
        "BACKUP_REMOTE_ENDPOINT",
        &expected,
        "https://s3.example.com",
        |text| {
            Url::parse(text)
                .ok()
                .filter(|url| matches!(url.scheme(), "http" | "https"))
        },
    );
    let retention_days = env.number("BACKUP_REMOTE_RETENTION_DAYS", 30, 1..=36_500);
    let url = Url::parse(url?.expose_secret()).ok();
    let target = match url.as_ref().map(Url::scheme) {
        Some("file") => url
            .and_then(|url| url.to_file_path().ok())
            .map(Target::Directory),
        Some("s3") => {
            let (Some(access_key), Some(secret_key)) = (access_key, secret_key) else {
                let expected = Text::new(
                    "s3:// には BACKUP_REMOTE_ACCESS_KEY と BACKUP_REMOTE_SECRET_KEY の両方が必要です",
                    "s3:// needs both BACKUP_REMOTE_ACCESS_KEY and BACKUP_REMOTE_SECRET_KEY",
                );
                env.problem("BACKUP_REMOTE_ACCESS_KEY", expected, "AKIA…");
                return None;
            };
            let bucket = url
                .as_ref()
                .and_then(Url::host_str)
                .unwrap_or_default()
                .to_owned();
            let path = url.as_ref().map_or("", Url::path).trim_matches('/');
            let prefix = if path.is_empty() {
                String::new()
            } else {
                format!("{path}/")
            };
            let public = Url::parse(&format!("https://s3.{region}.amazonaws.com")).ok();
            endpoint
                .or(public)
                .filter(|_| !bucket.is_empty())
                .map(|endpoint| {
                    Target::S3(S3 {
                        endpoint,
                        bucket,
                        prefix,
                        region,
                        access_key,
                        secret_key,
                    })
                })
        }
        _ => None,
    };
    if target.is_none() {
        let expected = Text::new(
            "s3://バケット名/フォルダ か file:///フォルダ を指定してください",
            "must be s3://bucket/folder or file:///folder",
        );
        env.problem("BACKUP_REMOTE_URL", expected, "s3://my-bucket/kotonoha");
    }
    Some(Remote {
        target: target?,
        retention_days,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        let secrets = tempfile::tempdir().unwrap();
        let mut env = Env::from_map(vars.iter().copied()).with_secrets_dir(secrets.path());
        let config = Config::read(&mut env);
        let settled = env.finish();
        settled
            .map(|_| config)
            .map_err(|all| all.iter().map(daemon_kit::env::Problem::line).collect())
    }

    #[test]
    fn defaults_are_those_of_the_contract() {
        let config = read(&[]).ok().unwrap();
        assert_eq!(config.schedule, Schedule::parse("0 2 * * *"));
        assert_eq!(config.drill, Schedule::parse("0 4 1 * *"));
        assert_eq!(
            (config.policy.days, config.policy.last, config.policy.yearly),
            (7, 3, 0)
        );
        assert_eq!((config.level, config.min_free_bytes), (3, 512 << 20));
        assert_eq!(config.on_start, OnStart::Missed);
        assert!(
            config.remote.is_none() && config.ping_url.is_none() && config.recipients.is_empty()
        );
        assert!(config.sources.logs.is_some());
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let problems = read(&[
            ("BACKUP_SCHEDULE", "at noon"),
            ("BACKUP_KEEP_LAST", "0"),
            ("BACKUP_AGE_RECIPIENTS", "age1nonsense"),
            ("BACKUP_REMOTE_URL", "ftp://somewhere"),
            ("BACKUP_PING_URL", "not a url"),
            ("TZ", "Mars/Olympus"),
        ])
        .err()
        .unwrap();
        for name in [
            "BACKUP_SCHEDULE",
            "BACKUP_KEEP_LAST",
            "BACKUP_AGE_RECIPIENTS",
            "BACKUP_REMOTE_URL",
            "BACKUP_PING_URL",
            "TZ",
        ] {
            assert!(
                problems.iter().any(|line| line.contains(name)),
                "{name}: {problems:?}"
            );
        }
    }

    #[test]
    fn archives_lie_apart_from_the_data() {
        let problems = read(&[("DATA_DIR", "./data"), ("BACKUP_DIR", "data/")]);
        let problems = problems.err().unwrap();
        assert!(problems[0].contains("BACKUP_DIR"), "{problems:?}");
        let config = read(&[("BACKUP_DIR", "data/backups"), ("LOG_DIR", "data/logs")]);
        let apart = config.ok().unwrap().sources.apart;
        assert_eq!(apart, [Path::new("data/backups"), Path::new("data/logs")]);
    }

    #[test]
    fn remotes_are_a_directory_or_a_bucket() {
        let config = read(&[("BACKUP_REMOTE_URL", "file:///mnt/usb/kotonoha")])
            .ok()
            .unwrap();
        let target = config.remote.unwrap().target;
        assert!(
            matches!(target, Target::Directory(path) if path.to_str() == Some("/mnt/usb/kotonoha"))
        );
        let config = read(&[
            ("BACKUP_REMOTE_URL", "s3://bucket/a/b"),
            ("BACKUP_REMOTE_ACCESS_KEY", "key"),
            ("BACKUP_REMOTE_SECRET_KEY", "secret"),
            ("BACKUP_REMOTE_ENDPOINT", "http://127.0.0.1:9000"),
        ]);
        let Target::S3(s3) = config.ok().unwrap().remote.unwrap().target else {
            panic!("not S3");
        };
        assert_eq!((s3.bucket.as_str(), s3.prefix.as_str()), ("bucket", "a/b/"));
        assert!(
            read(&[("BACKUP_REMOTE_URL", "s3://bucket")]).is_err(),
            "no keys"
        );
    }
}
