//! Everything the owner can set: complete and valid before the first socket or file is opened.

use std::path::PathBuf;
use std::time::Duration;

use daemon_kit::boot::{KitSettings, Place};
use daemon_kit::env::Env;
use daemon_kit::logging::LogSettings;
use daemon_kit::text::{Language, Text};
use jiff::tz::TimeZone;
use secrecy::SecretString;

use crate::llm;

/// The name of this program in logs, locks and heartbeats.
pub const SERVICE: &str = "bot";
/// Below this much room the owner is warned.
const MIN_FREE_BYTES: u64 = 256 << 20;
const ARCHIVE_MINUTES: [u64; 4] = [60, 1440, 4320, 10_080];

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Discord.
    pub discord: Discord,
    /// Where the database and its lock are.
    pub data_dir: PathBuf,
    /// The database's name there.
    pub database: String,
    /// The optional YAML.
    pub config_file: PathBuf,
    /// The models.
    pub llm: llm::Config,
    /// How and where we talk.
    pub talk: Talk,
    /// Listening unasked.
    pub eavesdrop: Eavesdrop,
    /// What may be asked and spent.
    pub limits: Limits,
    /// Whom to tell; empty = whoever owns the application.
    pub owner_ids: Vec<u64>,
    /// Pinged while answering works.
    pub ping_url: Option<SecretString>,
    /// A root certificate to trust besides the built-in ones.
    pub extra_ca: Option<PathBuf>,
    /// Whether network file systems are accepted.
    pub allow_network_filesystem: bool,
    /// What members and owner read.
    pub language: Language,
    /// The log.
    pub log: LogSettings,
}

/// Discord.
#[derive(Clone, Debug)]
pub struct Discord {
    /// Ours.
    pub token: SecretString,
    /// Discord, or something that stands in for it.
    pub api_url: String,
}

/// How and where we talk.
#[derive(Clone, Debug)]
pub struct Talk {
    /// Whether a mention gets a thread.
    pub threads: bool,
    /// When threads fall asleep.
    pub archive_minutes: u64,
    /// Whether answers grow before people's eyes.
    pub streaming: bool,
    /// What was said longer ago is not answered after an absence.
    pub catch_up_minutes: u64,
    /// How long words are kept; forever by default.
    pub retention_days: Option<u32>,
}

/// Listening unasked.
#[derive(Clone, Debug)]
pub struct Eavesdrop {
    /// Where we may.
    pub channels: Vec<u64>,
    /// Who judges whether to speak.
    pub judge_model: llm::ModelName,
    /// How many lines are remembered.
    pub buffer_size: usize,
    /// With fewer lines nothing is judged.
    pub min_messages: usize,
    /// How long to be quiet after speaking.
    pub min_interval: Duration,
}

/// What may be asked and spent.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The common bucket.
    pub capacity: u32,
    /// Its refill a second.
    pub refill: f64,
    /// Each member, a minute.
    pub per_user: u32,
    /// Dollars a month; 0 = no limit.
    pub monthly_budget: f64,
}

impl Config {
    /// Asks `env` for everything; problems are gathered there.
    pub fn read(env: &mut Env) -> Self {
        let discord = discord(env);
        let config = Self {
            discord,
            data_dir: env.path("DATA_DIR", "./data"),
            database: database_name(env),
            config_file: env.path("CONFIG_FILE", "./config/kotonoha.yaml"),
            llm: llm::Config::read(env),
            talk: talk(env),
            eavesdrop: eavesdrop(env),
            limits: limits(env),
            owner_ids: ids(env, "OWNER_IDS"),
            ping_url: env.secret("BOT_PING_URL"),
            extra_ca: env.extra_ca(),
            allow_network_filesystem: env.allow_network_filesystem(),
            language: env.language(),
            log: env.log_settings(SERVICE),
        };
        retired(env);
        config
    }

    /// The database.
    #[must_use]
    pub fn database_path(&self) -> PathBuf {
        self.data_dir.join(&self.database)
    }

    /// The lock of this data: held for the bot's life.
    #[must_use]
    pub fn lock_path(&self) -> PathBuf {
        self.data_dir.join(".bot.lock")
    }

    /// The owner's time zone.
    #[must_use]
    pub fn zone(&self) -> TimeZone {
        self.log.zone.clone()
    }

    /// What the kit needs to know.
    #[must_use]
    pub fn kit(&self) -> KitSettings {
        let place = |name, path: &PathBuf, local| Place {
            name,
            path: path.clone(),
            write: true,
            local,
            min_free_bytes: MIN_FREE_BYTES,
        };
        KitSettings {
            log: self.log.clone(),
            language: self.language,
            places: vec![
                place("data", &self.data_dir, true),
                place("logs", &self.log.dir, false),
            ],
            allow_network_filesystem: self.allow_network_filesystem,
        }
    }
}

fn discord(env: &mut Env) -> Discord {
    let expected = Text::new(
        "http:// か https:// で始まる URL を指定してください",
        "must be an http:// or https:// URL",
    );
    let default = "https://discord.com";
    let api_url = env.parsed("DISCORD_API_URL", default, &expected, default, |text| {
        let url = reqwest::Url::parse(text).ok()?;
        (matches!(url.scheme(), "http" | "https") && url.has_host()).then(|| text.to_owned())
    });
    Discord {
        token: env.required_secret("DISCORD_TOKEN", "MTIzNDU2Nzg5…"),
        api_url: api_url.unwrap_or_else(|| default.to_owned()),
    }
}

fn database_name(env: &mut Env) -> String {
    let expected = Text::new(
        "フォルダを含まないファイル名を指定してください",
        "must be a file name without a folder",
    );
    let plain = |text: &str| {
        let is_plain = !text.contains('/') && text != "." && text != ".." && !text.starts_with('.');
        is_plain.then(|| text.to_owned())
    };
    env.parsed(
        "DATABASE_NAME",
        "sessions.db",
        &expected,
        "sessions.db",
        plain,
    )
    .unwrap_or_else(|| "sessions.db".to_owned())
}

fn talk(env: &mut Env) -> Talk {
    let expected = Text::new("分の数を指定してください", "must be a number of minutes");
    let asked = env.parsed(
        "THREAD_AUTO_ARCHIVE_DURATION",
        "1440",
        &expected,
        "1440",
        |text| text.parse::<u64>().ok(),
    );
    let asked = asked.unwrap_or(1440);
    let archive_minutes = nearest_archive(asked);
    if archive_minutes != asked {
        env.notice(Text::new(
            format!("THREAD_AUTO_ARCHIVE_DURATION={asked} は Discord にないので {archive_minutes} 分として扱います"),
            format!("THREAD_AUTO_ARCHIVE_DURATION={asked} is not known to Discord and is taken as {archive_minutes} minutes"),
        ));
    }
    // Between turns nothing of a conversation is in memory: any number of hours is kept.
    let _: u64 = env.number("SESSION_TIMEOUT_HOURS", 72, 1..=87_600);
    Talk {
        threads: env.switch("THREADS", true),
        archive_minutes,
        streaming: env.switch("STREAMING", true),
        catch_up_minutes: env.number("CATCH_UP_MINUTES", 60, 0..=10_080),
        retention_days: env.optional_number("HISTORY_RETENTION_DAYS", 1..=36_500),
    }
}

/// Discord knows four durations: the shortest that is long enough, or the longest.
fn nearest_archive(minutes: u64) -> u64 {
    ARCHIVE_MINUTES
        .into_iter()
        .find(|known| *known >= minutes)
        .unwrap_or(10_080)
}

fn eavesdrop(env: &mut Env) -> Eavesdrop {
    let expected = Text::new(
        "「提供元/モデル名」の形で指定してください",
        "must be provider/model",
    );
    let haiku = "anthropic/claude-haiku-4-5";
    let model = |text: &str| text.parse::<llm::ModelName>().ok();
    let minutes = env.number(
        "EAVESDROP_MIN_INTERVENTION_INTERVAL_MINUTES",
        10_u64,
        0..=10_080,
    );
    Eavesdrop {
        channels: ids(env, "EAVESDROP_ENABLED_CHANNELS"),
        judge_model: env
            .parsed("EAVESDROP_JUDGE_MODEL", haiku, &expected, haiku, model)
            // A problem is recorded: nothing starts with this.
            .unwrap_or(llm::ModelName {
                provider: llm::Provider::Echo,
                id: "echo".to_owned(),
            }),
        buffer_size: env.number("EAVESDROP_BUFFER_SIZE", 20, 1..=200),
        min_messages: env.number("EAVESDROP_MIN_MESSAGES", 3, 1..=200),
        min_interval: Duration::from_secs(minutes * 60),
    }
}

fn limits(env: &mut Env) -> Limits {
    Limits {
        capacity: env.number("RATE_LIMIT_CAPACITY", 50, 1..=1_000_000),
        refill: env.number("RATE_LIMIT_REFILL", 0.8, 0.001..=1_000_000.0),
        per_user: env.number("USER_RATE_LIMIT", 10, 1..=1_000_000),
        monthly_budget: env.number("MONTHLY_BUDGET", 10.0, 0.0..=1_000_000.0),
    }
}

fn ids(env: &mut Env, name: &'static str) -> Vec<u64> {
    let listed = env.list(name);
    let ids: Vec<u64> = listed
        .iter()
        .filter_map(|id| id.parse().ok())
        .filter(|id| *id > 0)
        .collect();
    if ids.len() != listed.len() {
        let expected = Text::new(
            "Discord の ID (数字) をカンマ区切りで指定してください",
            "must be Discord ids (numbers), separated by commas",
        );
        env.problem(name, expected, "123456789012345678");
    }
    ids
}

/// What the predecessor's `.env` may hold besides: accepted, and said once to mean nothing any more.
fn retired(env: &mut Env) {
    for (name, ja, en) in [
        (
            "BOT_PREFIX",
            "コマンドは / で始まるものに変わりました",
            "commands begin with / now",
        ),
        (
            "LOG_FILE",
            "ログは LOG_DIR に書かれます",
            "logs are written to LOG_DIR",
        ),
        (
            "LOG_BACKUP_COUNT",
            "ログは log-shipper が整理します",
            "the log-shipper keeps the logs",
        ),
        (
            "RATE_LIMIT_WINDOW",
            "RATE_LIMIT_CAPACITY と RATE_LIMIT_REFILL で決まります",
            "RATE_LIMIT_CAPACITY and RATE_LIMIT_REFILL decide",
        ),
        (
            "RATE_LIMIT_THRESHOLD",
            "RATE_LIMIT_CAPACITY と RATE_LIMIT_REFILL で決まります",
            "RATE_LIMIT_CAPACITY and RATE_LIMIT_REFILL decide",
        ),
        (
            "MAX_SESSIONS",
            "会話の数に上限はありません",
            "conversations are not limited in number",
        ),
        (
            "HEALTH_CHECK_ENABLED",
            "ポートを開かないヘルスチェックに変わりました",
            "the health check opens no port any more",
        ),
    ] {
        env.retired(
            name,
            Text::new(
                format!("{name} は使われなくなりました: {ja}"),
                format!("{name} is not used any more: {en}"),
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        vars: &[(&str, &str)],
    ) -> (
        Config,
        Result<daemon_kit::env::Settled, Vec<daemon_kit::env::Problem>>,
    ) {
        let mut env = Env::from_map(vars.iter().copied()).with_secrets_dir("/nonexistent");
        let config = Config::read(&mut env);
        (config, env.finish())
    }

    #[test]
    fn a_token_and_a_model_without_key_are_enough() {
        let (config, settled) = read(&[("DISCORD_TOKEN", "t"), ("LLM_MODEL", "echo/echo")]);
        assert!(settled.is_ok());
        assert_eq!(config.database_path(), PathBuf::from("./data/sessions.db"));
        assert!(config.talk.threads && config.talk.streaming);
        assert_eq!(config.talk.catch_up_minutes, 60);
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let (_, settled) = read(&[
            ("DISCORD_API_URL", "discord"),
            ("LLM_MODEL", "echo/echo"),
            ("DATABASE_NAME", "../x.db"),
            ("OWNER_IDS", "me"),
            ("THREADS", "perhaps"),
        ]);
        let names: Vec<&str> = settled
            .unwrap_err()
            .iter()
            .map(|problem| problem.name)
            .collect();
        for name in [
            "DISCORD_TOKEN",
            "DISCORD_API_URL",
            "DATABASE_NAME",
            "OWNER_IDS",
            "THREADS",
        ] {
            assert!(names.contains(&name), "{name} is missing in {names:?}");
        }
    }

    #[test]
    fn what_the_predecessor_accepted_is_mapped_and_said() {
        let (config, settled) = read(&[
            ("DISCORD_TOKEN", "t"),
            ("LLM_MODEL", "echo/echo"),
            ("THREAD_AUTO_ARCHIVE_DURATION", "43200"),
            ("BOT_PREFIX", "!"),
        ]);
        assert_eq!(config.talk.archive_minutes, 10_080);
        let notices = settled.unwrap().notices;
        assert!(notices.iter().any(|notice| notice.en.contains("10080")));
        assert!(
            notices
                .iter()
                .any(|notice| notice.en.contains("BOT_PREFIX"))
        );
    }
}
