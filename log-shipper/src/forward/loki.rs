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
/// Words of which one at least stands in whatever a Loki says against a line; nobody between us and it uses them.
const LOKIS_WORDS: [&str; 5] = ["stream", "entry", "entries", "timestamp", "label"];
/// A line so far ahead of our own clock is itself at fault. One less far is waited for: its time comes, or the Loki's
/// clock is mended.
const AHEAD_MILLIS: i64 = 86_400_000;

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
            status if LINE_FAULTS.contains(&status) => {
                let ahead = lines.first().and_then(|text| ahead_of(text, now_millis));
                match judge(status, &reply.body, ahead.unwrap_or(0)) {
                    None => Ok(Sent {
                        accepted: 0,
                        refused: 1,
                    }),
                    Some(why) => Err(failure(&reply, why)),
                }
            }
            status => Err(failure(&reply, explain(status))),
        }
    }
}

fn failure(reply: &Reply, why: &str) -> Failure {
    Failure {
        why: format!("status {}: {why}", reply.status),
        cause: Cause::of_status(reply.status),
        wait: reply.retry_after,
    }
}

/// Milliseconds by which a line's own time is ahead of `now_millis`.
fn ahead_of(text: &str, now_millis: i64) -> Option<i64> {
    Some(line::glance(text.as_bytes()).millis? - now_millis)
}

/// Why a line that was refused alone can still be taken later; `None` = it never will be. Whoever else answers in a
/// Loki's place (a proxy, a port that wants TLS, a wrong address) refuses everything, and that is not the lines' fault.
fn judge(status: u16, body: &str, ahead_millis: i64) -> Option<&'static str> {
    // Too long for whatever stands there: a single line does not get shorter by waiting.
    if status == 413 {
        return None;
    }
    let said = body.to_ascii_lowercase();
    let is_lokis =
        !said.trim_start().starts_with('<') && LOKIS_WORDS.iter().any(|word| said.contains(word));
    if !is_lokis {
        return Some("this answer is not a Loki's; see what listens at the address");
    }
    let too_new = said.contains("too new") || said.contains("future");
    (too_new && ahead_millis < AHEAD_MILLIS)
        .then_some("the line is too new for it; see whether both clocks are right")
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

fn explain(status: u16) -> &'static str {
    match status {
        401 | 403 => "user or password is wrong",
        404 => "there is no Loki at this address",
        429 => "it asks for less at once",
        500..=599 => "it has trouble itself",
        _ => "it did not take the lines",
    }
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

    #[test]
    fn a_line_is_given_up_only_when_a_loki_says_that_it_is_at_fault() {
        let given_up = [
            "entry for stream '{host=\"kotonoha\"}' has timestamp too old: 2026-03-01T00:00:00Z, oldest acceptable timestamp is: 2026-03-08T00:00:00Z",
            "entry with timestamp 2026-03-01 00:00:00 +0000 UTC ignored, reason: 'entry too far behind, entry timestamp is: 2026-03-01T00:00:00Z, oldest acceptable timestamp is: 2026-03-01T01:00:00Z',\nuser 'fake', total ignored: 1 out of 1",
            "entry out of order for stream: {host=\"kotonoha\"}",
            "Max entry size '256000' bytes exceeded for stream '{host=\"kotonoha\"}' while adding an entry with length '300000' bytes",
            "stream '{level=\"INFO\"}' has label value too long: 'x'",
        ];
        for body in given_up {
            assert_eq!(judge(400, body, 0), None, "{body}");
        }
        assert_eq!(
            judge(413, "<html>413 Request Entity Too Large</html>", 0),
            None
        );
        let waited_for = [
            "entry for stream '{host=\"kotonoha\"}' has timestamp too new: 2026-03-01T01:00:00Z",
            "entry timestamp is too far in the future",
            "<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head>streams</html>",
            "Client sent an HTTP request to an HTTPS server.\n",
            "400 Bad Request",
            "",
        ];
        for body in waited_for {
            assert!(judge(400, body, 0).is_some(), "{body}");
        }
    }

    #[test]
    fn a_line_of_another_century_does_not_hold_up_the_others() {
        let body = "entry for stream '{}' has timestamp too new: 2099-01-01T00:00:00Z";
        let line = r#"{"ts":"1970-01-03T00:00:00.000Z","level":"INFO"}"#;
        let (soon, long_ago) = (2 * AHEAD_MILLIS - 1, 0);
        assert!(judge(400, body, ahead_of(line, soon).unwrap()).is_some());
        assert!(judge(400, body, ahead_of(line, long_ago).unwrap()).is_none());
    }
}
