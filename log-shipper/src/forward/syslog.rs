//! This room writes a line as a syslog message, in the dialects that NAS log centres understand. Pure.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::line::{self, Level, Line};

/// How a message travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// One datagram each; may be lost on the way.
    Udp,
    /// A stream.
    Tcp,
    /// A stream, encrypted, with a certificate that must be trusted.
    Tls,
}

/// A dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    /// RFC 3164: Synology Log Center's default.
    SynologyBsd,
    /// RFC 5424, octet-counted on streams.
    SynologyIetf,
    /// RFC 5424 with QNAP's own element and whole seconds.
    Qulog,
    /// RFC 5424 as it is written.
    Rfc5424,
}

impl Flavor {
    /// Reads the name in `SYSLOG_FLAVOR`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Flavor> {
        Some(match name.to_ascii_lowercase().as_str() {
            "synology-bsd" => Flavor::SynologyBsd,
            "synology-ietf" => Flavor::SynologyIetf,
            "qulog" => Flavor::Qulog,
            "rfc5424" => Flavor::Rfc5424,
            _ => return None,
        })
    }
}

/// Where a log centre listens, and what it understands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// How.
    pub transport: Transport,
    /// Where.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The dialect.
    pub flavor: Flavor,
}

/// A log centre keeps one database per host name: ours must not change with the container.
const HOST: &str = "kotonoha";
/// Facility 16, `local0`: not one that the NAS itself uses.
const FACILITY: u8 = 16;
/// RFC 3164's bound for a datagram.
const BSD_BYTES: usize = 1024;
/// What every RFC 5424 receiver should take.
const IETF_DATAGRAM_BYTES: usize = 2048;
/// Bound of a message on a stream.
const STREAM_BYTES: usize = 8192;

impl Target {
    /// One line as one message, framed for the transport.
    #[must_use]
    pub fn message(&self, text: &str, service: &str, zone: &TimeZone, now: Timestamp) -> Vec<u8> {
        let parsed = line::parse(text.as_bytes());
        let glance = parsed.as_ref().map(Line::glance).unwrap_or_default();
        let at = glance
            .millis
            .and_then(|millis| Timestamp::from_millisecond(millis).ok())
            .unwrap_or(now);
        let priority = FACILITY * 8 + severity(glance.level);
        let mut message = match self.flavor {
            Flavor::SynologyBsd => {
                let local = at.to_zoned_datetime(zone.clone());
                format!(
                    "<{priority}>{} {HOST} {service}: ",
                    local.strftime("%b %e %H:%M:%S")
                )
            }
            Flavor::SynologyIetf | Flavor::Rfc5424 => {
                let shown = at
                    .to_zoned_datetime(zone.clone())
                    .strftime("%Y-%m-%dT%H:%M:%S%.3f%:z")
                    .to_string();
                format!(
                    "<{priority}>1 {shown} {HOST} {service} - {} - ",
                    message_id(parsed.as_ref())
                )
            }
            Flavor::Qulog => {
                // Fractions of seconds, and elements with an enterprise number, are refused there.
                let shown = at
                    .to_zoned_datetime(zone.clone())
                    .strftime("%Y-%m-%dT%H:%M:%S%:z")
                    .to_string();
                let id = message_id(parsed.as_ref());
                format!(
                    "<{priority}>1 {shown} {HOST} {service} - {id} [qulog@event application=\"{service}\"] "
                )
            }
        };
        message.push_str(&parsed.as_ref().map_or_else(|| one_line(text), body));
        self.frame(message)
    }

    fn frame(&self, mut message: String) -> Vec<u8> {
        let bsd = self.flavor == Flavor::SynologyBsd;
        let limit = match self.transport {
            Transport::Udp if bsd => BSD_BYTES,
            Transport::Udp => IETF_DATAGRAM_BYTES,
            Transport::Tcp | Transport::Tls => STREAM_BYTES,
        };
        cut(&mut message, limit);
        match self.transport {
            Transport::Udp => message.into_bytes(),
            // RFC 6587: counted where the dialect is the new one, ended by a line feed where it is the old one.
            Transport::Tcp | Transport::Tls if bsd => {
                message.push('\n');
                message.into_bytes()
            }
            Transport::Tcp | Transport::Tls => format!("{} {message}", message.len()).into_bytes(),
        }
    }
}

/// `msg name=value …`, which people read in a table, `seq` and `start` last: with them a receiver can tell doubles.
fn body(line: &Line) -> String {
    let mut out = one_line(line.text("msg").unwrap_or_else(|| line.event()));
    for (name, value) in line.extras() {
        let shown = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        write!(out, " {name}={}", one_line(&shown)).ok();
    }
    for name in ["seq", "start"] {
        if let Some(value) = line.shown(name) {
            write!(out, " {name}={}", one_line(&value)).ok();
        }
    }
    out
}

/// RFC 5424's MSGID: printable ASCII, at most 32.
fn message_id(line: Option<&Line>) -> String {
    let id: String = line
        .map_or("", Line::event)
        .chars()
        .filter(char::is_ascii_graphic)
        .take(32)
        .collect();
    if id.is_empty() { "-".to_owned() } else { id }
}

fn severity(level: Option<Level>) -> u8 {
    match level {
        Some(Level::Error) => 3,
        Some(Level::Warn) => 4,
        Some(Level::Info) => 6,
        Some(Level::Debug | Level::Trace) => 7,
        None => 5,
    }
}

/// A line feed inside a message would be read as the end of it.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect()
}

/// Cuts at a letter, never inside one.
fn cut(text: &mut String, limit: usize) {
    if text.len() > limit {
        let mut end = limit;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LINE: &str = r#"{"ts":"2026-03-01T09:05:07.123+09:00","level":"ERROR","service":"bot","seq":7,"start":"a1","target":"bot::llm","event":"llm.failed","msg":"model failed","status":529}"#;

    fn message(transport: Transport, flavor: Flavor, line: &str) -> String {
        let target = Target {
            transport,
            host: "nas".into(),
            port: 514,
            flavor,
        };
        let zone = TimeZone::fixed(jiff::tz::offset(9));
        String::from_utf8(target.message(line, "bot", &zone, Timestamp::UNIX_EPOCH)).unwrap()
    }

    #[test]
    fn each_dialect_as_its_receiver_wants_it() {
        let body = "model failed status=529 seq=7 start=a1";
        assert_eq!(
            message(Transport::Udp, Flavor::SynologyBsd, LINE),
            format!("<131>Mar  1 09:05:07 kotonoha bot: {body}")
        );
        let ietf =
            format!("<131>1 2026-03-01T09:05:07.123+09:00 kotonoha bot - llm.failed - {body}");
        assert_eq!(message(Transport::Udp, Flavor::Rfc5424, LINE), ietf);
        assert_eq!(
            message(Transport::Tcp, Flavor::SynologyIetf, LINE),
            format!("{} {ietf}", ietf.len())
        );
        assert_eq!(
            message(Transport::Udp, Flavor::Qulog, LINE),
            format!(
                "<131>1 2026-03-01T09:05:07+09:00 kotonoha bot - llm.failed [qulog@event application=\"bot\"] {body}"
            )
        );
        assert!(message(Transport::Tls, Flavor::SynologyBsd, LINE).ends_with("start=a1\n"));
    }

    #[test]
    fn what_is_no_json_goes_out_as_it_is_on_one_line() {
        assert_eq!(
            message(Transport::Udp, Flavor::SynologyBsd, "panicked\tat x"),
            "<133>Jan  1 09:00:00 kotonoha bot: panicked at x"
        );
    }

    proptest! {
        #[test]
        fn bounds_and_framing_hold_for_any_text(text in any::<String>(), repeat in 1_usize..400) {
            let line = serde_json::json!({"msg": text.repeat(repeat)}).to_string();
            for flavor in [Flavor::SynologyBsd, Flavor::SynologyIetf, Flavor::Qulog, Flavor::Rfc5424] {
                let datagram = message(Transport::Udp, flavor, &line);
                prop_assert!(datagram.len() <= IETF_DATAGRAM_BYTES && !datagram.contains('\n'));
                let stream = message(Transport::Tcp, flavor, &line);
                prop_assert!(stream.len() <= STREAM_BYTES + 6);
                if flavor == Flavor::SynologyBsd {
                    prop_assert_eq!(stream.find('\n'), Some(stream.len() - 1));
                } else {
                    let (count, rest) = stream.split_once(' ').unwrap();
                    prop_assert_eq!(count.parse::<usize>().unwrap(), rest.len());
                }
            }
        }
    }
}
