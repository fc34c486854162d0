//! This room keeps the books behind the owner's page: counts by hour, day and month, never the lines themselves.
//!
//! Everything here has a bound, so that the page's cost and size do not grow with the history.

pub mod chart;
pub mod page;
pub mod report;

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::line::{Level, Line};
pub use report::{Report, Surroundings, report};

const HOURS: usize = 72;
const DAYS: usize = 400;
const MONTHS: usize = 36;
const SERVICES: usize = 8;
const ERRORS: usize = 60;
const SIZES: usize = 120;
/// Answer times fall into these classes: 50 ms, then a quarter more each, up to ten minutes.
const CLASSES: usize = 44;

/// What happened in an hour.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hour {
    /// Questions taken in.
    #[serde(default)]
    pub messages: u64,
    /// Answers given.
    pub answers: u64,
    /// Turns that ended with the kind note instead.
    pub failures: u64,
}

/// What happened in a day.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Day {
    /// Questions taken in.
    #[serde(default)]
    pub messages: u64,
    /// Answers given.
    pub answers: u64,
    /// Turns that failed.
    pub failures: u64,
    /// Times that the next model of the chain was asked.
    pub failovers: u64,
    /// Answers by class of time, without trailing zeros.
    pub times: Vec<u32>,
    /// Backups verified, and failed.
    pub backups: (u32, u32),
    /// By service: lines by level (the last is "none"), and bytes.
    pub volume: BTreeMap<String, ([u64; 6], u64)>,
}

/// What a month cost.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Month {
    /// Tokens in prompts.
    pub tokens_in: u64,
    /// Tokens in answers.
    pub tokens_out: u64,
    /// US dollars.
    pub cost: f64,
    /// What of it belongs to which day, so that the bot's own word on a day can replace what its answers said.
    #[serde(default)]
    pub counted: BTreeMap<String, (u64, u64, f64)>,
}

impl Month {
    fn add(&mut self, day: &str, (tokens_in, tokens_out, cost): (u64, u64, f64)) {
        let counted = self.counted.entry(day.to_owned()).or_default();
        counted.0 += tokens_in;
        counted.1 += tokens_out;
        counted.2 += cost;
        self.tokens_in += tokens_in;
        self.tokens_out += tokens_out;
        self.cost += cost;
    }

    /// The last word on a day; said twice it counts once.
    fn settle(&mut self, day: &str, told: (u64, u64, f64)) {
        let before = self
            .counted
            .insert(day.to_owned(), told)
            .unwrap_or_default();
        self.tokens_in = self.tokens_in.saturating_sub(before.0) + told.0;
        self.tokens_out = self.tokens_out.saturating_sub(before.1) + told.1;
        self.cost = (self.cost - before.2 + told.2).max(0.0);
    }
}

/// How a service was last seen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Seen {
    /// Version and commit, as its start line says.
    pub build: String,
    /// When it started.
    pub started: i64,
    /// Its last line.
    pub last: i64,
    /// It said goodbye, and has not started since.
    pub stopped: bool,
    /// It said that it is unwell or waits to be mended, and since when.
    pub unwell: Option<i64>,
}

/// The newest verified backup.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Archive {
    /// Its name.
    pub name: String,
    /// When.
    pub at: i64,
    /// Bytes.
    pub bytes: u64,
}

/// Errors of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Trouble {
    /// Who said it.
    pub service: String,
    /// What.
    pub event: String,
    /// How often.
    pub count: u64,
    /// When last.
    pub last: i64,
}

/// The books.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Book {
    services: BTreeMap<String, Seen>,
    hours: BTreeMap<i64, Hour>,
    days: BTreeMap<String, Day>,
    months: BTreeMap<String, Month>,
    connected: Option<(bool, i64)>,
    last_answer: Option<i64>,
    budget: Option<f64>,
    archive: Option<Archive>,
    failed_backup: Option<i64>,
    sizes: VecDeque<(i64, u64)>,
    drill: Option<(i64, bool)>,
    frozen: bool,
    troubles: BTreeMap<String, Trouble>,
}

impl Book {
    /// Enters one line. `bytes` counts its end too.
    pub fn enter(&mut self, service: &str, bytes: u64, line: Option<&Line>, zone: &TimeZone) {
        let service = self.known(service);
        let seen = line.map(Line::glance).unwrap_or_default();
        let last = self.services.get(&service).map_or(0, |seen| seen.last);
        // A line without a time belongs to the moment before it.
        let at = seen.millis.unwrap_or(last);
        let date = local(at, zone);
        let day = self.days.entry(date.clone()).or_default();
        let volume = day.volume.entry(service.clone()).or_default();
        volume.0[seen.level.map_or(5, |level| level as usize)] += 1;
        volume.1 += bytes;
        let state = self.services.entry(service.clone()).or_default();
        state.last = state.last.max(at);
        if let Some(line) = line {
            state.lifecycle(line, at);
            match service.as_str() {
                "bot" => self.bot_line(line, at, &date),
                "backup-sidecar" => self.backup_line(line, at, &date),
                _ => {}
            }
            if seen.level == Some(Level::Error) {
                self.trouble(&service, line, at);
            }
        }
        self.trim();
    }

    /// Service names come from file names: more than a handful are counted together.
    fn known(&self, service: &str) -> String {
        let room = self.services.len() < SERVICES || self.services.contains_key(service);
        if room {
            service.to_owned()
        } else {
            "other".to_owned()
        }
    }

    fn bot_line(&mut self, line: &Line, at: i64, date: &str) {
        let hour = self.hours.entry(at.div_euclid(3_600_000)).or_default();
        let day = self.days.entry(date.to_owned()).or_default();
        match line.event() {
            "message.accepted" => {
                hour.messages += 1;
                day.messages += 1;
            }
            "turn.answered" => {
                hour.answers += 1;
                day.answers += 1;
                self.last_answer = self.last_answer.max(Some(at));
                if let Some(millis) = line.count("ms") {
                    add_time(&mut day.times, millis);
                }
                self.connection(true, at);
            }
            "turn.failed" | "turn.panicked" => {
                hour.failures += 1;
                day.failures += 1;
            }
            "model.failed" => day.failovers += 1,
            "start" | "gateway.ready" | "gateway.resumed" | "health.back" => {
                self.connection(true, at);
            }
            "gateway.lost" | "gateway.not_connected" => self.connection(false, at),
            "usage.day" => self.day_told(line),
            "settings" => self.budget = line.text("settings").and_then(budget).or(self.budget),
            _ => {}
        }
        let month = date.get(..7).unwrap_or(date);
        let counts = (
            line.count("input_tokens"),
            line.count("output_tokens"),
            line.number("cost_usd"),
        );
        if counts != (None, None, None) {
            let month = self.months.entry(month.to_owned()).or_default();
            let cost = counts.2.unwrap_or(0.0).max(0.0);
            month.add(date, (counts.0.unwrap_or(0), counts.1.unwrap_or(0), cost));
        }
    }

    /// What the bot says of a day that is over: also what no answer told (commands, rewrites, judges).
    fn day_told(&mut self, line: &Line) {
        let is_day = |day: &&str| day.len() == 10 && day.parse::<jiff::civil::Date>().is_ok();
        let Some(day) = line.text("day").filter(is_day) else {
            return;
        };
        let told = (
            line.count("tokens_in").unwrap_or(0),
            line.count("tokens_out").unwrap_or(0),
            line.number("usd").unwrap_or(0.0).max(0.0),
        );
        let month = self.months.entry(day[..7].to_owned()).or_default();
        month.settle(day, told);
    }

    fn connection(&mut self, up: bool, at: i64) {
        if self.connected.is_none_or(|(before, _)| before != up) {
            self.connected = Some((up, at));
        }
    }

    fn backup_line(&mut self, line: &Line, at: i64, date: &str) {
        let day = self.days.entry(date.to_owned()).or_default();
        match line.event() {
            "backup.done" => {
                day.backups.0 += 1;
                let bytes = line.count("bytes").unwrap_or(0);
                let name: String = line
                    .text("archive")
                    .unwrap_or("")
                    .chars()
                    .filter(char::is_ascii_graphic)
                    .take(60)
                    .collect();
                self.archive = Some(Archive { name, at, bytes });
                self.failed_backup = None;
                self.sizes.push_back((at, bytes));
                if self.sizes.len() > SIZES {
                    self.sizes.pop_front();
                }
            }
            "backup.failed" => {
                day.backups.1 += 1;
                self.failed_backup = Some(at);
            }
            "drill.passed" => self.drill = Some((at, true)),
            "drill.failed" => self.drill = Some((at, false)),
            "freeze.begun" => self.frozen = true,
            "freeze.ended" => self.frozen = false,
            _ => {}
        }
    }

    fn trouble(&mut self, service: &str, line: &Line, at: i64) {
        let what = if line.event().is_empty() {
            line.text("target").unwrap_or("?")
        } else {
            line.event()
        };
        let what: String = what
            .chars()
            .filter(|letter| letter.is_ascii_alphanumeric() || "._:-".contains(*letter))
            .take(60)
            .collect();
        let trouble = self
            .troubles
            .entry(format!("{service} {what}"))
            .or_default();
        service.clone_into(&mut trouble.service);
        trouble.event = what;
        trouble.count += 1;
        trouble.last = trouble.last.max(at);
    }

    fn trim(&mut self) {
        first_out(&mut self.hours, HOURS);
        first_out(&mut self.days, DAYS);
        first_out(&mut self.months, MONTHS);
        // A day of an older month is not told any more.
        for month in self.months.values_mut().rev().skip(2) {
            month.counted.clear();
        }
        if self.troubles.len() > ERRORS {
            let oldest = self
                .troubles
                .iter()
                .min_by_key(|(_, trouble)| trouble.last)
                .map(|(key, _)| key.clone());
            oldest.map(|oldest| self.troubles.remove(&oldest));
        }
    }
}

impl Seen {
    fn lifecycle(&mut self, line: &Line, at: i64) {
        match line.event() {
            "start" => {
                self.build = line
                    .text("build")
                    .unwrap_or("")
                    .chars()
                    .filter(|letter| !letter.is_control())
                    .take(120)
                    .collect();
                self.started = at;
                self.stopped = false;
                self.unwell = None;
            }
            "stop" | "crash" => self.stopped = true,
            "health.lost" | "start.holding" => self.unwell = self.unwell.or(Some(at)),
            "health.back" => self.unwell = None,
            _ => {}
        }
    }
}

fn first_out<K: Ord + Clone, V>(map: &mut BTreeMap<K, V>, limit: usize) {
    while map.len() > limit {
        map.pop_first();
    }
}

/// The local date of an instant.
#[must_use]
pub fn local(at: i64, zone: &TimeZone) -> String {
    let at = Timestamp::from_millisecond(at).unwrap_or(Timestamp::UNIX_EPOCH);
    at.to_zoned_datetime(zone.clone())
        .strftime("%Y-%m-%d")
        .to_string()
}

fn budget(settings: &str) -> Option<f64> {
    settings
        .split_whitespace()
        .find_map(|pair| pair.strip_prefix("MONTHLY_BUDGET=")?.parse().ok())
}

fn add_time(times: &mut Vec<u32>, millis: u64) {
    let class = class_of(millis);
    if times.len() <= class {
        times.resize(class + 1, 0);
    }
    times[class] = times[class].saturating_add(1);
}

/// The upper bound of a class, in milliseconds.
fn bound(class: usize) -> f64 {
    50.0 * 1.25_f64.powi(class as i32)
}

fn class_of(millis: u64) -> usize {
    (0..CLASSES)
        .find(|class| millis as f64 <= bound(*class))
        .unwrap_or(CLASSES - 1)
}

/// The time that so many of a hundred answers stay below, in milliseconds, to within a class.
#[must_use]
pub fn percentile(times: &[u32], percent: u64) -> Option<u64> {
    let all: u64 = times.iter().map(|count| u64::from(*count)).sum();
    let wanted = (all * percent).div_ceil(100).max(1);
    let mut sum = 0;
    for (class, count) in times.iter().enumerate() {
        sum += u64::from(*count);
        if sum >= wanted && all > 0 {
            return Some(bound(class).round() as u64);
        }
    }
    None
}

#[cfg(test)]
mod tests;
