//! This room posts over HTTP. The only one that names ureq.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::forward::Failure;
use crate::forward::trouble::Cause;

const WHOLE_WAIT: Duration = Duration::from_secs(20);
const CONNECT_WAIT: Duration = Duration::from_secs(10);
const REPLY_BYTES: u64 = 16 << 10;

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// How long to wait, if the other side said so.
    pub retry_after: Option<Duration>,
    /// The beginning of the answer.
    pub body: String,
}

/// A client with bounds.
pub struct Http {
    agents: Vec<Agent>,
}

impl Http {
    /// Trusts the built-in certificates; and, asked second, the owner's own.
    pub fn new(extra_ca: Option<&Path>) -> anyhow::Result<Http> {
        let mut agents = vec![agent(RootCerts::WebPki)];
        if let Some(path) = extra_ca {
            let pem = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
            let mut certificates: Vec<Certificate<'static>> = Vec::new();
            for item in parse_pem(&pem) {
                if let PemItem::Certificate(certificate) = item.context("reading EXTRA_CA_FILE")? {
                    certificates.push(certificate);
                }
            }
            agents.push(agent(RootCerts::new_with_certs(&certificates)));
        }
        Ok(Http { agents })
    }

    /// Posts a body. An error means that no answer came: nothing is known about what arrived.
    pub fn post(&self, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Reply, Failure> {
        let mut failure = Failure {
            why: String::new(),
            cause: Cause::Other,
            wait: None,
        };
        for agent in &self.agents {
            let mut request = agent.post(url);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            match request.send(body) {
                Ok(mut response) => {
                    let header = |name| {
                        response
                            .headers()
                            .get(name)
                            .and_then(|value| value.to_str().ok())
                    };
                    let retry_after =
                        header("retry-after").and_then(|text| text.trim().parse::<f64>().ok());
                    let retry_after = retry_after
                        .filter(|seconds| (0.0..=86_400.0).contains(seconds))
                        .map(Duration::from_secs_f64);
                    let status = response.status().as_u16();
                    let body = response
                        .body_mut()
                        .with_config()
                        .limit(REPLY_BYTES)
                        .lossy_utf8(true)
                        .read_to_string();
                    return Ok(Reply {
                        status,
                        retry_after,
                        body: body.unwrap_or_default(),
                    });
                }
                Err(error) => {
                    failure.why = without_address(&error);
                    failure.cause = cause(&error);
                    // Only a certificate that this agent does not know is a reason to ask the next one.
                    if !matches!(error, ureq::Error::Rustls(_) | ureq::Error::Tls(_))
                        && !failure.why.contains("certificate")
                    {
                        break;
                    }
                }
            }
        }
        Err(failure)
    }
}

/// The address may hold a secret: an error says what happened, never where.
fn without_address(error: &ureq::Error) -> String {
    match error {
        ureq::Error::BadUri(_) => "the address is not valid".to_owned(),
        other => other.to_string(),
    }
}

fn cause(error: &ureq::Error) -> Cause {
    match error {
        ureq::Error::HostNotFound => Cause::NoName,
        ureq::Error::Timeout(_) => Cause::Silent,
        ureq::Error::ConnectionFailed => Cause::Refused,
        ureq::Error::Rustls(error) => Cause::of_tls(error),
        ureq::Error::Tls(_) => Cause::Untrusted,
        ureq::Error::Io(error) => Cause::of_io(error),
        _ => Cause::Other,
    }
}

fn agent(roots: RootCerts) -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(WHOLE_WAIT))
        .timeout_connect(Some(CONNECT_WAIT))
        .max_redirects(0)
        .user_agent(concat!("kotonoha-log-shipper/", env!("CARGO_PKG_VERSION")))
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .build()
        .into()
}
