//! This room alone speaks HTTP: pings and S3. Every wait has a bound; addresses and keys never reach an error.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use secrecy::{ExposeSecret, SecretString};
use ureq::Agent;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use url::Url;

/// Nothing may be silent for longer than this.
const SILENCE: Duration = Duration::from_secs(60);

/// A ping is a courtesy: it must not hold anything up.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// The server was reached and said no, with this status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server answered {0}")]
pub struct Refused(pub u16);

/// The web as this program sees it.
pub struct Web {
    /// One that trusts the built-in roots, and one that trusts the owner's.
    agents: Vec<Agent>,
}

impl Web {
    /// Opens nothing yet.
    ///
    /// # Errors
    /// When the owner's root certificate cannot be read.
    pub fn new(extra_ca: Option<&Path>) -> anyhow::Result<Self> {
        let mut agents = vec![agent(RootCerts::WebPki)];
        if let Some(path) = extra_ca {
            let pem =
                std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            let certificates: Vec<_> = parse_pem(&pem)
                .filter_map(|item| match item {
                    Ok(PemItem::Certificate(certificate)) => Some(certificate),
                    _ => None,
                })
                .collect();
            agents.push(agent(RootCerts::new_with_certs(&certificates)));
        }
        Ok(Self { agents })
    }

    /// Makes a call, with the owner's root certificate when the built-in ones do not do.
    ///
    /// # Errors
    /// With a reason that names no address.
    pub fn call<T>(
        &self,
        mut call: impl FnMut(&Agent) -> Result<T, ureq::Error>,
    ) -> anyhow::Result<T> {
        let mut last = None;
        for agent in &self.agents {
            match call(agent) {
                Ok(answer) => return Ok(answer),
                Err(ureq::Error::StatusCode(code)) => return Err(Refused(code).into()),
                Err(error) => last = Some(describe(&error)),
            }
        }
        Err(anyhow!(last.unwrap_or_default()))
    }

    /// Tells a dead man's switch: success without `trouble`, failure with it.
    pub fn ping(&self, url: &SecretString, trouble: Option<&str>) {
        let Ok(mut url) = Url::parse(url.expose_secret()) else {
            return;
        };
        if trouble.is_some() {
            let path = format!("{}/fail", url.path().trim_end_matches('/'));
            url.set_path(&path);
        }
        let sent = self.call(|agent| {
            let answer = match trouble {
                Some(trouble) => agent
                    .post(url.as_str())
                    .config()
                    .timeout_global(Some(PING_TIMEOUT))
                    .build()
                    .send(trouble)?,
                None => agent
                    .get(url.as_str())
                    .config()
                    .timeout_global(Some(PING_TIMEOUT))
                    .build()
                    .call()?,
            };
            Ok(answer.status())
        });
        if let Err(error) = sent {
            tracing::warn!(event = "ping.failed", error = %format!("{error:#}"), "the dead man's switch could not be reached");
        }
    }
}

fn agent(roots: RootCerts) -> Agent {
    let config = Agent::config_builder()
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .timeout_connect(Some(Duration::from_secs(15)))
        .timeout_resolve(Some(Duration::from_secs(15)))
        .timeout_per_read(Some(SILENCE))
        .timeout_per_write(Some(SILENCE))
        .timeout_recv_response(Some(SILENCE))
        .max_redirects(3)
        .user_agent(concat!(
            "kotonoha-backup-sidecar/",
            env!("CARGO_PKG_VERSION")
        ))
        .build();
    config.new_agent()
}

/// What went wrong, without the address: it may hold a key.
fn describe(error: &ureq::Error) -> String {
    match error {
        ureq::Error::StatusCode(code) => Refused(*code).to_string(),
        ureq::Error::Timeout(_) => "the server did not answer in time".to_owned(),
        ureq::Error::HostNotFound => {
            "the server's name is not known; is the network of this container on?".to_owned()
        }
        ureq::Error::ConnectionFailed => "the server cannot be reached".to_owned(),
        ureq::Error::Io(error) => format!("the connection broke ({})", error.kind()),
        ureq::Error::Rustls(error) => format!("no trusted connection ({error})"),
        ureq::Error::BodyExceedsLimit(limit) => format!("the answer is longer than {limit} bytes"),
        _ => "the request failed".to_owned(),
    }
}
