//! This room decides what the owner is told, and when: at once the first time, then in digests, never twice. Pure.
//!
//! An alert names the service and the event, never a message's text; the reader finds that with `log-shipper search`.

pub mod outbox;
pub mod words;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use daemon_kit::Text;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::follow::fingerprint;
use crate::line::{Level, Line};

/// One message to the owner; the shape of the files in `logs/alerts/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Version of this shape.
    pub v: u32,
    /// Unique, and the same when a crash makes us decide again; sorts by time.
    pub id: String,
    /// RFC 3339.
    pub at: String,
    /// `error`, `digest`, `silence`, `return` or `backup`.
    pub kind: String,
    /// `error` or `info`.
    pub severity: String,
    /// Which service it is about.
    pub service: String,
    /// The event, where one is the cause.
    pub event: String,
    /// How often.
    pub count: u64,
    /// For a Japanese owner.
    pub ja: String,
    /// For an English one.
    pub en: String,
}

/// What is remembered between looks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Watch {
    groups: BTreeMap<String, Group>,
    recent: VecDeque<i64>,
    digest_due: Option<i64>,
    silent: BTreeMap<String, i64>,
    last_seen: BTreeMap<String, i64>,
    backup: BackupWatch,
    /// When this process last heard a service, counted from its own start: wall clocks jump, this does not.
    #[serde(skip)]
    heard: BTreeMap<String, Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Group {
    service: String,
    event: String,
    last: i64,
    total: u64,
    untold: u64,
    told: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct BackupWatch {
    since: Option<i64>,
    every: Option<i64>,
    told: bool,
}

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// Every `run` writes a line an hour: twice that is silence.
const SILENCE: Duration = Duration::from_secs(2 * 3_600);
/// After a start, missed backups are given this long to be caught up.
const CATCH_UP: Duration = Duration::from_secs(3_600);
/// An error not seen for this long is new again.
const FORGOTTEN: i64 = DAY;
/// So many alerts at once within ten minutes; the rest go into the digest.
const BURST: usize = 5;
const BURST_WINDOW: i64 = 10 * MINUTE;
/// Groups remembered.
const GROUPS: usize = 200;
/// The service whose silence about backups is watched.
const BACKUP_SERVICE: &str = "backup-sidecar";

impl Watch {
    /// Looks at a new line. `uptime` = how long this process has run.
    pub fn observe(
        &mut self,
        service: &str,
        line: Option<&Line>,
        now: i64,
        uptime: Duration,
    ) -> Vec<Alert> {
        self.heard.insert(service.to_owned(), uptime);
        let mut alerts: Vec<Alert> = Vec::new();
        let Some(line) = line else { return alerts };
        let seen = line.glance();
        let at = seen.millis.unwrap_or(now);
        let newest = self.last_seen.entry(service.to_owned()).or_insert(at);
        *newest = at.max(*newest).min(now.max(at));
        if let Some(since) = self.silent.remove(service) {
            alerts.push(alert("return", service, "", 1, since, words::back(service)));
        }
        if service == BACKUP_SERVICE {
            self.backup_line(line, at);
        }
        // Not about our own telling: an alert that cannot be delivered must not breed another one.
        let worth = seen.level == Some(Level::Error) || words::is_always_told(line.event());
        if worth && !line.event().starts_with("alert.") {
            alerts.extend(self.grave_line(service, line, at, now));
        }
        alerts
    }

    fn backup_line(&mut self, line: &Line, at: i64) {
        let watch = &mut self.backup;
        match line.event() {
            "backup.done" => {
                watch.since = Some(at);
                watch.told = false;
            }
            // Nothing to back up yet is no missing backup.
            "backup.waiting" => watch.since = Some(at),
            "settings" => {
                if let Some(every) = line.text("settings").and_then(schedule_interval) {
                    watch.every = Some(every);
                }
                watch.since.get_or_insert(at);
            }
            _ => {
                watch.since.get_or_insert(at);
            }
        }
    }

    fn grave_line(&mut self, service: &str, line: &Line, at: i64, now: i64) -> Option<Alert> {
        let what = if line.event().is_empty() {
            line.text("target").unwrap_or("?")
        } else {
            line.event()
        };
        let what = plain(what);
        let key = format!(
            "{service} {} {what}",
            plain(line.text("target").unwrap_or(""))
        );
        if self.groups.len() >= GROUPS && !self.groups.contains_key(&key) {
            let oldest = self
                .groups
                .iter()
                .min_by_key(|(_, group)| group.last)
                .map(|(key, _)| key.clone());
            oldest.map(|oldest| self.groups.remove(&oldest));
        }
        let group = self.groups.entry(key.clone()).or_default();
        let fresh = group.told.is_none() || at - group.last > FORGOTTEN;
        service.clone_into(&mut group.service);
        group.event.clone_from(&what);
        group.total += 1;
        group.last = group.last.max(at);
        if now - at > DAY {
            // The books are being rebuilt from old lines: what is that old was told, or is no news any more.
            group.told = Some(at);
            return None;
        }
        self.recent
            .retain(|told| (now - *told).abs() < BURST_WINDOW);
        if !fresh || self.recent.len() >= BURST {
            group.untold += 1;
            self.digest_due.get_or_insert(at + HOUR);
            return None;
        }
        group.told = Some(at);
        self.recent.push_back(now);
        let identity = format!(
            "{key} {}",
            line.shown("start").unwrap_or_default() + &line.shown("seq").unwrap_or_default()
        );
        let mut made = alert("error", service, &what, 1, at, words::event(service, &what));
        made.id = format!(
            "{}-error-{:08x}",
            stamp(at),
            fingerprint(identity.as_bytes()) as u32
        );
        if words::is_backup(&what) {
            "backup".clone_into(&mut made.kind);
        }
        Some(made)
    }

    /// Looks at the clock: digests, silence, missing backups.
    pub fn tick(&mut self, now: i64, uptime: Duration) -> Vec<Alert> {
        let mut alerts = Vec::new();
        if let Some(due) = self.digest_due {
            // A clock that went back must not put a digest off for ever.
            if now >= due || due - now > 2 * HOUR {
                alerts.extend(self.digest(due));
            }
        }
        alerts.extend(self.silences(uptime));
        alerts.extend(self.missing_backup(now, uptime));
        alerts
    }

    fn digest(&mut self, due: i64) -> Option<Alert> {
        self.digest_due = None;
        let mut rows: Vec<(u64, String, String)> = Vec::new();
        for group in self.groups.values_mut().filter(|group| group.untold > 0) {
            rows.push((
                std::mem::take(&mut group.untold),
                group.service.clone(),
                group.event.clone(),
            ));
            group.told = Some(group.last);
        }
        rows.sort_by_key(|(count, _, _)| std::cmp::Reverse(*count));
        let total = rows.iter().map(|(count, _, _)| count).sum();
        (total > 0).then(|| alert("digest", "", "", total, due, words::digest(&rows)))
    }

    fn silences(&mut self, uptime: Duration) -> Vec<Alert> {
        let mut alerts = Vec::new();
        for (service, last) in &self.last_seen {
            let heard = self.heard.get(service).copied().unwrap_or(Duration::ZERO);
            if uptime.saturating_sub(heard) >= SILENCE && !self.silent.contains_key(service) {
                self.silent.insert(service.clone(), *last);
                alerts.push(alert(
                    "silence",
                    service,
                    "",
                    1,
                    *last,
                    words::silent(service),
                ));
            }
        }
        alerts
    }

    fn missing_backup(&mut self, now: i64, uptime: Duration) -> Option<Alert> {
        let since = self.backup.since?;
        let every = self.backup.every.unwrap_or(DAY);
        let late = now - since > every + every / 10 + 2 * HOUR;
        if self.backup.told || uptime < CATCH_UP || !late {
            return None;
        }
        self.backup.told = true;
        let hours = (now - since) / HOUR;
        Some(alert(
            "backup",
            BACKUP_SERVICE,
            "backup.missing",
            1,
            since,
            words::no_backup(hours),
        ))
    }

    /// When the last backup was done, or was first expected.
    #[must_use]
    pub fn backup_interval(&self) -> i64 {
        self.backup.every.unwrap_or(DAY)
    }
}

fn alert(kind: &str, service: &str, event: &str, count: u64, at: i64, text: Text) -> Alert {
    let subject = if service.is_empty() {
        String::new()
    } else {
        format!("-{service}")
    };
    Alert {
        v: 1,
        id: format!("{}-{kind}{subject}", stamp(at)),
        at: Timestamp::from_millisecond(at)
            .unwrap_or(Timestamp::UNIX_EPOCH)
            .to_string(),
        kind: kind.to_owned(),
        severity: if kind == "return" { "info" } else { "error" }.to_owned(),
        service: service.to_owned(),
        event: event.to_owned(),
        count,
        ja: text.ja,
        en: text.en,
    }
}

fn stamp(millis: i64) -> String {
    let at = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH);
    at.to_zoned_datetime(jiff::tz::TimeZone::UTC)
        .strftime("%Y%m%dT%H%M%S%3f")
        .to_string()
}

/// A name out of a log line, harmless in any message: no pings, no mark-up, no length.
fn plain(text: &str) -> String {
    let harmless = |letter: &char| letter.is_ascii_alphanumeric() || "._:-".contains(*letter);
    text.chars().filter(harmless).take(60).collect()
}

/// How often a schedule comes, about: `BACKUP_SCHEDULE` out of the line that lists the settings.
fn schedule_interval(settings: &str) -> Option<i64> {
    let schedule = settings.split("BACKUP_SCHEDULE=").nth(1)?;
    let fields: Vec<&str> = schedule
        .split_whitespace()
        .take_while(|field| !field.contains('='))
        .take(5)
        .collect();
    if fields.first() == Some(&"@every") {
        let age = daemon_kit::time::parse_age(fields.get(1)?)?;
        return i64::try_from(age.as_millis()).ok();
    }
    match fields[..] {
        [_, _, "*", "*", "*"] => Some(DAY),
        [_, _, "*", "*", _] => Some(7 * DAY),
        [_, _, _, _, _] => Some(31 * DAY),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
