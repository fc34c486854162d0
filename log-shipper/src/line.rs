//! This room reads one line of the log: quickly (time and level alone), or whole.

use serde_json::{Map, Value};

/// How grave a line is, in the order of the writers.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// Something failed.
    Error,
    /// Something is not as it should be.
    Warn,
    /// The story.
    Info,
    /// Details.
    Debug,
    /// Every step.
    Trace,
}

/// Names as they stand in lines, the most frequent first; then those of the predecessor.
const NAMES: [(&str, Level); 8] = [
    ("INFO", Level::Info),
    ("WARN", Level::Warn),
    ("ERROR", Level::Error),
    ("DEBUG", Level::Debug),
    ("TRACE", Level::Trace),
    ("WARNING", Level::Warn),
    ("CRITICAL", Level::Error),
    ("FATAL", Level::Error),
];

impl Level {
    /// Every level, gravest first.
    pub const ALL: [Level; 5] = [
        Level::Error,
        Level::Warn,
        Level::Info,
        Level::Debug,
        Level::Trace,
    ];

    /// Reads a level as people and the predecessor wrote it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Level> {
        // Every line passes here: nothing is allocated.
        NAMES
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text))
            .map(|(_, level)| *level)
    }

    /// The name as it stands in the lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Level::Error => "ERROR",
            Level::Warn => "WARN",
            Level::Info => "INFO",
            Level::Debug => "DEBUG",
            Level::Trace => "TRACE",
        }
    }
}

/// What a quick look finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Glance {
    /// Milliseconds since 1970, when the line says its time.
    pub millis: Option<i64>,
    /// The level, when the line says it.
    pub level: Option<Level>,
}

/// Time and level without parsing the line, as long as it has the writers' order of fields.
#[must_use]
pub fn glance(line: &[u8]) -> Glance {
    let quick = line.strip_prefix(br#"{"ts":""#).and_then(|rest| {
        let end = memchr::memchr(b'"', rest)?;
        let millis = millis_of(&rest[..end])?;
        let level = rest[end..].strip_prefix(br#"","level":""#)?;
        let level = &level[..memchr::memchr(b'"', level)?];
        Some(Glance {
            millis: Some(millis),
            level: Level::parse(std::str::from_utf8(level).ok()?),
        })
    });
    quick.unwrap_or_else(|| parse(line).map_or_else(Glance::default, |whole| whole.glance()))
}

/// `YYYY-MM-DDTHH:MM:SS[.fraction](Z|±HH:MM)` as milliseconds since 1970.
///
/// By hand because every line of every segment passes here: a general parser costs a fifth of the compression.
#[must_use]
pub fn millis_of(text: &[u8]) -> Option<i64> {
    let number = |from: usize, to: usize| -> Option<i64> {
        text.get(from..to)?.iter().try_fold(0_i64, |sum, digit| {
            digit
                .is_ascii_digit()
                .then(|| sum * 10 + i64::from(digit - b'0'))
        })
    };
    let is = |at: usize, wanted: &[u8]| text.get(at).is_some_and(|found| wanted.contains(found));
    if !(is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":")) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    let mut at = 19;
    let mut millis = 0;
    if is(at, b".") {
        let digits = text[at + 1..]
            .iter()
            .take_while(|digit| digit.is_ascii_digit())
            .count();
        for place in 0..3 {
            millis = millis * 10
                + if place < digits {
                    i64::from(text[at + 1 + place] - b'0')
                } else {
                    0
                };
        }
        at += 1 + digits;
    }
    let offset_minutes = match text.get(at)? {
        b'Z' | b'z' if text.len() == at + 1 => 0,
        sign @ (b'+' | b'-') if text.len() == at + 6 && is(at + 3, b":") => {
            let minutes = number(at + 1, at + 3)? * 60 + number(at + 4, at + 6)?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some((seconds - offset_minutes * 60) * 1_000 + millis)
}

/// Days between 1970-01-01 and a date of the Gregorian calendar (Howard Hinnant's `days_from_civil`).
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// A line, whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    fields: Map<String, Value>,
}

/// The whole line, when it is a JSON object.
#[must_use]
pub fn parse(line: &[u8]) -> Option<Line> {
    if !line.starts_with(b"{") {
        return None;
    }
    serde_json::from_slice(line)
        .ok()
        .map(|fields| Line { fields })
}

impl Line {
    /// A field's text, when it is there and is text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name).and_then(Value::as_str)
    }

    /// A field as a number, when it is one (or text that reads as one).
    #[must_use]
    pub fn number(&self, name: &str) -> Option<f64> {
        let value = self.fields.get(name)?;
        value
            .as_f64()
            .or_else(|| value.as_str()?.parse().ok())
            .filter(|number| number.is_finite())
    }

    /// A field as a whole number that is not negative.
    #[must_use]
    pub fn count(&self, name: &str) -> Option<u64> {
        let number = self.number(name)?;
        (0.0..9.0e15).contains(&number).then_some(number as u64)
    }

    /// A field as a person would write it on a command line.
    #[must_use]
    pub fn shown(&self, name: &str) -> Option<String> {
        Some(match self.fields.get(name)? {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    }

    /// The stable name of what happened; empty when a dependency wrote the line.
    #[must_use]
    pub fn event(&self) -> &str {
        self.text("event").unwrap_or("")
    }

    /// Time and level.
    #[must_use]
    pub fn glance(&self) -> Glance {
        Glance {
            millis: self.text("ts").and_then(|text| millis_of(text.as_bytes())),
            level: self.text("level").and_then(Level::parse),
        }
    }

    /// The fields that are not part of every line, in the order of their names.
    pub fn extras(&self) -> impl Iterator<Item = (&str, &Value)> {
        const EVERY: [&str; 8] = [
            "ts", "level", "service", "seq", "start", "target", "event", "msg",
        ];
        self.fields
            .iter()
            .map(|(name, value)| (name.as_str(), value))
            .filter(|(name, _)| !EVERY.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quick_and_whole_reading_agree() {
        let line = br#"{"ts":"2026-03-01T09:00:00.123+09:00","level":"WARN","service":"bot","seq":4,"msg":"x"}"#;
        let found = glance(line);
        assert_eq!(found.level, Some(Level::Warn));
        assert_eq!(found.millis, Some(1_772_323_200_123));
        assert_eq!(parse(line).unwrap().glance(), found);
    }

    #[test]
    fn another_order_of_fields_is_read_too() {
        let line = br#"{"level":"ERROR","ts":"1970-01-01T00:00:01Z"}"#;
        assert_eq!(
            glance(line),
            Glance {
                millis: Some(1_000),
                level: Some(Level::Error)
            }
        );
        assert_eq!(
            glance(b"Traceback (most recent call last):"),
            Glance::default()
        );
        assert_eq!(glance(b""), Glance::default());
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for text in [
            "",
            "2026",
            "2026-13-01T00:00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00+0900",
            "x026-01-01T00:00:00Z",
        ] {
            assert_eq!(millis_of(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn times_agree_with_jiff(millis in -62_000_000_000_000_i64..250_000_000_000_000, offset in -720_i32..720) {
            let instant = jiff::Timestamp::from_millisecond(millis).unwrap();
            let zone = jiff::tz::Offset::from_seconds(offset * 60).unwrap();
            let text = instant.display_with_offset(zone).to_string();
            prop_assert_eq!(millis_of(text.as_bytes()), Some(millis), "{}", text);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _looked = glance(&bytes);
            let _time = millis_of(&bytes);
        }
    }
}
