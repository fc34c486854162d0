//! This room reads the configuration: complete and valid before anything is opened.

use std::path::PathBuf;

use daemon_kit::{Env, Language, LogSettings, Text};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::forward::syslog::{Flavor, Target, Transport};
use crate::prune::Policy;
use crate::sweep::Sweeper;

/// The name of this program, as it stands in file names and lines.
pub const SERVICE: &str = "log-shipper";

/// Everything this program can be told.
#[derive(Debug, Clone)]
pub struct Config {
    /// `logs/`.
    pub dir: PathBuf,
    /// How this program writes its own lines.
    pub log: LogSettings,
    /// What people read.
    pub language: Language,
    /// What "today" means.
    pub zone: jiff::tz::TimeZone,
    /// When lines go.
    pub policy: Policy,
    /// zstd's level.
    pub level: i32,
    /// Seconds between full listings.
    pub sweep_seconds: u64,
    /// Where alerts go besides the outbox.
    pub webhook: Option<SecretString>,
    /// A log centre.
    pub syslog: Option<Target>,
    /// A Loki.
    pub loki: Option<SecretString>,
    /// A root certificate to trust besides the built-in ones.
    pub extra_ca: Option<PathBuf>,
    /// Whether `logs/` may be on a network file system.
    pub allow_network_filesystem: bool,
}

impl Config {
    /// Asks for everything; problems gather in `env`.
    pub fn read(env: &mut Env) -> Config {
        let log = env.log_settings(SERVICE);
        Config {
            dir: env.path("LOG_DIR", "./logs"),
            language: env.language(),
            zone: env.zone(),
            policy: Policy {
                days: env.number("LOG_RETENTION_DAYS", 30, 1..=36_500),
                total_bytes: env.mebibytes("LOG_MAX_TOTAL_SIZE", 200, 1..=10_485_760),
                free_bytes: env.mebibytes("LOG_MIN_FREE", 512, 0..=10_485_760),
            },
            level: env.number("LOG_COMPRESSION_LEVEL", 1, 1..=19),
            sweep_seconds: env.number("LOG_SWEEP_SECONDS", 60, 1..=86_400),
            webhook: address(
                env,
                "ALERT_WEBHOOK_URL",
                "https://discord.com/api/webhooks/1234/abcd",
            ),
            syslog: syslog(env),
            loki: address(env, "LOKI_URL", "http://192.168.1.10:3100"),
            extra_ca: env.extra_ca(),
            allow_network_filesystem: env.allow_network_filesystem(),
            log,
        }
    }

    /// The sinks that pruning waits for.
    #[must_use]
    pub fn sinks(&self) -> Vec<&'static str> {
        let syslog = self.syslog.as_ref().map(|_| "syslog");
        let loki = self.loki.as_ref().map(|_| "loki");
        syslog.into_iter().chain(loki).collect()
    }

    /// The straight line's settings.
    #[must_use]
    pub fn sweeper(&self) -> Sweeper {
        Sweeper {
            dir: self.dir.clone(),
            policy: self.policy,
            level: self.level,
            sinks: self.sinks(),
        }
    }

    /// Values that must never leave in a line.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        [&self.webhook, &self.loki]
            .into_iter()
            .flatten()
            .map(|secret| secret.expose_secret().to_owned())
            .collect()
    }
}

/// A secret address, which must be one of http or https.
fn address(env: &mut Env, name: &'static str, example: &'static str) -> Option<SecretString> {
    let secret = env.secret(name)?;
    let valid = Url::parse(secret.expose_secret())
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some());
    if !valid {
        env.problem(
            name,
            Text::new(
                "http:// か https:// で始まるアドレスを指定してください",
                "must be an address that begins with http:// or https://",
            ),
            example,
        );
        return None;
    }
    Some(secret)
}

fn syslog(env: &mut Env) -> Option<Target> {
    let names = Text::new(
        "synology-bsd、synology-ietf、qulog、rfc5424 のどれかを指定してください",
        "must be synology-bsd, synology-ietf, qulog or rfc5424",
    );
    let flavor = env.parsed(
        "SYSLOG_FLAVOR",
        "rfc5424",
        &names,
        "synology-bsd",
        Flavor::parse,
    );
    let url = env.text("SYSLOG_URL")?;
    let Some((transport, host, port)) = target(&url) else {
        let expected = Text::new(
            "udp://、tcp://、tls:// のどれかとホスト名を指定してください",
            "must be udp://, tcp:// or tls:// and a host",
        );
        env.problem("SYSLOG_URL", expected, "udp://192.168.1.10:514");
        return None;
    };
    Some(Target {
        transport,
        host,
        port,
        flavor: flavor?,
    })
}

fn target(url: &str) -> Option<(Transport, String, u16)> {
    let url = Url::parse(url).ok()?;
    let (transport, default_port) = match url.scheme() {
        "udp" => (Transport::Udp, 514),
        "tcp" => (Transport::Tcp, 514),
        "tls" => (Transport::Tls, 6514),
        _ => return None,
    };
    let host = url.host_str().filter(|host| !host.is_empty())?;
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    Some((transport, host, url.port().unwrap_or(default_port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &str)]) -> (Config, usize) {
        let mut env = Env::from_map(
            vars.iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let config = Config::read(&mut env);
        (
            config,
            env.finish().err().map_or(0, |problems| problems.len()),
        )
    }

    #[test]
    fn nothing_set_is_a_whole_configuration() {
        let (config, problems) = read(&[]);
        assert_eq!(problems, 0);
        assert_eq!(
            config.policy,
            Policy {
                days: 30,
                total_bytes: 200 << 20,
                free_bytes: 512 << 20
            }
        );
        assert!(config.sinks().is_empty());
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let (_, problems) = read(&[
            ("SYSLOG_URL", "http://nas"),
            ("LOKI_URL", "nas:3100"),
            ("ALERT_WEBHOOK_URL", "ftp://x"),
            ("SYSLOG_FLAVOR", "cisco"),
            ("LOG_COMPRESSION_LEVEL", "high"),
            ("LOG_RETENTION_DAYS", "0"),
        ]);
        assert_eq!(problems, 6);
    }

    #[test]
    fn addresses_of_log_centres() {
        assert_eq!(
            target("udp://nas"),
            Some((Transport::Udp, "nas".into(), 514))
        );
        assert_eq!(
            target("tls://[::1]:7000"),
            Some((Transport::Tls, "::1".into(), 7000))
        );
        assert_eq!(target("tcp://"), None);
        assert_eq!(target("nas:514"), None);
    }
}
