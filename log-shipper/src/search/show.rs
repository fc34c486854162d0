//! This room shows lines to people: aligned, with colours on a terminal; or as they are, for scripts.

use std::fmt::Write as _;
use std::io::{self, Write};

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use regex::bytes::Regex;

use crate::line::{self, Level, Line};
use crate::search::{Found, Taker};

/// How to show.
#[derive(Debug, Clone)]
pub struct Style {
    /// Lines as they stand in the file.
    pub json: bool,
    /// Colours.
    pub color: bool,
    /// Local time.
    pub zone: TimeZone,
    /// What is made to stand out, where there are colours.
    pub mark: Option<Regex>,
}

/// A scan that is over sooner shows no progress: it would only flicker.
const PROGRESS_AFTER: Duration = Duration::from_secs(1);

/// Writes what is found.
pub struct Shower<'a> {
    out: &'a mut dyn Write,
    style: Style,
    count_only: bool,
    watched: bool,
    begun: Instant,
    progress: Option<ProgressBar>,
}

impl<'a> Shower<'a> {
    /// `watched` = a person looks: long scans show how far they are.
    pub fn new(
        out: &'a mut dyn Write,
        style: Style,
        count_only: bool,
        watched: bool,
    ) -> Shower<'a> {
        Shower {
            out,
            style,
            count_only,
            watched,
            begun: Instant::now(),
            progress: None,
        }
    }

    /// Takes the progress away.
    pub fn finish(&mut self) -> io::Result<()> {
        if let Some(bar) = self.progress.take() {
            bar.finish_and_clear();
        }
        self.out.flush()
    }
}

impl Taker for Shower<'_> {
    fn found(&mut self, found: Found<'_>) -> io::Result<()> {
        if self.count_only {
            return Ok(());
        }
        let (out, style, bar) = (&mut *self.out, &self.style, &self.progress);
        let mut show = || {
            if found.gap && !style.json {
                out.write_all(b"--\n")?;
            }
            style.write(out, found.line, found.hit)?;
            // The bar makes room for the line, which must be there before the bar comes back.
            if bar.is_some() { out.flush() } else { Ok(()) }
        };
        match bar {
            Some(bar) => bar.suspend(show),
            None => show(),
        }
    }

    fn progress(&mut self, done: u64, all: u64) {
        if self.watched && self.progress.is_none() && self.begun.elapsed() > PROGRESS_AFTER {
            let target = ProgressDrawTarget::stderr_with_hz(5);
            let bar = ProgressBar::with_draw_target(Some(all), target);
            if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} {eta}") {
                bar.set_style(style);
            }
            self.progress = Some(bar);
        }
        if let Some(bar) = &self.progress {
            bar.set_length(all);
            bar.set_position(done);
        }
    }
}

impl Style {
    /// One line.
    pub fn write(&self, out: &mut dyn Write, text: &[u8], hit: bool) -> io::Result<()> {
        match line::parse(text) {
            Some(line) if !self.json => out.write_all(self.human(&line, hit).as_bytes())?,
            _ => out.write_all(text)?,
        }
        out.write_all(b"\n")
    }

    /// `time service LEVEL event msg name=value …`
    fn human(&self, line: &Line, hit: bool) -> String {
        let seen = line.glance();
        let time = seen
            .millis
            .and_then(|millis| Timestamp::from_millisecond(millis).ok())
            .map_or_else(
                || "-".repeat(23),
                |at| {
                    at.to_zoned_datetime(self.zone.clone())
                        .strftime("%Y-%m-%d %H:%M:%S%.3f")
                        .to_string()
                },
            );
        let level = seen.level.map_or("-", Level::name);
        let service = plain(line.text("service").unwrap_or("-"));
        let mut rest = String::new();
        if !line.event().is_empty() {
            rest.push_str(&plain(line.event()));
            rest.push(' ');
        }
        rest.push_str(&plain(line.text("msg").unwrap_or("")));
        for (name, value) in line.extras() {
            let shown = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            // Writing to a String cannot fail.
            write!(rest, " {}={}", plain(name), plain(&shown)).ok();
        }
        if !self.color {
            return format!("{time} {service:<14} {level:<5} {rest}");
        }
        let paint = match seen.level {
            Some(Level::Error) => "31",
            Some(Level::Warn) => "33",
            Some(Level::Info) => "32",
            _ => "2",
        };
        let weight = if hit { "0" } else { "2" };
        let rest = if hit { self.marked(&rest) } else { rest };
        format!(
            "\x1b[2m{time}\x1b[0m {service:<14} \x1b[{paint}m{level:<5}\x1b[0m \x1b[{weight}m{rest}\x1b[0m"
        )
    }

    /// A text in which what was looked for stands out. A pattern that matches only the line as it stands in the file
    /// marks nothing.
    fn marked(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut done = 0;
        let found = self
            .mark
            .iter()
            .flat_map(|mark| mark.find_iter(text.as_bytes()));
        for found in found.filter(|found| !found.is_empty()) {
            // A pattern about bytes could end inside a letter.
            let (Some(before), Some(part)) = (
                text.get(done..found.start()),
                text.get(found.start()..found.end()),
            ) else {
                continue;
            };
            write!(out, "{before}\x1b[1;4m{part}\x1b[22;24m").ok();
            done = found.end();
        }
        out.push_str(&text[done..]);
        out
    }
}

/// A log must not steer the terminal that shows it.
fn plain(text: &str) -> String {
    text.chars()
        .map(|letter| {
            if letter.is_control() {
                '\u{FFFD}'
            } else {
                letter
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(json: bool, text: &str) -> String {
        let style = Style {
            json,
            color: false,
            zone: TimeZone::UTC,
            mark: None,
        };
        let mut out = Vec::new();
        style.write(&mut out, text.as_bytes(), true).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn people_and_scripts() {
        let line = r#"{"ts":"2026-03-01T09:00:00.000+09:00","level":"WARN","service":"bot","event":"x.y","msg":"hello \u001b[31m","n":3}"#;
        assert_eq!(
            shown(false, line),
            "2026-03-01 00:00:00.000 bot            WARN  x.y hello \u{FFFD}[31m n=3\n"
        );
        assert_eq!(shown(true, line), format!("{line}\n"));
        assert_eq!(shown(false, "not json"), "not json\n");
    }

    #[test]
    fn what_was_looked_for_stands_out() {
        let style = Style {
            json: false,
            color: true,
            zone: TimeZone::UTC,
            mark: Some(Regex::new("言葉|b+").unwrap()),
        };
        assert_eq!(
            style.marked("a言葉bb"),
            "a\x1b[1;4m言葉\x1b[22;24m\x1b[1;4mbb\x1b[22;24m"
        );
        assert_eq!(style.marked("none"), "none");
    }
}
