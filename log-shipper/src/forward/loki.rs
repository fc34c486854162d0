//! This room pushes lines to a Loki, and finds the one line that it refuses instead of stopping at it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use url::Url;

use crate::forward::http::{Http, Reply};
use crate::forward::trouble::Cause;
use crate::forward::{Failure, Sent, Sink};
use crate::line;

/// Loki's own bound is 256 KB a line.
const LINE_BYTES: usize = 250_000;
/// What a Loki refuses by status stays refused only where the line is at fault.
const LINE_FAULTS: [u16; 3] = [400, 413, 422];

/// A Loki.
pub struct Loki {
    http: Http,
    url: String,
    authorization: Option<String>,
    tenant: Option<String>,
}

impl Loki {
    /// `url` is the server's address, or the whole one of its push endpoint; user and password may stand in it,
    /// and a tenant after `#`.
    pub fn new(http: Http, url: &str) -> anyhow::Result<Loki> {
        let mut url = Url::parse(url)?;
        let user = url.username().to_owned();
        let authorization = (!user.is_empty()).then(|| {
            let plain = format!(
                "{}:{}",
                decoded(&user),
                decoded(url.password().unwrap_or(""))
            );
            format!("Basic {}", base64(plain.as_bytes()))
        });
        let tenant = url
            .fragment()
            .filter(|tenant| !tenant.is_empty())
            .map(str::to_owned);
        url.set_fragment(None);
        if url.set_username("").is_ok() {
            url.set_password(None)
                .map_err(|()| anyhow::anyhow!("the address cannot hold a password"))?;
        }
        if !url.path().ends_with("/push") {
            url.set_path(&format!(
                "{}/loki/api/v1/push",
                url.path().trim_end_matches('/')
            ));
        }
        Ok(Loki {
            http,
            url: url.to_string(),
            authorization,
            tenant,
        })
    }

    fn push(&self, service: &str, lines: &[String], now_millis: i64) -> Result<Reply, Failure> {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(
            self.authorization
                .as_deref()
                .map(|value| ("authorization", value)),
        );
        headers.extend(self.tenant.as_deref().map(|value| ("x-scope-orgid", value)));
        self.http.post(
            &self.url,
            &headers,
            body(service, lines, now_millis).to_string().as_bytes(),
        )
    }

    /// Sends a run of lines; halves it where it is refused, down to the line at fault.
    fn send_run(&self, service: &str, lines: &[String], now_millis: i64) -> Result<Sent, Failure> {
        let reply = self.push(service, lines, now_millis)?;
        match reply.status {
            200..=299 => Ok(Sent {
                accepted: lines.len() as u64,
                refused: 0,
            }),
            status if LINE_FAULTS.contains(&status) && lines.len() > 1 => {
                let (first, second) = lines.split_at(lines.len() / 2);
                let first = self.send_run(service, first, now_millis)?;
                let second = self.send_run(service, second, now_millis)?;
                Ok(Sent {
                    accepted: first.accepted + second.accepted,
                    refused: first.refused + second.refused,
                })
            }
            status if LINE_FAULTS.contains(&status) => Ok(Sent {
                accepted: 0,
                refused: 1,
            }),
            status => Err(Failure {
                why: explain(status),
                cause: Cause::of_status(status),
                wait: reply.retry_after,
            }),
        }
    }
}

impl Sink for Loki {
    fn name(&self) -> &'static str {
        "loki"
    }

    fn send(&mut self, service: &str, lines: &[String], now_millis: i64) -> Result<Sent, Failure> {
        self.send_run(service, lines, now_millis)
    }

    fn pause(&self) -> Duration {
        Duration::ZERO
    }
}

fn explain(status: u16) -> String {
    let cause = match status {
        401 | 403 => "user or password is wrong",
        404 => "there is no Loki at this address",
        429 => "it asks for less at once",
        500..=599 => "it has trouble itself",
        _ => "it did not take the lines",
    };
    format!("status {status}: {cause}")
}

/// Streams by level; labels are few on purpose (ids as labels would make a stream each).
fn body(service: &str, lines: &[String], now_millis: i64) -> Value {
    let mut streams: BTreeMap<&'static str, Vec<Value>> = BTreeMap::new();
    let mut last = now_millis;
    for text in lines {
        let seen = line::glance(text.as_bytes());
        // The line's own time: a Loki drops the double of a line that it already has.
        last = seen.millis.unwrap_or(last);
        let level = seen.level.map_or("UNKNOWN", line::Level::name);
        let mut end = text.len().min(LINE_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        streams
            .entry(level)
            .or_default()
            .push(json!([format!("{last}000000"), text[..end]]));
    }
    let streams: Vec<Value> = streams
        .into_iter()
        .map(|(level, values)| json!({"stream": {"service": service, "level": level, "host": "kotonoha"}, "values": values}))
        .collect();
    json!({ "streams": streams })
}

fn decoded(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = (byte == b'%')
            .then(|| after.get(..2))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok());
        if let Some(value) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            bytes.push(value);
            rest = &after[2..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .fold(0_u32, |sum, byte| (sum << 8) | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let letter = LETTERS[(group >> (18 - 6 * place)) as usize & 63];
            out.push(if place <= chunk.len() {
                char::from(letter)
            } else {
                '='
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_credentials() {
        let loki = |url: &str| Loki::new(Http::new(None).unwrap(), url).unwrap();
        assert_eq!(
            loki("http://nas:3100").url,
            "http://nas:3100/loki/api/v1/push"
        );
        let whole = loki("https://me:p%40ss@nas/loki/api/v1/push#home");
        assert_eq!(whole.url, "https://nas/loki/api/v1/push");
        assert_eq!(whole.authorization.as_deref(), Some("Basic bWU6cEBzcw=="));
        assert_eq!(whole.tenant.as_deref(), Some("home"));
    }

    #[test]
    fn base64_pads() {
        assert_eq!(
            [base64(b""), base64(b"f"), base64(b"fo"), base64(b"foo")],
            ["", "Zg==", "Zm8=", "Zm9v"]
        );
    }

    #[test]
    fn a_stream_per_level_with_the_lines_own_times() {
        let line = |second: u32, level: &str| {
            format!(r#"{{"ts":"1970-01-01T00:00:0{second}.000Z","level":"{level}"}}"#)
        };
        let body = body(
            "bot",
            &[line(1, "INFO"), line(2, "ERROR"), "torn".into()],
            9_000,
        );
        let streams = body["streams"].as_array().unwrap();
        assert_eq!(streams.len(), 3);
        assert_eq!(streams[0]["stream"]["level"], "ERROR");
        assert_eq!(streams[1]["values"][0][0], "1000000000");
        assert_eq!(streams[2]["values"][0][0], "2000000000");
    }
}
