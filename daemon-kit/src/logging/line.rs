//! What one line says, as JSON for programs and in one readable row for people.

use std::fmt::{Debug, Write as _};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// A longer text is cut, in bytes: a line must stay a line.
const MAX_TEXT_BYTES: usize = 16 << 10;

/// A longer word in a library's message is not for people, and may be a token.
const MAX_WORD_CHARS: usize = 40;

/// An event on its way to a line.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) level: Level,
    pub(super) target: String,
    pub(super) event: String,
    pub(super) message: String,
    pub(super) fields: Vec<(&'static str, Value)>,
}

impl Record {
    pub(super) fn of(event: &Event<'_>) -> Self {
        let mut record = Self {
            level: *event.metadata().level(),
            target: event.metadata().target().to_owned(),
            event: "log".to_owned(),
            message: String::new(),
            fields: Vec::new(),
        };
        event.record(&mut record);
        record
    }

    /// A library's event without its fields and without anything that looks like an address or a token.
    pub(super) fn of_library(event: &Event<'_>) -> Self {
        let mut record = Self::of(event);
        record.fields.clear();
        "library".clone_into(&mut record.event);
        let words = record.message.split_whitespace().map(|word| {
            let secret = word.contains("://") || word.chars().count() > MAX_WORD_CHARS;
            if secret { "[…]" } else { word }
        });
        record.message = words.collect::<Vec<_>>().join(" ");
        record
    }

    /// The line of the contract, without its newline. Keys stand in a fixed order.
    pub(super) fn json(
        &self,
        at: Timestamp,
        zone: &TimeZone,
        service: &str,
        seq: u64,
        start: &str,
    ) -> String {
        let mut line = format!("{{\"ts\":\"{}\"", rfc3339_millis(at, zone));
        let text = |value: &str| Value::from(value).to_string();
        let mut put = |key: &str, value: String| {
            // Writing to a String cannot fail.
            write!(line, ",{}:{value}", text(key)).ok();
        };
        put("level", text(self.level.as_str()));
        put("service", text(service));
        put("seq", seq.to_string());
        put("start", text(start));
        put("target", text(&self.target));
        put("event", text(&self.event));
        put("msg", text(&self.message));
        for (key, value) in &self.fields {
            put(key, value.to_string());
        }
        line.push('}');
        line
    }

    /// The row that a NAS's log tab shows.
    pub(super) fn readable(&self, at: Timestamp, zone: &TimeZone) -> String {
        let fields: Vec<_> = self
            .fields
            .iter()
            .map(|(key, value)| (*key, value))
            .collect();
        readable_line(
            at,
            zone,
            &self.target,
            self.level.as_str(),
            &self.message,
            &fields,
        )
    }

    fn put(&mut self, field: &Field, value: Value) {
        match field.name() {
            "message" => self.message = plain(&value),
            "event" => self.event = plain(&value),
            name => self.fields.push((name, value)),
        }
    }
}

impl Visit for Record {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, cut(&format!("{value:?}")).into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, cut(value).into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
}

/// `time - target - LEVEL - message (key=value …)`, local time, on one row whatever the texts hold.
#[must_use]
pub fn readable_line(
    at: Timestamp,
    zone: &TimeZone,
    target: &str,
    level: &str,
    message: &str,
    fields: &[(&str, &Value)],
) -> String {
    let time = at.to_zoned_datetime(zone.clone());
    let time = time.strftime("%Y-%m-%d %H:%M:%S");
    let mut row = format!("{time} - {target} - {level} - {message}");
    let fields: Vec<String> = fields
        .iter()
        .map(|(key, value)| format!("{key}={}", plain(value)))
        .collect();
    if !fields.is_empty() {
        write!(row, " ({})", fields.join(", ")).ok();
    }
    one_row(&row)
}

/// Control characters would break the row, or steer the terminal that shows it.
fn one_row(text: &str) -> String {
    if text.chars().any(char::is_control) {
        let shown = text.chars().map(|c| match c {
            '\n' => " | ".to_owned(),
            c if c.is_control() => " ".to_owned(),
            c => c.to_string(),
        });
        shown.collect()
    } else {
        text.to_owned()
    }
}

fn rfc3339_millis(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned_datetime(zone.clone())
        .strftime("%Y-%m-%dT%H:%M:%S.%3f%:z")
        .to_string()
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT_BYTES)]
}

/// A panic becomes one line that says where. What it says may hold somebody's words, so that is left out.
pub(super) fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        tracing::error!(
            event = "panic",
            place,
            thread,
            "a part of the program failed unexpectedly"
        );
    }));
}
