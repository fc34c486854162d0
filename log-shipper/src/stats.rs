//! This room counts what is in `logs/`: lines, bytes, ratio, by service and level, and when. Indexes answer for
//! compressed segments, so that only what is still raw is read.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::frames::{Index, Tally};
use crate::line::Level;
use crate::segment::{self, Listing};
use crate::source::Source;

/// The numbers of one service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Service {
    /// Files.
    pub segments: u64,
    /// Lines.
    pub lines: u64,
    /// Bytes of text.
    pub raw_bytes: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Bytes of text in compressed files, and of those files: their ratio.
    pub packed: (u64, u64),
    /// Lines by level; the last is "none".
    pub levels: [u64; 6],
}

/// The numbers of the directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// By service.
    pub services: BTreeMap<String, Service>,
    /// Lines by hour since 1970.
    pub hours: BTreeMap<i64, u64>,
    /// Segments that could not be read.
    pub unreadable: u64,
}

/// Counts everything.
pub fn count(dir: &Path) -> io::Result<Stats> {
    let listing = Listing::whole(dir)?;
    let mut stats = Stats::default();
    for segment in &listing.closed {
        let counted = match (segment.raw, segment.packed) {
            (None, Some(_)) => {
                segment::open(&dir.join(segment.packed_name())).and_then(|file| Index::of(&file))
            }
            _ => Source::closed(dir, segment)
                .and_then(|source| source.map_or(Ok(Index::default()), tally)),
        };
        match counted {
            Ok(index) => {
                let packed = (segment.raw.is_none()).then_some(segment.bytes());
                stats.add(&segment.service, &index, segment.bytes(), packed);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => stats.unreadable += 1,
        }
    }
    for active in &listing.active {
        stats.add(
            &active.service,
            &tally(Source::active(active)?)?,
            active.bytes,
            None,
        );
    }
    Ok(stats)
}

fn tally(mut source: Source) -> io::Result<Index> {
    let (mut tally, mut text) = (Tally::default(), Vec::new());
    for block in source.blocks().to_vec() {
        source.read(block, &mut text)?;
        tally.frame(0, &text);
    }
    Ok(tally.index())
}

impl Stats {
    fn add(&mut self, name: &str, index: &Index, bytes: u64, packed: Option<u64>) {
        let service = self.services.entry(name.to_owned()).or_default();
        service.segments += 1;
        service.lines += index.lines();
        service.raw_bytes += index.raw_bytes();
        service.bytes += bytes;
        if let Some(packed) = packed {
            service.packed.0 += index.raw_bytes();
            service.packed.1 += packed;
        }
        for (sum, count) in service.levels.iter_mut().zip(index.levels) {
            *sum += count;
        }
        for (hour, count) in &index.hours {
            *self.hours.entry(*hour).or_default() += count;
        }
    }

    /// For scripts.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "services": self.services,
            "hours": self.hours.iter().map(|(hour, count)| (hour * 3_600, count)).collect::<Vec<_>>(),
            "oldest": self.hours.keys().next().map(|hour| hour * 3_600),
            "unreadable": self.unreadable,
        })
    }

    /// For people.
    pub fn write(&self, out: &mut dyn Write, zone: &TimeZone) -> io::Result<()> {
        writeln!(
            out,
            "{:<16}{:>6}{:>12}{:>11}{:>11}{:>7}{:>9}{:>9}{:>10}{:>9}",
            "service", "files", "lines", "text", "disk", "ratio", "ERROR", "WARN", "INFO", "other"
        )?;
        let mut all = Service::default();
        for (name, service) in &self.services {
            row(out, name, service)?;
            all.segments += service.segments;
            all.lines += service.lines;
            all.raw_bytes += service.raw_bytes;
            all.bytes += service.bytes;
            all.packed = (
                all.packed.0 + service.packed.0,
                all.packed.1 + service.packed.1,
            );
            for (sum, count) in all.levels.iter_mut().zip(service.levels) {
                *sum += count;
            }
        }
        row(out, "all", &all)?;
        if self.unreadable > 0 {
            writeln!(out, "{} segments could not be read", self.unreadable)?;
        }
        self.histogram(out, zone)
    }

    /// Lines by day; by hour when there is little more than a day.
    fn histogram(&self, out: &mut dyn Write, zone: &TimeZone) -> io::Result<()> {
        const BAR: u64 = 50;
        let (Some(first), Some(last)) = (self.hours.keys().next(), self.hours.keys().next_back())
        else {
            return Ok(());
        };
        let format = if last - first < 36 {
            "%m-%d %H:00"
        } else {
            "%Y-%m-%d"
        };
        let mut bars: Vec<(String, u64)> = Vec::new();
        for (hour, count) in &self.hours {
            let Ok(at) = Timestamp::from_second(hour * 3_600) else {
                continue;
            };
            let label = at
                .to_zoned_datetime(zone.clone())
                .strftime(format)
                .to_string();
            match bars.last_mut() {
                Some((same, sum)) if *same == label => *sum += count,
                _ => bars.push((label, *count)),
            }
        }
        let most = bars
            .iter()
            .map(|(_, count)| *count)
            .max()
            .unwrap_or(1)
            .max(1);
        let hour = |hour: i64| {
            let at = Timestamp::from_second(hour * 3_600).unwrap_or(Timestamp::UNIX_EPOCH);
            at.to_zoned_datetime(zone.clone())
                .strftime("%Y-%m-%d %H:00")
                .to_string()
        };
        writeln!(out, "oldest {}, newest {}\n", hour(*first), hour(*last))?;
        let skip = bars.len().saturating_sub(40);
        for (label, count) in &bars[skip..] {
            let length = (count * BAR).div_ceil(most) as usize;
            writeln!(out, "{label} {count:>9} {}", "█".repeat(length))?;
        }
        Ok(())
    }
}

fn row(out: &mut dyn Write, name: &str, service: &Service) -> io::Result<()> {
    let ratio = if service.packed.1 == 0 {
        "-".to_owned()
    } else {
        format!("{:.1}", service.packed.0 as f64 / service.packed.1 as f64)
    };
    let level = |level: Level| service.levels[level as usize];
    let other = level(Level::Debug) + level(Level::Trace) + service.levels[5];
    writeln!(
        out,
        "{name:<16}{:>6}{:>12}{:>11}{:>11}{ratio:>7}{:>9}{:>9}{:>10}{other:>9}",
        service.segments,
        service.lines,
        shown_bytes(service.raw_bytes),
        shown_bytes(service.bytes),
        level(Level::Error),
        level(Level::Warn),
        level(Level::Info),
    )
}

/// Bytes as people say them.
#[must_use]
pub fn shown_bytes(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{:.1} KB", bytes as f64 / 1_024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.2} GB", bytes as f64 / 1_073_741_824.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_compressed_and_active_count_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let text = |level: &str, count: usize| {
            format!("{{\"ts\":\"2026-03-01T05:00:00.000Z\",\"level\":\"{level}\"}}\n").repeat(count)
        };
        let raw = dir.path().join("bot.20260301T060000.000Z.log");
        std::fs::write(&raw, text("ERROR", 3)).unwrap();
        crate::compress::compress(&raw, &raw.with_extension("log.zst"), 1).unwrap();
        std::fs::remove_file(&raw).unwrap();
        std::fs::write(
            dir.path().join("bot.20260301T070000.000Z.log"),
            text("WARN", 4),
        )
        .unwrap();
        std::fs::write(dir.path().join("bot.log"), text("INFO", 5)).unwrap();
        let stats = count(dir.path()).unwrap();
        let bot = &stats.services["bot"];
        assert_eq!((bot.segments, bot.lines), (3, 12));
        assert_eq!(bot.levels, [3, 4, 5, 0, 0, 0]);
        assert_eq!(stats.hours.values().sum::<u64>(), 12);
        let mut out = Vec::new();
        stats.write(&mut out, &TimeZone::UTC).unwrap();
        let shown = String::from_utf8(out).unwrap();
        assert!(shown.contains("03-01 05:00        12 ████"), "{shown}");
    }
}
