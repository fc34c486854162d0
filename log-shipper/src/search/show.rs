//! This room shows lines to people: aligned, with colours on a terminal; or as they are, for scripts.

use std::fmt::Write as _;
use std::io::{self, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use jiff::tz::TimeZone;

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
}

/// Writes what is found.
pub struct Shower<'a> {
    out: &'a mut dyn Write,
    style: Style,
    count_only: bool,
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
        let progress = watched.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
            if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len}") {
                bar.set_style(style);
            }
            bar
        });
        Shower {
            out,
            style,
            count_only,
            progress,
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
        if found.gap && !self.style.json {
            self.out.write_all(b"--\n")?;
        }
        self.style.write(self.out, found.line, found.hit)
    }

    fn progress(&mut self, done: u64, all: u64) {
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
        format!(
            "\x1b[2m{time}\x1b[0m {service:<14} \x1b[{paint}m{level:<5}\x1b[0m \x1b[{weight}m{rest}\x1b[0m"
        )
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
}
